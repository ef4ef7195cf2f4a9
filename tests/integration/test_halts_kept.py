"""What may not undo a halt, and what may: half resumes, older copies, damage, clocks set back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.support.holding import Hold, sender_first, stores, unavailable
from tests.support.trading import (
    ACCOUNT,
    SYMBOLS,
    eventually,
    patient_plan,
    quote,
    replicas,
    rulebook,
    signal,
)
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.errors import EngineError, StoreUnavailable
from trade_engine.domain.trading_state import GLOBAL, Scope, ScopeKind, TradingState
from trade_engine.execution import halting, stores_watch
from trade_engine.execution.commands import HaltCommand, ResumeCommand
from trade_engine.execution.controls import restore_controls
from trade_engine.execution.limits_at_start import OnOtherLimits
from trade_engine.storage.redis import keys
from trade_engine.storage.redis.connect import RedisLink
from trade_engine.wiring import Running, running

pytestmark = pytest.mark.stores

HALT = HaltCommand(
    GLOBAL, TradingState.HALTED, "drill", "ops", cancel_open_orders=False, request_id=""
)
RESUME = ResumeCommand(GLOBAL, "over", "ops", "", override=False)
NS_PER_HOUR = 3_600 * 10**9


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done from time to time is done often."""
    monkeypatch.setattr(halting, "CARRY_EVERY_S", 0.1)
    monkeypatch.setattr(stores_watch, "WATCH_EVERY_S", 0.1)


@asynccontextmanager
async def asking(redis_url: str) -> AsyncIterator[RedisLink]:
    link = RedisLink(redis_url)
    yield link
    await link.close()


async def first_reason(run: Running, account_id: str = ACCOUNT) -> Reason | None:
    """Why a signal is refused now; None when it is approved, or not decided at all."""
    try:
        decision = await run.engine.evaluate(replace(signal(1_500), account_id=account_id))
    except EngineError:
        return None
    return decision.reasons[0] if decision.reasons else None


async def is_halted(run: Running, account_id: str = ACCOUNT) -> bool:
    return await first_reason(run, account_id) is Reason.TRADING_HALTED


async def trades(run: Running) -> bool:
    try:
        return (await run.engine.evaluate(signal(1_500))).outcome is Outcome.APPROVED
    except EngineError:
        return False


async def places(run: Running) -> list[TradingState | None]:
    """How GLOBAL stands in Postgres's controls, in Redis's, in the journal, and in the latch."""
    state = await run.record.load(ACCOUNT)
    assert state is not None
    found = [
        await stores(run).controls.controls(),
        await stores(run).risk.controls() or {},
        state.trading,
        run.engine._gates[ACCOUNT].latched,
    ]
    return [each[GLOBAL].state if GLOBAL in each else None for each in found]


# ---- resumes --------------------------------------------------------------------------------


