"""How messages are printed and lines are read: pure functions."""

from __future__ import annotations

import json

import click
import pytest

from streamadapter import Message
from streamadapter.cli.formats import JsonFormat, PropertyFormat, TokenFormat, shown
from streamadapter.cli.produce import Line, LineFormat


def message(value: bytes | None = b"value", key: bytes | None = b"key") -> Message:
    return Message(
        topic="t",
        partition=3,
        offset=42,
        key=key,
        value=value,
        headers=[("h", b"1"), ("n", None)],
        timestamp=(1, 1700),
    )


@pytest.mark.parametrize(
    ("properties", "printed"),
    [
        ({}, b"value\n"),
        ({"print.key": "true"}, b"key\tvalue\n"),
        ({"print.key": "true", "key.separator": "|", "line.separator": r"\0\n"}, b"key|value\\0\n"),
        ({"print.offset": "true", "print.partition": "true"}, b"Partition:3\tOffset:42\tvalue\n"),
        ({"print.timestamp": "true", "print.value": "false"}, b"CreateTime:1700\n"),
        ({"print.headers": "TRUE"}, b"h:1,n:null\tvalue\n"),
    ],
    ids=str,
)
def test_the_parts_are_those_of_kafka_console_consumer(properties: dict[str, str], printed: bytes) -> None:
    assert PropertyFormat(properties).format(message()) == printed


def test_null_is_told_from_empty() -> None:
    with_key = PropertyFormat({"print.key": "true", "null.literal": "NUL"})
    assert with_key.format(message(None, b"")) == b"\tNUL\n"


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        (r"%t %p %o %k %s %T %h\n", b"t 3 42 key value 1700 h=1,n=NULL\n"),
        ("%K/%S %%", b"3/5 %"),
        (r"\x41\t%s", b"A\tvalue"),
    ],
)
def test_tokens_are_those_of_kcat(text: str, printed: bytes) -> None:
    assert TokenFormat(text).format(message()) == printed


def test_lengths_of_null_are_minus_one_as_in_kcat() -> None:
    assert TokenFormat("%K %S").format(message(None, None)) == b"-1 -1"


@pytest.mark.parametrize("text", ["%q", "100%"])
def test_an_unknown_token_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.UsageError, match="unknown token"):
        TokenFormat(text)


def test_json_is_the_envelope_of_kcat() -> None:
    line = JsonFormat().format(message(b"caf\xc3\xa9 \xff"))
    assert line.endswith(b"\n")
    assert json.loads(line) == {
        "topic": "t",
        "partition": 3,
        "offset": 42,
        "tstype": "create",
        "ts": 1700,
        "headers": ["h", "1", "n", None],
        "key": "key",
        "payload": "café \\xff",
    }


def test_an_unknown_property_is_wrong_usage() -> None:
    with pytest.raises(click.UsageError, match=r"print\.kex"):
        PropertyFormat({"print.kex": "true"})


def test_a_terminal_gets_no_control_characters_and_a_file_gets_every_byte() -> None:
    assert shown(b"\x1b]0;evil\x07ok\n\xff", terminal=True) == "]0;evilok\n\ufffd".encode()
    assert shown(b"\x1b]0;evil\x07ok\n\xff", terminal=False) == b"\x1b]0;evil\x07ok\n\xff"


@pytest.mark.parametrize(
    ("properties", "delimiter", "line", "expected"),
    [
        ({}, None, b"a\tb", Line(b"a\tb")),
        ({}, None, b"", Line(b"")),
        ({"parse.key": "true"}, None, b"k\tv\tw", Line(b"v\tw", b"k")),
        ({"parse.key": "true", "key.separator": "=>"}, None, b"k=>v", Line(b"v", b"k")),
        ({}, ":", b"k:v", Line(b"v", b"k")),
        ({"null.marker": "NUL"}, ":", b"NUL:NUL", Line(None, None)),
        ({"parse.headers": "true"}, None, b"a:1,b:\tv", Line(b"v", None, [("a", b"1"), ("b", b"")])),
        ({"parse.headers": "true"}, ":", b"a:1\tk:v", Line(b"v", b"k", [("a", b"1")])),
        ({"parse.headers": "true"}, None, b"\tv", Line(b"v")),
    ],
    ids=str,
)
def test_lines_are_read_as_by_kafka_console_producer(
    properties: dict[str, str], delimiter: str | None, line: bytes, expected: Line
) -> None:
    assert LineFormat.of(properties, delimiter).parse(line) == expected


@pytest.mark.parametrize("line", [b"no separator", b"a\tk"])
def test_a_line_without_a_part_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError, match="separator"):
        LineFormat.of({"parse.headers": "true", "parse.key": "true", "key.separator": ":"}, None).parse(line)
