"""Chat as browsers and other callers see it: the order in a channel, its history, its live stream."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from streamadapter import AdminClient, Producer
from streamadapter.admin import NewTopic
from streamadapter.testing.servers import Server
from streamstore.chat import METADATA, NAME, hub
from streamstore.chat.conversation import DirectChat
from streamstore.chat.hub import Hub
from streamstore.chat.messages import HISTORY, ChatMessage, encode, id_of, place_of
from streamstore.chat.stream import EventStream
from streamstore.database import Database
from streamstore.streaming.history import Place, Position, Row, prepare

Start = Callable[..., Any]
Await = Callable[..., None]

LOBBY = "/channels/lobby/messages"
EVENTS = "/channels/lobby/events"


def message(text: str, author: str = "ann") -> dict[str, str]:
    return {"author": author, "text": text}


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [each["text"] for each in messages]


def everything(chat: Any, page: int = 1000) -> list[dict[str, Any]]:
    """The channel's history, page by page."""
    found: list[dict[str, Any]] = []
    after = "0"
    while more := chat.get(f"{LOBBY}?after={after}&limit={page}"):
        found += more
        after = more[-1]["id"]
    return found


@contextmanager
def collecting(events: Any) -> Iterator[list[dict[str, Any]]]:
    """What comes on a stream, in the background, until the service ends it or the block does."""
    seen: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: seen.extend(events), daemon=True)
    thread.start()
    yield seen
    events.hang_up()
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(params=["events", "synchronous"])
def chat(request: pytest.FixtureRequest, open_shop: Callable[..., Any], start_instance: Start) -> Any:
    """An instance in each architecture."""
    return start_instance(open_shop("memory", architecture=request.param), NAME)


def test_messages_are_kept_in_the_order_of_posting_under_ids_that_sort(chat: Any) -> None:
    ids = []
    for i in range(12):
        status, answer = chat.post(LOBBY, message(f"{i}"))
        assert status == 202
        ids.append(answer["id"])
    chat.post("/channels/other/messages", message("elsewhere"))

    with chat.events(f"{EVENTS}?after=0") as events:
        assert [each["id"] for each in events.take(12)] == ids == sorted(set(ids))
    assert [each["id"] for each in everything(chat, page=5)] == ids
    assert texts(chat.get(f"{LOBBY}?limit=3")) == ["9", "10", "11"]
    assert [each["channel"] for each in chat.get("/channels")] == ["lobby", "other"]
    assert chat.get("/channels")[0]["last"] == chat.get(f"{LOBBY}?limit=1")[0]


def test_a_stream_begins_now_or_after_the_last_event_that_was_seen(chat: Any, await_condition: Await) -> None:
    with chat.events(EVENTS) as events:
        _, first = chat.post(LOBBY, message("one"))
        assert texts(events.take(1)) == ["one"]
    chat.post(LOBBY, message("two"))
    chat.post(LOBBY, message("three"))

    with chat.events(f"{EVENTS}?after=0", last_event_id=first["id"]) as events:
        assert texts(events.take(2)) == ["two", "three"]
        chat.post(LOBBY, message("four"))
        assert texts(events.take(1)) == ["four"]


def test_words_of_any_script_arrive_as_they_were_posted(chat: Any) -> None:
    text = 'Grüße, 你好\r\n: "data"\u2028\n\nid: 7 \U0001f600'

    chat.post(LOBBY, message(text, author="Łukasz"))

    with chat.events(f"{EVENTS}?after=0") as events:
        assert texts(events.take(1)) == [text]
    assert chat.get(f"{LOBBY}?after=0")[0]["author"] == "Łukasz"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"{}", ["body", "author"]),
        (b"[]", ["body"]),
        (message(""), ["body", "text"]),
        (message("x" * 2001), ["body", "text"]),
        (message("x", author=""), ["body", "author"]),
        (message("x", author="x" * 65), ["body", "author"]),
        (message("a\0b"), ["body", "text"]),
        (b'{"author": "ann", "text": "\\ud800"}', ["body", "text"]),
        (b'{"author": "ann", "text": NaN}', ["body", "text"]),
    ],
)
def test_a_bad_message_is_answered_with_the_field(chat: Any, body: Any, where: list[Any]) -> None:
    status, answer = chat.post(LOBBY, body)

    assert status == 422
    assert where in [problem["loc"] for problem in answer["detail"]]
    assert everything(chat) == []


def test_a_bad_channel_or_place_or_a_body_without_end_is_refused(chat: Any) -> None:
    assert chat.post("/channels/a%20b/messages", message("x"))[0] == 422
    assert chat.post(f"/channels/{'c' * 65}/messages", message("x"))[0] == 422
    assert chat.request("GET", f"{LOBBY}?after=x")[0] == 422
    assert chat.request("GET", f"{EVENTS}?after=1-2")[0] == 422
    assert chat.request("GET", f"{LOBBY}?limit=0")[0] == 422
    assert chat.post(LOBBY, b"{" + b" " * 100_000 + b"}")[0] == 413


