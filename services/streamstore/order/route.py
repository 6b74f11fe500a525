"""Where the order service sends an order: one interface, for both architectures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol, Self

from streamadapter import KafkaError, KafkaException
from streamstore.orders import Order
from streamstore.publisher import Publisher

log = logging.getLogger(__name__)

TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE)


class TooLargeError(Exception):
    """The log takes no event of that size; it is certainly not there."""


class UndeliveredError(Exception):
    """Nobody knows whether, or how far, the order was delivered; `status` is the HTTP status that says so."""

    def __init__(self, event: Order, reason: str, status: int = 503) -> None:
        super().__init__(reason)
        self.event = event
        self.status = status


class Route(Protocol):
    """An asynchronous context manager, open as long as orders are taken. For one event loop."""

    async def deliver(self, order: Order, payload: bytes) -> None:
        """Return when the shop has the order. Raises TooLargeError, UndeliveredError."""
        ...

    def has_delivered(self, services: Mapping[str, str]) -> bool:
        """Whether an event that is in the view, with these states, is delivered."""
        ...

    async def __aenter__(self) -> Self:
        """Open it."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; deliveries under way fail."""
        ...


class LogRoute:
    """Into the topic of orders: delivered when the log has acknowledged it.

    `give_up` is told, on the event loop, of an error after which nothing can be published any more.
    """

    def __init__(
        self,
        publisher: Publisher,
        topic: str,
        give_up: Callable[[KafkaException], None] = lambda _error: None,
    ) -> None:
        self._publisher = publisher
        self._topic = topic
        self._give_up = give_up

    async def __aenter__(self) -> Self:
        await self._publisher.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._publisher.__aexit__(kind, error, trace)

    def has_delivered(self, services: Mapping[str, str]) -> bool:  # noqa: ARG002 - Route's signature
        """The view is made from the log: what is in it is delivered."""
        return True

    async def deliver(self, order: Order, payload: bytes) -> None:
        """Publish it and wait for the acknowledgement. Raises TooLargeError, UndeliveredError."""
        try:
            await self._publisher.publish(self._topic, payload, order.key)
        except KafkaException as error:
            problem = error.args[0]
            if problem.code() in TOO_LARGE:
                raise TooLargeError from error
            log.warning("%s was not acknowledged: %s", order.event_id, problem)
            if problem.fatal():
                self._give_up(error)
            reason = f"the broker has not acknowledged {order.event_id} ({problem.str()})"
            raise UndeliveredError(order, reason) from error
