"""One assigned partition as the consumer sees it. Plain state; the consumer's lock guards it."""

from __future__ import annotations

from dataclasses import dataclass, field

from confluent_kafka import OFFSET_INVALID

from streamadapter.backend import TP, Committed, TopicInfo


@dataclass(slots=True, eq=False)
class Partition:
    """State of an assigned partition.

    wanted: where to start, an offset or a logical one, while `fetch_offset` is -1 (not yet resolved).
    given: what assign() was told; wanted was that first.
    start: what `wanted` was resolved to. fetch_offset: the next offset to ask the store for. position: the next
    offset the application will be handed, OFFSET_INVALID until a first record after assign or seek. version: rises
    with each seek, pause and re-assignment, so that what was fetched for an earlier one is recognised and dropped.
    log_id: of the log that is read now; stored_log_id: of the one that `stored` speaks of.
    sent_to_commit: the last commit that was sent or found, in whichever direction it went.
    doubtful: the log must be looked at before it is read on.
    checked_at: where a look at the log, because of a gap, found nothing wrong. blocked_at: where a foreign entry was
    reported.
    """

    tp: TP
    wanted: int
    owner_epoch: int = -1
    topic: TopicInfo | None = None
    version: int = 0
    paused: bool = False
    failed: bool = False
    doubtful: bool = False
    given: int = field(init=False)

    start: int = -1
    start_epoch: int = -1
    fetch_offset: int = -1
    leader_epoch: int = -1
    log_id: str = ""
    acquired: bool = False

    position: int = OFFSET_INVALID
    position_epoch: int = -1
    stored: int = OFFSET_INVALID
    stored_epoch: int = -1
    stored_log_id: str = ""
    stored_metadata: str | None = None
    sent_to_commit: int = OFFSET_INVALID

    low: int = OFFSET_INVALID
    high: int = OFFSET_INVALID
    eof_at: int = -1
    checked_at: int = -1
    blocked_at: int = -1

    def __post_init__(self) -> None:
        self.given = self.wanted

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.tp[0]} [{self.tp[1]}]"

    def restart(self, wanted: int) -> None:
        """Read on from elsewhere; everything fetched so far is void."""
        self.wanted = wanted
        self.version += 1
        self.fetch_offset = -1
        self.leader_epoch = -1
        self.failed = False
        self.eof_at = -1

    def seek(self, wanted: int) -> None:
        """As `restart`, and the position is unknown until the next record."""
        self.restart(wanted)
        self.position = OFFSET_INVALID

    def pause(self) -> None:
        """Stop fetching; what is fetched but not delivered is dropped and fetched again on resume."""
        self.paused = True
        self._rewind()

    def resume(self) -> None:
        """Fetch again, from where delivery stopped, if that has not been deleted meanwhile."""
        self.doubtful = self.doubtful or self.paused
        self.paused = False

    def _rewind(self) -> None:
        self.version += 1
        if self.fetch_offset >= 0:
            self.fetch_offset, self.leader_epoch = (
                (self.start, self.start_epoch)
                if self.position == OFFSET_INVALID
                else (self.position, self.position_epoch)
            )
        self.eof_at = -1

    @property
    def fetchable(self) -> bool:
        """It has a position and may be read."""
        return self.fetch_offset >= 0 and not (self.paused or self.failed or self.doubtful)

    def to_commit(self) -> Committed | None:
        """What is stored, None if nothing is."""
        if self.stored < 0:
            return None
        return Committed(self.stored, self.stored_epoch, self.stored_metadata, self.stored_log_id)

    def uncommitted(self) -> Committed | None:
        """What auto-commit or a bare commit() would commit. Like librdkafka's, they never go backwards."""
        return self.to_commit() if self.stored > self.sent_to_commit else None
