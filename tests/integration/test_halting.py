"""A halt holds, whatever comes across it: stores away, other commands, other replicas, crowds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from tests.support.holding import (
    Hold,
    broker,
    lease_elsewhere,
    sender_first,
    stores,
    unavailable,
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
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.errors import EngineError, StoreUnavailable
from trade_engine.domain.order import OrdStatus
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import (
    GLOBAL,
    Scope,
    ScopeKind,
    ScopeState,
    TradingState,
)
from trade_engine.execution import halting, order_router
from trade_engine.execution.commands import HaltCommand, ResumeCommand
from trade_engine.execution.limits_at_start import OnOtherLimits
from trade_engine.execution.ports import OrderFilter
from trade_engine.storage.redis.connect import RedisLink
from trade_engine.wiring import Running, running

pytestmark = pytest.mark.stores

HALTED, REDUCE_ONLY = TradingState.HALTED, TradingState.REDUCE_ONLY
RESUME = ResumeCommand(GLOBAL, "over", "ops", "", override=False)


def halt(state: TradingState = HALTED) -> HaltCommand:
    return HaltCommand(GLOBAL, state, "drill", "ops", False, "")


async def is_halted(run: Running) -> bool:
    """Whether a signal is refused by the halt; it must never be approved."""
    try:
        decision = await run.engine.evaluate(signal(1_500))
    except EngineError:
        return False
    assert decision.outcome is Outcome.REJECTED
    assert decision.reasons[0] is Reason.TRADING_HALTED
    return True


async def everywhere(run: Running) -> list[TradingState | None]:
    """How GLOBAL stands in Postgres's controls, in Redis's, in the journal, and in the latch."""
    state = await run.record.load(ACCOUNT)
    assert state is not None
    places = [
        await stores(run).controls.controls(),
        await stores(run).risk.controls() or {},
        state.trading,
        run.engine._gates[ACCOUNT].latched,
    ]
    return [place[GLOBAL].state if GLOBAL in place else None for place in places]


def take_away(run: Running, patch: pytest.MonkeyPatch, *names: str) -> None:
    """Let stores of one replica, Postgres and Redis, take no halt; Postgres no journal either."""
    if "postgres" in names:
        patch.setattr(stores(run).controls, "put_controls", unavailable)
        patch.setattr(stores(run).controls, "controls", unavailable)
        patch.setattr(stores(run).record, "commit", unavailable)
    if "redis" in names:
        patch.setattr(stores(run).risk, "put_controls", unavailable)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done from time to time is done often."""
    monkeypatch.setattr(halting, "CARRY_EVERY_S", 0.1)
    monkeypatch.setattr(order_router, "LOOK_EVERY_S", 0.2)


# ---- queued orders --------------------------------------------------------------------------


