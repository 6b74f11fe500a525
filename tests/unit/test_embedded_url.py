"""What embedded:// URLs mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from streamadapter.errors import StoreError
from streamadapter_embedded.directory import parse_url


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("embedded://", "streamadapter-data"),
        ("embedded://?fsync=always", "streamadapter-data"),
        ("embedded://data", "data"),
        ("embedded://./data/here", "data/here"),
        ("embedded://a%20b%3Fc", "a b?c"),
        ("embedded://a#b[c@d", "a#b[c@d"),
    ],
)
def test_a_relative_path_begins_in_the_working_directory(url: str, path: str) -> None:
    assert parse_url(url).path == Path.cwd() / path


def test_a_third_slash_makes_the_path_absolute() -> None:
    assert parse_url("embedded:///var/lib/data").path == Path("/var/lib/data")


def test_a_tilde_is_the_home_directory() -> None:
    assert parse_url("embedded://~/data").path == Path.home() / "data"


@pytest.mark.parametrize(
    ("query", "fsync"), [("", "everysec"), ("?fsync=always", "always"), ("?fsync=everysec", "everysec")]
)
def test_fsync_is_every_second_unless_asked_for(query: str, fsync: str) -> None:
    assert parse_url(f"embedded://data{query}").fsync == fsync


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("fsync=no", "must be one of everysec, always"),
        ("fsync=", "must be one of"),
        ("sync=always", "'sync'"),
    ],
)
def test_a_mistake_in_the_query_is_refused(query: str, hint: str) -> None:
    with pytest.raises(StoreError, match=hint) as caught:
        parse_url(f"embedded://data?{query}")
    assert caught.value.code == KafkaError._INVALID_ARG
