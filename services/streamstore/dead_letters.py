"""Records that a service could not handle: kept in a topic of their own, listed, replayed to that service.

A dead letter has the key, the value and the headers of its original, and the headers `dead-letter.service`, `.topic`,
`.partition`, `.offset`, `.reason`, `.attempts`, `.at`. To replay one, its original is published to where it came
from with the header `streamstore.only: <service>`, which the other services skip. That it was replayed is remembered
in the dead letters' topic: by a marker with the header `dead-letter.replayed: <partition>:<offset>`, written once
the replayed record is acknowledged. A crash in between replays twice; the service's marks make that harmless.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from streamadapter import KafkaException
from streamstore.consuming import read_to_end
from streamstore.outlet import Headers, Outlet, Record

if TYPE_CHECKING:
    from streamadapter import Message

PREFIX = "dead-letter."
ONLY = "streamstore.only"
REPLAYED = PREFIX + "replayed"
OMITTED = PREFIX + "omitted"  # key, value and headers of a record were too large for a second place
REASON_LENGTH = 500  # characters; the service's log has the rest

PATIENCE_SECONDS = 10.0  # with a server that does not answer
CHUNK = 200  # dead letters a crash replays twice, at most
CLIENT: Mapping[str, Any] = {
    "client.id": "streamstore-dead-letters",
    "log_level": 0,  # a call that fails says why; nobody wants to read each attempt
}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of the dead letters' topic; `service`, `topic`, `partition` and `offset` say who failed at what."""

    id: str  # its own partition:offset
    service: str
    topic: str
    partition: int
    offset: int
    reason: str
    attempts: int  # those of earlier replays too
    at: str  # ISO 8601
    key: bytes | None
    value: bytes | None
    headers: Headers  # the original's own
    omitted: bool  # the original was too large to be kept here

    @property
    def origin(self) -> str:
        """Where the record is that the service failed at."""
        return f"{self.topic}:{self.partition}:{self.offset}"


def is_for(message: Message, service: str) -> bool:
    """Whether the record is for this service: a replayed one is for the one that failed at it."""
    addressed = [value for name, value in message.headers() or () if name == ONLY]
    return not addressed or service.encode() in addressed


def dead_letter(
    topic: str, message: Message, service: str, reason: str, attempts: int, at: datetime
) -> Record:
    """The record for `topic` that keeps a message; `attempts` are added to those before its replay."""
    ours = {
        "service": service,
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "reason": " ".join(reason.split())[:REASON_LENGTH],
        "attempts": attempts + _attempts(dict(message.headers() or ())),
        "at": at.isoformat(timespec="milliseconds"),
    }
    headers = tuple(
        (PREFIX + name, str(value).encode(errors="backslashreplace")) for name, value in ours.items()
    )
    return Record(topic, message.value(), message.key(), _own(message) + headers)


def without_contents(record: Record) -> Record | None:
    """A dead letter that only says where its original is; None for what is none, or is that already."""
    ours = tuple((name, value) for name, value in record.headers if name.startswith(PREFIX))
    if not ours or OMITTED in dict(ours):
        return None
    return Record(record.topic, None, None, (*ours, (OMITTED, b"too large")))


def replayed(letter: DeadLetter) -> Record:
    """The original again, in its own partition, for the service that failed. Raises ValueError if it is omitted."""
    if letter.omitted:
        raise ValueError(f"{letter.id} has no record to replay")
    addressed = ((ONLY, letter.service), (PREFIX + "attempts", str(letter.attempts)))
    return Record(letter.topic, letter.value, letter.key, letter.headers + addressed, letter.partition)


def marker(topic: str, letter: DeadLetter) -> Record:
    """What says that a letter was replayed, in the letter's own partition: there it outlives the letter."""
    return Record(topic, None, letter.id, ((REPLAYED, letter.id),), int(letter.id.partition(":")[0]))


class Ledger:
    """The dead letters there are, and which were replayed. Pure: it is told the topic's records."""

    def __init__(self) -> None:
        self.letters: dict[str, DeadLetter] = {}  # by id
        self._replayed: set[str] = set()

    def add(self, message: Message) -> None:
        """A record of the dead letters' topic, in any order of partitions; a stranger's is passed over."""
        headers = dict(message.headers() or ())
        if REPLAYED in headers:
            self._replayed.add(_text(headers[REPLAYED]))
        elif letter := _parsed(message, headers):
            self.letters[letter.id] = letter

    def is_open(self, letter: DeadLetter) -> bool:
        """Whether it was not replayed yet."""
        return letter.id not in self._replayed

    def open(self) -> list[DeadLetter]:
        """Those not replayed yet, the oldest failure first."""
        return sorted(filter(self.is_open, self.letters.values()), key=_age)

    def all(self) -> list[DeadLetter]:
        """Replayed ones too."""
        return sorted(self.letters.values(), key=_age)


def read_ledger(topic: str) -> Ledger:
    """Read the topic from its beginning to its end; a topic that does not exist is empty.

    Raises KafkaException if the server cannot be reached, or does not go on for 10 s.
    """
    ledger = Ledger()
    for message in read_to_end(topic, PATIENCE_SECONDS, {**CLIENT, "group.id": CLIENT["client.id"]}):
        ledger.add(message)
    return ledger


def replay(topic: str, letters: Sequence[DeadLetter]) -> Iterator[DeadLetter]:
    """Publish each to where it came from, then mark it in `topic`; yields those that are done.

    Raises ValueError, before anything is published, if one is omitted; KafkaException if a record is not acknowledged
    within 10 s: what was yielded until then is done.
    """
    records = {letter.id: replayed(letter) for letter in letters}
    with Outlet({**CLIENT, "delivery.timeout.ms": int(PATIENCE_SECONDS * 1000)}) as outlet:
        for start in range(0, len(letters), CHUNK):
            chunk = letters[start : start + CHUNK]
            errors = outlet.publish([records[letter.id] for letter in chunk])
            sent = [letter for letter, error in zip(chunk, errors, strict=True) if error is None]
            marked = outlet.publish([marker(topic, letter) for letter in sent])
            yield from (letter for letter, error in zip(sent, marked, strict=True) if error is None)
            for error in [*errors, *marked]:
                if error is not None:
                    raise KafkaException(error)


def _own(message: Message) -> Headers:
    """The headers that neither a dead letter nor a replay has put there."""
    return tuple((name, value) for name, value in message.headers() or () if not _is_ours(name))


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX) or name == ONLY


def _parsed(message: Message, headers: Mapping[str, bytes | None]) -> DeadLetter | None:
    try:
        return DeadLetter(
            id=f"{message.partition()}:{message.offset()}",
            service=_text(headers[PREFIX + "service"]),
            topic=_text(headers[PREFIX + "topic"]),
            partition=int(_text(headers[PREFIX + "partition"])),
            offset=int(_text(headers[PREFIX + "offset"])),
            reason=_text(headers[PREFIX + "reason"]),
            attempts=_attempts(headers),
            at=_text(headers[PREFIX + "at"]),
            key=message.key(),
            value=message.value(),
            headers=_own(message),
            omitted=OMITTED in headers,
        )
    except (KeyError, ValueError):
        return None


def _attempts(headers: Mapping[str, bytes | None]) -> int:
    try:
        return int(_text(headers.get(PREFIX + "attempts")))
    except ValueError:  # never replayed, or a header that somebody else made
        return 0


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="backslashreplace")


def _age(letter: DeadLetter) -> tuple[str, int, int]:
    partition, offset = letter.id.split(":")
    return letter.at, int(partition), int(offset)
