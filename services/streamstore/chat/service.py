"""Runs chat: the history's writer, and with HTTP the messages in memory and the interface."""

from __future__ import annotations

from functools import partial
from threading import Event

from fastapi import FastAPI

from streamstore.chat.api import create_app
from streamstore.chat.conversation import DirectChat, LoggedChat
from streamstore.chat.hub import Hub
from streamstore.chat.messages import HISTORY
from streamstore.database import Database
from streamstore.publisher import Publisher
from streamstore.settings import Settings
from streamstore.streaming.service import Streaming, run_direct, run_logged


def run(database: Database, settings: Settings, stop: Event, *, http: bool) -> None:
    """Run until `stop` is set. Raises what its parts raise; OSError for a port that is taken."""
    streaming = Streaming(HISTORY, settings.chat_topic, database, settings)
    if settings.architecture == "synchronous":
        chat = DirectChat(database, settings.partitions, stop)
        run_direct(streaming, create_app(chat, settings.architecture), stop, http=http)
    else:
        hub = Hub()
        run_logged(streaming, hub, partial(_app, hub, database, settings), stop, http=http)


def _app(hub: Hub, database: Database, settings: Settings, publisher: Publisher) -> FastAPI:
    chat = LoggedChat(publisher, settings.chat_topic, hub, database)
    return create_app(chat, settings.architecture, publisher)
