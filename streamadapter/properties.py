"""Validate a client's configuration: Kafka's dotted names to typed values, its rules and errors.

`parse` is a pure function of its arguments, but for a warning logged for a property of the other kind of
client. The rules were checked against confluent_kafka 2.16.1. Stricter on purpose: a number followed by
rubbish ("5ms", which librdkafka reads as 5), an unknown group.remote.assignor, acks other than 0, 1 and all,
and an empty group.id, which aborts the interpreter there. Errors name the property as it was given, not by
librdkafka's canonical name.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from confluent_kafka import KafkaError, KafkaException

from streamadapter.errors import kafka_exception
from streamadapter.property_table import CALL_ONLY, PROPERTIES, SASL, SASL_PREFIX, Property, Value

__all__ = ["BY_NAME", "Role", "invalid", "parse"]

Role: TypeAlias = Literal["producer", "consumer", "admin"]

log = logging.getLogger(__name__)

BY_NAME: Mapping[str, Property] = {name: prop for prop in PROPERTIES for name in (prop.name, *prop.aliases)}
"""Every accepted name, aliases too, to its property."""

_ROLE_OF = {"P": "producer", "C": "consumer"}
_TRUE, _FALSE = ("true", "t", "1"), ("false", "f", "0")
_COOPERATIVE = "cooperative-sticky"


def invalid(reason: str) -> KafkaException:
    """The exception for a bad configuration."""
    return kafka_exception(KafkaError._INVALID_ARG, reason)


def parse(conf: Mapping[str, Any], role: Role) -> dict[str, Any]:
    """Typed values of all properties a log store knows, defaults filled in, under their canonical names.

    Times are int (linger.ms float) in ms, acks is -1, 0 or 1, booleans bool, enums their canonical lower-case
    spelling, partition.assignment.strategy a tuple, callbacks as given or None. Properties that a log store
    does not support are absent. Raises KafkaException(_INVALID_ARG), TypeError for a callback that is not
    callable, ValueError for a consumer without group.id.
    """
    conf = _merge_topic_config(conf)
    if role == "consumer" and conf.get("group.id") in (None, ""):
        raise ValueError("Failed to create consumer: group.id must be set")
    given: dict[str, Any] = {}
    for name, value in conf.items():
        prop = _lookup(str(name), role)
        if prop.roles != "*" and role != "admin" and _ROLE_OF[prop.roles] != role:
            log.warning("%s is a %s property and has no effect on a %s", name, _ROLE_OF[prop.roles], role)
        typed = _CONVERT[prop.kind](prop, str(name), value)
        if prop.support == "unsupported":
            if typed != prop.default:
                raise invalid(
                    f'Configuration property "{name}" is not supported by this backend: {prop.note}'
                )
        else:
            given[prop.name] = typed
    settings = {prop.name: prop.default for prop in PROPERTIES if prop.support != "unsupported"} | given
    if role == "producer":
        _check_producer(settings, given)
    elif role == "consumer":
        _check_consumer(settings, given)
    return settings


def _merge_topic_config(conf: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(conf)
    topic_config = merged.pop("default.topic.config", {})
    if not isinstance(topic_config, Mapping):
        raise TypeError("default.topic.config must be a dict")
    return merged | dict(topic_config)


def _lookup(name: str, role: Role) -> Property:
    prop = BY_NAME.get(name)
    if prop is not None and not (
        prop.kind == "callback" and prop.roles != "*" and _ROLE_OF[prop.roles] != role
    ):
        return prop
    if name.startswith(SASL_PREFIX):
        return SASL
    if name in CALL_ONLY:
        raise invalid(f'Property "{name}" must be set through dedicated .._set_..() function (of the C API)')
    near = difflib.get_close_matches(name.replace("_", ".").lower(), BY_NAME, n=1, cutoff=0.75)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    raise invalid(f'No such configuration property: "{name}"{hint}')


def _number(prop: Property, name: str, value: Any) -> float:
    text = "" if value is None else str(value).strip().lower()
    text = dict(prop.synonyms).get(text, text)
    if not text:
        raise invalid(
            f'{prop.kind.capitalize()} configuration property "{name}" cannot be set to empty value'
        )
    try:
        number = float(text)
    except ValueError:
        raise invalid(
            f'Invalid value for configuration property "{name}": {_allowed(prop)}, not {text!r}'
        ) from None
    if (low := prop.low) is not None and (high := prop.high) is not None and not low <= number <= high:
        raise invalid(f'Configuration property "{name}" value {text} is outside allowed range {low}..{high}')
    return number


def _int(prop: Property, name: str, value: Any) -> Value:
    number = _number(prop, name, value)
    if number != int(number):
        raise invalid(f'Invalid value for configuration property "{name}": {_allowed(prop)}, not {value!r}')
    return int(number)


def _bool(_prop: Property, name: str, value: Any) -> Value:
    text = "" if value is None else str(value).lower()
    if not text:
        raise invalid(f'Bool configuration property "{name}" cannot be set to empty value')
    if text not in _TRUE + _FALSE:
        raise invalid(f'Expected bool value for "{name}": true or false')
    return text in _TRUE


def _enum(prop: Property, name: str, value: Any) -> Value:
    text = "" if value is None else str(value).lower()
    if not text:
        if prop.default is None:
            return None
        raise invalid(f'Configuration property "{name}" cannot be set to empty value')
    text = dict(prop.synonyms).get(text, text)
    if text not in prop.choices:
        raise invalid(f'Invalid value "{value}" for configuration property "{name}": {_allowed(prop)}')
    return text


def _list(prop: Property, name: str, value: Any) -> Value:
    items = tuple(item.strip() for item in str(value or "").split(",") if item.strip())
    for item in items:
        if item not in prop.choices:
            raise invalid(f"Failed to create consumer: Unsupported {name}: {item}; {_allowed(prop)}")
    return items or prop.default


def _string(prop: Property, _name: str, value: Any) -> Value:
    return prop.default if value is None or value == "" else str(value)


def _callback(prop: Property, name: str, value: Any) -> Any:
    if name == "logger" or callable(value):
        return value
    if prop.roles != "*":
        raise invalid(f"{name} requires a callable object")
    error = ValueError if name == "throttle_cb" else TypeError
    raise error(f"expected {name} property as a callable function")


_CONVERT: Mapping[str, Callable[[Property, str, Any], Any]] = {
    "int": _int,
    "float": _number,
    "bool": _bool,
    "enum": _enum,
    "list": _list,
    "string": _string,
    "callback": _callback,
}


def _allowed(prop: Property) -> str:
    if prop.choices:
        return "expected one of " + ", ".join((*prop.choices, *(name for name, _ in prop.synonyms)))
    names = "".join(f"{name} or " for name, _ in prop.synonyms)
    return f"expected {names}a number in {prop.low}..{prop.high}"


def _check_producer(settings: dict[str, Any], given: Mapping[str, Any]) -> None:
    failed = "Failed to create producer: "
    if settings["enable.idempotence"]:
        if settings["acks"] != -1:
            raise invalid(failed + "`acks` must be set to `all` when `enable.idempotence` is true")
        if given.get("max.in.flight.requests.per.connection", 5) > 5:
            raise invalid(failed + "`max.in.flight` must be set <= 5 when `enable.idempotence` is true")
        if settings["retries"] < 1:
            raise invalid(failed + "`retries` must be set >= 1 when `enable.idempotence` is true")
        settings["max.in.flight.requests.per.connection"] = min(
            5, settings["max.in.flight.requests.per.connection"]
        )
    if 0 < settings["delivery.timeout.ms"] <= settings["linger.ms"]:
        # librdkafka lowers a linger.ms that was not set instead.
        if "linger.ms" in given:
            raise invalid(failed + "`message.timeout.ms` must be greater than `linger.ms`")
        settings["linger.ms"] = settings["delivery.timeout.ms"] - 1.0
    _check_backoff(settings, failed)


def _check_consumer(settings: dict[str, Any], given: Mapping[str, Any]) -> None:
    failed = "Failed to create consumer: "
    if settings["group.protocol"] == "consumer":
        for name in ("session.timeout.ms", "heartbeat.interval.ms", "group.protocol.type"):
            if name in given:
                raise invalid(
                    failed + f"`{name}` is not supported for `group.protocol=consumer` or share consumer"
                )
        if "partition.assignment.strategy" in given:
            raise invalid(
                failed + "`partition.assignment.strategy` is not supported for `group.protocol=consumer`. "
                "Use `group.remote.assignor` instead"
            )
    elif settings["max.poll.interval.ms"] < settings["session.timeout.ms"]:
        raise invalid(failed + "`max.poll.interval.ms`must be >= `session.timeout.ms`")
    strategies = settings["partition.assignment.strategy"]
    if _COOPERATIVE in strategies and len(set(strategies)) > 1:
        raise invalid(
            failed
            + f"All partition.assignment.strategy ({','.join(strategies)}) assignors must have the same "
            "protocol type, online migration between assignors with different protocol types is not supported"
        )
    _check_backoff(settings, failed)


def _check_backoff(settings: Mapping[str, Any], failed: str) -> None:
    if settings["reconnect.backoff.max.ms"] < settings["reconnect.backoff.ms"]:
        raise invalid(failed + "`reconnect.backoff.max.ms` must be >= `reconnect.backoff.ms`")
