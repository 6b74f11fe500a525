"""`streamadapter produce` and `consume` on a real server."""

from __future__ import annotations

import signal
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from streamadapter.admin import AdminClient, NewTopic

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Run = Callable[..., Any]
    Start = Callable[..., subprocess.Popen[bytes]]

TIMEOUT_S = 60


@pytest.fixture
def topic(admin: AdminClient) -> str:
    """One partition, so that order is known."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    admin.create_topics([NewTopic(name, 1)])[name].result(30)
    return name


def everything(run: Run, topic: str, *more: str) -> Any:
    return run("consume", "--topic", topic, "--from-beginning", "-e", *more)


def test_lines_go_in_and_come_out(run: Run, topic: str) -> None:
    assert run("produce", "--topic", topic, stdin="one\ntwo\r\n\nfour").status == 0

    outcome = everything(run, topic)

    assert (outcome.status, outcome.out) == (0, "one\ntwo\n\nfour\n")
    assert outcome.err == "Processed a total of 4 messages\n"


def test_keys_headers_and_nulls(run: Run, topic: str) -> None:
    run(
        *("produce", "--topic", topic, "-K", ":", "--sync", "--json"),
        *("--property", "parse.headers=true", "--property", "null.marker=NUL"),
        stdin="a:1,b:NUL\tk1:v1\n\tNUL:NUL\n",
    )

    lines = everything(run, topic, "-f", r"%o|%k|%K|%s|%S|%h\n").lines

    assert lines == ["0|k1|2|v1|2|a=1,b=NULL", "1||-1||-1|"]


def test_produce_as_json_reports_what_was_delivered(run: Run, topic: str) -> None:
    report = run("produce", "--topic", topic, "--json", stdin="1\n2\n3\n").json
    assert (report["topic"], report["delivered"], report["failed"]) == (topic, 3, 0)


def test_more_than_the_queue_holds_is_sent_completely(run: Run, topic: str) -> None:
    lines = "".join(f"{i}\n" for i in range(2000))

    outcome = run("produce", "--topic", topic, "-X", "queue.buffering.max.messages=50", stdin=lines)

    assert outcome.status == 0
    assert everything(run, topic).out == lines


def test_a_line_that_cannot_be_read_is_named(run: Run, topic: str) -> None:
    outcome = run("produce", "--topic", topic, "-K", ":", stdin="a:1\nb\n")
    assert (outcome.status, outcome.err) == (1, "error: line 2: no key separator ':' found\n")
    assert everything(run, topic).out == "1\n"


def test_what_is_not_delivered_is_status_1(run: Run) -> None:
    outcome = run(
        *("produce", "--topic", "no-such-topic", "--json"),
        *("-X", "topic.metadata.propagation.max.ms=0", "-X", "delivery.timeout.ms=2000"),
        stdin="1\n2\n",
    )
    assert outcome.status == 1
    assert outcome.json["failed"] == 2
    assert outcome.err.splitlines()[-1] == "error: 2 of 2 messages were not delivered"


def test_a_message_that_is_too_large_is_an_error(run: Run, topic: str) -> None:
    outcome = run("produce", "--topic", topic, "-X", "message.max.bytes=1000", stdin="x" * 5000)
    assert outcome.status == 1
    assert "[MSG_SIZE_TOO_LARGE]" in outcome.err
    assert outcome.err.count("\n") == 1


def test_consume_stops_after_so_many_and_a_group_goes_on_there(run: Run, topic: str) -> None:
    run("produce", "--topic", topic, stdin="1\n2\n3\n4\n")

    first = run("consume", "--topic", topic, "--group", topic, "--from-beginning", "--max-messages", "3")
    second = run("consume", "--topic", topic, "--group", topic, "-e")

    assert (first.out, second.out) == ("1\n2\n3\n", "4\n")


def test_a_group_may_use_the_new_protocol(run: Run, topic: str) -> None:
    run("produce", "--topic", topic, stdin="1\n2\n3\n")
    read = ("consume", "--topic", topic, "--group", topic, "-X", "group.protocol=consumer")

    first = run(*read, "--from-beginning", "--max-messages", "2")
    second = run(*read, "-e")

    assert (first.out, second.out) == ("1\n2\n", "3\n")
    [row] = run("groups", "--describe", "--group", topic, "--json").json
    assert (row["current_offset"], row["lag"]) == (3, 0)


def test_without_a_group_nothing_is_committed_and_no_group_is_left(run: Run, topic: str) -> None:
    run("produce", "--topic", topic, stdin="1\n")
    before = run("groups", "--list").lines

    assert everything(run, topic).out == everything(run, topic).out == "1\n"

    assert run("groups", "--list").lines == before


@pytest.mark.parametrize(
    ("args", "lines"),
    [
        (["--offset", "2"], ["2", "3"]),
        (["--offset", "-1"], ["3"]),
        (["--offset", "earliest"], ["0", "1", "2", "3"]),
        (["--offset", "latest"], []),
        (["--from-beginning", "-c", "2"], ["0", "1"]),
        ([], []),
    ],
    ids=str,
)
def test_where_reading_a_partition_begins(run: Run, topic: str, args: list[str], lines: list[str]) -> None:
    run("produce", "--topic", topic, stdin="0\n1\n2\n3\n")
    assert run("consume", "--topic", topic, "--partition", "0", "-e", *args).lines == lines


def test_include_reads_the_topics_that_match(run: Run, admin: AdminClient) -> None:
    base = f"i-{uuid.uuid4().hex[:8]}"
    for name in (f"{base}-a", f"{base}-b", f"x{base}"):
        admin.create_topics([NewTopic(name, 1)])[name].result(30)
        run("produce", "--topic", name, stdin=f"{name}\n")

    outcome = run("consume", "--include", f"{base}-.*", "--from-beginning", "-e")

    assert sorted(outcome.lines) == [f"{base}-a", f"{base}-b"]


def test_a_time_out_without_messages_ends_it(run: Run, topic: str) -> None:
    outcome = run("consume", "--topic", topic, "--timeout-ms", "300")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "Processed a total of 0 messages\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--topic", "no-such-topic"], "Topic 'no-such-topic' does not exist."),
        (["--include", "no-such-.*"], "No topic matches 'no-such-.*'."),
    ],
)
def test_a_missing_topic_is_an_error(run: Run, args: list[str], message: str) -> None:
    outcome = run("consume", *args)
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == f"error: {message}"


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--topic", "t", "--include", "t"],
        ["--topic", "t", "--offset", "3"],
        ["--topic", "t", "--partition", "0", "--group", "g"],
        ["--topic", "t", "-f", "%q"],
        ["--topic", "t", "--property", "print.kex=true"],
    ],
    ids=str,
)
def test_wrong_usage_is_status_2_and_one_line(run: Run, args: list[str]) -> None:
    outcome = run("consume", *args)
    assert outcome.status == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1


def test_ctrl_c_commits_what_was_printed_and_ends_with_status_130(
    run: Run, start: Start, server: list[str], topic: str
) -> None:
    run("produce", "--topic", topic, stdin="1\n2\n")
    process = start("consume", *server, "--topic", topic, "--group", topic, "--from-beginning")
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == [b"1\n", b"2\n"]
    run("produce", "--topic", topic, stdin="3\n")
    assert process.stdout.readline() == b"3\n"  # so the first two are done with; this one perhaps not yet

    process.send_signal(signal.SIGINT)

    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert err.startswith(b"Processed a total of ")
    assert b"Traceback" not in err
    assert run("consume", "--topic", topic, "--group", topic, "-e").out in ("", "3\n")


def test_sigterm_leaves_the_group_at_once(run: Run, start: Start, server: list[str], topic: str) -> None:
    run("produce", "--topic", topic, stdin="1\n")
    process = start("consume", *server, "--topic", topic, "--group", topic, "--from-beginning")
    assert process.stdout is not None
    assert process.stdout.readline() == b"1\n"

    process.terminate()

    assert process.wait(TIMEOUT_S) == 128 + signal.SIGTERM
    [row] = run("groups", "--describe", "--group", topic, "--state", "--json").json
    assert (row["state"], row["members"]) == ("Empty", 0)


def test_a_reader_that_goes_away_ends_it_quietly_and_what_it_did_not_get_is_not_committed(
    start: Start, run: Run, server: list[str], topic: str
) -> None:
    run(
        "produce", "--topic", topic, stdin="".join(f"{i:01000}\n" for i in range(2000))
    )  # more than a pipe holds
    process = start("consume", *server, "--topic", topic, "--group", topic, "--from-beginning")
    assert process.stdout is not None
    assert process.stdout.readline() == b"0" * 1000 + b"\n"

    process.stdout.close()

    assert process.wait(TIMEOUT_S) == 1
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
    assert run("groups", "--describe", "--group", topic, "--json").json == []


def test_a_process_reads_stdin_as_it_comes(start: Start, run: Run, server: list[str], topic: str) -> None:
    process = start("produce", *server, "--topic", topic, "--json")
    out, err = process.communicate(b"from a process\n", timeout=TIMEOUT_S)
    assert (process.returncode, err) == (0, b"")
    assert b'"delivered": 1' in out
    assert everything(run, topic).out == "from a process\n"
