"""The config file: where it is found, what it may say, and that mistakes and secrets are handled."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from streamadapter.config import Config, load

DESIGN = """
backend = "redis"
[embedded]
path = "./streamadapter-data"
[redis]
url = "redis://localhost:6379/0"
[kafka]
"bootstrap.servers" = "localhost:9092"
[producer]
"linger.ms" = 5
[consumer]
"auto.offset.reset" = "earliest"
[topics.order-events]
partitions = 4
"retention.ms" = 1000
[streamstore]
anything = { at = ["all"] }
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STREAMADAPTER_CONFIG", raising=False)
    return tmp_path


def written(text: str, name: str = "streamadapter.toml") -> Path:
    path = Path(name).absolute()
    path.write_text(text)
    return path


def mistake(text: str) -> str:
    with pytest.raises(KafkaException) as raised:
        load(written(text))
    assert raised.value.args[0].code() == KafkaError._INVALID_ARG
    return str(raised.value.args[0].str())


def test_without_a_file_the_backend_is_the_embedded_server_in_the_working_directory(directory: Path) -> None:
    assert load().connection() == (f"embedded://{directory}/streamadapter-data", {})


def test_the_file_in_the_working_directory_is_read() -> None:
    written(DESIGN)

    config = load()

    assert config.connection() == ("redis://localhost:6379/0", {})
    assert config.producer == {"linger.ms": 5}
    assert config.consumer == {"auto.offset.reset": "earliest"}
    assert config.topics["order-events"].partitions == 4
    assert config.topics["order-events"].configs() == {"retention.ms": "1000"}
    assert config.streamstore == {"anything": {"at": ["all"]}}


def test_the_variable_names_another_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written('backend = "memory"')
    other = tmp_path / "other.toml"
    other.write_text('backend = "redis"\n[redis]\nurl = "redis://other"')
    monkeypatch.setenv("STREAMADAPTER_CONFIG", str(other))

    assert load().connection() == ("redis://other", {})


def test_a_named_file_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMADAPTER_CONFIG", "/nowhere/s.toml")
    with pytest.raises(KafkaException, match=r"cannot read the config file /nowhere/s.toml: No such file"):
        load()


def test_variables_override_the_file_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    path = written('backend = "memory"\n[redis]\nurl = "redis://a"\nusername = "u"\n[producer]\n"acks" = 1\n')
    monkeypatch.setenv("STREAMADAPTER_BACKEND", "redis")
    monkeypatch.setenv("STREAMADAPTER_REDIS__URL", "redis://b")
    monkeypatch.setenv("STREAMADAPTER_PRODUCER__LINGER_MS", "7")

    config = load(path)

    assert config.connection() == ("redis://u:@b", {})
    assert config.producer == {"acks": 1, "linger.ms": "7"}


def test_variables_alone_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMADAPTER_BACKEND", "memory")
    assert load().connection() == ("memory://default", {})


def test_a_misspelt_variable_is_an_error_and_a_foreign_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMADAPTER_SOMETHING_ELSE", "1")
    load()
    monkeypatch.setenv("STREAMADAPTER_BAKEND", "redis")
    with pytest.raises(KafkaException, match="STREAMADAPTER_BAKEND; did you mean STREAMADAPTER_BACKEND"):
        load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('bakend = "redis"', 'unknown key "bakend"; did you mean "backend"?'),
        ('[redis]\nulr = "redis://x"', '[redis] unknown key "ulr"; did you mean "url"?'),
        (
            '[producer]\n"lingr.ms" = 5',
            'No such configuration property: "lingr.ms"; did you mean "linger.ms"?',
        ),
        ('[producer]\n"linger.ms" = "soon"', 'Invalid value for configuration property "linger.ms"'),
        ('[consumer]\n"session.timeout.ms" = 0', "outside allowed range 1..3600000"),
        ('backend = "rediss"', 'no backend "rediss" is installed; did you mean "redis"?'),
        ("[topics.a]\npartitions = 0", "[topics.a] partitions: Input should be greater than or equal to 1"),
        (
            '[topics.a]\n"retention.msx" = 0',
            'Unknown topic config "retention.msx": did you mean "retention.ms"?',
        ),
        ('[redis]\npassword = "a"\npassword_file = "b"', "give password or password_file, not both"),
        ("[kafka\n", "streamadapter.toml: "),
        ('producer = "x"', "producer: Input should be a valid dictionary"),
    ],
)
def test_a_mistake_names_the_file_and_the_key(text: str, message: str, directory: Path) -> None:
    found = mistake(text)
    assert message in found
    assert found.startswith(str(directory))


def test_unquoted_dotted_keys_mean_properties() -> None:
    config = load(written("[producer]\nlinger.ms = 5\n[topics.t]\nretention.ms = 9\n"))
    assert config.producer == {"linger.ms": 5}
    assert config.topics["t"].configs() == {"retention.ms": "9"}


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "secret").write_text("p@ss/word\n")
    path = written('[embedded]\npath = "data dir"\n[redis]\npassword_file = "secret"\n', "etc/s.toml")

    config = load(path)

    assert config.connection() == (f"embedded://{tmp_path}/etc/data%20dir", {})

    monkeypatch.setenv("STREAMADAPTER_BACKEND", "redis")
    assert load(path).connection() == ("redis://:p%40ss%2Fword@localhost:6379/0", {})


def test_a_missing_password_file_is_an_error() -> None:
    config = load(written('backend = "redis"\n[redis]\npassword_file = "nowhere"\n'))
    with pytest.raises(KafkaException, match=r"password_file: No such file or directory"):
        config.connection()


def test_no_secret_is_shown() -> None:
    path = written(
        'backend = "redis"\n[redis]\nurl = "redis://u:hunter2@h"\npassword = "hunter2"\n'
        '[kafka]\n"sasl.password" = "hunter2"\n[producer]\n"ssl.key.password" = "hunter2"\n[streamstore]\nk = "hunter2"'
    )
    config = load(path)
    assert "hunter2" not in f"{config!r} {config} {config.redis!r} {config.redis}"
    assert "hunter2" in config.connection()[0]


def test_an_error_does_not_show_the_value_of_a_secret() -> None:
    assert "hunter2" not in mistake('[redis]\npassword = ["hunter2"]\n')


def test_yaml_is_read_or_refused_with_what_to_install() -> None:
    path = written("backend: memory\n", "streamadapter.yaml")
    if importlib.util.find_spec("yaml") is None:  # optional: whichever holds here is tested
        with pytest.raises(KafkaException, match="pip install PyYAML"):
            load()
    else:
        assert load(path).backend == "memory"


def test_a_section_of_an_unknown_backend_is_an_error() -> None:
    assert 'unknown key "redos"; did you mean "redis"?' in mistake('[redos]\nurl = "x"')


def test_the_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().backend = "redis"


def test_the_model_is_usable_without_a_file() -> None:
    assert Config(backend="memory").connection() == ("memory://default", {})


def test_the_embedded_server_may_be_told_to_sync_every_append(tmp_path: Path) -> None:
    file = tmp_path / "streamadapter.toml"
    file.write_text('[embedded]\npath = "/data"\nfsync = "always"\n')

    assert load(file).connection() == ("embedded:///data?fsync=always", {})
