"""An account whose orders go to two brokers: the paper venue, and a FIX venue for one symbol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.alerts import Alerts
from tests.support.audited import audit
from tests.support.fix import fix_config
from tests.support.fix_venue import FixVenue
from tests.support.trading import (
    ACCOUNT,
    SYMBOLS,
    eventually,
    patient_plan,
    quote,
    rulebook,
    signal,
    until_quiet,
)
from trade_engine.domain.decision import Reason
from trade_engine.domain.difference import Difference
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.limits import Level
from trade_engine.domain.order import ApprovedOrder, DeliveryState, Order, OrdStatus
from trade_engine.domain.rulebook import Route, Rulebook
from trade_engine.execution import order_router, reconcile
from trade_engine.execution.commands import AcceptDifferenceCommand
from trade_engine.execution.observer import Alert
from trade_engine.execution.ports import Delivery
from trade_engine.wiring import Plan, Running, running

pytestmark = pytest.mark.stores

D = Decimal
AT_VENUE, AT_PAPER = "AAPL", "IBM"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done from time to time is done often."""
    monkeypatch.setattr(reconcile, "EVERY_S", 0.2)
    monkeypatch.setattr(reconcile, "AGAIN_S", 0.1)
    monkeypatch.setattr(reconcile, "POLL_S", 0.02)
    monkeypatch.setattr(reconcile, "CONFIRM_S", 0.02)
    monkeypatch.setattr(order_router, "LOOK_EVERY_S", 0.1)


def routed() -> Rulebook:
    rules = rulebook()
    routes = (Route(Level.SYMBOL, AT_VENUE, "venue"),)
    rules.accounts[ACCOUNT] = replace(rules.accounts[ACCOUNT], routes=routes)
    return rules


@dataclass
class Two:
    run: Running
    venue: FixVenue
    alerts: Alerts
    plan: Plan

    async def approved(self, symbol: str, target: int) -> Order:
        """An order that a signal led to, once its broker has it."""
        order = (await self.run.engine.submit(signal(target, symbol=symbol))).decision.order
        assert order is not None

        async def taken() -> bool:
            return (await self.recorded(order)).ord_status is not OrdStatus.PENDING_NEW

        await eventually(taken)
        return order

    async def resting(self) -> Order:
        """An order that the paper venue has and that does not fill."""
        wish = replace(signal(15_000, symbol=AT_PAPER), max_slippage_bps=D(0))
        order = (await self.run.engine.submit(wish)).decision.order
        assert order is not None

        async def rests() -> bool:
            return (await self.recorded(order)).ord_status is OrdStatus.NEW

        await eventually(rests)
        return order

    async def recorded(self, order: Order) -> Order:
        return (await self.run.record.find_orders(ACCOUNT, [order.order_id]))[order.order_id]

    async def differences(self) -> dict[str, Difference]:
        status = (await self.run.engine.status(ACCOUNT)).accounts[0]
        return {each.difference_id: each for each in status.differences if each.stands}

    async def agrees(self) -> None:
        async def so() -> bool:
            return self.run.engine._routers[ACCOUNT].agrees and not await self.differences()

        await eventually(so)


@asynccontextmanager
async def two_brokers(database_url: str, redis_url: str, folder: Path) -> AsyncIterator[Two]:
    venue, alerts = FixVenue(), Alerts()
    await venue.start()
    venue.show("149.99", "150.01", None, None)
    session = fix_config(folder / "session.sqlite", venue.port)
    plan = patient_plan(
        database_url, redis_url, routed(), "replica-0", fix=[session], observer=alerts
    )
    try:
        async with running(plan) as run:
            await run.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
            the = Two(run, venue, alerts, plan)
            await the.agrees()
            yield the
    finally:
        await venue.stop()


