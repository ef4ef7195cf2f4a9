"""What a gate makes of stores that lie, of texts nobody can read, and of instruments gone."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from tests.support.holding import stores
from tests.support.trading import (
    ACCOUNT,
    eventually,
    patient_plan,
    replicas,
    rulebook,
    signal,
    until_quiet,
)
from tests.support.wide import each_rate
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.errors import ConfigError
from trade_engine.domain.limits import STRATEGY_RATE, Level, Limits, Rate
from trade_engine.domain.rulebook import Rulebook
from trade_engine.execution.limits_at_start import OnOtherLimits
from trade_engine.storage.redis.connect import RedisLink
from trade_engine.wiring import Running, running

pytestmark = pytest.mark.stores

FOLD = f"te:{{{ACCOUNT}}}:state"
Fields = dict[bytes, bytes]


async def fold(redis_url: str) -> Fields:
    link = RedisLink(redis_url)
    [flat] = await link.run(("HGETALL", FOLD))
    await link.close()
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def lay(redis_url: str, fields: Fields) -> None:
    link = RedisLink(redis_url)
    await link.run(
        ("DEL", FOLD), ("HSET", FOLD, *(word for pair in fields.items() for word in pair))
    )
    await link.close()


async def is_the_records(run: Running, redis_url: str) -> bool:
    state, found = await run.record.load(ACCOUNT), await fold(redis_url)
    assert state is not None
    return (found[b"seq"], found[b"hash"]) == (
        str(state.sequence).encode(),
        state.head_hash.hex().encode(),
    )


@pytest.mark.parametrize("deciding", [0, 1])
@pytest.mark.parametrize("ahead", [-1, 0, 5])
async def test_a_fold_of_a_lost_timeline_is_not_decided_on(
    database_url: str, redis_url: str, ahead: int, deciding: int
) -> None:
    """The risk store has entries that a restored record lost: here, that nothing is held."""
    rules = rulebook(symbol_position_notional_max=20_000)
    async with replicas(2, database_url, redis_url, rules) as runs:
        flat = await fold(redis_url)
        await runs[0].engine.submit(signal(15_000))
        await until_quiet(runs[0])
        await eventually(lambda: is_the_records(runs[0], redis_url))
        sequence = int((await fold(redis_url))[b"seq"]) + ahead
        lost = {b"seq": str(sequence).encode(), b"hash": b"ab" * 32}
        await lay(redis_url, flat | lost)
        await runs[deciding].engine.evaluate(signal(1_500))
        assert await is_the_records(runs[0], redis_url)
        await lay(redis_url, flat | lost)
        answer = await runs[deciding].engine.submit(signal(15_000, strategy_id="other"))
        assert answer.decision.reasons == [Reason.SYMBOL_POSITION_LIMIT]
        await eventually(lambda: is_the_records(runs[0], redis_url))


@pytest.mark.parametrize(
    "scribble",
    [
        {b"summary": b'{"trading":[{"scope":5}]}'},
        {b"summary": b"no JSON", b"seq": b"1"},
        {b"summary": b"no JSON", b"seq": b"900"},
        {b"seq": b"many"},
        {b"pos:momentum-v1|AAPL": b"[]"},
    ],
    ids=str,
)
async def test_a_fold_that_cannot_be_read_is_laid_anew(
    database_url: str, redis_url: str, scribble: Fields
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        await lay(redis_url, await fold(redis_url) | {b"hash": b"ab"} | scribble)
        answer = await run.engine.submit(signal(1_500))
        assert answer.decision.outcome is Outcome.APPROVED
        await until_quiet(run)
        await eventually(lambda: is_the_records(run, redis_url))
        assert not run.engine.failed.is_set()


async def test_nothing_met_while_a_gate_opens_ends_its_writer(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        gate, met = run.engine._gates[ACCOUNT], []

        async def broken(*_args: object) -> None:
            met.append(1)
            raise AttributeError("'int' object has no attribute 'partition'")

        with monkeypatch.context() as patch:
            patch.setattr(stores(run).risk, "snapshot", broken)
            gate._head.close("a store is away")
            with pytest.raises(AttributeError):
                await run.engine.submit(signal(1_500))
            await eventually(lambda: len(met) >= 3)
            assert gate.closed_because
        await eventually(lambda: not gate.closed_because)
        answer = await asyncio.wait_for(run.engine.submit(signal(1_500)), 5)
        assert answer.decision.outcome is Outcome.APPROVED
        assert not run.engine.failed.is_set()


async def test_a_writer_that_ends_all_the_same_ends_the_engine(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:

        async def broken() -> None:
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr(run.engine._gates[ACCOUNT]._line, "next_batch", broken)
        waiting = asyncio.create_task(run.engine.submit(signal(1_500)))
        await asyncio.wait_for(run.engine.failed.wait(), 5)
        waiting.cancel()
        run.engine._gates[ACCOUNT]._line._requests.clear()  # nobody is left to settle it


def without(symbol: str) -> Rulebook:
    rules = rulebook()
    rules.instruments.pop(symbol)
    return rules


async def test_an_engine_does_not_start_without_an_instrument_that_is_held(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        await run.engine.submit(signal(15_000))
        await until_quiet(run)
    apply = OnOtherLimits.APPLY
    plan = patient_plan(database_url, redis_url, without("AAPL"), "replica-0", apply)
    with pytest.raises(ConfigError, match=r"holds or works AAPL.*Put it back"):
        async with running(plan):
            pass
    async with replicas(1, database_url, redis_url, without("IBM"), apply):
        pass


async def test_a_replayed_signal_in_a_batch_charges_nobody_twice(
    database_url: str, redis_url: str
) -> None:
    wide = rulebook()
    rate = Rate(count=1, period_ns=60_000_000_000, burst=9, source="test:default")
    quick = Rate(count=1000, period_ns=1_000_000_000, burst=1000, source="test:default")
    numbers = {(Level.DEFAULT, ""): wide.limits.in_force(0, ACCOUNT, "", "")}
    limits = Limits(
        wide.version, numbers, {(Level.DEFAULT, ""): each_rate(quick) | {STRATEGY_RATE: rate}}
    )
    async with replicas(2, database_url, redis_url, replace(wide, limits=limits)) as runs:
        known = signal(1_500, strategy_id="other")
        await runs[0].engine.submit(known)
        fresh = [signal(1_500 + 150 * n) for n in range(10)]
        *answers, again = await asyncio.gather(
            *(runs[1].engine.submit(each) for each in [*fresh, known])
        )
        assert again.replayed
        assert Counter(each.decision.outcome for each in answers) == {Outcome.APPROVED: 10}
        one_more = await runs[1].engine.submit(signal(4_500))
        assert one_more.decision.reasons == [Reason.STRATEGY_THROTTLED]
