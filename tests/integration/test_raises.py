"""Raises on three replicas: they end for all of them at one instant, and the journal proves it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import orjson
import pytest

from tests.integration.test_limits_change import limits, rules, update
from tests.support.audited import audit
from tests.support.trading import ACCOUNT, eventually, replicas, signal, until_quiet
from trade_engine.domain.clock import rfc3339
from trade_engine.domain.decision import Checks, Outcome, Reason
from trade_engine.domain.journal import EntryKind
from trade_engine.wiring import Running

pytestmark = pytest.mark.stores
HOUR_NS = 3_600 * 10**9
NAME = "limits.toml:default raise quarter-end"


def raised(until_ns: int) -> str:
    """Orders of at most 2,000, and of 5,000 until then."""
    return f"""{limits(order_notional_max=2_000)}
[raises.quarter-end]
limit = "order_notional_max"
level = "default"
value = 5_000
from = {rfc3339(until_ns - 2 * HOUR_NS)}
until = {rfc3339(until_ns)}
reason = "rebalancing"
operator = "ann"
"""


async def test_a_raise_ends_at_one_instant_on_every_replica(
    database_url: str, redis_url: str
) -> None:
    async with replicas(
        3, database_url, redis_url, rules(limits(order_notional_max=2_000))
    ) as all_:
        number = 0

        async def submit(run: Running) -> Outcome:
            nonlocal number
            number += 1  # another strategy each time, so that each wants an order
            return (
                await run.engine.submit(signal(3_000, strategy_id=f"s{number}"))
            ).decision.outcome

        assert [await submit(run) for run in all_] == [Outcome.REJECTED] * 3
        await update(all_[0], raised(time.time_ns() + HOUR_NS))
        assert [await submit(run) for run in all_] == [Outcome.APPROVED] * 3
        for run in all_:
            [account] = (await run.engine.status(ACCOUNT)).accounts
            assert [each.raised.name for each in account.active_raises] == ["quarter-end"]

        until_ns = (time.time_ns() + HOUR_NS // 3_600) // 1_000 * 1_000
        await update(all_[1], raised(until_ns))

        async def until_refused(run: Running) -> None:
            async def refused() -> bool:
                return await submit(run) is Outcome.REJECTED

            await eventually(refused)

        await asyncio.gather(*map(until_refused, all_))
        for run in all_:
            [account] = (await run.engine.status(ACCOUNT)).accounts
            assert account.active_raises == []
            [told] = (await run.engine.limits("")).raises
            assert (told.active, told.raised.until_ns) == (False, until_ns)
        await until_quiet(all_[0])
        found = Counter[tuple[bool, str]]()
        for decision, source in await decided(all_[2]):
            if (
                decision["limits_version"]
                == (await all_[2].engine.limits("")).change.rulebook.version
            ):
                within = decision["decided_at_ns"] < until_ns
                assert (source == NAME) is within
                found[within, decision["outcome"]] += 1
        assert found[False, "REJECTED"] >= 3
        assert found[False, "APPROVED"] == found[True, "REJECTED"] == 0
        await audit(all_[2])


def throttled(begins_ns: int, until_ns: int) -> str:
    """Two signals of a strategy at once, and five between two times."""
    return f"""{limits(strategy_signal_rate=hourly(burst=1))}
[raises.open]
limit = "strategy_signal_rate"
level = "default"
value = {hourly(burst=4)}
from = {rfc3339(begins_ns)}
until = {rfc3339(until_ns)}
reason = "the opening"
operator = "ann"
"""


def hourly(burst: int) -> str:
    return f"{{ count = 1, per_ms = 3_600_000, burst = {burst} }}"


async def test_a_rate_that_is_raised_and_falls_back_counts_on(
    database_url: str, redis_url: str
) -> None:
    """Neither the beginning nor the end of a raise forgets what a strategy has sent."""
    regular = rules(limits(strategy_signal_rate=hourly(burst=1)))
    async with replicas(2, database_url, redis_url, regular) as all_:
        number = 0

        async def submit() -> list[Reason]:
            nonlocal number
            number += 1
            run = all_[number % 2]
            return (await run.engine.submit(signal(1_000 * number))).decision.reasons

        assert [await submit() for _ in range(3)] == [[], [], [Reason.STRATEGY_THROTTLED]]

        now_ns = time.time_ns()
        await update(all_[0], throttled(now_ns - HOUR_NS, now_ns + HOUR_NS))
        assert [await submit() for _ in range(4)] == [[], [], [], [Reason.STRATEGY_THROTTLED]]
        [told] = (await all_[1].engine.limits("")).raises
        assert (told.active, str(told.regular)) == (True, "1 per 3600000 ms, burst 1")
        entries = await all_[1].engine.queries.entries(
            ACCOUNT, 0, 500, frozenset({EntryKind.DECISION})
        )
        checks = Checks.from_json(orjson.loads(entries[-1].payload)["decision"]["checks"])
        [check] = [each for each in checks if each.name == "strategy_rate"]
        assert check.source == "limits.toml:default raise open"
        assert check.limit == 5

        await update(all_[1], throttled(now_ns - HOUR_NS, (time.time_ns() // 1_000 + 1) * 1_000))
        await asyncio.sleep(0.01)
        assert await submit() == [Reason.STRATEGY_THROTTLED]
        await audit(all_[0])


async def decided(run: Running) -> list[tuple[dict[str, Any], str]]:
    """Every decision, and where its limit on the order's value came from."""
    entries = await run.engine.queries.entries(ACCOUNT, 0, 5_000, frozenset({EntryKind.DECISION}))
    decisions = [orjson.loads(each.payload)["decision"] for each in entries]
    return [
        (each, next(one.source for one in checks if one.name == "order_notional"))
        for each in decisions
        for checks in [Checks.from_json(each["checks"])]
    ]
