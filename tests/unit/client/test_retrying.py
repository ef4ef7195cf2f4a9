"""Which failures are tried again, after how long, and when it is enough."""

from __future__ import annotations

import grpc
import pytest

from trade_engine.client import RetryPolicy, TradeEngineError
from trade_engine.client.retrying import Attempts

POLICY = RetryPolicy(timeout_s=2, retry_for_s=10, backoff_s=0.1, backoff_s_max=1)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def failure(code: grpc.StatusCode, retry_after_s: float | None = None) -> TradeEngineError:
    return TradeEngineError(code, "REASON", "words", retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("code", "retry_after_s", "retryable"),
    [
        (grpc.StatusCode.UNAVAILABLE, None, True),
        (grpc.StatusCode.UNAVAILABLE, 0.25, True),
        (grpc.StatusCode.DEADLINE_EXCEEDED, None, True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.05, True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.0, True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, None, False),  # a message that is too large
        (grpc.StatusCode.INVALID_ARGUMENT, None, False),
        (grpc.StatusCode.ALREADY_EXISTS, None, False),
        (grpc.StatusCode.NOT_FOUND, None, False),
        (grpc.StatusCode.FAILED_PRECONDITION, 1.0, False),
        (grpc.StatusCode.PERMISSION_DENIED, None, False),
        (grpc.StatusCode.UNIMPLEMENTED, None, False),
        (grpc.StatusCode.INTERNAL, None, True),
        (grpc.StatusCode.CANCELLED, None, True),
        (grpc.StatusCode.UNKNOWN, None, True),
    ],
)
def test_what_is_worth_another_attempt(
    code: grpc.StatusCode,
    retry_after_s: float | None,
    retryable: bool,  # noqa: FBT001  a column of the table
) -> None:
    pause = Attempts(POLICY, Clock()).pause_after(failure(code, retry_after_s))
    assert (pause is not None) is retryable


def test_the_backoff_doubles_up_to_its_bound() -> None:
    for _ in range(50):
        attempts = Attempts(POLICY, Clock())
        for window in (0.1, 0.2, 0.4, 0.8, 1, 1):
            pause = attempts.pause_after(failure(grpc.StatusCode.UNAVAILABLE))
            assert pause is not None
            assert 0 <= pause <= window


def test_backoffs_differ() -> None:
    pauses = {
        Attempts(POLICY, Clock()).pause_after(failure(grpc.StatusCode.UNAVAILABLE))
        for _ in range(20)
    }
    assert len(pauses) > 10


def test_the_engine_is_never_asked_before_it_said() -> None:
    for _ in range(50):
        pause = Attempts(POLICY, Clock()).pause_after(failure(grpc.StatusCode.UNAVAILABLE, 0.2))
        assert pause is not None
        assert 0.2 <= pause <= 0.25


def test_a_pause_that_ends_too_late_is_not_begun() -> None:
    clock = Clock()
    attempts = Attempts(POLICY, clock)
    clock.now += 5
    assert attempts.pause_after(failure(grpc.StatusCode.UNAVAILABLE, 5.0)) is None
    clock.now += 5
    assert attempts.pause_after(failure(grpc.StatusCode.UNAVAILABLE)) is None


def test_progress_gives_time_anew() -> None:
    clock = Clock()
    attempts = Attempts(POLICY, clock)
    clock.now += 10
    attempts.begin_again()
    assert attempts.pause_after(failure(grpc.StatusCode.UNAVAILABLE)) is not None


def test_an_attempt_has_its_time_limit_or_what_is_left() -> None:
    clock = Clock()
    attempts = Attempts(POLICY, clock)
    assert attempts.timeout_s == 2
    clock.now += 9
    assert attempts.timeout_s == pytest.approx(1)
    clock.now += 9
    assert 0 < attempts.timeout_s < 0.01


def test_the_last_word_is_the_engines_though_the_last_attempt_ran_out_of_time() -> None:
    attempts = Attempts(POLICY, Clock())
    told = TradeEngineError(
        grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "no store took the halt"
    )
    silent = TradeEngineError(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "no answer")
    gone = TradeEngineError(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "no engine answers")
    assert attempts.last_word(silent) is silent
    attempts.pause_after(told)
    attempts.pause_after(gone)
    assert attempts.last_word(silent) is told
    assert attempts.last_word(gone) is gone
