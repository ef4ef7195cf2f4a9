"""Synthetic fills: made once, only where they fit, and giving way to the real ones."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cases import NOW_NS
from tests.support.ledgered import Ledgered
from tests.unit.execution.test_amendments import bust, money, ordered, told, trade, verify
from trade_engine.domain.execution import ExecutionReport
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import Order, OrdStatus
from trade_engine.execution.ports import BrokerOrder
from trade_engine.execution.synthetic import synthetic_fill

D = Decimal


def seen(order: Order, cum_qty: int, avg_px: str | None = None) -> BrokerOrder:
    """What the broker says of an order, without its executions."""
    px = None if avg_px is None else D(avg_px)
    return BrokerOrder(
        order.cl_ord_id, "P-1", D(cum_qty), order.order_qty - cum_qty, is_open=True, reports=[],
        avg_px=px,
    )  # fmt: skip


def made(order: Order, cum_qty: int, avg_px: str | None = None) -> ExecutionReport:
    fill = synthetic_fill(order, seen(order, cum_qty, avg_px), NOW_NS)
    assert fill is not None
    return fill


def now(account: Ledgered, order: Order) -> Order:
    return account.orders[order.order_id]


def position(account: Ledgered) -> tuple[Decimal, Decimal]:
    held = account.state.positions["momentum", "AAPL"]
    return held.quantity, held.cost


def test_it_lifts_the_order_to_what_the_broker_says() -> None:
    account = Ledgered()
    order = ordered(account, 1000, 1)
    told(account, trade(order, "e-1", 4, 99))
    told(account, made(now(account, order), 10, "99.6"))
    filled = now(account, order)
    assert (filled.cum_qty, filled.avg_px, filled.ord_status) == (10, D("99.6"), OrdStatus.FILLED)
    verify(account)


def test_its_name_follows_from_order_and_cum_qty_and_its_price_from_what_is_known() -> None:
    account = Ledgered()
    order = ordered(account, 1000, 1)
    assert order.price is not None
    fill = made(order, 7)
    assert fill.exec_id == f"synthetic-{order.order_id}-7"
    assert (fill.last_qty, fill.last_px) == (7, order.price)
    assert synthetic_fill(replace(order, price=None), seen(order, 7), NOW_NS) is None
    assert synthetic_fill(order, seen(order, 0, "99"), NOW_NS) is None
    told(account, trade(order, "e-1", 4, 200))  # dearer than what the broker says all of it cost
    assert made(now(account, order), 10, "50").last_px == 50


def test_one_that_was_overtaken_is_not_booked() -> None:
    account = Ledgered()
    order = ordered(account, 1000, 1)
    overtaken = made(order, 6, "99")
    told(account, trade(order, "e-1", 6, 99), overtaken)
    assert now(account, order).cum_qty == 6
    told(account, trade(order, "e-2", 2, 99), overtaken)
    assert now(account, order).cum_qty == 8


@settings(max_examples=60)
@given(
    known=st.integers(0, 3),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    order_of=st.permutations(range(3)),
    together=st.booleans(),
)
def test_real_executions_take_its_place_in_whatever_order_they_come(
    known: int, sizes: list[int], order_of: list[int], *, together: bool
) -> None:
    real, with_gap = Ledgered(), Ledgered()
    order = ordered(Ledgered(), 1500, 1)  # the same in both
    missing = sum(sizes)
    for account in (real, with_gap):
        ordered(account, 1500, 1)
        if known:
            told(account, trade(order, "e-0", known, 98))
        fills = [trade(order, f"e-{n + 1}", size, 99 + n) for n, size in enumerate(sizes)]
        if account is with_gap:
            told(account, made(account.orders.get(order.order_id, order), known + missing, "99"))
        told(account, *(fills[n] for n in order_of if n < len(fills)), together=together)
    assert money(with_gap) == money(real)
    assert position(with_gap) == position(real)
    assert now(with_gap, order).cum_qty == now(real, order).cum_qty == known + missing
    verify(with_gap)


def test_what_was_filled_after_it_is_none_that_it_stands_for() -> None:
    account = Ledgered()
    order = ordered(account, 1000, 1)
    told(account, made(order, 4, "99"))
    later = replace(trade(order, "e-2", 6, 99), transact_time_ns=NOW_NS + 1)
    told(account, later)
    assert now(account, order).cum_qty == 10
    told(account, trade(order, "e-1", 4, 98))
    assert (now(account, order).cum_qty, position(account)[0]) == (10, 10)
    verify(account)


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_real_one_that_is_told_again_takes_no_more(repeats: int) -> None:
    account = Ledgered()
    order = ordered(account, 1000, 1)
    told(account, made(order, 8, "99"))
    told(account, *[trade(order, "e-1", 3, 99)] * repeats)
    assert now(account, order).cum_qty == 8
    told(account, bust(order, "e-2", "e-1"))
    assert (now(account, order).cum_qty, account.state.fees) == (5, ZERO)
    verify(account)
