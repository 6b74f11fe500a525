"""What the run was made on: the machine, and the versions of everything that is measured."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from streamadapter.engine import intake
from streamadapter.testing.kafka import jars
from streamadapter.testing.servers import RedisServer

PACKAGES = (
    *("streamadapter", "confluent-kafka", "aiokafka", "faststream", "redis", "hiredis", "msgspec"),
    *("zstandard", "lz4"),
)


def machine() -> dict[str, Any]:
    """Of the hardware, and of how busy it is now: a load above zero means that somebody else was at work."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def versions(kafka_missing: str | None) -> dict[str, str]:
    """Of packages and servers. kafka_missing: why there is none."""
    found = {name: _package(name) for name in PACKAGES}
    found["streamadapter"] += " (pure Python)" if intake.__file__.endswith(".py") else " (compiled)"
    found["redis-server"] = _first(r"v=(\S+)", [RedisServer.binary(), "--version"])
    if kafka_missing is None:
        found["kafka"] = jars.version()
        found["java"] = _first(r'version "(.+?)"', [jars.java(), "-version"])
    return found


def _cpu() -> str:
    path = Path("/proc/cpuinfo")  # elsewhere platform knows
    model = re.search(r"^model name\s*: (.+)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return model[1] if model else platform.processor()


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _first(pattern: str, command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "unknown"
