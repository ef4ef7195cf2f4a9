"""A breach stops the account by itself on every replica; one bad tick does not; a resume asks."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest

from tests.integration.test_limits_change import limits, rules, update
from tests.support.trading import (
    ACCOUNT,
    eventually,
    quote,
    replicas,
    rulebook,
    signal,
    until_quiet,
)
from trade_engine.auditing import AuditKind, audit
from trade_engine.domain.clock import NS_PER_S, rfc3339
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import Scope, ScopeKind, TradingState
from trade_engine.execution.commands import HaltCauseStands, ResumeCommand
from trade_engine.wiring import Running

pytestmark = pytest.mark.stores
SCOPE = Scope(ScopeKind.ACCOUNT, ACCOUNT)


async def trading(run: Running) -> TradingState:
    return (await run.engine.status(ACCOUNT)).accounts[0].trading_state


async def states(run: Running) -> list[dict[str, Any]]:
    kinds = frozenset({EntryKind.TRADING_STATE})
    entries = await run.engine.queries.entries(ACCOUNT, 0, 1000, kinds)
    return [orjson.loads(entry.payload) for entry in entries]


def resume(*, override: bool) -> ResumeCommand:
    return ResumeCommand(SCOPE, "it is understood", "olga", "", override)


async def test_a_breach_stops_the_account_without_a_signal(
    database_url: str, redis_url: str
) -> None:
    async with replicas(2, database_url, redis_url, rulebook(daily_loss_max=1_000)) as (one, two):
        await one.engine.submit(signal(15_000))  # a hundred shares at 150
        await until_quiet(one)
        await one.engine.publish_quotes([quote(price=15)])  # a bad tick, and then the market
        await asyncio.sleep(0.6)
        await one.engine.publish_quotes([quote(price=150)])
        await asyncio.sleep(0.6)
        assert await trading(two) is TradingState.ACTIVE
        await one.engine.publish_quotes([quote(price=139)])
        began = time.monotonic()

        async def stopped() -> bool:
            return await trading(two) is TradingState.REDUCE_ONLY

        await eventually(stopped, within_s=5)
        took_s = time.monotonic() - began
        assert took_s < 3, f"a stop takes a quarter of a second, not {took_s:.1f} s"
        await asyncio.sleep(0.6)
        [entry] = await states(one)
        assert entry["breach"]["cause"] == "DAILY_LOSS_LIMIT"
        assert entry["breach"]["prices"] == {"AAPL": "139"}
        for run in (one, two):
            more = (await run.engine.submit(signal(30_000))).decision
            assert more.outcome is Outcome.REJECTED
            assert more.reasons[0] is Reason.REDUCE_ONLY
            assert Reason.DAILY_LOSS_LIMIT in more.reasons
        with pytest.raises(HaltCauseStands):
            await two.engine.resume(resume(override=False))
        await two.engine.resume(resume(override=True))
        await asyncio.sleep(0.6)
        assert await trading(one) is TradingState.ACTIVE
        assert (await states(two))[-1]["excused"] == ["DAILY_LOSS_LIMIT"]
    for kind in AuditKind:
        [found] = await audit(kind, database_url, [ACCOUNT], lambda *_: None)
        assert found.faults == []


async def test_a_loss_that_a_raise_allowed_stops_a_flat_account_when_it_ends(
    database_url: str, redis_url: str
) -> None:
    tight = limits(daily_loss_max=500)
    async with replicas(2, database_url, redis_url, rules(tight)) as (one, two):
        await one.engine.submit(signal(15_000))
        await until_quiet(one)
        until_ns = time.time_ns() + 4 * NS_PER_S
        await update(
            one,
            f"""{tight}
[raises.wide]
limit = "daily_loss_max"
level = "default"
value = 5_000
from = {rfc3339(until_ns - 3600 * NS_PER_S)}
until = {rfc3339(until_ns)}
reason = "rebalancing"
operator = "ann"
""",
        )
        await one.engine.publish_quotes([quote(price=140)])
        out = (await one.engine.submit(signal(0, side=Side.SELL))).decision
        assert out.outcome is Outcome.APPROVED, out.message
        await until_quiet(one)
        assert await trading(two) is TradingState.ACTIVE

        async def stopped() -> bool:
            return await trading(two) is TradingState.REDUCE_ONLY

        await eventually(stopped, within_s=15)
        assert time.time_ns() >= until_ns
        [entry] = await states(one)
        assert entry["breach"]["source"] == "limits.toml:default"