def test_the_longest_message_is_accepted(chat: Any) -> None:
    text = "\U0001f600" * 2000

    assert chat.post(LOBBY, message(text, author="\U0001f600" * 64))[0] == 202

    assert texts(everything(chat)) == [text]


def test_all_instances_show_one_order_under_concurrent_posters(
    stream_shop: Any, start_instance: Start, await_condition: Await
) -> None:
    instances = [start_instance(stream_shop, NAME, name) for name in ("one", "two")]
    posters, each = 4, 50

    def post(number: int) -> None:
        for i in range(each):
            assert instances[(number + i) % 2].post(LOBBY, message(f"{i}", author=f"{number}"))[0] == 202

    with (
        instances[0].events(f"{EVENTS}?after=0") as first,
        instances[1].events(f"{EVENTS}?after=0") as second,
        collecting(first) as seen_first,
        collecting(second) as seen_second,
    ):
        threads = [threading.Thread(target=post, args=(number,)) for number in range(posters)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        await_condition(lambda: len(seen_first) >= posters * each and len(seen_second) >= posters * each)

    assert seen_first == seen_second == everything(instances[0]) == everything(instances[1], page=17)
    ids = [each["id"] for each in seen_first]
    assert ids == sorted(set(ids))
    for number in range(posters):
        own = [int(each["text"]) for each in seen_first if each["author"] == str(number)]
        assert own == list(range(each))


def test_a_browser_that_comes_again_and_again_misses_and_repeats_nothing_although_the_service_is_killed(
    stream_shop: Any, start_instance: Start, await_condition: Await
) -> None:
    chat = start_instance(stream_shop, NAME)
    accepted: list[str] = []
    done = threading.Event()

    def post() -> None:
        number = 0
        while not done.is_set():
            number += 1  # a message whose answer was lost is not repeated: it may be there, or not
            try:
                status, answer = chat.post(LOBBY, message(str(number)))
            except OSError:
                time.sleep(0.05)
                continue
            if status == 202:
                accepted.append(answer["id"])

    seen: list[dict[str, Any]] = []

    def read() -> None:
        lengths = iter([1, 7, 40] * 1000)
        while not (done.is_set() and {*accepted} <= {each["id"] for each in seen}):
            try:
                with chat.events(f"{EVENTS}?after=0", seen[-1]["id"] if seen else None) as events:
                    seen.extend(events.take(next(lengths)))
            except OSError:
                time.sleep(0.05)

    threads = [threading.Thread(target=target, daemon=True) for target in (post, read)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        enough = len(seen) + 150
        await_condition(lambda enough=enough: len(seen) > enough)
        chat.kill()
        chat.start()
    done.set()
    poster, reader = threads
    poster.join(60)
    # What the reader has begun to take, it takes to the end: it may need more messages.
    await_condition(lambda: chat.post(LOBBY, message("more"))[0] == 202 and not reader.is_alive())

    ids = [each["id"] for each in seen]
    assert ids == sorted(set(ids))
    history = everything(chat)
    assert history[: len(seen)] == seen
    assert set(accepted) <= {each["id"] for each in history}


def publish(count: int, text: str) -> None:
    with Producer({}) as producer:
        for i in range(count):
            producer.produce("chat-messages", encode(ChatMessage("lobby", "bulk", f"{i} {text}")), "lobby")
        assert producer.flush(60) == 0


def test_a_slow_browser_is_cut_off_and_comes_again_while_others_read_on(
    open_shop: Callable[..., Any], start_instance: Start, await_condition: Await
) -> None:
    chat = start_instance(open_shop("embedded"), NAME)
    count = 6000  # more than all the buffers between hold: 12 MB
    with (
        chat.events(EVENTS, buffer=4096) as slow,
        chat.events("/channels/other/events") as other,
    ):
        publish(count, "x" * 1900)
        await_condition(lambda: len(everything(chat)) == count)
        chat.post("/channels/other/messages", message("hello"))
        assert texts(other.take(1)) == ["hello"]
        got = list(slow)  # until it is cut off
    assert 0 < len(got) < count

    with chat.events(EVENTS, last_event_id=got[-1]["id"]) as again:
        got += again.take(count - len(got))
    assert got == everything(chat)


def test_history_and_streams_have_what_the_database_has_not_yet(
    open_shop: Callable[..., Any], start_instance: Start, await_condition: Await
) -> None:
    shop = open_shop("memory")
    chat = start_instance(shop, NAME)
    database = Database(shop.settings.database_url(NAME), METADATA)
    for i in range(3):
        chat.post(LOBBY, message(f"stored {i}"))
    await_condition(lambda: count_rows(database) == 3)

    with database.write():  # SQLite has one writer at a time
        for i in range(3):
            chat.post(LOBBY, message(f"unstored {i}"))
        await_condition(lambda: len(everything(chat)) == 6)
        found = everything(chat, page=2)
        newest = chat.get(f"{LOBBY}?limit=4")
        with chat.events(EVENTS, last_event_id=found[0]["id"]) as events:
            assert events.take(5) == found[1:]
        assert count_rows(database) == 3

    assert texts(found) == [*(f"stored {i}" for i in range(3)), *(f"unstored {i}" for i in range(3))]
    assert newest == found[2:]
    await_condition(lambda: count_rows(database) == 6)
    assert everything(chat) == found
    database.close()


def count_rows(database: Database) -> int:
    with database.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(HISTORY.rows)) or 0


def test_a_message_that_the_broker_does_not_acknowledge_is_not_accepted(
    open_shop: Callable[..., Any], own_redis: Server, start_instance: Start, await_condition: Await
) -> None:
    chat = start_instance(open_shop("redis", own_redis.url, accept_seconds=1), NAME)
    chat.post(LOBBY, message("before"))

    own_redis.pause()
    status, answer = chat.post(LOBBY, message("lost?"))
    assert (status, chat.retry_after) == (503, "1")
    assert "not acknowledged" in answer["detail"]
    assert texts(everything(chat)) == ["before"]
    own_redis.resume()

    await_condition(lambda: chat.post(LOBBY, message("after"))[0] == 202)
    await_condition(lambda: texts(everything(chat))[-1] == "after")


def test_a_topic_made_anew_continues_the_channel(
    open_shop: Callable[..., Any], start_instance: Start, await_condition: Await
) -> None:
    shop = open_shop("memory")
    chat = start_instance(shop, NAME)
    for i in range(5):
        chat.post(LOBBY, message(f"old {i}"))
    await_condition(lambda: len(everything(chat)) == 5)
    last = everything(chat)[-1]["id"]

    with chat.events(EVENTS) as events, collecting(events) as seen:
        with AdminClient({}) as admin:
            admin.delete_topics(["chat-messages"])["chat-messages"].result(30)
            admin.create_topics([NewTopic("chat-messages", 4)])["chat-messages"].result(30)
        await_condition(lambda: chat.post(LOBBY, message("new 0"))[0] == 202)
        for i in range(1, 3):
            assert chat.post(LOBBY, message(f"new {i}"))[0] == 202
        await_condition(lambda: len(everything(chat)) == 8)

    found = everything(chat)
    assert texts(found) == [*(f"old {i}" for i in range(5)), *(f"new {i}" for i in range(3))]
    assert [each["id"] for each in found] == sorted({each["id"] for each in found})
    assert all(each in found for each in seen)  # nobody was shown an id of the old log
    with chat.events(EVENTS, last_event_id=last) as events:
        assert texts(events.take(3)) == ["new 0", "new 1", "new 2"]


def test_streams_end_when_the_service_stops(chat: Any) -> None:
    with chat.events(EVENTS) as events, collecting(events) as seen:
        began = time.monotonic()
        chat.stop()
        assert time.monotonic() - began < 8  # uvicorn would wait ten seconds for them
    assert seen == []


# -- in memory


def row(offset: int, channel: str = "lobby", log: int = 0) -> Row:
    return Row(channel, Place(log, offset, 0), 0, ("ann", str(offset)))


def test_an_id_is_its_place() -> None:
    for place in (Place(0, 0, 0), Place(3, 10**12, 11)):
        assert place_of(id_of(place)) == place
    for bad in ("", "1", "1-2", "1-2-3-4", "a-b-c", "-1-2-3", "1-2-٣", f"{'9' * 19}-1-1"):
        with pytest.raises(ValueError, match="not the id"):
            place_of(bad)


def test_what_is_stored_is_dropped_and_what_is_not_is_kept() -> None:
    chats = Hub()
    chats.add([row(0), row(1, "other"), row(2), row(3)])

    chats.stored({0: Position(0, 3)})
    assert chats.unstored("lobby") == [row(3)]
    assert chats.unstored("other") == []

    chats.stored({0: Position(1, 0)})
    assert chats.unstored("lobby") == []


def test_reading_waits_when_too_much_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MAX_UNSTORED", 3)
    chats = Hub()
    chats.add([row(0), row(1)])
    assert not chats.is_full()
    chats.add([row(2)])
    assert chats.is_full()
    chats.stored({0: Position(0, 1)})
    assert not chats.is_full()


def test_a_listener_that_takes_nothing_holds_a_bounded_number_of_messages_and_is_ended() -> None:
    async def scenario() -> None:
        chats = Hub()
        with chats.listening("lobby") as slow:
            for first in range(0, hub.MAX_WAITING * 3, 100):
                chats.add([row(offset) for offset in range(first, first + 100)])
                assert len(slow._waiting) <= hub.MAX_WAITING
            assert await slow.take(1) is None
        assert not chats._listeners

    asyncio.run(scenario())


def test_a_silent_channel_has_a_heartbeat(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/chat.db", METADATA)
    prepare(database, HISTORY, 4)

    async def first_of(rows: Any) -> bytes:
        async for chunk in EventStream(rows).body_iterator:
            if b"retry" not in chunk:
                return chunk
        raise AssertionError

    async def quiet(chats: Hub) -> Any:
        with chats.listening("lobby") as listener:
            while (rows := await listener.take(0.05)) is not None:
                yield rows

    direct = DirectChat(database, 4, threading.Event())
    assert asyncio.run(first_of(direct.listen("lobby", None, 0.05))) == b":\n\n"
    assert asyncio.run(first_of(quiet(Hub()))) == b":\n\n"
    database.close()
