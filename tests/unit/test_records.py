"""Columns of records: cut, joined, split by partition, and given their timestamps, without losing a row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamadapter.engine.columns import as_records, by_partition, fitting, largest
from streamadapter.engine.queues import AUTO_TIMESTAMP, Records, record_size
from streamadapter.engine.sender import create_times

blobs = st.none() | st.binary(max_size=20)
headers = st.none() | st.lists(st.tuples(st.text(max_size=3), blobs), min_size=1, max_size=2)
rows = st.lists(st.tuples(blobs, blobs, headers), max_size=20)


def columns(rows, born=0.0):
    values, keys, heads = ([row[i] for row in rows] for i in range(3))
    return as_records(values, keys, None, heads, None, born)


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
    assert {len(getattr(head, name)) for name in Records.__slots__} == {len(given_rows)}


@given(rows)
def test_the_size_is_the_sum_of_the_records_sizes(given_rows):
    sizes = [record_size(*row) for row in given_rows]
    records = columns(given_rows)

    assert records.size() == sum(sizes)
    assert largest(records) == max(sizes, default=0)


@given(rows, st.integers(0, 25), st.integers(0, 500))
def test_what_fits_is_the_longest_prefix_within_both_limits(given_rows, max_count, max_size):
    sizes = [record_size(*row) for row in given_rows]
    prefixes = [n for n in range(len(sizes) + 1) if n <= max_count and sum(sizes[:n]) <= max_size]

    assert fitting(columns(given_rows), max_count, max_size) == max(prefixes)


@given(st.lists(st.tuples(blobs, blobs, headers, st.integers(0, 3)), max_size=20))
def test_splitting_by_partition_keeps_the_order_within_each(placed):
    records = columns([row[:3] for row in placed])

    parts = {partition: shown(part) for partition, part in by_partition(records, [row[3] for row in placed])}

    assert parts == {
        partition: [row[:3] for row in placed if row[3] == partition]
        for partition in {row[3] for row in placed}
    }


@given(
    st.lists(st.floats(0, 20), max_size=50),
    st.sampled_from([0.0, 1_700_000_000.123, 1_700_000_000.0]),
)
def test_records_get_the_time_at_which_they_were_born(born, offset):
    records = Records()
    records.born = sorted(born)
    records.timestamps = [AUTO_TIMESTAMP] * len(born)

    stamps = create_times(records, offset)

    # To within the rounding of a float: at the edge of a millisecond either neighbour is right.
    assert [abs(s - (b + offset) * 1000) <= 1.01 for s, b in zip(stamps, records.born, strict=True)] == [
        True
    ] * len(born)
    assert stamps == sorted(stamps)


def test_given_timestamps_stay_beside_automatic_ones():
    records = Records()
    records.born = [1.0, 2.0, 3.0]
    records.timestamps = [7, AUTO_TIMESTAMP, -5]

    assert create_times(records, 10.0) == [7, 12_000, -5]


@pytest.mark.parametrize("count", [1, 3])
def test_columns_of_another_length_are_refused(count):
    with pytest.raises(ValueError, match=f"{count} keys for 2 values"):
        as_records([b"a", b"b"], [b"k"] * count, None, None, None, 0.0)
