"""Records arrive as they were sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamadapter.testing.contract.lab import Lab


def test_payload_key_and_headers_arrive_intact(lab: Lab) -> None:
    topic = lab.topic()
    headers = [("trace", b"\x00\xff"), ("empty", b""), ("null", None)]
    lab.produce(topic, b"\x00value\xff", key=b"\x01key", headers=headers)
    consumer = lab.consumer(lab.group())
    consumer.subscribe([topic])

    [message] = lab.take(consumer, 1)

    assert (message.key(), message.value()) == (b"\x01key", b"\x00value\xff")
    assert message.headers() == headers
    assert (message.topic(), message.partition(), message.offset()) == (topic, 0, 0)
