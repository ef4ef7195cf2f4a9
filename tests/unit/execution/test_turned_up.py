"""Orders that were closed as never seen, and that their broker has after all."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.cases import signal
from tests.support.ledgered import ALLOWED, Ledgered, fill, report
from trade_engine.audit.verify import Verification
from trade_engine.domain.difference import Difference, DifferenceKind
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.order import DeliveryState, Order, OrdStatus
from trade_engine.execution.commands import AcceptDifferenceCommand
from trade_engine.execution.decisions import decide_signal
from trade_engine.execution.differences import (
    accept_difference,
    close_unknown,
    note_differences,
)
from trade_engine.execution.guarded_booking import book_guarded
from trade_engine.execution.observer import Alert
from trade_engine.execution.order_changes import deliver, intend
from trade_engine.portfolio.ledger import book


def never_seen(account: Ledgered) -> Order:
    """An order of 10, closed since its broker never saw it."""
    with account.batch() as batch:
        order = decide_signal(batch, signal(1000, signal_id="s-1"), ALLOWED).order
        assert order is not None
        intend(batch, [order.order_id])
        deliver(batch, {order.order_id: (DeliveryState.IN_DOUBT, "unclear")})
    with account.batch() as batch:
        close_unknown(batch, [order.order_id], "never seen")
    assert account.orders[order.order_id].ord_status is OrdStatus.CANCELED
    return account.orders[order.order_id]


def told(account: Ledgered, *reports: ExecutionReport) -> list[Alert]:
    alerts = []
    for each in reports:
        with account.batch() as batch:
            known = batch.find(each.cl_ord_id) or account.orders[each.cl_ord_id]
            book_guarded(batch, "paper", each, known)
            alerts += [alert for alert, _ in batch.alerts]
    return alerts


def held_for(account: Ledgered, order: Order) -> Decimal:
    with account.batch() as batch:
        return batch.exposure.own(order.strategy_id, order.symbol).working_buy


def verified(account: Ledgered) -> None:
    verification = Verification("main", book)
    for each in account.journal:
        verification.take(each)
    verification.compare(account.state, account.orders.values(), account.executions)
    assert verification.findings.faults == []


@pytest.mark.parametrize("first_word", [ExecType.NEW, ExecType.PENDING_NEW, ExecType.SUSPENDED])
def test_it_stands_again_is_reserved_for_and_canceled(first_word: ExecType) -> None:
    account = Ledgered()
    order = never_seen(account)
    assert held_for(account, order) == 0
    assert told(account, report(order, first_word, "n-1")) == [Alert.ORDER_TURNED_UP]
    after = account.orders[order.order_id]
    assert (after.ord_status, after.delivery) == (OrdStatus.PENDING_CANCEL, DeliveryState.SENT)
    assert (after.leaves_qty, after.cancel_requested) == (10, True)
    assert held_for(account, order) == 10
    assert told(account, report(order, first_word, "n-1")) == [], "and only once"
    assert told(account, report(order, ExecType.CANCELED, "x-1")) == []
    assert account.orders[order.order_id].ord_status is OrdStatus.CANCELED
    assert held_for(account, order) == 0
    verified(account)


@pytest.mark.parametrize("filled", [3, 10])
def test_a_fill_of_it_is_booked_and_what_is_left_is_canceled(filled: int) -> None:
    account = Ledgered()
    order = never_seen(account)
    assert told(account, fill(order, "f-1", filled, 100)) == [Alert.ORDER_TURNED_UP]
    after = account.orders[order.order_id]
    expected = OrdStatus.FILLED if filled == 10 else OrdStatus.PENDING_CANCEL
    assert (after.ord_status, after.cum_qty) == (expected, filled)
    assert held_for(account, order) == 10 - filled
    assert account.state.positions[order.strategy_id, order.symbol].quantity == filled
    verified(account)


@pytest.mark.parametrize("end", [ExecType.CANCELED, ExecType.PENDING_CANCEL])
def test_what_says_that_it_has_ended_lets_it_be(end: ExecType) -> None:
    account = Ledgered()
    order = never_seen(account)
    assert told(account, report(order, end, "x-1")) == []
    assert not account.orders[order.order_id].is_open


def test_an_order_that_was_canceled_before_it_was_sent_does_not_turn_up() -> None:
    account = Ledgered()
    with account.batch() as batch:
        order = decide_signal(batch, signal(1000, signal_id="s-1"), ALLOWED).order
        assert order is not None
        batch.state.orders[order.order_id].created_at_ns -= 10**12
        intend(batch, [order.order_id])  # too old by now
    assert account.orders[order.order_id].ord_status is OrdStatus.CANCELED
    assert told(account, fill(order, "f-1", 3, 100)) == [Alert.FILL_OUT_OF_ORDER]
    assert account.orders[order.order_id].ord_status is OrdStatus.CANCELED


def test_an_order_that_an_operator_closed_was_at_its_broker() -> None:
    account = Ledgered()
    with account.batch() as batch:
        order = decide_signal(batch, signal(1000, signal_id="s-1"), ALLOWED).order
        assert order is not None
        intend(batch, [order.order_id])
        deliver(batch, {order.order_id: (DeliveryState.IN_DOUBT, "unclear")})
    kind = DifferenceKind.ORDER_CLOSED_THERE
    gone = Difference(kind, order.order_id, "PENDING_NEW", "closed", "", "it is closed there", 1)
    with account.batch() as batch:
        note_differences(batch, "paper", [gone])
        command = AcceptDifferenceCommand("main", gone.difference_id, "so says the desk", "ops", "")
        accept_difference(batch, command)
    assert told(account, report(order, ExecType.NEW, "n-1")) == []
    assert account.orders[order.order_id].ord_status is OrdStatus.CANCELED
