"""The day rolls by the clock that the engine was given, once over all replicas, also after it."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import orjson
import pytest

from tests.support.trading import (
    ACCOUNT,
    SYMBOLS,
    eventually,
    patient_plan,
    quote,
    rulebook,
    signal,
    until_quiet,
)
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.order import OrdStatus
from trade_engine.domain.session import Session
from trade_engine.domain.signal import TimeHorizon
from trade_engine.wiring import Plan, Running, running

pytestmark = pytest.mark.stores
DAY_NS = 86_400 * 10**9


class Clock:
    """The machine's time, and so many days ahead of it."""

    def __init__(self) -> None:
        self.days = 0

    def __call__(self) -> int:
        return time.time_ns() + self.days * DAY_NS


class Daily:
    """A calendar whose days end half a day from now: only a clock that is set on gets there."""

    def __init__(self) -> None:
        self._began_ns = time.time_ns() - DAY_NS // 2

    def session_at(self, calendar: str, now_ns: int) -> Session | None:
        day = (now_ns - self._began_ns) // DAY_NS
        begins_ns = self._began_ns + day * DAY_NS
        return Session(calendar, f"day-{day}", begins_ns, begins_ns, begins_ns + DAY_NS)


async def rolls(run: Running) -> list[dict[str, Any]]:
    found = await run.engine.queries.entries(ACCOUNT, 0, 1000, frozenset({EntryKind.DAY_ROLL}))
    return [orjson.loads(entry.payload) for entry in found]


def plan(stores: tuple[str, str], clock: Clock, calendar: Daily, replica_id: str) -> Plan:
    return patient_plan(*stores, rulebook(), replica_id, clock=clock, calendars=calendar)


async def test_a_day_rolls_once_over_replicas_and_over_downtime(
    database_url: str, redis_url: str
) -> None:
    clock, calendar, stores = Clock(), Daily(), (database_url, redis_url)
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(
                running(plan(stores, clock, calendar, f"replica-{number}"))
            )
            for number in range(2)
        ]
        await one.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
        await one.engine.submit(signal(15_000))
        await until_quiet(one)
        assert [each["session"]["name"] for each in await rolls(one)] == ["day-0"]
        clock.days = 1  # and nobody asks anything of either replica

        async def rolled() -> bool:
            return len(await rolls(two)) == 2

        await eventually(rolled)
        await one.engine.publish_quotes([quote(each, time_ns=clock()) for each in SYMBOLS])
        await asyncio.gather(one.engine.submit(signal(0)), two.engine.submit(signal(30_000)))
        assert len(await rolls(two)) == 2
    clock.days = 4  # over a weekend in which no engine ran
    async with running(plan(stores, clock, calendar, "replica-2")) as later:
        first, second, third = await rolls(later)
        assert third["session"]["name"] == "day-4"
        assert third["ended"]["session"] == "day-1"
        assert not third["missing"]
        state = await later.engine._parts.stores.record.load(ACCOUNT)
        assert state is not None
        assert state.day.session == "day-4"
        assert Decimal(first["day"]["start_equity"]) == 1_000_000
        assert second["prices"].keys() == {"AAPL"}


async def test_day_orders_end_with_the_day_and_others_do_not(
    database_url: str, redis_url: str
) -> None:
    clock, calendar = Clock(), Daily()
    planned = plan((database_url, redis_url), clock, calendar, "replica-0")
    planned.paper = PaperConfig(day_end_s=None)  # a venue that does not end them by itself
    async with running(planned) as run:
        await run.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
        ids = []
        for horizon, symbol in zip((TimeHorizon.INTRADAY, TimeHorizon.SWING), SYMBOLS, strict=True):
            wish = signal(15_000, symbol=symbol)
            wish.max_slippage_bps, wish.time_horizon = Decimal(0), horizon
            order = (await run.engine.submit(wish)).decision.order
            assert order is not None
            ids.append(order.order_id)

        async def so(*wanted: OrdStatus) -> bool:
            found = await run.record.find_orders(ACCOUNT, ids)
            return tuple(found[each].ord_status for each in ids) == wanted

        await eventually(lambda: so(OrdStatus.NEW, OrdStatus.NEW))
        clock.days = 1
        await eventually(lambda: so(OrdStatus.CANCELED, OrdStatus.NEW))
