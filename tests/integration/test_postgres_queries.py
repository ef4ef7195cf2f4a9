"""Questions to the record: what is found, listed in pages, and read as of one moment."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.support.record import ACCOUNT, START_NS, add, decisions, moved, opened, order, signal
from trade_engine.domain.account import AccountState
from trade_engine.domain.decision import Decision, Outcome
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import OrdStatus
from trade_engine.domain.position import Position
from trade_engine.execution.ports import (
    Committed,
    DecisionFilter,
    OrderFilter,
)
from trade_engine.storage.postgres.record import PostgresRecord

pytest_plugins = ["tests.support.record_fixtures"]
pytestmark = pytest.mark.stores


@pytest.fixture
async def state(record: PostgresRecord) -> AccountState:
    return await opened(record)


async def test_has_entry_knows_the_very_entry(record: PostgresRecord, state: AccountState) -> None:
    commit = decisions(state, signal(1))
    await record.commit(commit)
    assert await record.has_entry(ACCOUNT, 2, commit.head_hash)
    assert not await record.has_entry(ACCOUNT, 2, bytes(32))
    assert not await record.has_entry(ACCOUNT, 3, commit.head_hash)
    assert not await record.has_entry("other", 2, commit.head_hash)


async def test_decisions_are_found_by_signal(record: PostgresRecord, state: AccountState) -> None:
    approved = decisions(state, signal(1), signal(2))
    await record.commit(approved)
    await record.commit(decisions(moved(state, approved), signal(3), approve=False))
    found = await record.find_decisions(ACCOUNT, ["signal-2", "signal-3", "signal-4"])
    assert set(found) == {"signal-2", "signal-3"}
    assert found["signal-2"].signal == signal(2)
    assert found["signal-2"].order == approved.orders[1]
    assert found["signal-2"].sequence == 3
    assert found["signal-3"].outcome is Outcome.REJECTED
    assert await record.find_decisions(ACCOUNT, []) == {}
    assert await record.find_decisions("other", ["signal-1"]) == {}


async def test_decisions_are_listed_newest_first_in_pages(
    record: PostgresRecord, state: AccountState
) -> None:
    await record.commit(
        first := decisions(
            state, signal(1), signal(2, symbol="MSFT"), signal(3, strategy_id="mean-v1")
        )
    )
    await record.commit(decisions(moved(state, first), signal(4), approve=False))

    async def listed(which: DecisionFilter, before: int | None = None, limit: int = 9) -> list[str]:
        found: list[Decision] = await record.list_decisions(ACCOUNT, which, before, limit)
        assert all(each.sequence for each in found)
        return [each.signal.signal_id.removeprefix("signal-") for each in found]

    assert await listed(DecisionFilter()) == ["4", "3", "2", "1"]
    assert await listed(DecisionFilter(), limit=2) == ["4", "3"]
    assert await listed(DecisionFilter(), before=4, limit=2) == ["2", "1"]
    assert await listed(DecisionFilter(symbol="MSFT")) == ["2"]
    assert await listed(DecisionFilter(strategy_id="mean-v1")) == ["3"]
    assert await listed(DecisionFilter(outcome=Outcome.REJECTED)) == ["4"]
    assert await listed(DecisionFilter(symbol="MSFT", strategy_id="mean-v1")) == []


async def test_orders_are_listed_newest_first_in_pages(
    record: PostgresRecord, state: AccountState
) -> None:
    commit = decisions(state, signal(1), signal(2, symbol="MSFT"), signal(3, strategy_id="m"))
    same_time = [replace(each, created_at_ns=START_NS) for each in commit.orders]
    later = order(
        signal(4), 2, created_at_ns=START_NS + 1, ord_status=OrdStatus.CANCELED, leaves_qty=ZERO
    )
    commit.orders = [*same_time, later]
    await record.commit(commit)
    newest_first = sorted(commit.orders, key=lambda o: (o.created_at_ns, o.order_id), reverse=True)

    async def listed(which: OrderFilter, limit: int = 9) -> list[Any]:
        return await record.list_orders(ACCOUNT, which, None, limit)

    assert await listed(OrderFilter()) == newest_first
    assert await listed(OrderFilter(open_only=True)) == newest_first[1:]
    assert await listed(OrderFilter(symbol="MSFT")) == [same_time[1]]
    assert await listed(OrderFilter(strategy_id="m", open_only=True)) == [same_time[2]]
    paged, before = [], None
    while page := await record.list_orders(ACCOUNT, OrderFilter(), before, 1):
        paged += page
        before = (page[-1].created_at_ns, page[-1].order_id)
    assert paged == newest_first


async def test_positions_are_listed_in_order_in_pages(
    record: PostgresRecord, state: AccountState
) -> None:
    keys = [("a", "X"), ("a", "Y"), ("B", "X"), ("b", "X")]
    commit = decisions(state)
    add(commit, EntryKind.EXECUTION, {})
    commit.positions = [Position(*key) for key in keys]
    await record.commit(commit)

    async def listed(*which: Any) -> list[tuple[str, str]]:
        return [
            (each.strategy_id, each.symbol) for each in await record.list_positions(ACCOUNT, *which)
        ]

    assert await listed("", "", None, 9) == sorted(keys)
    assert await listed("", "", None, 2) == sorted(keys)[:2]
    assert await listed("", "", ("a", "X"), 9) == [("a", "Y"), ("b", "X")]
    assert await listed("", "X", None, 9) == [("B", "X"), ("a", "X"), ("b", "X")]
    assert await listed("a", "", None, 9) == [("a", "X"), ("a", "Y")]


async def test_open_orders_and_head_are_of_one_moment(
    record: PostgresRecord, state: AccountState
) -> None:
    """Each batch adds one open order, so their number tells the head."""

    async def write() -> None:
        for number in range(60):
            batch = decisions(state, signal(number))
            assert await record.commit(batch) is Committed.DONE
            moved(state, batch)

    writing = asyncio.create_task(write())
    looks = 0
    while not writing.done():
        head, orders = await record.open_orders(ACCOUNT)
        loaded = await record.load(ACCOUNT)
        assert loaded is not None
        assert len(orders) == head - 1
        assert len(loaded.orders) == loaded.sequence - 1
        looks += 1
    await writing
    assert looks > 5
