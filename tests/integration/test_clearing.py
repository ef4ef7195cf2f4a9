"""Cancel-all and flatten on real stores: what they reach, what stops them, and how often."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.support.audited import audit
from tests.support.holding import stores
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
from trade_engine.domain.order import DeliveryState, OrdStatus
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import GLOBAL, Scope, ScopeKind, TradingState
from trade_engine.execution.commands import ClearCommand, HaltCommand, ResumeCommand, ScopeHalted
from trade_engine.execution.ports import Commit, Committed, OrderFilter
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.requests import PostgresRequests
from trade_engine.wiring import Running, running

pytestmark = pytest.mark.stores

APPLE = Scope(ScopeKind.SYMBOL, "AAPL")


def clear(scope: Scope = GLOBAL, request_id: str = "r-1") -> ClearCommand:
    return ClearCommand(scope, "drill", "olga", request_id)


def halted(state: TradingState, scope: Scope = GLOBAL) -> HaltCommand:
    return HaltCommand(scope, state, "drill", "olga", False, "")


async def resting(run: Running, symbol: str, strategy_id: str = "resting") -> str:
    """An order that the venue has and does not fill."""
    wish = signal(1_500, symbol=symbol, strategy_id=strategy_id)
    wish.max_slippage_bps = Decimal(0)
    order = (await run.engine.submit(wish)).decision.order
    assert order is not None

    async def there() -> bool:
        found = await run.record.find_orders(ACCOUNT, [order.order_id])
        return found[order.order_id].delivery is DeliveryState.SENT

    await eventually(there)
    return order.order_id


async def quantities(run: Running) -> dict[str, Decimal]:
    found = await run.engine.queries.list_positions(ACCOUNT, "", "", None, 10)
    return {f"{each.strategy_id} {each.symbol}": each.quantity for each in found}


async def invested(run: Running) -> None:
    """Long AAPL, short IBM, and long both for another strategy."""
    await run.engine.submit(signal(15_000))
    await run.engine.submit(signal(-15_000, side=Side.SELL, symbol="IBM"))
    await run.engine.submit(signal(3_000, strategy_id="value"))
    await until_quiet(run)


@pytest.mark.parametrize("state", [TradingState.ACTIVE, TradingState.HALTED])
async def test_cancel_all_reaches_its_scope_in_every_trading_state(
    database_url: str, redis_url: str, state: TradingState
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        apple, other = await resting(run, "AAPL"), await resting(run, "IBM")
        if state is TradingState.HALTED:
            assert (await run.engine.halt(halted(state))).drained
        done = await run.engine.cancel_all(clear(APPLE))
        assert (done.canceled_order_ids, done.in_doubt_order_ids) == ([apple], [])

        async def canceled() -> bool:
            found = await run.record.find_orders(ACCOUNT, [apple])
            return found[apple].ord_status is OrdStatus.CANCELED

        await eventually(canceled)
        found = await run.record.find_orders(ACCOUNT, [other])
        assert found[other].ord_status is OrdStatus.NEW
        assert (await run.engine.cancel_all(clear(APPLE))).canceled_order_ids == []
        assert (await run.engine.cancel_all(clear())).canceled_order_ids == [other]
        await until_quiet(run)
        await audit(run)


@pytest.mark.parametrize("state", [TradingState.ACTIVE, TradingState.REDUCE_ONLY])
async def test_flatten_closes_every_position_once(
    database_url: str, redis_url: str, state: TradingState
) -> None:
    async with replicas(2, database_url, redis_url) as [run, other]:
        await invested(run)
        open_order = await resting(run, "AAPL")
        if state is TradingState.REDUCE_ONLY:
            await run.engine.halt(halted(state))
        once, again = await asyncio.gather(
            run.engine.flatten(clear()), other.engine.flatten(clear())
        )
        await until_quiet(run)
        assert set(once.canceled_order_ids + again.canceled_order_ids) == {open_order}
        assert set((await quantities(run)).values()) == {Decimal(0)}
        ids = {each.order.order_id for each in once.decisions if each.order}
        assert ids == {each.order.order_id for each in again.decisions if each.order}
        assert len(ids) == 3
        third = await run.engine.flatten(clear())
        assert {each.order.order_id for each in third.decisions if each.order} == ids
        assert (await run.engine.flatten(clear(request_id="r-2"))).decisions == []
        orders = await run.engine.queries.list_orders(ACCOUNT, OrderFilter(), None, 50)
        assert len(orders) == 7
        await audit(run)


async def test_flatten_of_a_scope_leaves_the_rest(database_url: str, redis_url: str) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        await invested(run)
        await run.engine.flatten(clear(Scope(ScopeKind.STRATEGY, "value")))
        await until_quiet(run)
        after = await quantities(run)
        assert (after["momentum-v1 AAPL"], after["value AAPL"]) == (100, 0)
        assert after["momentum-v1 IBM"] < 0


async def test_nothing_halted_is_flattened_nor_canceled_for_it(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        await invested(run)
        order_id = await resting(run, "AAPL")
        await run.engine.halt(halted(TradingState.HALTED, APPLE))
        with pytest.raises(ScopeHalted) as caught:
            await run.engine.flatten(clear())
        assert caught.value.metadata == {"scope": "SYMBOL:AAPL"}
        found = await run.record.find_orders(ACCOUNT, [order_id])
        assert found[order_id].ord_status is OrdStatus.NEW
        # As docs/halt.md says: the REDUCE_ONLY around it holds throughout.
        await run.engine.halt(halted(TradingState.REDUCE_ONLY))
        await run.engine.resume(ResumeCommand(APPLE, "to close", "olga", "", False))
        await run.engine.flatten(clear())
        await until_quiet(run)
        assert set((await quantities(run)).values()) == {Decimal(0)}
        await audit(run)


async def test_what_the_checks_refuse_is_named_and_stays(database_url: str, redis_url: str) -> None:
    rules = rulebook()
    async with replicas(1, database_url, redis_url, rules) as [run]:
        await invested(run)
        rules.instruments["AAPL"] = replace(rules.instruments["AAPL"], restricted=True)
        done = await run.engine.flatten(clear())
        refused = [each.signal.symbol for each in done.decisions if each.order is None]
        assert refused == ["AAPL", "AAPL"]
        assert all("restricted" in each.message for each in done.decisions if each.order is None)
        await until_quiet(run)
        after = await quantities(run)
        assert (after["momentum-v1 AAPL"], after["momentum-v1 IBM"]) == (100, 0)


async def test_an_order_that_will_not_cancel_in_time_is_counted_with(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        await run.engine.submit(signal(15_000))
        await until_quiet(run)
        part = signal(9_000, side=Side.SELL)
        part.max_slippage_bps = Decimal(0)
        closing = (await run.engine.submit(part)).decision.order
        assert closing is not None

        async def deaf(orders: list[object]) -> list[object]:
            return []

        run.engine._parts.brokers["paper"].cancel = deaf  # type: ignore[method-assign,assignment]
        done = await run.engine.flatten(clear())
        [decision] = done.decisions
        assert decision.order is not None
        assert decision.order.order_qty == 100 - closing.order_qty
        await run.engine.publish_quotes([quote("AAPL", 151)])
        await until_quiet(run)
        assert (await quantities(run))["momentum-v1 AAPL"] == 0


async def test_of_one_request_id_the_first_content_and_answer_stay(database_url: str) -> None:
    database = Database(database_url, pool_size=4)
    ledger = PostgresRequests(database)
    begun = await asyncio.gather(*(ledger.begin("olga", "r", b"%d" % n) for n in range(8)))
    assert len({content for content, _ in begun}) == 1
    first = begun[0][0]
    await ledger.answer("olga", "r", b"")
    await ledger.answer("olga", "r", b"late")
    assert await ledger.begin("olga", "r", b"x") == (first, b"")
    assert await ledger.begin("otto", "r", b"x") == (b"x", None)
    await database.close()


async def test_a_batch_that_lost_the_race_looks_up_on_the_connection_of_its_lock(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each that holds a lock waited for another connection, none would be left for any."""
    plan = patient_plan(database_url, redis_url, rulebook(), "replica-0", database_pool_size=4)
    async with running(plan) as run:
        await run.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
        await invested(run)
        record = stores(run).record
        commit, lost = record.commit, list[Commit]()

        async def lose_the_race(what: Commit) -> Committed:
            if not what.decisions or lost:
                return await commit(what)
            lost.append(what)
            return Committed.LOST_RACE

        monkeypatch.setattr(record, "commit", lose_the_race)
        done = await run.engine.flatten(clear())
        assert lost
        assert len(done.decisions) == 3
