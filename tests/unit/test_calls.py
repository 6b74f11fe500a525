import threading
from collections.abc import Mapping
from concurrent.futures import Future

import pytest
from confluent_kafka import KafkaError, KafkaException

from streamadapter.engine.calls import Calls, each
from streamadapter.errors import StoreError

DEADLINE = 60


def busy() -> StoreError:
    return StoreError(KafkaError.LEADER_NOT_AVAILABLE, "try again", retriable=True)


def refused() -> StoreError:
    return StoreError(KafkaError.TOPIC_ALREADY_EXISTS, "there is one")


def error(future: Future[str]) -> KafkaError:
    with pytest.raises(KafkaException) as caught:
        future.result(DEADLINE)
    found: KafkaError = caught.value.args[0]
    return found


def test_only_keys_without_a_final_answer_are_asked_again() -> None:
    attempts: list[list[str]] = []

    def work(keys: list[str]) -> Mapping[str, str | StoreError]:
        attempts.append(keys)
        first = len(attempts) == 1
        answers: dict[str, str | StoreError] = {"a": "A", "b": busy() if first else "B", "c": refused()}
        return {key: answers[key] for key in keys}

    futures = Calls(1, 1).start(["a", "b", "c"], work, DEADLINE)

    assert futures["a"].result(DEADLINE) == "A"
    assert futures["b"].result(DEADLINE) == "B"
    assert error(futures["c"]) == KafkaError.TOPIC_ALREADY_EXISTS
    assert attempts == [["a", "b", "c"], ["b"]]


def test_a_retriable_error_of_the_whole_attempt_is_repeated() -> None:
    errors = [busy(), busy()]

    def work() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert Calls(1, 1).start_one(work, DEADLINE).result(DEADLINE) == "done"


def test_a_request_that_stays_retriable_times_out_with_the_last_error_in_its_text() -> None:
    def work() -> str:
        raise busy()

    found = error(Calls(1, 1).start_one(work, 0.1))

    assert found == KafkaError._TIMED_OUT
    assert found.str() == "Timed out after 0.1 s: LEADER_NOT_AVAILABLE: try again"


def test_a_request_that_hangs_times_out_and_its_late_answer_is_dropped() -> None:
    answer, finished = threading.Event(), threading.Event()

    def work(keys: list[str]) -> Mapping[str, str | StoreError]:
        answer.wait(DEADLINE)
        finished.set()
        return dict.fromkeys(keys, "late")

    future = Calls(1, 1).start(["a"], work, 0.1)["a"]
    found = error(future)
    answer.set()

    assert found == KafkaError._TIMED_OUT
    assert "no answer from the server" in found.str()
    assert finished.wait(DEADLINE)
    assert isinstance(future.exception(), KafkaException)


def test_an_unexpected_exception_reaches_the_caller_at_once() -> None:
    def work() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Calls(1, 1).start_one(work, DEADLINE).result(DEADLINE / 2)


def test_requests_under_way_are_counted_until_they_are_answered() -> None:
    calls, go = Calls(1, 1), threading.Event()
    future = calls.start_one(lambda: go.wait(DEADLINE), DEADLINE)
    assert len(calls) == 1

    go.set()
    future.result(DEADLINE)

    assert len(calls) == 0


def test_a_request_cannot_be_cancelled() -> None:
    go = threading.Event()
    future = Calls(1, 1).start_one(lambda: go.wait(DEADLINE), DEADLINE)

    assert not future.cancel()

    go.set()
    assert future.result(DEADLINE)


def test_a_store_error_of_one_key_leaves_the_others_alone() -> None:
    def one(key: str) -> str:
        if key == "bad":
            raise refused()
        return key.upper()

    answers = each(["a", "bad", "b"], one)

    assert (answers["a"], answers["b"]) == ("A", "B")
    assert isinstance(answers["bad"], StoreError)
