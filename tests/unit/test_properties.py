"""The table of properties agrees with librdkafka's own, and `parse` with confluent_kafka's constructors."""

from __future__ import annotations

import ctypes
import logging
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException

from streamadapter.properties import BY_NAME, Role, parse
from streamadapter.property_table import CALL_ONLY, PROPERTIES, SASL_PREFIX

GROUP = {"group.id": "g"}


def librdkafka_properties(tmp_path: Path) -> dict[str, tuple[str, str, str]]:
    """Name to (roles, range, default), printed by the librdkafka in the confluent_kafka wheel."""
    [library] = (Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka*")
    librdkafka, libc = ctypes.CDLL(str(library)), ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    out = tmp_path / "properties.txt"
    file = ctypes.c_void_p(libc.fopen(str(out).encode(), b"w"))
    librdkafka.rd_kafka_conf_properties_show(file)
    libc.fclose(file)
    rows = re.findall(r"^(\S+) +\| +([CP*]) +\| *(.*?) *\| *(.*?) *\|", out.read_text(), re.MULTILINE)
    found: dict[str, tuple[str, str, str]] = {}
    for name, roles, limits, default in rows:
        # The global properties come first; the few topic properties of the same name are legacy.
        found.setdefault(name, (roles, limits, default))
    assert len(found) > 150
    return found


def test_every_property_of_librdkafka_is_known_with_the_same_range_default_and_role(tmp_path: Path) -> None:
    differences = []
    for name, theirs in librdkafka_properties(tmp_path).items():
        if name in CALL_ONLY or name.startswith(SASL_PREFIX):
            continue
        if name not in BY_NAME:
            differences.append(f"{name} is unknown")
            continue
        prop = BY_NAME[name]
        roles, limits, default = theirs
        if name != "compression.codec":  # a global and a topic property in one
            ours = (
                (prop.roles, f"{prop.low} .. {prop.high}") if prop.low is not None else (prop.roles, limits)
            )
            if prop.name == "acks":
                ours = (prop.roles, "-1 .. 1000")  # brokers refuse all but -1, 0 and 1; so do we
            if ours != (roles, limits):
                differences.append(f"{name}: {ours} but librdkafka has {(roles, limits)}")
        spelled = dict(prop.synonyms).get(default, default)
        own = ",".join(prop.default) if isinstance(prop.default, tuple) else prop.default
        own = "" if own is None else f"{own:g}" if isinstance(own, float) else str(own)
        if own.lower() != spelled.lower():
            differences.append(f"{name}: default {own!r} but librdkafka has {spelled!r}")
    assert differences == []


def test_enum_choices_are_those_of_librdkafka(tmp_path: Path) -> None:
    theirs = librdkafka_properties(tmp_path)
    for prop in PROPERTIES:
        if prop.kind == "enum" and prop.name in theirs and (limits := theirs[prop.name][1]):
            assert {*prop.choices, *dict(prop.synonyms)} == set(limits.split(", ")), prop.name


def test_what_is_called_honoured_is_read_by_some_code_and_a_hint_by_none() -> None:
    folders = [Path(str(find_spec(name).origin)).parent for name in ("streamadapter", "streamadapter_redis")]  # type: ignore[union-attr]  # both are installed
    source = "".join(
        file.read_text()
        for folder in folders
        for file in folder.rglob("*.py")
        if file.name not in ("property_table.py", "properties.py")
        and not {"testing", "cli"}.intersection(file.parts)  # these set some
    )
    read = {prop.name for prop in PROPERTIES if f'"{prop.name}"' in source}
    # Retries never duplicate anyway; what this adds is checks in properties.py.
    assert {prop.name for prop in PROPERTIES if prop.support == "honoured"} - read == {"enable.idempotence"}
    assert {prop.name for prop in PROPERTIES if prop.support == "hint"} & read == set()


def real_outcome(role: Role, conf: dict[str, Any]) -> tuple[type[BaseException] | None, int | None]:
    clients = {"producer": confluent_kafka.Producer, "consumer": confluent_kafka.Consumer}
    try:
        client = clients[role](conf, logger=logging.getLogger("confluent"))
    except Exception as error:  # noqa: BLE001 - whatever it raises is the contract
        return outcome_of(error)
    client.close()
    return None, None


def our_outcome(role: Role, conf: dict[str, Any]) -> tuple[type[BaseException] | None, int | None]:
    try:
        parse(conf, role)
    except Exception as error:  # noqa: BLE001 - compared with the real one's
        return outcome_of(error)
    return None, None


def outcome_of(error: Exception) -> tuple[type[BaseException], int | None]:
    return type(error), error.args[0].code() if isinstance(error, KafkaException) else None


def callback(*_args: object) -> None: ...


SAME_AS_REAL: list[tuple[Role, dict[str, Any]]] = [
    *(
        ("producer", {"linger.ms": value})
        for value in ["foo", " 5", "5.5", 5.7, "", None, True, -1, 900001, "5e2"]
    ),
    *(("producer", {"batch.num.messages": value}) for value in ["5", 5, 0, "", None, "all", 10**7]),
    *(
        ("producer", {"enable.idempotence": value})
        for value in [
            "true",
            "TRUE",
            "t",
            "1",
            1,
            True,
            "f",
            "0",
            0,
            False,
            "yes",
            "on",
            "",
            None,
            2,
            " true",
        ]
    ),
    *(("producer", {"acks": value}) for value in ["all", "ALL", "-1", -1, 0, 1, -2, "x", "one", 1001]),
    *(("producer", {"compression.type": value}) for value in ["gzip", "GZIP", "x", "", None, "inherit"]),
    *(("producer", {"partitioner": value}) for value in ["murmur2", "fnv1a_random", "x"]),
    ("producer", {"message.timeout.ms": 5, "linger.ms": 5}),
    ("producer", {"delivery.timeout.ms": 3}),
    ("producer", {"message.timeout.ms": 0}),
    ("producer", {"retries": -1}),
    ("producer", {"reconnect.backoff.ms": 20000}),
    ("producer", {"enable.idempotence": True, "acks": 1}),
    ("producer", {"enable.idempotence": True, "max.in.flight": 6}),
    ("producer", {"enable.idempotence": True, "max.in.flight": 5}),
    ("producer", {"enable.idempotence": True, "retries": 0}),
    ("producer", {"enable.idempotence": True, "default.topic.config": {"acks": 0}}),
    ("producer", {"default.topic.config": {"foo": 1}}),
    ("producer", {"foo": 1}),
    ("producer", {"foo": None}),
    ("producer", {5: 1}),  # type: ignore[dict-item]  # a wrong key is the point
    ("producer", {"linger_ms": 1}),
    ("producer", {"client.id": None}),
    ("producer", {"client.id": 5}),
    ("producer", {"transactional.id": ""}),
    ("producer", {"session.timeout.ms": 0}),
    ("producer", {"auto.offset.reset": "x"}),
    ("producer", {"group.id": "x"}),
    ("producer", {"on_commit": callback}),
    ("producer", {"dr_cb": callback}),
    ("producer", {"interceptors": callback}),
    *(
        ("producer", {name: None})
        for name in ["error_cb", "stats_cb", "throttle_cb", "on_delivery", "oauth_cb"]
    ),
    *(("producer", {name: callback}) for name in ["error_cb", "stats_cb", "throttle_cb", "on_delivery"]),
    ("consumer", {}),
    ("consumer", {"foo": 1}),
    ("consumer", {"error_cb": 1}),
    *(("consumer", GROUP | {"on_commit": value}) for value in [callback, None, 5]),
    ("consumer", GROUP | {"on_delivery": callback}),
    ("consumer", GROUP | {"acks": 1}),
    *(
        ("consumer", GROUP | {"auto.offset.reset": value})
        for value in [
            "earliest",
            "Earliest",
            "smallest",
            "beginning",
            "latest",
            "end",
            "error",
            "none",
            "x",
            "",
            None,
        ]
    ),
    *(
        ("consumer", GROUP | {"partition.assignment.strategy": value})
        for value in [
            *("range", "range, roundrobin", "roundrobin,roundrobin", "cooperative-sticky", "", None),
            *(
                "sticky",
                "uniform",
                "x",
                "range,x",
                "range,cooperative-sticky",
                "cooperative-sticky,roundrobin",
            ),
        ]
    ),
    ("consumer", GROUP | {"max.poll.interval.ms": 1000}),
    ("consumer", GROUP | {"max.poll.interval.ms": 45000}),
    ("consumer", GROUP | {"session.timeout.ms": 300001}),
    ("consumer", GROUP | {"heartbeat.interval.ms": 50000}),
    ("consumer", GROUP | {"group.protocol": "consumer"}),
    ("consumer", GROUP | {"group.protocol": "CONSUMER", "max.poll.interval.ms": 1000}),
    ("consumer", GROUP | {"group.protocol": "x"}),
    ("consumer", GROUP | {"group.remote.assignor": "uniform"}),
    ("consumer", GROUP | {"group.protocol": "consumer", "session.timeout.ms": 5000}),
    ("consumer", GROUP | {"group.protocol": "consumer", "heartbeat.interval.ms": 5000}),
    ("consumer", GROUP | {"group.protocol": "consumer", "partition.assignment.strategy": "range"}),
    ("consumer", GROUP | {"isolation.level": "x"}),
    ("consumer", GROUP | {"enable.auto.commit": False, "auto.commit.enable": True}),
    ("consumer", GROUP | {"queued.min.messages": 0}),
    ("consumer", GROUP | {"fetch.max.bytes": 2147483136}),
]


def _name(value: object) -> str:
    """Without addresses: pytest-xdist's workers must agree on the names of tests."""
    return re.sub(r" at 0x\w+", "", str(value))


@pytest.mark.parametrize(("role", "conf"), SAME_AS_REAL, ids=_name)
def test_a_configuration_is_accepted_or_refused_as_the_real_client_does(
    role: Role, conf: dict[str, Any]
) -> None:
    assert our_outcome(role, conf) == real_outcome(role, conf)


def refused(conf: dict[str, Any], role: Role = "producer") -> str:
    with pytest.raises(KafkaException) as raised:
        parse(conf, role)
    error = raised.value.args[0]
    assert error.code() == KafkaError._INVALID_ARG
    return str(error.str())


def test_values_are_typed_and_defaults_filled_in() -> None:
    settings = parse(
        {"linger.ms": "7", "acks": "all", "enable.idempotence": "1", "batch.size": "5e3"}, "producer"
    )

    assert (settings["linger.ms"], settings["acks"], settings["enable.idempotence"]) == (7.0, -1, True)
    assert settings["batch.size"] == 5000
    assert settings["delivery.timeout.ms"] == 300000
    assert settings["on_delivery"] is None
    assert settings["streamadapter.key.prefix"] == "sa"


def test_aliases_and_synonyms_become_canonical() -> None:
    conf = {
        "metadata.broker.list": "redis://h",
        "auto.offset.reset": "smallest",
        "auto.commit.enable": "f",
    } | GROUP

    settings = parse(conf, "consumer")

    assert settings["bootstrap.servers"] == "redis://h"
    assert settings["auto.offset.reset"] == "earliest"
    assert settings["enable.auto.commit"] is False
    assert (
        parse({"message.timeout.ms": 9, "compression.codec": "LZ4"}, "producer").items()
        >= {
            "delivery.timeout.ms": 9,
            "compression.type": "lz4",
            "linger.ms": 5.0,
        }.items()
    )


def test_assignors_are_a_tuple_in_order_of_preference() -> None:
    settings = parse(GROUP | {"partition.assignment.strategy": "roundrobin, range"}, "consumer")
    assert settings["partition.assignment.strategy"] == ("roundrobin", "range")


def test_idempotence_bounds_the_requests_in_flight_as_librdkafka_does() -> None:
    assert parse({"enable.idempotence": True}, "producer")["max.in.flight.requests.per.connection"] == 5


def test_a_default_linger_yields_to_a_short_delivery_timeout() -> None:
    assert parse({"delivery.timeout.ms": 3}, "producer")["linger.ms"] < 3


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("linger_ms", "linger.ms"), ("lingr.ms", "linger.ms"), ("Group.Id", "group.id"), ("ackss", "acks")],
)
def test_an_unknown_property_is_refused_with_the_nearest_name(name: str, nearest: str) -> None:
    assert refused({name: 1}) == f'No such configuration property: "{name}"; did you mean "{nearest}"?'


