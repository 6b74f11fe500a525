"""Runs a service that keeps a topic's history: its writer, and with HTTP its live view and its interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Event

from fastapi import FastAPI

from streamstore.database import Database, persistently
from streamstore.publisher import Publisher
from streamstore.settings import Settings
from streamstore.streaming.history import History, prepare
from streamstore.streaming.live import View, follow
from streamstore.streaming.writer import write_history
from streamstore.together import run_together
from streamstore.web.server import serve


@dataclass(frozen=True)
class Streaming:
    """What such a service runs with."""

    history: History
    topic: str
    database: Database
    settings: Settings

    def serve(self, app: FastAPI, stop: Event) -> None:
        """Answer HTTP until `stop` is set."""
        serve(app, self.settings.host, self.settings.port_of(self.history.service), stop)


def run_logged(
    service: Streaming,
    view: View,
    make_app: Callable[[Publisher], FastAPI],
    stop: Event,
    *,
    http: bool,
) -> None:
    """The events architecture."""
    history, settings = service.history, service.settings
    write = partial(write_history, history, service.topic, service.database, settings)
    if not http:
        write(stop)
        return
    caught_up = Event()
    properties = {
        "client.id": settings.client_id(history.service),
        "delivery.timeout.ms": settings.accept_ms,
    }

    def answer(leave: Event) -> None:
        # Not before the end of the log was seen: an instance that has just begun shows nothing outdated.
        while not caught_up.wait(0.1):
            if leave.is_set():
                return
        service.serve(make_app(Publisher(properties)), leave)

    look = partial(follow, history, service.topic, service.database, view, settings, caught_up)
    run_together({"history": write, "live": look, "http": answer}, stop)


def run_direct(service: Streaming, app: FastAPI, stop: Event, *, http: bool) -> None:
    """The synchronous architecture: there is nothing to do but to answer."""
    if not http:
        stop.wait()
        return
    history, settings = service.history, service.settings
    making = partial(prepare, service.database, history, settings.partitions)
    persistently(making, f"{history.service}: preparing its tables", stop)
    service.serve(app, stop)
