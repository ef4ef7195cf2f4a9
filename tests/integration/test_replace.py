"""A signal that gives a working order new terms, on real stores and the paper venue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.integration.test_order_life import recorded, resting, updates
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
    replicas,
    rulebook,
    signal,
    until_quiet,
)
from trade_engine.domain.decision import Decision, Outcome, Reason
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.order import Order, OrdStatus, WorkingOrders
from trade_engine.domain.replacement import ApprovedReplacement
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.trading_state import Scope, ScopeKind, TradingState
from trade_engine.execution import doubts, order_router, replace_sender
from trade_engine.execution.commands import HaltCommand
from trade_engine.execution.observer import Alert
from trade_engine.execution.ports import Broker, BrokerOrder, Delivery
from trade_engine.v1 import order_pb2
from trade_engine.wiring import Running, running

pytestmark = pytest.mark.stores

D = Decimal
WAIT = "AAPL"


def replacing(**limits: int) -> Rulebook:
    rules = rulebook(**limits)
    rules.instruments[WAIT] = replace(rules.instruments[WAIT], working_orders=WorkingOrders.REPLACE)
    return rules


async def wish(run: Running, target: int) -> Decision:
    """Ask for a target at the middle of the market, where nothing fills."""
    asked = signal(target)
    asked.max_slippage_bps = D(0)
    return (await run.engine.submit(asked)).decision


async def works_for(run: Running, order_id: str, quantity: int) -> Order:
    """Wait until the order stands, for this much, and nothing is asked of it."""

    async def it() -> bool:
        order = await recorded(run, order_id)
        return order.order_qty == quantity and not order.replacement and order.is_open

    await eventually(it)
    return await recorded(run, order_id)


def broker(run: Running) -> Broker:
    return run.engine._parts.brokers["paper"]


async def venue_leaves(run: Running, order_id: str) -> Decimal:
    return (await broker(run).query(ACCOUNT, [order_id]))[order_id].leaves_qty


async def kinds(run: Running) -> list[EntryKind]:
    return [each.kind for each in await run.engine.queries.entries(ACCOUNT, 0, 1000)]


async def test_a_signal_replaces_up_and_down_and_what_is_filled_counts(
    database_url: str, redis_url: str
) -> None:
    async with replicas(2, database_url, redis_url, replacing()) as [one, other]:
        order_id = await resting(one, 15_000)
        larger = await wish(other, 30_000)
        assert (larger.outcome, larger.order) == (Outcome.APPROVED, None)
        assert larger.replacement is not None
        assert (larger.replacement.order_id, larger.replacement.order_qty) == (order_id, 200)
        await works_for(one, order_id, 200)
        assert await venue_leaves(one, order_id) == 200
        assert (await wish(one, 30_000)).reasons == [Reason.AT_TARGET]

        await one.engine.publish_quotes([replace(quote(), ask=D(150), bid=D(150), ask_size=D(30))])

        async def filled() -> bool:
            return (await recorded(one, order_id)).cum_qty == 30

        await eventually(filled)
        await one.engine.publish_quotes([quote()])
        smaller = await wish(one, 15_000)
        assert smaller.replacement is not None
        assert smaller.replacement.order_qty == 100, "30 of it are filled"
        assert (await works_for(one, order_id, 100)).leaves_qty == 70
        assert await venue_leaves(one, order_id) == 70
        assert (await audit(one))["replacements"] == 2
        assert len((await one.engine.queries.open_orders(ACCOUNT))[1]) == 1


async def test_over_fix_an_order_is_replaced_and_its_fills_are_booked(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    venue = FixVenue()
    await venue.start()
    rules = replacing()
    rules.accounts[ACCOUNT] = replace(rules.accounts[ACCOUNT], broker="venue")
    session = fix_config(tmp_path / "session.sqlite", venue.port, can_replace=True)
    plan = patient_plan(database_url, redis_url, rules, "replica-0", fix=[session])
    try:
        async with running(plan) as one:
            await one.engine.publish_quotes([quote()])
            order_id = await resting(one, 15_000)
            asked = (await wish(one, 30_000)).replacement
            assert asked is not None
            await works_for(one, order_id, 200)
            venue.show("149", "150", None, "30")
            venue.show("148", "149", None, None)
            await until_quiet(one)
            order = await recorded(one, order_id)
            assert (order.ord_status, order.cum_qty) == (OrdStatus.FILLED, 200)
            assert order.chain["cl_ord_id"] == asked.cl_ord_id
            await audit(one, "venue")
    finally:
        await venue.stop()


async def test_an_order_of_which_nothing_more_is_wanted_is_canceled(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url, replacing()) as [one]:
        order_id = await resting(one, 15_000)
        decision = await wish(one, 0)
        assert decision.replacement is not None
        assert decision.replacement.cancels

        async def canceled() -> bool:
            return (await recorded(one, order_id)).ord_status is OrdStatus.CANCELED

        await eventually(canceled)
        await audit(one)


async def test_without_the_policy_a_signal_adds(database_url: str, redis_url: str) -> None:
    async with replicas(1, database_url, redis_url) as [one]:
        order_id = await resting(one, 15_000)
        added = await wish(one, 30_000)
        assert added.replacement is None
        assert added.order is not None
        assert added.order.order_qty == 100
        assert (await recorded(one, order_id)).order_qty == 100


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_request_without_a_clear_answer_is_asked_about(
    database_url: str, redis_url: str, *, arrives: bool
) -> None:
    async with replicas(1, database_url, redis_url, replacing()) as [one]:
        order_id = await resting(one, 15_000)
        paper, sent = broker(one), 0
        own = paper.replace

        async def unclear(asked: list[ApprovedReplacement]) -> list[Delivery]:
            nonlocal sent
            sent += 1
            if sent > 1:
                return await own(asked)
            if arrives:
                await own(asked)
            return [Delivery.IN_DOUBT] * len(asked)

        paper.replace = unclear  # type: ignore[method-assign,assignment]
        await wish(one, 30_000)
        await works_for(one, order_id, 200)
        assert sent == (1 if arrives else 2), "what the venue has is not sent again"
        assert await venue_leaves(one, order_id) == 200
        await audit(one)


async def test_a_broker_that_takes_a_request_and_says_no_more_is_asked_and_alerted_on(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replace_sender, "REPORT_WAIT_S", 0.1)
    monkeypatch.setattr(doubts, "ALERT_AFTER_S", 0.3)
    monkeypatch.setattr(order_router, "LOOK_EVERY_S", 0.1)
    seen = Alerts()
    plan = patient_plan(database_url, redis_url, replacing(), "replica-0", observer=seen)
    async with running(plan) as one:
        await one.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
        order_id = await resting(one, 15_000)
        paper, held = broker(one), list[ApprovedReplacement]()
        replace_, query = paper.replace, paper.query
        asked = 0

        async def take(requests: list[ApprovedReplacement]) -> list[Delivery]:
            held.extend(requests)
            return [Delivery.SENT] * len(requests)

        async def told(account_id: str, names: Sequence[str]) -> dict[str, BrokerOrder]:
            nonlocal asked
            known = await query(account_id, [order_id])
            asked += sum(each.terms.cl_ord_id in names for each in held)
            return dict.fromkeys(names, known[order_id])

        paper.replace, paper.query = take, told  # type: ignore[method-assign,assignment]
        await wish(one, 30_000)
        await eventually(lambda: Alert.ORDER_IN_DOUBT in seen.raised)
        before = asked
        await eventually(lambda: asked > before + 1)
        order = await recorded(one, order_id)
        assert (order.order_qty, order.working_qty) == (100, 200), "the worst case is held"
        assert len(held) == 1, "nothing is sent again"
        assert seen.raised.count(Alert.ORDER_IN_DOUBT) == 1
        paper.query = query  # type: ignore[method-assign]
        await replace_(held)
        await works_for(one, order_id, 200)
        await audit(one)


async def test_too_late_to_replace_leaves_the_old_terms(database_url: str, redis_url: str) -> None:
    async with replicas(1, database_url, redis_url, replacing()) as [one]:
        order_id = await resting(one, 15_000)
        paper = broker(one)
        own = paper.replace

        async def after_the_fill(asked: list[ApprovedReplacement]) -> list[Delivery]:
            filling = replace(quote(), ask=D(150), bid=D(150))
            await one.engine.publish_quotes([filling])
            await eventually(lambda: _is_closed(paper, order_id))
            return await own(asked)

        paper.replace = after_the_fill  # type: ignore[method-assign,assignment]
        await wish(one, 30_000)

        async def over() -> bool:
            order = await recorded(one, order_id)
            return order.ord_status is OrdStatus.FILLED and not order.is_open

        await eventually(over)
        assert (await recorded(one, order_id)).order_qty == 100
        assert EntryKind.REPLACE_REJECTED in await kinds(one)
        told = await updates(one)
        assert order_pb2.UPDATE_KIND_REPLACE_REJECTED in [each.kind for each in told]
        [position] = await one.engine.queries.list_positions(ACCOUNT, "", "", None, 10)
        assert position.quantity == 100
        await audit(one)


async def _is_closed(paper: Broker, order_id: str) -> bool:
    return not (await paper.query(ACCOUNT, [order_id]))[order_id].is_open


async def test_a_halt_drops_what_is_not_sent_and_lets_nothing_pass(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url, replacing()) as [one]:
        order_id = await resting(one, 15_000)
        paper = broker(one)

        async def not_sent(asked: list[ApprovedReplacement]) -> list[Delivery]:
            return [Delivery.NOT_SENT] * len(asked)

        paper.replace = not_sent  # type: ignore[method-assign,assignment]
        await wish(one, 30_000)
        assert (await recorded(one, order_id)).working_qty == 200, "the worst case is held"
        scope = Scope(ScopeKind.ACCOUNT, ACCOUNT)
        halt = HaltCommand(scope, TradingState.HALTED, "enough", "ops", False, "")
        result = await one.engine.halt(halt)
        assert result.drained

        async def dropped() -> bool:
            order = await recorded(one, order_id)
            return order.replacement is None

        await eventually(dropped)
        assert (await recorded(one, order_id)).working_qty in (0, 100)
        refused = await wish(one, 45_000)
        assert Reason.TRADING_HALTED in refused.reasons
        await audit(one)