def test_an_unknown_property_like_no_other_is_refused_without_a_guess() -> None:
    assert refused({"foo": 1}) == 'No such configuration property: "foo"'


def test_a_bad_value_is_refused_with_what_is_allowed() -> None:
    assert refused({"linger.ms": "5ms"}) == (
        "Invalid value for configuration property \"linger.ms\": expected a number in 0..900000, not '5ms'"
    )
    assert "expected all or a number in -1..1" in refused({"acks": "quorum"})
    assert "outside allowed range 0..900000" in refused({"linger.ms": "nan"})
    assert "expected one of none, gzip" in refused({"compression.type": "brotli"})


@pytest.mark.parametrize(
    "conf",
    [
        {"transactional.id": "t"},
        {"sasl.mechanism": "PLAIN"},
        {"sasl.password": "x"},
        {"security.protocol": "ssl"},
        {"ssl.ca.pem": "x"},
        {"test.mock.num.brokers": 1},
        {"oauth_cb": callback},
    ],
    ids=lambda conf: next(iter(conf)),
)
def test_an_unsupported_property_is_refused_with_the_reason(conf: dict[str, Any]) -> None:
    [name] = conf
    message = refused(conf)
    assert message.startswith(f'Configuration property "{name}" is not supported by this backend: ')
    assert len(message.partition("backend: ")[2]) > 10


def test_an_unsupported_property_with_its_default_asks_for_nothing() -> None:
    conf = {
        "security.protocol": "PLAINTEXT",
        "transactional.id": "",
        "queuing.strategy": "fifo",
        "sasl.password": None,
    }
    assert parse(conf, "producer").keys().isdisjoint(conf)


def test_a_property_of_the_other_kind_of_client_is_accepted_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parse({"auto.offset.reset": "earliest", "client.id": "x"}, "producer")
    assert [record.message for record in caplog.records] == [
        "auto.offset.reset is a consumer property and has no effect on a producer"
    ]


def test_an_empty_group_id_is_refused_where_the_real_client_aborts() -> None:
    with pytest.raises(ValueError, match=r"group\.id must be set"):
        parse({"group.id": ""}, "consumer")


def test_secrets_are_never_in_an_error() -> None:
    assert "hunter2" not in refused({"sasl.password": "hunter2"})


def test_an_admin_client_takes_properties_of_both_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    parse({"linger.ms": 1, "group.id": "g"}, "admin")
    assert caplog.records == []
