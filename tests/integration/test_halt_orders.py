"""What a halt does to orders that rest at the broker, and to halts that stand already."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.trading import ACCOUNT, eventually, quote, replicas, signal, until_quiet
from trade_engine.domain.decision import Reason
from trade_engine.domain.order import OrdStatus
from trade_engine.domain.trading_state import Scope, ScopeKind, TradingState
from trade_engine.execution.commands import HaltCommand
from trade_engine.wiring import Running

pytestmark = pytest.mark.stores

AAPL = Scope(ScopeKind.SYMBOL, "AAPL")


def halt(
    scope: Scope, state: TradingState = TradingState.HALTED, *, cancel: bool = False
) -> HaltCommand:
    return HaltCommand(scope, state, "drill", "ops", cancel, "")


async def resting(run: Running, symbol: str) -> str:
    """An order that waits at the broker for a better price; answers with its id."""
    wish = signal(15_000, symbol=symbol)
    wish.max_slippage_bps = Decimal(0)
    order = (await run.engine.submit(wish)).decision.order
    assert order is not None

    async def rests() -> bool:
        found = await run.record.find_orders(ACCOUNT, [order.order_id])
        return found[order.order_id].ord_status is OrdStatus.NEW

    await eventually(rests)
    return order.order_id


async def status(run: Running, order_id: str) -> OrdStatus:
    return (await run.record.find_orders(ACCOUNT, [order_id]))[order_id].ord_status


@pytest.mark.parametrize("halting", [0, 1])
async def test_a_halt_cancels_resting_orders_of_its_scope_if_told_to(
    database_url: str, redis_url: str, halting: int
) -> None:
    async with replicas(2, database_url, redis_url) as runs:
        covered, other = await resting(runs[0], "AAPL"), await resting(runs[0], "IBM")
        result = await runs[halting].engine.halt(halt(AAPL, cancel=True))
        assert result.drained
        assert result.canceled_order_ids == [covered]

        async def gone() -> bool:
            return await status(runs[0], covered) is OrdStatus.CANCELED

        await eventually(gone)
        assert await status(runs[0], other) is OrdStatus.NEW


async def test_without_being_told_to_it_leaves_them_and_books_their_fills(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        order_id = await resting(run, "AAPL")
        result = await run.engine.halt(halt(AAPL))
        assert result.drained
        assert result.canceled_order_ids == []
        await run.engine.publish_quotes([quote("AAPL", 149)])
        await until_quiet(run)
        assert await status(run, order_id) is OrdStatus.FILLED


async def test_cancels_pass_while_halted(database_url: str, redis_url: str) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        order_id = await resting(run, "AAPL")
        await run.engine.halt(halt(AAPL))
        await run.engine.cancel_order(ACCOUNT, order_id, "", "changed my mind", "ops")
        await until_quiet(run)
        assert await status(run, order_id) is OrdStatus.CANCELED


async def test_reduce_only_does_not_loosen_a_halt(database_url: str, redis_url: str) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        await run.engine.halt(halt(AAPL))
        await run.engine.halt(halt(AAPL, TradingState.REDUCE_ONLY))
        refused = await run.engine.submit(signal(0))
        assert refused.decision.reasons == [Reason.TRADING_HALTED]
        [standing] = (await run.engine.status(ACCOUNT)).accounts[0].scope_states
        assert standing.state is TradingState.HALTED
