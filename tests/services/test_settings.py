"""The [streamstore] table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from streamstore.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"databse": "x"}, r"streamstore\.databse: no such setting; did you mean 'database'\?"),
        ({"zzz": 1}, r"streamstore\.zzz: no such setting; known are accept_seconds, architecture"),
        ({"smtp": {"host": "h", "usrname": "x"}}, r"streamstore\.smtp\.usrname: .* 'username'\?"),
        ({"partitions": 0}, r"streamstore\.partitions: Input should be greater"),
        ({"smtp": {"host": "mail.example", "password": "hush"}}, r"streamstore\.smtp: .*starttls = true"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_setting(
    tmp_path: Path, table: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings(table, tmp_path)

    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSTORE_PARTITIONS", "7")
    monkeypatch.setenv("STREAMSTORE_SMTP__PASSWORD", "hush")

    settings = load_settings({"partitions": 3, "smtp": {"host": "localhost"}}, tmp_path)

    assert settings.partitions == 7
    assert settings.smtp is not None
    assert settings.smtp.password is not None
    assert settings.smtp.password.get_secret_value() == "hush"
    assert "hush" not in repr(settings)


def test_relative_paths_begin_at_the_config_file(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": "shop"}, tmp_path)

    assert settings.data_dir == tmp_path / "shop"
    assert settings.outbox == tmp_path / "shop" / "outbox"
    assert settings.database_url("billing") == f"sqlite:///{tmp_path}/shop/billing.db"


def test_one_url_changes_the_database_of_all_services(tmp_path: Path) -> None:
    settings = load_settings({"database": "postgresql://u:hush@db/{service}"}, tmp_path)

    assert settings.database_url("order") == "postgresql://u:hush@db/order"
    assert "hush" not in repr(settings)
