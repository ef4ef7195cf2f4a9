"""Many signals in flight: order, pauses, and what a broken stream leaves."""

from __future__ import annotations

from typing import Any

from trade_engine.client import Failed, RetryPolicy, Signal, Submitted
from trade_engine.client.flight import Flight
from trade_engine.v1.signal_service_pb2 import FieldViolation, SignalError, SubmitSignalsResult

POLICY = RetryPolicy(timeout_s=2, retry_for_s=10)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def flight(clock: Clock | None = None, in_flight_max: int = 10) -> Flight:
    return Flight(POLICY, clock or Clock(), in_flight_max)


def add(to: Flight, *signal_ids: str) -> None:
    for signal_id in signal_ids:
        to.add(Signal(signal_id=signal_id))


def sent(of: Flight) -> list[str]:
    request = of.batch()
    return [signal.signal_id for signal in request.signals] if request else []


def result(signal_id: str, **fields: Any) -> SubmitSignalsResult:
    return SubmitSignalsResult(signal_id=signal_id, **fields)


def queue_full(signal_id: str) -> SubmitSignalsResult:
    error = SignalError(code=8, reason="QUEUE_FULL", metadata={"retry_delay_ms": "50"})
    return result(signal_id, error=error)


def test_signals_go_out_once_in_the_order_in_which_they_came() -> None:
    some = flight()
    add(some, "b", "a", "c")
    assert sent(some) == ["b", "a", "c"]
    assert sent(some) == []


def test_a_message_holds_a_hundred_at_most() -> None:
    some = flight(in_flight_max=1000)
    add(some, *(f"s-{number}" for number in range(150)))
    assert (len(sent(some)), len(sent(some))) == (100, 50)


def test_results_come_in_any_order_and_each_once() -> None:
    some = flight()
    add(some, "a", "b")
    sent(some)
    assert isinstance(some.take(result("b", decision={}, replayed=True)), Submitted)
    assert some.take(result("b", decision={})) is None
    some.end()
    before = some.finished
    assert isinstance(some.take(result("a", decision={})), Submitted)
    assert (before, some.finished) == (False, True)


def test_there_is_room_up_to_the_bound() -> None:
    some = flight(in_flight_max=2)
    room = []
    for signal_id in ("a", "b"):
        room.append(some.has_room)
        add(some, signal_id)
    room.append(some.has_room)
    sent(some)
    some.take(result("a", decision={}))
    assert [*room, some.has_room] == [True, True, False, True]


def test_after_a_broken_stream_all_without_an_answer_goes_out_again_in_order() -> None:
    some = flight()
    add(some, "a", "b", "c", "d")
    sent(some)
    some.take(result("b", decision={}))
    add(some, "e")
    some.rewind()
    assert sent(some) == ["a", "c", "d", "e"]


def test_what_the_engine_cannot_take_now_waits_and_keeps_its_place() -> None:
    clock = Clock()
    some = flight(clock)
    add(some, "a", "b", "c")
    sent(some)
    add(some, "d")
    assert some.take(queue_full("a")) is None
    assert some.take(queue_full("b")) is None
    assert sent(some) == []
    assert 0.05 <= some.pause_s <= 0.07
    clock.now += 0.07
    assert some.pause_s == 0
    assert sent(some) == ["a", "b", "d"]


def test_it_is_not_waited_for_ever() -> None:
    clock = Clock()
    some = flight(clock)
    add(some, "a")
    clock.now += 10
    failed = some.take(queue_full("a"))
    assert isinstance(failed, Failed)
    assert failed.error.reason == "QUEUE_FULL"
    assert failed.error.retry_after_s == 0.05


def test_what_is_malformed_fails_at_once() -> None:
    some = flight()
    add(some, "a")
    error = SignalError(
        code=3,
        reason="INVALID_ARGUMENT_FIELDS",
        message="bad",
        field_violations=[FieldViolation(field="side", description="is required")],
    )
    failed = some.take(result("a", error=error))
    assert isinstance(failed, Failed)
    assert failed.error.code.name == "INVALID_ARGUMENT"
    assert failed.error.field_violations == (("side", "is required"),)
    some.end()
    assert some.finished


def test_one_id_twice_is_answered_twice() -> None:
    some = flight()
    add(some, "a", "a")
    assert sent(some) == ["a", "a"]
    first, second = (some.take(result("a", decision={})) for _ in range(2))
    assert isinstance(first, Submitted)
    assert isinstance(second, Submitted)
    assert some.take(result("a", decision={})) is None
