"""What the store can do. memory:// and embedded:// say where they differ from it."""

from streamadapter.backend import Features

FEATURES = Features(
    name="redis",
    always_idempotent=True,
    bounded_commits=True,
    transactions=False,
    statistics=False,
    compaction=False,
    server_configs=False,
    server_rights=False,
    offset_deletion=True,
    offset_errors=False,
    foreign_assign=False,
    early_seek=True,
    missing_events=True,
    lasting_member_id=False,  # a member id is a fencing token, used once
    instance_id_refused=False,  # after a crash the next one need not wait for the end of the session
    reset_reports=True,
)
