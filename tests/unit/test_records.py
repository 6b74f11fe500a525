"""Columns of records: checked, cut, joined, and given their timestamps, without losing a row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamadapter.engine.produce_args import all_fit, check_columns
from streamadapter.engine.queues import AUTO_TIMESTAMP, COLUMNS, Queue, Records, record_size
from streamadapter.engine.sender import create_times

blobs = st.none() | st.binary(max_size=20)
headers = st.none() | st.lists(st.tuples(st.text(max_size=3), blobs), min_size=1, max_size=2)
rows = st.lists(st.tuples(blobs, blobs, headers), max_size=20)


def columns(rows):
    queue = Queue("topic", 0, 10**6, 10**6, blocked=False)
    for value, key, heads in rows:
        queue.add(value, key, AUTO_TIMESTAMP, heads, None, 0.0, record_size(value, key, heads))
    return queue.open


def shown(records):
    return list(zip(records.values, records.keys, records.headers, strict=True))


@given(rows, st.integers(0, 25))
def test_taking_and_extending_keep_every_row_in_order(given_rows, count):
    records = columns(given_rows)

    head = records.take(count)
    assert shown(head) == given_rows[:count]
    assert shown(records) == given_rows[count:]

    head.extend(records)
    assert shown(head) == given_rows
    assert {len(getattr(head, name)) for name in COLUMNS} == {len(given_rows)}


@given(rows, st.integers(0, 25))
def test_the_size_stays_the_sum_of_the_records_sizes(given_rows, count):
    sizes = [record_size(*row) for row in given_rows]
    records = columns(given_rows)
    assert records.size == sum(sizes)

    head = records.take(count)
    assert (head.size, records.size) == (sum(sizes[:count]), sum(sizes[count:]))

    head.extend(records)
    assert head.size == sum(sizes)


@given(rows, st.integers(0, 60))
def test_columns_fit_if_their_largest_record_does(given_rows, limit):
    values, keys, heads = ([row[i] for row in given_rows] for i in range(3))

    assert all_fit(values, keys, heads, limit) == all(record_size(*row) <= limit for row in given_rows)
    assert all_fit(values, None, None, limit) == all(record_size(v, None, None) <= limit for v in values)
    assert all_fit(values, keys, None, limit) == all(
        record_size(v, k, None) <= limit for v, k in zip(values, keys, strict=True)
    )


@given(
    st.lists(st.floats(0, 20), min_size=1, max_size=50),
    st.sampled_from([0.0, 1_700_000_000.123, 1_700_000_000.0]),
)
def test_records_get_the_time_at_which_they_were_born(born, offset):
    records = Records()
    records.born = sorted(born)
    records.timestamps = [AUTO_TIMESTAMP] * len(born)

    stamps, oldest, newest = create_times(records, offset)

    # To within the rounding of a float: at the edge of a millisecond either neighbour is right.
    assert [abs(s - (b + offset) * 1000) <= 1.01 for s, b in zip(stamps, records.born, strict=True)] == [
        True
    ] * len(born)
    assert stamps == sorted(stamps)
    assert (oldest, newest) == (stamps[0], stamps[-1])


def test_given_timestamps_stay_beside_automatic_ones():
    records = Records()
    records.born = [1.0, 2.0, 3.0]
    records.timestamps = [7, AUTO_TIMESTAMP, -5]

    assert create_times(records, 10.0) == ([7, 12_000, -5], -5, 12_000)


def test_times_never_fall_when_threads_were_slow_to_queue_what_they_produced():
    records = Records()
    records.born = [1.0005, 0.9999, 1.0015, 1.0009]
    records.timestamps = [AUTO_TIMESTAMP] * 4

    assert create_times(records, 0.0) == ([1000, 1000, 1001, 1001], 1000, 1001)


@pytest.mark.parametrize("count", [1, 3])
def test_columns_of_another_length_are_refused(count):
    with pytest.raises(ValueError, match=f"{count} keys for 2 values"):
        check_columns([b"a", b"b"], [b"k"] * count, None, None)
