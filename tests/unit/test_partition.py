from __future__ import annotations

from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID

from streamadapter.backend import Committed
from streamadapter.engine.partition import Partition


def reading(position: int = 5, fetched: int = 9) -> Partition:
    """One that started at 2, was fetched up to `fetched` and handed out up to `position`."""
    partition = Partition(("t", 0), OFFSET_BEGINNING)
    partition.start, partition.start_epoch = 2, 1
    partition.fetch_offset, partition.leader_epoch = fetched, 4
    partition.position, partition.position_epoch = position, 3
    return partition


def test_a_new_partition_cannot_be_fetched_until_its_start_is_known() -> None:
    partition = Partition(("t", 0), OFFSET_INVALID)
    assert not partition.fetchable

    partition.fetch_offset = 0

    assert partition.fetchable


def test_a_seek_voids_what_was_fetched_and_forgets_the_position() -> None:
    partition = reading()
    partition.failed = True
    before = partition.version

    partition.seek(7)

    assert partition.version > before
    assert (partition.wanted, partition.fetch_offset, partition.position) == (7, -1, OFFSET_INVALID)
    assert partition.leader_epoch == -1
    assert not partition.failed


def test_a_pause_goes_back_to_what_was_handed_out() -> None:
    partition = reading(position=5, fetched=9)
    before = partition.version

    partition.pause()
    while_paused = partition.fetchable
    partition.resume()

    assert (while_paused, partition.fetchable, partition.doubtful) == (False, False, True)
    partition.doubtful = False  # its log was looked at: the records may be gone
    assert partition.fetchable
    assert partition.version > before
    assert (partition.fetch_offset, partition.leader_epoch, partition.position) == (5, 3, 5)


def test_a_pause_before_the_first_record_goes_back_to_the_start() -> None:
    """Not to `wanted`: the end of the log, say, is elsewhere by now."""
    partition = reading(position=OFFSET_INVALID)

    partition.pause()

    assert (partition.fetch_offset, partition.leader_epoch) == (2, 1)


def test_a_pause_before_the_start_is_known_changes_no_offset() -> None:
    partition = Partition(("t", 0), 3)

    partition.pause()
    partition.resume()

    assert (partition.wanted, partition.fetch_offset) == (3, -1)


def test_what_is_stored_is_uncommitted_until_it_was_sent() -> None:
    partition = reading()
    assert partition.uncommitted() is None
    partition.stored, partition.stored_epoch, partition.stored_log_id = 5, 3, "log-1"
    partition.log_id = "log-2"  # read since; the stored offset speaks of the former one

    assert partition.uncommitted() == Committed(5, 3, None, "log-1")

    partition.sent_to_commit = 5
    assert partition.uncommitted() is None
    partition.stored = 4  # after a seek
    assert partition.uncommitted() is None
    assert partition.to_commit() == Committed(4, 3, None, "log-1")
    partition.stored = 6
    assert partition.uncommitted() == Committed(6, 3, None, "log-1")


def test_offset_zero_can_be_committed() -> None:
    partition = reading()
    partition.stored = 0

    assert partition.uncommitted() == Committed(0)


def test_partitions_are_compared_by_identity() -> None:
    """An assignment of the same partition anew is another one; what was fetched for the first is not for it."""
    assert Partition(("t", 0), 0) != Partition(("t", 0), 0)
    assert len({Partition(("t", 0), 0), Partition(("t", 0), 0)}) == 2
