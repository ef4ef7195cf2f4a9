"""What of an order a broker may change by itself, and what halts the account."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.cases import signal
from tests.support.ledgered import ALLOWED, Ledgered, fill, report
from trade_engine.audit.verify import Verification
from trade_engine.domain.execution import ExecRestatementReason, ExecType, ExecutionReport
from trade_engine.domain.money import text
from trade_engine.domain.order import Order
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import TradingState
from trade_engine.execution.changed_terms import halt_on_changed_terms
from trade_engine.execution.decisions import decide_signal
from trade_engine.execution.fills import book_report
from trade_engine.execution.observer import Alert
from trade_engine.execution.order_changes import intend
from trade_engine.portfolio.ledger import book

D = Decimal
SPLIT = ExecRestatementReason.GT_CORPORATE_ACTION


def working(account: Ledgered, side: Side = Side.BUY) -> Order:
    """An order for 10 that the broker has acknowledged."""
    with account.batch() as batch:
        wish = signal(1000 * side.sign, signal_id="s-1", side=side)
        order = decide_signal(batch, wish, ALLOWED).order
        assert order is not None
        intend(batch, [order.order_id])
        told = report(order, ExecType.NEW, "n-1")
        book_report(batch, "paper", told, batch.state.orders[order.order_id])
    return account.orders[order.order_id]


def tell(account: Ledgered, order: Order, *reports: ExecutionReport) -> list[Alert]:
    """Book reports as the gate does; answers with the alerts."""
    alerts: list[Alert] = []
    for each in reports:
        with account.batch() as batch:
            known = batch.state.orders[order.order_id]
            before = known.copy()
            book_report(batch, "paper", each, known)
            halt_on_changed_terms(batch, before, known, each)
            alerts += [alert for alert, _ in batch.alerts]
    return alerts


def halted(account: Ledgered) -> bool:
    return any(each.state is TradingState.HALTED for each in account.state.trading.values())


def changed(
    order: Order,
    exec_type: ExecType,
    qty: int | None = None,
    price: Decimal | None = None,
    why: ExecRestatementReason | None = None,
) -> ExecutionReport:
    told = report(order, exec_type, f"r-{qty}-{price}")
    told.order_qty = None if qty is None else D(qty)
    told.price, told.exec_restatement_reason = price, why
    return told


@pytest.mark.parametrize("exec_type", [ExecType.REPLACED, ExecType.RESTATED])
@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
@pytest.mark.parametrize(
    ("qty", "worse", "halts"),
    [
        (11, 0, True),
        (10, 0, False),
        (9, 0, False),
        (None, 0, False),
        (None, 1, True),
        (None, -1, False),
        (9, 1, True),
        (11, -1, True),
    ],
)
def test_larger_or_at_a_worse_limit_halts_and_nothing_else_does(
    exec_type: ExecType, side: Side, qty: int | None, worse: int, *, halts: bool
) -> None:
    account = Ledgered()
    order = working(account, side)
    assert order.price is not None
    price = order.price + worse * side.sign if worse else None
    alerts = tell(account, order, changed(order, exec_type, qty, price))
    assert alerts == ([Alert.TERMS_CHANGED] if halts else [])
    assert halted(account) is halts
    after = account.orders[order.order_id]
    assert after.cancel_requested is halts
    assert after.order_qty == (qty or 10)
    assert after.price == (price or order.price)
    verification = Verification("main", book)
    for entry in account.journal:
        verification.take(entry)
    verification.compare(account.state, account.orders.values(), account.executions)
    assert verification.findings.faults == []


@pytest.mark.parametrize(
    ("exec_type", "why", "halts"),
    [
        (ExecType.RESTATED, SPLIT, False),
        (ExecType.REPLACED, SPLIT, True),
        (ExecType.RESTATED, ExecRestatementReason.VERBAL_CHANGE, True),
    ],
)
def test_only_a_corporate_action_scales_an_order(
    exec_type: ExecType, why: ExecRestatementReason, *, halts: bool
) -> None:
    account = Ledgered()
    order = working(account)
    tell(account, order, changed(order, exec_type, 20, why=why))
    assert halted(account) is halts


def test_less_than_an_overfill_is_left_to_the_overfill_s_own_tolerance() -> None:
    account = Ledgered()
    order = working(account)
    with account.batch() as batch:
        known = batch.state.orders[order.order_id]
        book_report(batch, "paper", fill(order, "f-1", 9, 100), known)
        before, told = known.copy(), changed(order, ExecType.RESTATED, 5)
        book_report(batch, "paper", told, known)
        assert halt_on_changed_terms(batch, before, known, told) is None
        assert known.order_qty == 9


def test_the_reason_names_every_term_and_what_it_was() -> None:
    account = Ledgered()
    order = working(account)
    assert order.price is not None
    tell(account, order, changed(order, ExecType.REPLACED, 25, order.price + 1))
    [state] = account.state.trading.values()
    assert state.reason == (
        f"paper changed order {order.order_id} unasked: OrderQty 25, not 10, "
        f"Price {text(order.price + 1)}, not {text(order.price)}"
    )
