"""A what-if says what a submit would get now, and leaves no trace in either store."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest

from tests.support.every_row import Everything, when_still
from tests.support.trading import ACCOUNT, replicas, rulebook, signal, until_quiet
from tests.support.wide import each_rate
from trade_engine.domain.decision import CheckResult, Decision, Outcome, Reason
from trade_engine.domain.limits import STRATEGY_RATE, Level, Limits, Rate
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.signal import Signal
from trade_engine.storage.redis import keys

pytestmark = pytest.mark.stores
HOUR_NS = 3_600 * 10**9
ASKED = 3
"""What-ifs of each signal: more than few's throttle would let through, if they took from it."""
WAIT = re.compile(r"next in [0-9.]+ ms")
"""What a throttle says of the time, which goes on."""


def few_an_hour() -> Rulebook:
    """Orders of at most 100,000, and of strategy few two at once.

    Every rate is so slow that no throttle is forgotten, and none has room again, while a test runs.
    """
    wide = rulebook(order_notional_max=100_000)
    [named] = wide.limits.numbers.values()
    rates = {
        (Level.DEFAULT, ""): each_rate(Rate(1, HOUR_NS, 100, "test:default")),
        (Level.STRATEGY, "few"): {STRATEGY_RATE: Rate(1, HOUR_NS, 1, "test:few")},
    }
    limits = Limits(wide.version, {(Level.DEFAULT, ""): named}, rates)
    return replace(wide, limits=limits)


@dataclass(frozen=True)
class Case:
    """A signal, and what becomes of it."""

    wish: Signal
    outcome: Outcome
    reasons: tuple[Reason, ...] = ()


def cases() -> list[Case]:
    """In the order in which they are submitted: the second one empties few's throttle."""
    return [
        Case(signal(15_000, strategy_id="few"), Outcome.APPROVED),
        Case(signal(15_000, strategy_id="few"), Outcome.NO_ACTION, (Reason.AT_TARGET,)),
        Case(signal(30_000, strategy_id="few"), Outcome.REJECTED, (Reason.STRATEGY_THROTTLED,)),
        Case(signal(300_000), Outcome.REJECTED, (Reason.ORDER_NOTIONAL_LIMIT,)),
        Case(signal(0, strategy_id="many"), Outcome.NO_ACTION, (Reason.AT_TARGET,)),
        Case(signal(1_500, strategy_id="many", symbol="IBM"), Outcome.APPROVED),
    ]


async def test_a_what_if_leaves_every_row_and_key_alone_and_says_what_a_submit_gets(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url, few_an_hour()) as [run]:
        for case in cases():
            before = await when_still(database_url, redis_url)
            told = [await run.engine.evaluate(case.wish) for _ in range(ASKED)]
            assert_same(before, await when_still(database_url, redis_url))
            given = (await run.engine.submit(case.wish)).decision
            await until_quiet(run)
            assert (given.outcome, tuple(given.reasons)) == (case.outcome, case.reasons)
            assert {each.sequence for each in told} == {0}
            assert [comparable(each) for each in told] == [comparable(given)] * ASKED


async def test_what_is_read_of_the_stores_is_all_that_a_submit_writes(
    database_url: str, redis_url: str
) -> None:
    """Else the test above would compare nothing."""
    async with replicas(1, database_url, redis_url, few_an_hour()) as [run]:
        before = await when_still(database_url, redis_url)
        await run.engine.submit(signal(15_000, strategy_id="few"))
        await until_quiet(run)
        after = await when_still(database_url, redis_url)
    tables = {name for (_, name), rows in after.rows.items() if rows != before.rows[_, name]}
    assert tables >= {"accounts", "journal", "decisions", "orders", "positions"}
    assert after.keys.keys() - before.keys.keys() == {
        keys.throttle(ACCOUNT, "strategy:few").encode(),
        keys.throttle(ACCOUNT, "account").encode(),
        keys.batch(ACCOUNT, "replica-0").encode(),
    }


def assert_same(before: Everything, after: Everything) -> None:
    """The tables one by one, so that a difference is told by its rows and not by all of them."""
    assert after.rows.keys() == before.rows.keys()
    for table, rows in before.rows.items():
        assert after.rows[table] == rows, table
    assert after.keys == before.keys


def comparable(decision: Decision) -> dict[str, Any]:
    """A decision as it is answered, without its place, its time, and the order that it became."""
    return {
        "outcome": decision.outcome,
        "reasons": decision.reasons,
        "message": WAIT.sub("", decision.message),
        "sizing": decision.sizing,
        "limits_version": decision.limits_version,
        "checks": [_check(each) for each in decision.checks],
    }


def _check(check: CheckResult) -> dict[str, Any]:
    """All that a check says; of an age the numbers go on by themselves."""
    own = replace(check, message=WAIT.sub("", check.message))
    return asdict(replace(own, observed=None, projected=None) if check.unit == "ms" else own)
