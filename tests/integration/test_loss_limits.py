"""A breach stops the account by itself on every replica; one bad tick does not; a resume asks."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
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
from trade_engine.risk import loss_limits
from trade_engine.wiring import Running

pytestmark = pytest.mark.stores
SCOPE = Scope(ScopeKind.ACCOUNT, ACCOUNT)


async def trading(run: Running) -> TradingState:
    return (await run.engine.status(ACCOUNT)).accounts[0].trading_state


async def stopped(run: Running) -> bool:
    return await trading(run) is TradingState.REDUCE_ONLY


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
        await eventually(lambda: stopped(two))
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


async def test_a_loss_in_which_no_two_quotes_agree_stops_the_account(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_limits, "UNPROVEN_NS", NS_PER_S)  # so that the prices stay sane
    async with replicas(1, database_url, redis_url, rulebook(daily_loss_max=1_000)) as [run]:
        await run.engine.submit(signal(-15_000, side=Side.SELL))
        await until_quiet(run)
        price = 150
        while not await stopped(run):
            price = price * 6 // 5
            assert price < 10**9, "the loss has grown for long enough"
            await run.engine.publish_quotes([quote(price=price)])
            await asyncio.sleep(0.1)
        [entry] = await states(run)
        assert Decimal(entry["breach"]["prices"]["AAPL"]) > 165, "out of the band of 150"


async def test_a_tick_that_is_gone_at_the_next_look_stops_nobody(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is within the band and a breach; only what a second look finds counts."""
    async with replicas(1, database_url, redis_url, rulebook(daily_loss_max=1_000)) as [run]:
        await run.engine.submit(signal(15_000))
        await until_quiet(run)
        marks = run.engine._gates[ACCOUNT]._marks
        with monkeypatch.context() as patch:
            # However long this machine takes to take the tick back: it was seen once until then.
            patch.setattr(loss_limits, "SECOND_LOOK_NS", 3600 * NS_PER_S)
            await run.engine.publish_quotes([quote(price=139)])
            await eventually(lambda: marks.seen._since_ns)
            await run.engine.publish_quotes([quote(price=150)])
            await eventually(lambda: not marks.seen._since_ns)
        assert await states(run) == []
        await run.engine.publish_quotes([quote(price=139)])
        await eventually(lambda: stopped(run))


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
        await eventually(lambda: stopped(two), within_s=15)
        assert time.time_ns() >= until_ns
        [entry] = await states(one)
        assert entry["breach"]["source"] == "limits.toml:default"