async def test_each_order_goes_to_the_broker_of_its_symbol_and_counts_for_the_account(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with two_brokers(database_url, redis_url, tmp_path) as the:
        there = await the.approved(AT_VENUE, 15_000)
        here = await the.approved(AT_PAPER, 15_000)
        assert (there.broker, here.broker) == ("venue", "paper")
        await until_quiet(the.run)
        assert [each.get(11) for each in the.venue.received] == [there.cl_ord_id]
        for order in (there, here):
            assert (await the.recorded(order)).ord_status is OrdStatus.FILLED
        brokers = the.run.engine._parts.brokers
        assert await brokers["paper"].positions(ACCOUNT) == {AT_PAPER: D(100)}
        status = (await the.run.engine.status(ACCOUNT)).accounts[0]
        assert status.broker == "paper, venue"
        assert status.gross_exposure == 30_000
        assert await the.differences() == {}
        await audit(the.run, "paper", "venue")


async def test_a_broker_that_is_away_holds_up_the_account_and_no_cancel(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "SILENT_S", 0.5)
    async with two_brokers(database_url, redis_url, tmp_path) as the:
        resting = await the.resting()
        await the.venue.stop()

        async def held() -> bool:
            return list(await the.differences()) == ["UNRECONCILED@venue"]

        await eventually(held)
        refused = (await the.run.engine.submit(signal(15_000, symbol=AT_PAPER))).decision
        assert refused.reasons == [Reason.TRADING_HALTED]
        await the.run.engine.cancel_order(ACCOUNT, resting.order_id, "", "enough", "ops")

        async def canceled() -> bool:
            return (await the.recorded(resting)).ord_status is OrdStatus.CANCELED

        await eventually(canceled)


async def test_each_broker_is_held_to_what_is_at_it(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """What the venue alone has is its difference, and goes when it is accepted."""
    async with two_brokers(database_url, redis_url, tmp_path) as the:
        await the.approved(AT_PAPER, 15_000)
        await until_quiet(the.run)
        brokers = the.run.engine._parts.brokers

        async def positions(_account_id: str) -> dict[str, Decimal]:
            return {AT_VENUE: D(7)}

        brokers["venue"].positions = positions  # type: ignore[method-assign,assignment]
        name = f"POSITION:{AT_VENUE}@venue"

        async def found() -> bool:
            return list(await the.differences()) == [name]

        await eventually(found)
        difference = (await the.differences())[name]
        assert (difference.ours, difference.theirs, difference.broker) == ("0", "7", "venue")
        command = AcceptDifferenceCommand(ACCOUNT, name, "a gift", "ops", "")
        await the.run.engine.accept_difference(command)
        await the.agrees()
        assert (await the.approved(AT_PAPER, 30_000)).broker == "paper"
        await until_quiet(the.run)
        await audit(the.run, "paper", "venue")


async def test_a_fill_by_another_broker_than_the_order_s_is_booked_and_alerted_on(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with two_brokers(database_url, redis_url, tmp_path) as the:
        order = await the.resting()
        stray = ExecutionReport(order.cl_ord_id, "x-1", ExecType.TRADE, 1, D(5), D(150))
        await the.run.engine._sink_of("venue")(ACCOUNT, [stray])
        assert Alert.FILL_OUT_OF_ORDER in the.alerts.raised
        assert (await the.recorded(order)).cum_qty == 5, "it is ours, wherever it is"
        await audit(the.run, "paper", "venue")


async def test_an_order_for_a_broker_that_this_engine_does_not_have_goes_nowhere_else(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Another replica may have been started with --apply-limits, and this one follows."""
    async with two_brokers(database_url, redis_url, tmp_path) as the:
        accounts = the.run.engine._parts.rulebooks.latest.rulebook.accounts
        elsewhere = (*accounts[ACCOUNT].routes, Route(Level.SYMBOL, AT_PAPER, "elsewhere"))
        accounts[ACCOUNT] = replace(accounts[ACCOUNT], routes=elsewhere)
        order = (await the.run.engine.submit(signal(15_000, symbol=AT_PAPER))).decision.order
        assert order is not None
        assert order.broker == "elsewhere"
        await the.approved(AT_VENUE, 15_000)  # what others wait for goes on
        await asyncio.sleep(3 * order_router.LOOK_EVERY_S)
        assert (await the.recorded(order)).delivery is DeliveryState.QUEUED
        for broker in the.run.engine._parts.brokers.values():
            assert await broker.query(ACCOUNT, [order.cl_ord_id]) == {}


@pytest.mark.parametrize("symbol", [AT_VENUE, AT_PAPER])
async def test_what_was_left_in_doubt_is_asked_about_and_went_once(
    database_url: str, redis_url: str, tmp_path: Path, symbol: str
) -> None:
    async with two_brokers(database_url, redis_url, tmp_path) as the:
        terms = the.plan.rulebook.accounts[ACCOUNT]
        broker = the.run.engine._parts.brokers[terms.broker_for(symbol, "")]
        own, sent = broker.send, 0

        async def unclear(orders: Sequence[ApprovedOrder]) -> list[Delivery]:
            nonlocal sent
            sent += len(orders)
            await own(orders)
            return [Delivery.IN_DOUBT] * len(orders)

        broker.send = unclear  # type: ignore[method-assign]
        order = await the.approved(symbol, 15_000)
        await until_quiet(the.run)
        assert (await the.recorded(order)).ord_status is OrdStatus.FILLED
        assert sent == 1
        await audit(the.run, "paper", "venue")
