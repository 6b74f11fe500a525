"""What the store can do. memory:// and embedded:// say where they differ from it."""

from streamadapter.backend import Features

FEATURES = Features(
    name="redis",
    compaction=False,
    server_configs=False,
    server_rights=False,
    offset_deletion=True,
)
