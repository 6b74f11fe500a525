"""A child process of ours: how it is started, ended, and what it said last."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

STOP_SECONDS = 20.0  # a child that has not left by then is killed
LAST_WORDS_BYTES = 4096


class Child:
    """`python -m streamstore ARGUMENTS`, its output appended to a log. Not thread-safe.

    It ends with this process too, however this one ends: its standard input is a pipe from it. Ctrl-C at the
    terminal does not reach it; whoever started it stops it in order. Raises OSError if it cannot be started.
    """

    def __init__(
        self, arguments: Sequence[str], log_path: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log_path = log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "streamstore", *arguments, "--until-eof"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=os.environ | (environment or {}),
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """Of the process, also when it has ended."""
        return self._process.pid

    def status(self) -> int | None:
        """None while it runs; then its exit status, or minus the signal that killed it."""
        status = self._process.poll()
        if status is not None and self._process.stdin is not None:
            self._process.stdin.close()
        return status

    def terminate(self) -> None:
        """Ask it to leave cleanly."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def wait(self, seconds: float) -> int | None:
        """Its status once it has ended, or None if it still runs after so many seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return self.status()

    def last_words(self) -> str:
        """The last line of its log."""
        return last_words(self.log_path)


def last_words(log_path: Path) -> str:
    """The last line of a log, and where it is."""
    try:
        with log_path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_WORDS_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except FileNotFoundError:
        lines = []
    return f"{lines[-1] if lines else 'it said nothing'} (log: {log_path})"


def end(children: Mapping[str, Child], seconds: float = STOP_SECONDS) -> None:
    """Stop children by name, all at the same time; what does not leave in time is killed."""
    for child in children.values():
        child.terminate()
    deadline = time.monotonic() + seconds
    for name, child in children.items():
        status = child.wait(max(0.0, deadline - time.monotonic()))
        if status is None:
            log.warning("%s did not leave within %.0f s and is killed", name, seconds)
            child.kill()
            child.wait(STOP_SECONDS)
        elif status > 0:
            log.warning("%s left with status %d: %s", name, status, child.last_words())