async def test_a_resume_is_not_undone_by_the_halt_that_is_still_being_carried(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        await sender_first([run])
        controls = stores(run).controls
        put = controls.put_controls
        monkeypatch.setattr(controls, "put_controls", unavailable)
        await run.engine.halt(HALT)
        monkeypatch.setattr(controls, "put_controls", put)
        carrying = Hold(controls, "put_controls", lambda states: states[0].state is HALT.state)
        await carrying.reached.wait()
        resuming = asyncio.create_task(run.engine.resume(RESUME))
        done, _ = await asyncio.wait({resuming}, timeout=0.5)
        assert not done, "it waits for what is being written"
        carrying.let_go()
        await resuming
        await asyncio.sleep(0.4)
        assert await places(run) == [None, TradingState.ACTIVE, None, None]
        assert await trades(run)


@pytest.mark.parametrize("failing", ["the journal, in time", "postgres", "redis"])
async def test_half_a_resume_is_none(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Whatever took the resume takes the halt again, so that it rests on every store as before."""
    monkeypatch.setattr(halting, "JOURNAL_WAIT_S", 0.3)
    async with replicas(1, database_url, redis_url) as [run]:
        await sender_first([run])
        assert (await run.engine.halt(HALT)).drained
        late: Hold | None = None
        with monkeypatch.context() as patch:
            if failing == "the journal, in time":
                late = Hold(stores(run).record, "commit")
            else:
                store: Any = stores(run).controls if failing == "postgres" else stores(run).risk
                patch.setattr(store, "put_controls", unavailable)
            with pytest.raises(StoreUnavailable):
                await run.engine.resume(RESUME)
        if late is not None:
            head = await run.record.head(ACCOUNT)
            late.let_go()

            async def taken_late() -> bool:
                return await run.record.head(ACCOUNT) != head

            await eventually(taken_late)

        async def as_before() -> bool:
            return await places(run) == [TradingState.HALTED] * 3 + [None]

        await eventually(as_before)
        assert await is_halted(run)
        await run.engine.resume(RESUME)
        assert await trades(run)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_halt_is_resumed_though_the_clock_was_set(
    database_url: str, redis_url: str, hours: int
) -> None:
    """By an engine that was started since, so that the stores alone know the time of the halt."""
    plan = patient_plan(database_url, redis_url, rulebook(), "replica-0")
    async with running(plan) as run:
        assert (await run.engine.halt(HALT)).drained
    plan.clock = lambda: time.time_ns() + hours * NS_PER_HOUR
    async with running(plan) as run:
        assert (await run.engine.resume(RESUME)).remaining == []
        assert await places(run) == [None, TradingState.ACTIVE, None, None]
        assert (await run.engine.halt(HALT)).drained
        assert await places(run) == [TradingState.HALTED] * 3 + [None]


# ---- what became of Redis -------------------------------------------------------------------


async def test_a_halt_outlives_a_failover_to_a_copy_from_before_it(
    database_url: str, redis_url: str
) -> None:
    """Also for an account of which the halting replica knows nothing, so that no journal has it."""
    more = rulebook()
    more.accounts["b"] = replace(more.accounts[ACCOUNT], account_id="b")
    async with AsyncExitStack() as stack:
        old, new = [
            await stack.enter_async_context(
                running(
                    patient_plan(
                        database_url, redis_url, rules, name, other_limits=OnOtherLimits.APPLY
                    )
                )
            )
            for name, rules in (("old", rulebook()), ("new", more))
        ]
        await old.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
        async with asking(redis_url) as link:
            [before] = await link.run(("HGETALL", keys.CONTROLS))
            await old.engine.halt(HALT)
            assert await is_halted(new, "b")
            await link.run(("DEL", keys.CONTROLS), ("HSET", keys.CONTROLS, *before))
        await eventually(partial(is_halted, new, "b"))
        await eventually(partial(is_halted, old))


async def test_a_restore_does_not_bring_back_what_was_resumed_meanwhile(
    database_url: str, redis_url: str
) -> None:
    async with replicas(2, database_url, redis_url) as [here, other]:
        await here.engine.halt(HALT)
        holding = Hold(stores(other).risk, "put_controls")
        restoring = asyncio.create_task(restore_controls(stores(other)))
        await holding.reached.wait()
        await here.engine.resume(RESUME)
        holding.let_go()
        await restoring
        await eventually(partial(trades, here))
        await eventually(partial(trades, other))


@pytest.mark.parametrize(
    ("field", "scope"),
    [
        (b"STRATEGY:momentum-v1", Scope(ScopeKind.STRATEGY, "momentum-v1")),
        (b"STRATEGY:another", Scope(ScopeKind.STRATEGY, "another")),
        (b"\xff\x00 no scope", GLOBAL),
    ],
    ids=str,
)
async def test_a_damaged_control_is_a_halt_that_says_why_and_can_be_resumed(
    database_url: str, redis_url: str, field: bytes, scope: Scope
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        assert await trades(run)
        async with asking(redis_url) as link:
            await link.run(("HSET", keys.CONTROLS, field, b"{}"))
            await eventually(lambda: recorded(run, scope))
        if scope.covers(ACCOUNT, "momentum-v1", "AAPL"):
            assert await is_halted(run)
        else:
            assert await trades(run), "the damage stays within its own scope"
        status = (await run.engine.status(ACCOUNT)).accounts[0]
        [named] = status.scope_states
        assert repr(field.decode(errors="surrogateescape")) in named.reason
        await run.engine.resume(ResumeCommand(scope, "looked at", "ops", "", override=False))
        await eventually(partial(trades, run))


async def recorded(run: Running, scope: Scope) -> bool:
    return scope in await stores(run).controls.controls()
