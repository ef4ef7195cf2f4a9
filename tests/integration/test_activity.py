"""Rates of an account and of cancels, and the earlier quote, on the real stores."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.support.trading import ACCOUNT, patient_plan, quote, replicas, rulebook, signal
from tests.support.wide import each_rate
from trade_engine.domain.decision import Reason
from trade_engine.domain.errors import CancelsThrottled, NotFound
from trade_engine.domain.limits import ACCOUNT_RATE, CANCEL_RATE, Level, Limits, Rate
from trade_engine.domain.rulebook import Rulebook
from trade_engine.wiring import running

MINUTE_NS = 60_000_000_000
QUICK = Rate(1000, 1_000_000_000, 1000, "test:default")
SLOW = Rate(1, MINUTE_NS, 1, "test:default")


def rated(name: str) -> Rulebook:
    wide = rulebook()
    numbers = {(Level.DEFAULT, ""): wide.limits.in_force(0, ACCOUNT, "", "")}
    rates = {(Level.DEFAULT, ""): each_rate(QUICK) | {name: SLOW}}
    return replace(wide, limits=Limits(wide.version, numbers, rates))


async def test_strategies_of_an_account_share_its_rate_over_replicas(
    database_url: str, redis_url: str
) -> None:
    async with replicas(2, database_url, redis_url, rated(ACCOUNT_RATE)) as runs:
        reasons = []
        for number in range(3):
            wish = signal(1_500, strategy_id=f"s-{number}")
            reasons.append((await runs[number % 2].engine.submit(wish)).decision.reasons)
        assert reasons == [[], [], [Reason.ACCOUNT_THROTTLED]]


async def test_cancels_have_a_rate_of_their_own(database_url: str, redis_url: str) -> None:
    async with replicas(1, database_url, redis_url, rated(CANCEL_RATE)) as (run,):

        async def cancel() -> None:
            await run.engine.cancel_order(ACCOUNT, "o-none", "r-1", "a test", "olga")

        for _ in range(2):
            with pytest.raises(NotFound):
                await cancel()
        with pytest.raises(CancelsThrottled, match="cancels faster than account_cancel_rate"):
            await cancel()
        assert (await run.engine.submit(signal(1_500))).decision.order is not None


async def test_one_bad_tick_moves_no_order(database_url: str, redis_url: str) -> None:
    rules = rulebook(price_band_bps_max=500)
    async with replicas(1, database_url, redis_url, rules) as (run,):
        await run.engine.publish_quotes([quote(price=300)])
        refused = (await run.engine.submit(signal(3_000))).decision
        assert refused.reasons == [Reason.PRICE_COLLAR]
        await run.engine.publish_quotes([quote(price=151)])
        assert (await run.engine.submit(signal(1_510))).decision.order is not None


async def test_a_move_that_lasts_passes_when_the_earlier_quotes_have_followed(
    database_url: str, redis_url: str
) -> None:
    passed_ns = 0

    def clock() -> int:
        return time.time_ns() + passed_ns

    rules = rulebook(price_band_bps_max=500)
    plan = patient_plan(database_url, redis_url, rules, "replica-0", clock=clock)
    async with running(plan) as run:
        await run.engine.publish_quotes([quote(price=150, time_ns=clock())])
        refused = []
        for _ in range(5):
            passed_ns += MINUTE_NS // 3
            await run.engine.publish_quotes([quote(price=300, time_ns=clock())])
            decision = (await run.engine.submit(signal(3_000))).decision
            refused.append(Reason.PRICE_COLLAR in decision.reasons)
        assert refused == [True, True, False, False, False]
