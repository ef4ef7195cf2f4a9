"""EvaluateSignal: what SubmitSignal would decide now, with nothing written anywhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.support.trading import ACCOUNT, replicas, rulebook, signal, until_quiet
from tests.support.wide import each_rate
from trade_engine.domain.decision import Decision, Outcome, Reason
from trade_engine.domain.limits import STRATEGY_RATE, Level, Limits, Rate
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.signal import Side, Signal
from trade_engine.storage.redis.connect import RedisLink

pytestmark = pytest.mark.stores

QUICK = Rate(1000, 1_000_000_000, 1000, "test:default")
SLOW = Rate(1, 600_000_000_000, 3, "test:default")
"""Nothing of it comes back while the test runs, and no key of it expires."""
OF_ITS_TIME = frozenset({"signal_age", "quote", "duplicate"})
"""Checks whose numbers say how long ago something was."""
SAYS_WHEN = OF_ITS_TIME | {"strategy_rate"}
"""Checks whose words do."""
RENEWED = {"leases": {"expires_at"}}
"""What engines write all the time, whether anybody asks or not."""


def rules() -> Rulebook:
    wide = rulebook(order_notional_max=20_000)
    numbers = {(Level.DEFAULT, ""): wide.limits.in_force(0, ACCOUNT, "", "")}
    rates = {(Level.DEFAULT, ""): each_rate(QUICK) | {STRATEGY_RATE: SLOW}}
    return replace(wide, limits=Limits(wide.version, numbers, rates))


def rows(database_url: str) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    url = database_url.replace("postgresql+psycopg://", "postgresql://")
    found = {}
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchall()
        for (table,) in tables:
            query = sql.SQL("SELECT to_jsonb(t) - %s::text[] FROM {} AS t").format(
                sql.Identifier(table)
            )
            of_table = connection.execute(query, [list(RENEWED.get(table, ()))]).fetchall()
            found[table] = sorted(map(str, of_table))
    return found


async def keys(redis_url: str) -> dict[bytes, Any]:
    """Every key: its value as Redis would save it, and whether it is to expire."""
    link = RedisLink(redis_url)
    [names] = await link.run(("KEYS", "*"))
    found = {}
    for name in names:
        value, ttl = await link.run(("DUMP", name), ("PTTL", name))
        found[name] = value, ttl > 0
    await link.close()
    return found


def told(decision: Decision) -> list[tuple[Any, ...]]:
    """All that the checks said, but for what only says how time passes."""
    return [
        (each.name, each.passed, each.reason, each.scope, each.unit, each.source, each.limit)
        + (() if each.name in OF_ITS_TIME else (each.observed, each.projected))
        + (() if each.name in SAYS_WHEN else (each.message,))
        for each in decision.checks
    ]


WISHES: list[tuple[Signal, Outcome, list[Reason]]] = [
    (signal(30_000), Outcome.APPROVED, []),
    (signal(30_000), Outcome.NO_ACTION, [Reason.AT_TARGET]),
    (signal(-30_000, side=Side.SELL), Outcome.REJECTED, [Reason.ORDER_NOTIONAL_LIMIT]),
    (
        signal(1_500, strategy_id="busy"),
        Outcome.REJECTED,
        [Reason.STRATEGY_THROTTLED],
    ),
]


async def test_it_decides_as_submitting_would_and_writes_nothing_anywhere(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url, rules()) as [run]:
        await run.engine.submit(signal(15_000))
        for number in range(4):
            await run.engine.submit(signal(1_500 * number, strategy_id="busy", symbol="IBM"))
        await until_quiet(run)
        for wish, outcome, reasons in WISHES:
            before = rows(database_url), await keys(redis_url)
            evaluated = await run.engine.evaluate(wish)
            assert told(await run.engine.evaluate(wish)) == told(evaluated)
            assert (rows(database_url), await keys(redis_url)) == before
            assert len(before[0]["journal"]) > 5
            assert any(b"throttle" in name or b"strategy" in name for name in before[1])
            assert (evaluated.outcome, evaluated.reasons) == (outcome, reasons), evaluated.message
            assert (evaluated.order, evaluated.sequence) == (None, 0)
            submitted = (await run.engine.submit(wish)).decision
            assert told(submitted) == told(evaluated)
            assert (submitted.outcome, submitted.reasons) == (outcome, reasons)
            assert (submitted.sizing, submitted.limits_version) == (
                evaluated.sizing,
                evaluated.limits_version,
            )
            assert (rows(database_url), await keys(redis_url)) != before
            await until_quiet(run)
