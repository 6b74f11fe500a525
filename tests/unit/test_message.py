"""Message behaves as confluent_kafka.Message does: the real class is the oracle."""

import copy
import pickle

import confluent_kafka
import pytest
from confluent_kafka import KafkaError

from streamadapter.message import Message, event

GETTERS = [
    "topic",
    "partition",
    "offset",
    "key",
    "value",
    "headers",
    "error",
    "timestamp",
    "latency",
    "leader_epoch",
    "delivery_count",
]
FULL = {
    "topic": "t",
    "partition": 1,
    "offset": 2,
    "key": b"k",
    "value": b"vv",
    "headers": [("a", b"b"), ("a", None)],
    "timestamp": (1, 5),
    "latency": 0.5,
    "leader_epoch": 3,
}


def seen(message):
    return {name: getattr(message, name)() for name in GETTERS}


@pytest.mark.parametrize("kwargs", [{}, FULL, {"value": b""}, {"error": KafkaError(1, "x")}, {"headers": []}])
def test_getters_len_and_truth_are_those_of_the_real_class(kwargs):
    ours, theirs = Message(**kwargs), confluent_kafka.Message(**kwargs)

    assert seen(ours) == seen(theirs)
    assert len(ours) == len(theirs)
    assert bool(ours) is bool(theirs)


def test_positional_arguments_come_in_the_order_of_the_real_class():
    args = ("t", 1, 2, b"k", b"v", [("h", b"x")], KafkaError(3), (2, 9), 0.1, 4)

    assert seen(Message(*args)) == seen(confluent_kafka.Message(*args))


@pytest.mark.parametrize(
    ("field", "a", "b"),
    [
        ("topic", "a", "b"),
        ("partition", 1, 2),
        ("offset", 1, 2),
        ("key", b"1", b"2"),
        ("value", b"", None),
        ("headers", [("a", b"1")], [("a", b"2")]),
        ("error", KafkaError(1), KafkaError(2)),
        ("timestamp", (1, 1), (1, 2)),
        ("timestamp", (1, 1), (2, 1)),
        ("leader_epoch", 1, 2),
        ("latency", 0.1, 0.2),
    ],
)
def test_equality_looks_at_what_the_real_class_looks_at(field, a, b):
    theirs = confluent_kafka.Message(**{field: a}) == confluent_kafka.Message(**{field: b})

    assert (Message(**{field: a}) == Message(**{field: b})) is theirs
    assert Message(**{field: a}) == Message(**{field: a})


def test_it_equals_nothing_else_and_has_no_hash():
    assert Message() != 5
    assert Message() != None  # noqa: E711  # the operator is what is tested
    with pytest.raises(TypeError, match="unhashable"):
        hash(Message())


def test_a_number_as_timestamp_is_a_create_time():
    assert Message(timestamp=7).timestamp() == (confluent_kafka.TIMESTAMP_CREATE_TIME, 7)
    assert Message(timestamp=7) == Message(timestamp=(1, 7))


@pytest.mark.parametrize("clone", [copy.copy, lambda m: pickle.loads(pickle.dumps(m))])  # noqa: S301  # our own bytes
def test_copies_and_pickles_say_the_same(clone):
    message = Message(**FULL, error=KafkaError(1, "x"))

    assert seen(clone(message)) == seen(message)


@pytest.mark.parametrize("name", ["topic", "key", "value", "headers", "error"])
def test_setters_replace_one_field_and_take_no_keyword(name):
    message = Message(**FULL)
    marker = object()

    getattr(message, f"set_{name}")(marker)

    assert seen(message) == seen(Message(**FULL)) | {name: marker}
    with pytest.raises(TypeError):
        getattr(message, f"set_{name}")(**{name: None})


def test_a_subclass_constructs_and_answers_as_its_base():
    class Order(Message):
        pass

    order = Order("orders", value=b"x")

    assert isinstance(order, Message)
    assert (order.topic(), len(order)) == ("orders", 1)


def test_no_attribute_can_be_added():
    with pytest.raises(AttributeError):
        Message().note = 1


def test_the_repr_shows_no_key_and_no_value():
    shown = repr(Message("t", 1, 2, b"secret-key", b"secret-value"))

    assert "secret" not in shown
    assert "t[1]@2" in shown


def test_an_event_carries_the_error_and_its_text():
    message = event(KafkaError(KafkaError._PARTITION_EOF, "at the end"), "t", 0, 5)

    assert message.error().code() == KafkaError._PARTITION_EOF
    assert (message.value(), message.topic(), message.partition(), message.offset()) == (
        b"at the end",
        "t",
        0,
        5,
    )