@pytest.mark.parametrize("told", ["by the halt", "by the controls, at the last moment"])
async def test_reduce_only_lets_only_those_queued_orders_go_that_close(
    database_url: str, redis_url: str, told: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        await run.engine.submit(signal(15_000))
        await until_quiet(run)
    async with (
        lease_elsewhere(database_url) as given_up,
        replicas(1, database_url, redis_url) as [run],
    ):
        closing = await queued(run, 0, side=Side.SELL)
        opening = await queued(run, 15_000, symbol="IBM")
        if told == "by the halt":
            result = await run.engine.halt(halt(REDUCE_ONLY))
            assert result.drained
            assert result.canceled_order_ids == [opening]
        else:
            state = ScopeState(GLOBAL, REDUCE_ONLY, "drill", "ops", 1)
            await stores(run).risk.put_controls([state], complete=False)
        given_up.set()
        await until_quiet(run)
        found = await run.record.find_orders(ACCOUNT, [closing, opening])
        assert found[closing].ord_status is OrdStatus.FILLED
        assert found[opening].ord_status is OrdStatus.CANCELED
        assert list(await broker(run).query(ACCOUNT, [closing, opening])) == [closing]


async def queued(run: Running, target: int, **how: Any) -> str:
    order = (await run.engine.submit(signal(target, **how))).decision.order
    assert order is not None
    return order.order_id


# ---- stores that do not take it -------------------------------------------------------------


@pytest.mark.parametrize("away", [("postgres",), ("redis",), ("postgres", "redis")], ids="+".join)
async def test_a_halt_is_carried_to_stores_that_were_away(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, away: tuple[str, ...]
) -> None:
    """Nothing is approved in between, though the controls that can be read say ACTIVE."""
    async with replicas(2, database_url, redis_url) as [here, other]:
        await here.engine.halt(halt())
        await here.engine.resume(RESUME)
        with monkeypatch.context() as patch:
            take_away(here, patch, *away)
            if len(away) == 2:
                with pytest.raises(StoreUnavailable, match="this replica is halted"):
                    await here.engine.halt(halt())
            else:
                assert (await here.engine.halt(halt())).drained is (away == ("redis",))
            await eventually(partial(is_halted, here))  # or closed, for as long as a try takes
            await asyncio.sleep(0.4)
            await eventually(partial(is_halted, here))
            head = await here.engine.queries.head(ACCOUNT)
            await asyncio.sleep(0.4)
            assert await here.engine.queries.head(ACCOUNT) == head, "no entry with every try"
        await eventually(partial(is_halted, here))

        async def carried() -> bool:
            return await everywhere(here) == [HALTED, HALTED, HALTED, None]

        await eventually(carried)
        link = RedisLink(redis_url)
        await link.run(("FLUSHDB",))
        await link.close()
        await here.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
        for run in (here, other):
            await eventually(partial(is_halted, run))
        head = await here.engine.queries.head(ACCOUNT)
        await asyncio.sleep(0.4)
        assert await here.engine.queries.head(ACCOUNT) == head


async def test_a_halt_set_while_controls_are_restored_stays(
    database_url: str, redis_url: str
) -> None:
    async with replicas(2, database_url, redis_url) as [here, other]:
        restoring = Hold(stores(other).risk, "put_controls")
        link = RedisLink(redis_url)
        await link.run(("DEL", "te:{_control}:states"))
        await link.close()
        asked = asyncio.create_task(other.engine.evaluate(signal(1_500)))
        await restoring.reached.wait()
        await here.engine.halt(halt())
        restoring.let_go()
        assert (await asked).outcome is Outcome.REJECTED
        assert await everywhere(here) == [HALTED, HALTED, HALTED, None]


# ---- commands that cross --------------------------------------------------------------------


async def looser_afterward(run: Running, _patch: pytest.MonkeyPatch) -> None:
    await run.engine.halt(halt())
    await run.engine.halt(halt(REDUCE_ONLY))


async def looser_while_stores_are_away(run: Running, patch: pytest.MonkeyPatch) -> None:
    with patch.context() as away:
        take_away(run, away, "postgres")
        await run.engine.halt(halt())
        await run.engine.halt(halt(REDUCE_ONLY))


async def looser_when_no_store_has_the_halt_yet(run: Running, patch: pytest.MonkeyPatch) -> None:
    with patch.context() as away:
        take_away(run, away, "postgres", "redis")
        with pytest.raises(StoreUnavailable):
            await run.engine.halt(halt())
    await run.engine.halt(halt(REDUCE_ONLY))
    assert await is_halted(run)


async def looser_that_is_late(run: Running, _patch: pytest.MonkeyPatch) -> None:
    await late(run, run.engine.halt(halt(REDUCE_ONLY)), REDUCE_ONLY)


async def resume_that_is_late(run: Running, _patch: pytest.MonkeyPatch) -> None:
    await run.engine.halt(halt())
    await late(run, run.engine.resume(RESUME), TradingState.ACTIVE)


async def late(run: Running, command: Awaitable[object], state: TradingState) -> None:
    """A command's writes to the stores come after a halt that was set since."""

    def is_its(states: list[ScopeState]) -> bool:
        return states[0].state is state

    holds = [
        Hold(each, "put_controls", is_its) for each in (stores(run).controls, stores(run).risk)
    ]
    waiting = asyncio.ensure_future(command)
    await holds[0].reached.wait()
    await run.engine.halt(halt())
    for hold in holds:
        hold.let_go()
    await waiting


@pytest.mark.parametrize(
    "cross",
    [
        looser_afterward,
        looser_while_stores_are_away,
        looser_when_no_store_has_the_halt_yet,
        looser_that_is_late,
        resume_that_is_late,
    ],
)
async def test_no_other_command_loosens_a_halt(
    database_url: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    cross: Callable[[Running, pytest.MonkeyPatch], Awaitable[None]],
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        await sender_first([run])
        await cross(run, monkeypatch)
        assert await is_halted(run)

        async def halted_everywhere() -> bool:
            return await everywhere(run) == [HALTED, HALTED, HALTED, None]

        await eventually(halted_everywhere)


async def test_a_resume_leaves_the_latch_of_a_later_halt(database_url: str, redis_url: str) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        await run.engine.halt(halt())
        risk = stores(run).risk
        resuming = Hold(risk, "put_controls", lambda states: states[0].state is not HALTED)
        to_halt = Hold(risk, "put_controls", lambda states: states[0].state is HALTED)
        resumed = asyncio.create_task(run.engine.resume(RESUME))
        await resuming.reached.wait()
        halted = asyncio.create_task(run.engine.halt(halt()))
        await to_halt.reached.wait()
        resuming.let_go()
        await resumed
        assert (await everywhere(run))[-1] is HALTED
        to_halt.let_go()
        assert (await halted).drained
        assert await is_halted(run)


# ---- other replicas, and crowds -------------------------------------------------------------


@asynccontextmanager
async def two_with_an_account_of_its_own(
    database_url: str, redis_url: str
) -> AsyncIterator[list[Running]]:
    """Two replicas; only the second one's rulebook has the account `b`."""
    more = rulebook()
    more.accounts["b"] = replace(more.accounts[ACCOUNT], account_id="b")
    async with AsyncExitStack() as stack:
        runs = [
            await stack.enter_async_context(
                running(patient_plan(database_url, redis_url, rules, name, OnOtherLimits.APPLY))
            )
            for name, rules in (("old", rulebook()), ("new", more))
        ]
        await runs[0].engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
        yield runs


async def test_a_halt_names_what_it_cannot_journal_elsewhere(
    database_url: str, redis_url: str
) -> None:
    async with two_with_an_account_of_its_own(database_url, redis_url) as [old, new]:
        await eventually(lambda: new.engine._routers["b"].claim)
        sending = Hold(broker(new), "send", lambda orders: orders[0].account_id == "b")
        order = (await new.engine.submit(replace(signal(15_000), account_id="b"))).decision.order
        assert order is not None
        await sending.reached.wait()
        result = await old.engine.halt(halt())
        assert (result.drained, result.in_doubt_order_ids) == (False, [order.order_id])
        assert (result.sequences[ACCOUNT] > 0, result.sequences["b"]) == (True, 0)
        sending.let_go()
        await until_quiet(new, "b")
        [found] = await new.engine.queries.list_orders("b", OrderFilter(), None, 10)
        assert found.cum_qty == Decimal(100), "it was on its way"


async def test_a_halt_is_not_drained_while_it_cannot_see_who_else_trades(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        monkeypatch.setattr(run.engine.queries, "account_ids", unavailable)
        result = await run.engine.halt(halt())
        assert result.sequences[ACCOUNT] > 0
        assert not result.drained


@pytest.mark.parametrize("command", ["halt", "cancel"])
async def test_a_command_does_not_queue_behind_signals(
    database_url: str, redis_url: str, command: str
) -> None:
    async with lease_elsewhere(database_url), replicas(1, database_url, redis_url) as [run]:
        order_id = await queued(run, 15_000, symbol="IBM")
        crowd = [
            asyncio.create_task(run.engine.submit(signal(1_500 + number)))
            for number in range(2_000)
        ]
        await asyncio.sleep(0.02)
        if command == "halt":
            assert (await run.engine.halt(halt())).drained
        else:
            await run.engine.cancel_order(ACCOUNT, order_id, "", "changed my mind", "ops")
        assert sum(each.done() for each in crowd) < len(crowd) / 2
        await asyncio.gather(*crowd)


async def test_every_replica_tells_that_an_account_may_not_trade(
    database_url: str, redis_url: str
) -> None:
    """What the health of each account is made of; a halt of one strategy does not stop the rest."""
    async with replicas(2, database_url, redis_url) as runs:

        async def all_say(may_trade: bool) -> bool:  # noqa: FBT001  what they say
            said = [await run.engine.may_trade() for run in runs]
            return said == [{ACCOUNT: may_trade}] * 2

        assert await all_say(True)
        part = HaltCommand(Scope(ScopeKind.STRATEGY, "s1"), HALTED, "drill", "ops", False, "")
        await runs[0].engine.halt(part)
        assert await all_say(True)
        await runs[0].engine.halt(halt(REDUCE_ONLY))
        assert await all_say(True)
        await runs[0].engine.halt(halt())
        await eventually(lambda: all_say(False))
        await runs[1].engine.resume(RESUME)
        await eventually(lambda: all_say(True))
