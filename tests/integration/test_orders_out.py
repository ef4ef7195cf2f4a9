"""Orders out against decisions approved: with planted faults, not one order too many goes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

import trade_engine.execution
from tests.support.holding import broker, lease_elsewhere
from tests.support.trading import ACCOUNT, eventually, replicas, signal, until_quiet
from trade_engine.domain.decision import Reason
from trade_engine.domain.order import Order, OrdStatus, OrdType
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import TradingState
from trade_engine.execution.commands import ResumeCommand
from trade_engine.execution.ports import Delivery
from trade_engine.wiring import Running

pytestmark = pytest.mark.stores
Plant = Callable[[list[Order]], Sequence[Order]]


def plant(run: Running, fault: Plant) -> list[str]:
    """Let the router hand over what the fault makes of its orders; tells what the venue gets."""
    router = run.engine._routers[ACCOUNT]
    own, venue = router._hand_over, broker(run).send
    arrived: list[str] = []

    async def hand_over(orders: Sequence[Order]) -> None:
        await own(fault(list(orders)))

    async def send(orders: Sequence[Order]) -> list[Delivery]:
        arrived.extend(order.order_id for order in orders)
        return await venue(orders)  # type: ignore[arg-type]

    router._hand_over = hand_over  # type: ignore[method-assign]
    broker(run).send = send  # type: ignore[method-assign]
    return arrived


async def held(run: Running) -> str:
    """Wait until the account is halted; answers with the reason."""

    async def halted() -> bool:
        return (await run.engine.status(ACCOUNT)).accounts[0].trading_state is TradingState.HALTED

    await eventually(halted)
    return (await run.engine.status(ACCOUNT)).accounts[0].scope_states[0].reason


def changed(**terms: object) -> Plant:
    return lambda orders: [replace(order, **terms) for order in orders]  # type: ignore[arg-type]


def invented(orders: list[Order]) -> list[Order]:
    return [*orders, replace(orders[0], order_id="o-nobody", signal_id="s-nobody")]


def borrowed(orders: list[Order]) -> list[Order]:
    """Under a signal that was approved, and another id."""
    return [*orders, replace(orders[0], order_id="o-another")]


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (lambda orders: [*orders, *orders], "a second time"),
        (invented, "o-nobody was about to be handed to paper that no decision approved"),
        (borrowed, "order_id o-another, not o-"),
        (changed(order_qty=Decimal(1000)), "order_qty 1000, not 100"),
        (changed(side=Side.SELL), "side SELL, not BUY"),
        (changed(price=Decimal(200)), "price 200, not 150.75"),
        (changed(price=None, ord_type=OrdType.MARKET), "ord_type MARKET, not LIMIT"),
        (changed(symbol="IBM"), "symbol IBM, not AAPL"),
    ],
    ids=["twice", "invented", "borrowed", "quantity", "side", "price", "type", "symbol"],
)
async def test_one_order_too_many_goes_nowhere_and_halts_the_account(
    database_url: str, redis_url: str, fault: Plant, named: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        await eventually(lambda: run.engine._routers[ACCOUNT].agrees)
        arrived = plant(run, fault)
        answer = await run.engine.submit(signal(15_000))
        assert answer.decision.order is not None
        assert named in await held(run)
        await until_quiet(run)
        orders = await run.record.find_orders(ACCOUNT, [answer.decision.order.order_id])
        assert [each.ord_status for each in orders.values()] == [OrdStatus.CANCELED]
        assert arrived == []
        refused = await run.engine.submit(signal(15_000))
        assert refused.decision.reasons == [Reason.TRADING_HALTED]


async def test_an_order_that_went_out_does_not_go_again_later(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        await eventually(lambda: run.engine._routers[ACCOUNT].agrees)
        handed: list[Order] = []

        def again(orders: list[Order]) -> list[Order]:
            handed.extend(orders)
            return handed[-2:] if len(handed) > 1 else orders

        arrived = plant(run, again)
        resting = signal(15_000)
        resting.max_slippage_bps = Decimal(0)
        await run.engine.submit(resting)
        await eventually(lambda: len(arrived) == 1)
        await run.engine.submit(signal(15_000, strategy_id="other"))
        assert "a second time" in await held(run)
        assert arrived == [handed[0].order_id]


async def test_what_another_process_approved_is_compared_with_the_journal(
    database_url: str, redis_url: str
) -> None:
    async with (
        lease_elsewhere(database_url) as given_up,
        replicas(1, database_url, redis_url) as [run],
    ):
        arrived = plant(run, lambda orders: orders)
        await run.engine.submit(signal(15_000))  # queued: this process is no sender yet
        given_up.set()
        await until_quiet(run)
        assert len(arrived) == 1
        plant(run, changed(order_qty=Decimal(7)))
        run.engine._routers[ACCOUNT]._orders_out.forget()
        await run.engine.submit(signal(30_000))
        assert "order_qty 7, not 100" in await held(run)


def test_nothing_else_hands_orders_to_a_broker() -> None:
    folder = Path(trade_engine.execution.__file__).parent
    found = [each.name for each in folder.glob("*.py") if "broker.send(" in each.read_text()]
    # The first of them is several brokers as one: what it is given came from the second.
    assert sorted(found) == ["account_brokers.py", "orders_out.py"]


async def test_a_live_brokers_account_starts_halted(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trade_engine.brokers.paper.PaperBroker.is_live", True)
    async with replicas(1, database_url, redis_url) as [run]:
        assert "is a live broker" in await held(run)
        refused = await run.engine.submit(signal(15_000))
        assert refused.decision.reasons == [Reason.TRADING_HALTED]
        [state] = (await run.engine.status(ACCOUNT)).accounts[0].scope_states
        assert state.operator == "engine"
        await run.engine.resume(ResumeCommand(state.scope, "checked", "ops", "", override=False))
        assert (await run.engine.submit(signal(15_000))).decision.order
        await until_quiet(run)
    async with replicas(1, database_url, redis_url) as [run]:  # once resumed it stays so
        assert (await run.engine.submit(signal(30_000))).decision.order
