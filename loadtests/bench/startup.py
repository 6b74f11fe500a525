"""Start-up: what an import takes, and the way from a new interpreter to the first message there and back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

from bench.case import Case, Figures, both
from bench.topic import new_topic

ATTEMPTS = 3
IMPORT = "import time; began = time.perf_counter(); import {0}; print((time.perf_counter() - began) * 1000)"
MODULES = {
    "streamadapter": "streamadapter",
    "confluent_kafka": "confluent_kafka",
    "aiokafka": "aiokafka",
    "redis-py": "redis",
    "faststream": "faststream.redis",
}
CHILD = Path(__file__).with_name("child.py")


def cases() -> list[Case]:
    """Imports of all clients, first messages of two."""
    return [
        *(
            Case(
                chapter="startup",
                name="import",
                subject=subject,
                server="none",
                function="bench.startup:imported",
                arguments={"module": module},
            )
            for subject, module in MODULES.items()
        ),
        *both("startup", "first-message", "bench.startup:first_message"),
    ]


def imported(module: str) -> Figures:
    """The fastest of several fresh interpreters: the others had to wait for the disk or for a core."""
    # Elsewhere than in this directory, whose modules would be found first.
    return {"ms": min(float(_said([sys.executable, "-c", IMPORT.format(module)])) for _ in range(ATTEMPTS))}


def first_message(url: str, client: str) -> Figures:
    """In a fresh interpreter: see `there_and_back`; the fastest of several."""
    found: list[Figures] = []
    for _ in range(ATTEMPTS):
        with new_topic(url, 1) as topic:
            arguments = json.dumps({"url": url, "client": client, "topic": topic})
            command = [sys.executable, str(CHILD), "bench.startup:there_and_back", arguments]
            found.append(json.loads(_said(command).splitlines()[-1]))
    return min(found, key=lambda figures: figures["ms"])


def there_and_back(url: str, client: str, topic: str) -> Figures:
    """Import a client and have a record delivered, then subscribe and receive it."""
    began = time.perf_counter()
    module = import_module(client)
    p = module.Producer({"bootstrap.servers": url})
    p.produce(topic, b"first", b"first")
    if p.flush(30):
        raise RuntimeError("not delivered within 30 s")
    delivered = time.perf_counter()
    c = module.Consumer({"bootstrap.servers": url, "group.id": topic, "auto.offset.reset": "earliest"})
    c.subscribe([topic])
    if c.poll(30) is None:
        raise RuntimeError("not received within 30 s")
    received = time.perf_counter()
    c.close()
    return {
        "ms": (received - began) * 1000,
        "deliver_ms": (delivered - began) * 1000,
        "receive_ms": (received - delivered) * 1000,
    }


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
