"""Runs delivery tracking: the history's writer, and with HTTP the latest positions and the interface."""

from __future__ import annotations

from functools import partial
from threading import Event

from fastapi import FastAPI

from streamstore.database import Database
from streamstore.delivery_tracking.api import create_app
from streamstore.delivery_tracking.locations import HISTORY
from streamstore.delivery_tracking.tracking import DirectTracking, LoggedTracking
from streamstore.publisher import Publisher
from streamstore.settings import Settings
from streamstore.streaming.live import Latest
from streamstore.streaming.service import Streaming, run_direct, run_logged


def run(database: Database, settings: Settings, stop: Event, *, http: bool) -> None:
    """Run until `stop` is set. Raises what its parts raise; OSError for a port that is taken."""
    streaming = Streaming(HISTORY, settings.locations_topic, database, settings)
    if settings.architecture == "synchronous":
        tracking = DirectTracking(database, settings.partitions)
        run_direct(streaming, create_app(tracking, settings.architecture), stop, http=http)
    else:
        latest = Latest()
        run_logged(streaming, latest, partial(_app, latest, database, settings), stop, http=http)


def _app(latest: Latest, database: Database, settings: Settings, publisher: Publisher) -> FastAPI:
    tracking = LoggedTracking(publisher, settings.locations_topic, latest, database)
    return create_app(tracking, settings.architecture, publisher)
