"""Topics for cases. A module of its own: a process that is measured imports nothing that it does not measure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def new_topic(url: str, partitions: int) -> Iterator[str]:
    """A topic for the case that runs in this process; deleted afterwards, since Kafka's broker stays.

    url: as `Rig.server` gives it, a URL or Kafka's HOST:PORT.
    """
    if "://" in url:
        from streamadapter.admin import AdminClient, NewTopic
    else:
        from confluent_kafka.admin import AdminClient, NewTopic
    name = f"bench-{time.monotonic_ns()}"
    admin = AdminClient({"bootstrap.servers": url})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
    try:
        yield name
    finally:
        admin.delete_topics([name])[name].result(30)
