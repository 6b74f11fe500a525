"""From bootstrap.servers, or the config file, to a client of the right backend, without showing a password."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from streamadapter.admin import AdminClient, NewTopic
from streamadapter.registry import backend_of, open_client, redact, scheme_of


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STREAMADAPTER_CONFIG", raising=False)
    return tmp_path


def memory() -> str:
    return f"memory://{uuid.uuid4().hex}"


def refused(url: str, **more: object) -> str:
    with pytest.raises(KafkaException) as raised:
        open_client("admin", {"bootstrap.servers": url, **more}, {})
    assert raised.value.args[0].code() == KafkaError._INVALID_ARG
    return str(raised.value.args[0].str())


def topics(conf: dict[str, object]) -> set[str]:
    with AdminClient(conf) as admin:
        return set(admin.list_topics(timeout=10).topics)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://localhost:6379/0", "redis"),
        ("REDISS://localhost", "redis"),
        ("valkey://localhost", "redis"),
        ("unix:///tmp/s", "redis"),
        ("memory://x", "memory"),
        ("embedded://", "embedded"),
        ("kafka://a:9092,b:9092", "kafka"),
        ("localhost:9092", "kafka"),
    ],
)
def test_the_scheme_names_the_backend(url: str, name: str) -> None:
    assert backend_of(url).name == name


@pytest.mark.parametrize(
    "servers",
    [
        "localhost:9092",
        "localhost",
        "a:9092,b:9092",
        "kafka://a:9092",
        "PLAINTEXT://a:9092",
        "SASL_SSL://a:9092",
    ],
)
def test_bare_addresses_and_librdkafkas_protocols_are_kafka(servers: str) -> None:
    assert scheme_of(servers) == "kafka"


def test_an_unknown_scheme_is_refused_with_the_known_ones() -> None:
    message = refused("rabbit://u:secret@h")
    assert message.startswith("unknown scheme in rabbit://u:***@h; known are ")
    for scheme in ("embedded://", "kafka://", "memory://", "redis://", "rediss://", "valkey://"):
        assert scheme in message


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://user@host/0", "redis://user@host/0"),
        ("redis://user:s3cret@host:1/0", "redis://user:***@host:1/0"),
        ("redis://:s3cret@host", "redis://:***@host"),
        ("redis://user:s3/c@r:e#t?@host/0", "redis://user:***@host/0"),
        ("redis+sentinel://u:s3cret@a:1,b:2/m", "redis+sentinel://u:***@a:1,b:2/m"),
        ("redis://host?password=s3cret&db=1", "redis://host?password=***&db=1"),
    ],
)
def test_redact_hides_passwords_and_nothing_else(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cret@example.com",
        "redis://u:s3cret@10.0.0.1:6379/0",
        "redis://example.com?password=s3cret",
        "redis://:s3cret@localhost.example.com",
        "redis://:s3cret@127.0.0.1,example.com",
        "valkey://:s3cret@[2001:db8::1]:6379",
    ],
)
def test_a_password_is_not_sent_in_plain_text_to_another_host(url: str) -> None:
    message = refused(url)
    assert "plain text" in message
    assert "s3cret" not in message


@pytest.mark.parametrize(
    ("url", "conf"),
    [
        ("redis://:s3cret@localhost", {}),
        ("redis://:s3cret@127.0.0.2:1", {}),
        ("redis://:s3cret@[::1]:1", {}),
        ("rediss://:s3cret@example.com", {}),
        ("redis://example.com", {}),
        ("redis://:s3cret@example.com", {"streamadapter.allow.plaintext.password": True}),
    ],
)
def test_a_password_is_allowed_to_this_host_or_over_tls_or_when_insisted_upon(
    url: str, conf: dict[str, object]
) -> None:
    # Clients connect when first used, so none of these servers needs to exist.
    open_client("admin", {"bootstrap.servers": url, **conf}, {}).close()


def test_a_url_that_cannot_be_split_is_refused_without_its_password() -> None:
    message = refused("redis://:s3cret@[::1")
    assert "not a valid URL" in message
    assert "s3cret" not in message


def test_keyword_arguments_win_over_the_dictionary() -> None:
    url = memory()
    with AdminClient({"bootstrap.servers": "rabbit://h"}, **{"bootstrap.servers": url}) as admin:
        admin.create_topics([NewTopic("t", 1)])["t"].result(10)
    assert topics({"metadata.broker.list": url}) == {"t"}


def test_a_bad_property_is_refused_before_any_connection_is_made() -> None:
    assert 'No such configuration property: "foo"' in refused("redis://192.0.2.1", foo=1)


def test_without_servers_the_config_file_decides_and_its_topics_are_created() -> None:
    name = uuid.uuid4().hex
    Path("streamadapter.toml").write_text(
        f'backend = "memory"\n[memory]\nname = "{name}"\n'
        '[topics.orders]\npartitions = 4\n"retention.ms" = 1000\n[topics.bills]\n'
    )

    with AdminClient({}) as admin:
        found = admin.list_topics(timeout=10).topics

    assert {topic: len(metadata.partitions) for topic, metadata in found.items()} == {"orders": 4, "bills": 1}
    assert topics({"bootstrap.servers": f"memory://{name}"}) == {"orders", "bills"}


def test_topics_that_exist_are_left_alone() -> None:
    url = memory()
    with AdminClient({"bootstrap.servers": url}) as admin:
        admin.create_topics([NewTopic("orders", 2)])["orders"].result(10)
    name = url.removeprefix("memory://")
    Path("streamadapter.toml").write_text(
        f'backend = "memory"\n[memory]\nname = "{name}"\n[topics.orders]\npartitions = 4\n'
    )

    with AdminClient({}) as admin:
        assert len(admin.list_topics(timeout=10).topics["orders"].partitions) == 2


def test_topics_are_created_once_a_process_so_that_a_deleted_one_stays_deleted() -> None:
    name = uuid.uuid4().hex
    Path("streamadapter.toml").write_text(f'backend = "memory"\n[memory]\nname = "{name}"\n[topics.orders]\n')
    with AdminClient({}) as admin:
        admin.delete_topics(["orders"])["orders"].result(10)

    assert topics({}) == set()


def test_given_servers_leave_the_config_file_unread() -> None:
    Path("streamadapter.toml").write_text("this is not TOML")
    assert topics({"bootstrap.servers": memory()}) == set()


def test_defaults_of_the_file_are_below_what_the_program_gives() -> None:
    Path("streamadapter.toml").write_text(
        'backend = "memory"\n[producer]\n"enable.idempotence" = true\n"acks" = "all"\n'
    )
    open_client("producer", {}, {}).close()
    with pytest.raises(KafkaException, match="`acks` must be set to `all`"):
        open_client("producer", {"acks": 1}, {})


def test_a_topic_that_cannot_be_created_is_an_error_of_the_client() -> None:
    Path("streamadapter.toml").write_text(
        'backend = "redis"\n[redis]\nurl = "redis://127.0.0.1:1"\n[topics.orders]\n'
    )
    with pytest.raises(KafkaException) as raised:
        AdminClient({"socket.timeout.ms": 500})
    assert raised.value.args[0].code() == KafkaError._TIMED_OUT
    assert "127.0.0.1:1" in raised.value.args[0].str()
