"""Runs the parts of one service side by side: if one fails, all end, and its error is the service's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from threading import Event, Thread

from streamstore.database import StoppedError

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
LEAVE_SECONDS = 30.0  # more than any part may take to leave

Part = Callable[[Event], None]
"""Works until the event is set, then leaves, perhaps by StoppedError."""


def run_together(parts: Mapping[str, Part], stop: Event) -> None:
    """Run every part in a thread until `stop` is set, or one ends by itself; then all leave.

    Raises the error of the part that failed first. Blocking.
    """
    leave = Event()
    errors: list[BaseException] = []

    def run(name: str, part: Part) -> None:
        try:
            part(leave)
        except StoppedError:
            log.info("%s stopped; what it was doing comes again", name)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            errors.append(error)
        finally:
            leave.set()

    threads = [Thread(target=run, args=part, name=part[0], daemon=True) for part in parts.items()]
    for thread in threads:
        thread.start()
    while not (leave.is_set() or stop.wait(LOOK_SECONDS)):
        pass
    leave.set()
    for thread in threads:
        thread.join(LEAVE_SECONDS)
        if thread.is_alive():
            log.warning("%s did not leave within %.0f s", thread.name, LEAVE_SECONDS)
    if errors:
        raise errors[0]
