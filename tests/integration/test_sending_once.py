"""No interleaving of leases, lost replies and stalls makes an order reach its broker twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from tests.support.holding import (
    BROKER,
    Hold,
    broker,
    lease_elsewhere,
    sender_first,
    sends,
    stores,
)
from tests.support.trading import (
    ACCOUNT,
    SYMBOLS,
    eventually,
    patient_plan,
    quote,
    replicas,
    rulebook,
    signal,
    until_quiet,
)
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.order import OrdStatus
from trade_engine.execution import order_router
from trade_engine.execution.ports import Committed, Delivery, Lease
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.leases import PostgresLeases
from trade_engine.wiring import Running, running

pytestmark = pytest.mark.stores


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done from time to time is done often."""
    monkeypatch.setattr(order_router, "LOOK_EVERY_S", 0.2)


class Handed:
    """Every order that a replica hands to its broker, with the token of the lease it has then."""

    def __init__(self, run: Running) -> None:
        self.orders: list[tuple[str, int]] = []
        self._router = run.engine._routers[ACCOUNT]
        self._send = broker(run).send
        broker(run).send = self._note  # type: ignore[method-assign]

    async def _note(self, orders: Sequence[Any]) -> list[Delivery]:
        claim = self._router.claim
        self.orders += [(each.order_id, claim.token if claim else 0) for each in orders]
        return await self._send(orders)


async def status_of(run: Running, order_id: str) -> OrdStatus:
    return (await run.record.find_orders(ACCOUNT, [order_id]))[order_id].ord_status


async def filled(run: Running, order_id: str) -> bool:
    return await status_of(run, order_id) is OrdStatus.FILLED


async def test_a_sender_that_was_stopped_for_longer_than_its_lease_hands_nothing_over(
    database_url: str, redis_url: str
) -> None:
    """What was approved under that lease is sent under the next one, once."""
    stopped_s = 0.0
    plan = patient_plan(
        database_url,
        redis_url,
        rulebook(),
        "replica-0",
        uptime=lambda: time.monotonic() + stopped_s,
    )
    async with running(plan) as run:
        await sender_first([run])
        await run.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
        first = run.engine._routers[ACCOUNT].claim
        assert first is not None
        handed = Handed(run)
        Hold(run.engine._parts.leases, "renew", lambda lease, _: lease.token == first.token)
        stopped_s = order_router.LEASE_TTL_MS / 1000
        order = (await run.engine.submit(signal(15_000))).decision.order
        assert order is not None
        await eventually(lambda: filled(run, order.order_id))
        [(order_id, token)] = handed.orders
        assert order_id == order.order_id
        assert token > first.token


async def test_an_approval_that_is_confirmed_after_another_sender_had_it_is_not_sent_again(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply to a commit is lost; the lease goes away and comes back before it is looked up."""
    monkeypatch.setattr(order_router, "LEASE_TTL_MS", 1000)
    monkeypatch.setattr(order_router, "RENEW_EVERY_S", 0.2)
    async with replicas(1, database_url, redis_url) as [old]:
        await sender_first([old])
        handed = Handed(old)
        record, leases = stores(old).record, old.engine._parts.leases
        commit, has_entry = record.commit, record.has_entry
        away = asyncio.Event()

        async def lose_the_reply(each: Any) -> Committed:
            assert await commit(each) is Committed.DONE
            return Committed.UNKNOWN

        async def not_yet(*of: Any) -> bool:
            if not away.is_set():
                raise StoreUnavailable("away")
            return await has_entry(*of)

        async def lost(*_of: Any) -> bool:
            return False

        monkeypatch.setattr(record, "commit", lose_the_reply)
        monkeypatch.setattr(record, "has_entry", not_yet)
        renewing = leases.renew
        monkeypatch.setattr(leases, "renew", lost)
        acquiring = Hold(leases, "acquire")
        submitting = asyncio.create_task(old.engine.submit(signal(15_000)))
        await eventually(lambda: not sends(old))
        plan = patient_plan(database_url, redis_url, rulebook(), "replica-new")
        async with running(plan) as new:
            await eventually(lambda: sends(new))

            await until_quiet(new)
        monkeypatch.setattr(leases, "renew", renewing)
        acquiring.let_go()
        await eventually(lambda: sends(old))
        monkeypatch.setattr(record, "commit", commit)
        away.set()
        order = (await submitting).decision.order
        assert order is not None
        assert await filled(old, order.order_id)
        another = (await old.engine.submit(signal(1_500, symbol="IBM"))).decision.order
        assert another is not None
        await eventually(lambda: filled(old, another.order_id))
        assert [order_id for order_id, _ in handed.orders] == [another.order_id]


async def test_two_brokers_may_give_two_executions_one_id(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        resting = signal(15_000)
        resting.max_slippage_bps = Decimal(0)
        order = (await run.engine.submit(resting)).decision.order
        assert order is not None
        for name in (BROKER, "another"):
            trade = ExecutionReport(
                order.order_id, "x-1", ExecType.TRADE, 1, Decimal(10), Decimal(150)
            )
            await run.engine._sink_of(name)(ACCOUNT, [trade])
        found = (await run.record.find_orders(ACCOUNT, [order.order_id]))[order.order_id]
        assert found.cum_qty == 20


async def test_a_lease_that_is_given_while_the_engine_stops_is_given_back(
    database_url: str, redis_url: str
) -> None:
    asked, given, read = asyncio.Event(), asyncio.Event(), asyncio.Event()
    async with lease_elsewhere(database_url) as given_up, AsyncExitStack() as stack:
        [run] = await stack.enter_async_context(replicas(1, database_url, redis_url))
        acquire = run.engine._parts.leases.acquire

        async def read_late(*of: Any) -> Lease | None:
            asked.set()
            lease = await acquire(*of)
            if lease is not None:
                given.set()
                await read.wait()
            return lease

        vars(run.engine._parts.leases)["acquire"] = read_late
        await asked.wait()  # what was asked before is answered
        given_up.set()
        await given.wait()
        stopping = asyncio.create_task(stack.aclose())
        await eventually(lambda: all(task.done() for task in run.engine._tasks))
        read.set()
        await stopping
    database = Database(database_url)
    assert await PostgresLeases(database).holder(ACCOUNT, BROKER) == ""
    await database.close()


async def test_a_sender_whose_account_was_opened_elsewhere_for_a_moment_sends_again(
    database_url: str, redis_url: str
) -> None:
    """By a process that was stopped when it had the lease, and did not know yet that it lost it."""
    async with replicas(2, database_url, redis_url) as runs:
        sender, other = await sender_first(runs)
        await broker(other).open_account(ACCOUNT)
        await broker(other).close_account(ACCOUNT)
        orders = [
            (await run.engine.submit(signal(15_000, strategy_id=name))).decision.order
            for name, run in (("here", sender), ("there", other))
        ]
        for order in orders:
            assert order is not None
            await eventually(partial(filled, sender, order.order_id))
        assert sends(sender)
