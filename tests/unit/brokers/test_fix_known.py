"""The orders of a FIX session: some at hand, others in its file, with the terms they have now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.orders import make_order
from trade_engine.brokers import fix_known
from trade_engine.brokers.fix_known import KnownOrders
from trade_engine.brokers.fix_messages import Accepted
from trade_engine.brokers.fix_store import FixStore
from trade_engine.domain.execution import ExecType, ExecutionReport

D = Decimal
REPLACED = ExecutionReport("o-1.r1", "o-1/2", ExecType.REPLACED, 1, order_qty=D(80), price=D(9))
RESTATED = ExecutionReport("o-1", "o-1/3", ExecType.RESTATED, 1, order_qty=D(70))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FixStore]:
    with closing(FixStore(tmp_path / "venue.sqlite", lambda: 1)) as opened:
        yield opened


def sent(store: FixStore, orders: KnownOrders, count: int) -> None:
    for number in range(1, count + 1):
        order = make_order(order_id=f"o-{number}")
        orders.add(order)
        store.expect(order)
        store.set(number, f"8=FIX.4.4\x0135=D\x0134={number}\x0111=o-{number}\x01".encode())


def test_an_order_that_is_not_at_hand_any_more_is_looked_up_with_its_terms_of_now(
    store: FixStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fix_known, "AT_HAND_MAX", 2)
    orders = KnownOrders(store.look_up)
    sent(store, orders, 3)
    for report in (REPLACED, RESTATED):
        orders.note(report)
    store.book([REPLACED, RESTATED], 2)
    for _ in range(3):
        for number in range(1, 4):
            assert f"o-{number}" in orders
    assert len(orders._at_hand) == 2
    for known in (orders.get("o-1"), KnownOrders(store.look_up).get("o-1")):
        assert known is not None
        assert (known.account_id, known.symbol, known.side_code) == ("acc", "AAPL", "1")
        assert known.accepted == Accepted("o-1.r1", D(70))


def test_an_order_that_the_session_never_sent_is_unknown(store: FixStore) -> None:
    orders = KnownOrders(store.look_up)
    assert orders.get("o-9") is None
    assert "" not in orders
    orders.note(RESTATED)
    assert "o-1" not in orders


def test_what_a_number_was_taken_by_is_found_by_an_index(store: FixStore) -> None:
    sent(store, KnownOrders(store.look_up), 2)
    assert (store.order_sent_as(2), store.order_sent_as(3)) == ("o-2", "")
    for table in ("orders", "requests"):
        plan = store._looks.execute(
            f"EXPLAIN QUERY PLAN SELECT cl_ord_id FROM {table} WHERE era = 0 AND seq = 2"
        ).fetchall()
        assert f"{table}_by_number" in plan[0][3]
