"""A group member in a process of its own, for scenarios that stop or kill one.

    python -m streamadapter.testing.contract.member TOPIC...

It reads its properties from stdin, for a password is nothing for a command line. Then it polls, and notes what it sees
on stdout; on stdin it takes commands. All are JSON objects, one a line:

| command                                    | what it does, and notes                                     |
|--------------------------------------------|-------------------------------------------------------------|
| `{"do": "hold"}`                           | wait for commands, do not poll: `{"holding": true}`         |
| `{"do": "poll"}`                           | poll again                                                  |
| `{"do": "commit", "offsets": [[t, p, o]]}` | synchronously: `{"committed": [[t, p, o]]}`, or             |
|                                            | `{"refused": "UNKNOWN_MEMBER_ID"}`, the name of the code    |

Unasked it notes `{"assign": [[t, p]]}`, `{"revoke": ...}`, `{"lost": ...}`, `{"read": [[t, p, o]]}` and, for events,
`{"error": "_MAX_POLL_EXCEEDED"}`. The end of stdin ends it without close().
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from streamadapter import Consumer, KafkaException, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

EXIT_S = 30.0


class Member:
    """The scenario's end of it. `notes` grows in a thread of its own: await what you expect with `lab.until`."""

    def __init__(self, conf: Mapping[str, Any], topics: Sequence[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603  this very module
            [sys.executable, "-m", __name__, *topics],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._send(conf)
        self.notes: list[dict[str, Any]] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.notes.append(json.loads(line))

    def of(self, kind: str) -> list[Any]:
        """What it has noted of this kind, in order."""
        return [note[kind] for note in list(self.notes) if kind in note]

    def tell(self, do: str, **arguments: Any) -> None:
        """Give it a command."""
        self._send({"do": do, **arguments})

    def _send(self, what: Mapping[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def pause(self) -> None:
        """SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, also of a stopped one; whatever it noted before has arrived on return. Idempotent."""
        self._process.kill()
        self._process.wait(EXIT_S)
        self._listener.join(EXIT_S)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            stream.close()


def _note(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def _noting(kind: str) -> Callable[[Consumer, list[TopicPartition]], None]:
    return lambda _, tps: _note(**{kind: [[tp.topic, tp.partition] for tp in tps]})


def _commit(consumer: Consumer, offsets: list[list[Any]]) -> None:
    try:
        consumer.commit(offsets=[TopicPartition(*offset) for offset in offsets], asynchronous=False)
    except KafkaException as error:
        _note(refused=error.args[0].name())
    else:
        _note(committed=offsets)


def _poll(consumer: Consumer) -> None:
    message = consumer.poll(0.05)
    if message is None:
        return
    error = message.error()
    if error is None:
        _note(read=[[message.topic(), message.partition(), message.offset()]])
    else:
        _note(error=error.name())


def _listen(commands: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        commands.put(json.loads(line))
    commands.put({"do": "end"})


def main(*topics: str) -> None:
    """Be a member."""
    conf = json.loads(sys.stdin.readline())
    commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(commands,), daemon=True).start()
    consumer = Consumer(conf)
    consumer.subscribe(
        list(topics), on_assign=_noting("assign"), on_revoke=_noting("revoke"), on_lost=_noting("lost")
    )
    holding = False
    while True:
        try:
            command = commands.get(block=holding)
        except queue.Empty:
            _poll(consumer)
            continue
        if command["do"] == "commit":
            _commit(consumer, command["offsets"])
        elif command["do"] == "end":
            return
        else:
            holding = command["do"] == "hold"
            if holding:
                _note(holding=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
