"""The methods called once a record are the client's own, unless a subclass has its own."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from streamadapter import Consumer, Producer


def memory() -> dict[str, Any]:
    return {"bootstrap.servers": f"memory://{uuid.uuid4().hex}", "group.id": "g"}


@pytest.mark.parametrize(
    ("base", "names"), [(Producer, ("produce", "poll")), (Consumer, ("poll", "consume"))]
)
def test_a_call_goes_straight_to_the_client(base: type, names: tuple[str, ...]) -> None:
    with base(memory()) as facade:
        for name in names:
            assert getattr(facade, name).__self__ is facade._client


def test_a_subclass_may_override_them() -> None:
    class Loud(Producer):
        def produce(self, topic: str, value: Any = None, *args: Any, **kwargs: Any) -> None:
            super().produce(topic, f"{value}!", *args, **kwargs)

    conf = memory()
    reports = []
    with Loud(conf, **{"streamadapter.key.prefix": "p"}) as producer:
        producer.produce("missing", "a", on_delivery=lambda _, message: reports.append(message.value()))
        producer.purge()
        producer.flush(10)

    assert reports == [b"a!"]
