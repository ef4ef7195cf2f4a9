"""Since when an order is in doubt, by the clock that is passed in, and what follows from that."""

from __future__ import annotations

from decimal import Decimal

from tests.support.cases import signal
from tests.support.ledgered import ALLOWED, Ledgered
from trade_engine.domain.order import Order
from trade_engine.execution.decisions import decide_signal
from trade_engine.execution.doubts import ALERT_AFTER_S, NOT_FOUND_S, NOT_FOUND_TIMES, Doubts

START_S = 1_000.0


def an_order(signal_id: str = "s-1") -> Order:
    with Ledgered().batch() as batch:
        order = decide_signal(batch, signal(Decimal(1000), signal_id=signal_id), ALLOWED).order
    assert order is not None
    return order


def test_an_order_is_alerted_on_at_the_bound_and_once() -> None:
    doubts, order = Doubts(), an_order()
    assert ALERT_AFTER_S == 30
    assert doubts.note([order], START_S) == []
    assert doubts.note([order], START_S + 29.999) == []
    assert doubts.note([order], START_S + 30) == [(order, 30)]
    assert doubts.note([order], START_S + 31) == []
    assert doubts.note([order], START_S + 3_000) == []


def test_each_order_has_a_bound_of_its_own() -> None:
    doubts, first, second = Doubts(), an_order("s-1"), an_order("s-2")
    doubts.note([first], START_S)
    assert doubts.note([first, second], START_S + 20) == []
    assert doubts.note([first, second], START_S + 35) == [(first, 35)]
    assert doubts.note([first, second], START_S + 50) == [(second, 30)]


def test_a_doubt_that_was_settled_begins_anew() -> None:
    doubts, order = Doubts(), an_order()
    doubts.note([order], START_S)
    doubts.note([], START_S + 20)
    assert doubts.note([order], START_S + 31) == []
    assert doubts.note([order], START_S + 61) == [(order, 30)]
    doubts.forget()
    assert doubts.note([order], START_S + 62) == []


def test_not_found_counts_only_often_enough_and_for_long_enough() -> None:
    doubts, order = Doubts(), an_order()
    doubts.note([order], START_S)
    times = [START_S + each for each in range(NOT_FOUND_TIMES + 3)]
    assert not any(doubts.not_found(order, at) for at in times), "often, and within a moment"
    assert doubts.not_found(order, START_S + NOT_FOUND_S)
    doubts.forget()
    doubts.note([order], START_S)
    assert not doubts.not_found(order, START_S + 10 * NOT_FOUND_S), "long, and once"
