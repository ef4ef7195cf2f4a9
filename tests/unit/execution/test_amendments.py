"""Busts and corrections through the writer: whatever the order of arrival, the survivors count."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import permutations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cases import signal
from tests.support.ledgered import ALLOWED, Ledgered, report
from trade_engine.audit.verify import Verification
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import Order, OrdStatus
from trade_engine.domain.position import Position
from trade_engine.domain.signal import Side
from trade_engine.execution.decisions import decide_signal
from trade_engine.execution.fills import book_report
from trade_engine.execution.order_changes import intend
from trade_engine.portfolio.ledger import book, cash_moved
from trade_engine.risk.exposure import Exposure

D = Decimal


def ordered(account: Ledgered, target: int, number: int, **changes: object) -> Order:
    """An order that is on its way to the broker."""
    side = Side.BUY if target > 0 else Side.SELL
    with account.batch() as batch:
        wish = signal(target, side, signal_id=f"s-{number}", **changes)
        order = decide_signal(batch, wish, ALLOWED).order
        assert order is not None
        intend(batch, [order.order_id])
    return order


def trade(order: Order, exec_id: str, qty: int, px: int) -> ExecutionReport:
    return report(order, ExecType.TRADE, exec_id, last_qty=D(qty), last_px=D(px), commission=D(1))


def bust(order: Order, exec_id: str, ref: str) -> ExecutionReport:
    return report(order, ExecType.TRADE_CANCEL, exec_id, exec_ref_id=ref)


def correct(order: Order, exec_id: str, ref: str, qty: int, px: int) -> ExecutionReport:
    return report(
        order, ExecType.TRADE_CORRECT, exec_id, exec_ref_id=ref, last_qty=D(qty), last_px=D(px)
    )


def told(account: Ledgered, *reports: ExecutionReport, together: bool = False) -> None:
    """Book reports: each in a batch of its own, or all in one."""
    groups: Iterable[Iterable[ExecutionReport]] = [reports] if together else [[r] for r in reports]
    for group in groups:
        with account.batch() as batch:
            for each in group:
                known = batch.find(each.cl_ord_id) or account.orders.get(each.cl_ord_id)
                book_report(batch, "paper", each, known)


def verify(account: Ledgered) -> None:
    verification = Verification("main", book)
    for each in account.journal:
        verification.take(each)
    verification.compare(account.state, account.orders.values(), account.executions)
    assert verification.findings.faults == []


def money(account: Ledgered) -> tuple[Decimal, Decimal, Decimal]:
    return account.state.cash, account.state.realized_pnl, account.state.fees


@pytest.mark.parametrize("together", [True, False])
def test_a_bust_takes_back_all_that_the_fill_did(*, together: bool) -> None:
    account = Ledgered()
    order = ordered(account, 1000, 1)
    told(account, trade(order, "e-1", 10, 100), bust(order, "b-1", "e-1"), together=together)
    after = account.orders[order.order_id]
    assert (after.ord_status, after.cum_qty, after.leaves_qty) == (OrdStatus.NEW, 0, 10)
    assert order.order_id in account.state.orders, "it may fill again, and holds its reservation"
    assert money(account) == (100_000, 0, 0)
    assert account.state.positions["momentum", "AAPL"].quantity == 0
    assert [(each.last_qty, each.amended_by) for each in account.fills] == [(0, ["b-1"])]
    verify(account)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("early", [True, False])
def test_a_correction_counts_as_if_it_had_been_so_from_the_first(
    *, early: bool, together: bool
) -> None:
    account = Ledgered()
    order = ordered(account, 1000, 1)
    reports = [trade(order, "e-1", 10, 100), correct(order, "c-1", "e-1", 8, 99)]
    told(account, *(reversed(reports) if early else reports), together=together)
    told(account, *reports)  # a broker that repeats itself
    after = account.orders[order.order_id]
    assert (after.cum_qty, after.cum_value, after.leaves_qty) == (8, 792, 2)
    assert money(account) == (100_000 - 792 - 1, 0, 1)
    kinds = [each.kind for each in account.journal]
    assert EntryKind.REPORT_IGNORED not in kinds
    verify(account)


@pytest.mark.parametrize("end", [ExecType.CANCELED, ExecType.EXPIRED])
@pytest.mark.parametrize("places", list(permutations(range(4))))
def test_an_end_and_its_bust_leave_the_same_in_any_order_of_arrival(
    places: tuple[int, ...], end: ExecType
) -> None:
    account = Ledgered()
    order = ordered(account, 1000, 1)
    reports = [
        trade(order, "e-1", 6, 100),
        trade(order, "e-2", 4, 100),
        bust(order, "b-1", "e-2"),
        report(order, end, "x-1"),
    ]
    told(account, *(reports[place] for place in places))
    after = account.orders[order.order_id]
    assert (after.ord_status, after.cum_qty, after.leaves_qty) == (OrdStatus(end.value), 6, 0)
    assert order.order_id not in account.state.orders, "it reserves nothing any more"
    assert money(account) == (100_000 - 600 - 1, 0, 1)
    assert EntryKind.REPORT_IGNORED not in [each.kind for each in account.journal]
    verify(account)


def test_an_amended_sale_moves_what_it_realized() -> None:
    account = Ledgered()
    bought, sold = ordered(account, 1000, 1), None
    told(account, trade(bought, "e-1", 10, 100))
    with account.batch() as batch:
        wish = signal(0, Side.SELL, signal_id="s-2")
        sold = decide_signal(batch, wish, ALLOWED).order
        assert sold is not None
        intend(batch, [sold.order_id])
    told(account, trade(sold, "e-2", 10, 110))
    assert account.state.realized_pnl == 100
    told(account, correct(bought, "c-1", "e-1", 10, 104))
    assert account.state.realized_pnl == 60
    payload = orjson.loads(account.journal[-1].payload)
    assert payload["realized_pnl"] == "-40"
    assert payload["amended"]["last_px"] == "104"
    told(account, bust(sold, "b-1", "e-2"))
    assert account.state.realized_pnl == 0
    assert account.state.positions["momentum", "AAPL"].cost == 1040
    verify(account)


def test_a_bust_for_an_order_without_its_executions_is_not_guessed_at() -> None:
    account = Ledgered()
    order = ordered(account, 1000, 1)
    told(account, trade(order, "e-1", 10, 100))
    with account.batch() as batch:
        batch.executions = {}
        book_report(
            batch, "paper", bust(order, "b-1", "e-1"), account.orders[order.order_id].copy()
        )
    assert account.journal[-1].kind is EntryKind.REPORT_IGNORED
    assert account.state.positions["momentum", "AAPL"].quantity == 10


@pytest.mark.parametrize("name", ["cash", "position", "amended"])
def test_an_amendment_that_was_written_wrong_is_found(name: str) -> None:
    account = Ledgered()
    order = ordered(account, 1000, 1)
    told(account, trade(order, "e-1", 10, 100), bust(order, "b-1", "e-1"))
    payload = orjson.loads(account.journal[-1].payload)
    if name == "amended":
        payload["report"]["exec_ref_id"] = "never"
    else:
        payload[name] = {"cash": "1", "position": Position("momentum", "AAPL", D(1)).to_json()}[
            name
        ]
    account.journal[-1].payload = orjson.dumps(payload)
    verification = Verification("main", book)
    for each in account.journal:
        verification.take(each)
    assert any("hash" not in fault.what for fault in verification.findings.faults)


STEPS = st.lists(
    st.tuples(st.integers(1, 9), st.integers(90, 110), st.sampled_from(["", "bust", "correct"])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60)
@given(steps=STEPS, data=st.data())
def test_whatever_the_order_of_arrival_the_survivors_count(
    steps: list[tuple[int, int, str]], data: st.DataObject
) -> None:
    """Two strategies' orders on one symbol, one buying and one selling; reports in any order."""
    account = Ledgered()
    orders = [ordered(account, 5000, 1)]
    aside, account.state.orders = account.state.orders, {}  # a strategy's own may not meet
    orders.append(ordered(account, -5000, 2))
    account.state.orders |= aside
    reports, counts = [], {}
    for number, (qty, px, fate) in enumerate(steps):
        order, name = orders[number % 2], f"e-{number}"
        reports.append(trade(order, name, qty, px))
        counts[name] = (order, D(qty), D(px))
        if fate == "bust":
            reports.append(bust(order, f"b-{number}", name))
            counts[name] = (order, ZERO, ZERO)
        elif fate == "correct":
            reports += [
                correct(order, f"c-{number}", name, qty + 1, px + 1),
                correct(order, f"d-{number}", f"c-{number}", qty + 2, px - 1),
            ]
            counts[name] = (order, D(qty + 2), D(px - 1))
    told(account, *data.draw(st.permutations(reports)), together=data.draw(st.booleans()))

    quantity = sum((qty * order.side.sign for order, qty, _ in counts.values()), ZERO)
    paid = sum((qty * px * order.side.sign for order, qty, px in counts.values()), ZERO)
    fees = sum((D(1) for _, qty, _ in counts.values() if qty), ZERO)
    position = account.state.positions["momentum", "AAPL"]
    assert position.quantity == quantity
    assert account.state.cash == 100_000 - paid - fees == 100_000 + cash_moved(position)
    assert (account.state.fees, account.state.realized_pnl) == (fees, position.realized_pnl)
    for order in orders:
        filled = sum((qty for of, qty, _ in counts.values() if of is order), ZERO)
        assert account.orders[order.order_id].cum_qty == filled
    rebuilt = Exposure(account.state.positions.values(), account.state.orders.values())
    with account.batch() as batch:
        assert batch.exposure.own("momentum", "AAPL") == rebuilt.own("momentum", "AAPL")
    verify(account)
