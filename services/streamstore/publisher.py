"""A bridge from asyncio to a Producer: await the acknowledgement of a record.

One thread serves the delivery reports. They cross to the event loop a batch at a time: waking the loop costs more
than a report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from streamadapter import KafkaError, KafkaException, Producer

if TYPE_CHECKING:
    from streamadapter import Message

POLL_SECONDS = 0.1  # how soon the thread notices that it is to end
FLUSH_SECONDS = 10.0

Headers = Mapping[str, str | bytes | None]
_Report = tuple["asyncio.Future[Message]", KafkaError | None, "Message"]


class Publisher:
    """An asynchronous context manager; all its methods belong to the event loop that entered it.

    `properties` are the Producer's. A record that is not acknowledged within `delivery.timeout.ms` may or may not
    be in the log.
    """

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._properties = {"acks": "all", "enable.idempotence": True, "linger.ms": 1, **properties}

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(self._properties)
        self._reports: list[_Report] = []  # of the poll under way; the thread's own
        self._closing = False
        self._thread = Thread(target=self._serve_reports, name="publisher", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait a while for what is in flight; the rest fails with _PURGE_QUEUE or _PURGE_INFLIGHT."""
        await asyncio.to_thread(self._close)

    async def publish(
        self, topic: str, value: bytes, key: str | bytes | None = None, headers: Headers | None = None
    ) -> Message:
        """The record as the log has it. Raises KafkaException, with _QUEUE_FULL when too many are waiting.

        Being cancelled does not take the record back.
        """
        future: asyncio.Future[Message] = self._loop.create_future()

        def report(error: KafkaError | None, message: Message) -> None:
            self._reports.append((future, error, message))

        try:
            self._producer.produce(
                topic, value, key, on_delivery=report, headers=dict(headers) if headers else None
            )
        except BufferError as error:
            raise KafkaException(
                KafkaError(KafkaError._QUEUE_FULL, "too many records await delivery")
            ) from error
        return await future

    def _serve_reports(self) -> None:
        while not self._closing:
            self._producer.poll(POLL_SECONDS)
            self._hand_over()

    def _hand_over(self) -> None:
        if self._reports:
            reports, self._reports = self._reports, []
            self._loop.call_soon_threadsafe(_settle, reports)

    def _close(self) -> None:
        self._closing = True
        self._thread.join()
        if self._producer.flush(FLUSH_SECONDS):
            self._producer.purge()
            self._producer.poll(0)
        self._producer.close()
        self._hand_over()


def _settle(reports: list[_Report]) -> None:
    for future, error, message in reports:
        if future.done():  # its caller has gone
            continue
        if error is None:
            future.set_result(message)
        else:
            future.set_exception(KafkaException(error))
