"""The life of orders on real stores, past the plain path: busts, corrections, refused cancels."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal

import orjson
import pytest

from tests.integration.test_gate import command, state_in_redis
from tests.support.audited import audit
from tests.support.trading import (
    ACCOUNT,
    eventually,
    quote,
    replicas,
    rulebook,
    signal,
    until_quiet,
)
from trade_engine.api.journal_updates import update_of
from trade_engine.domain.decision import Reason
from trade_engine.domain.execution import BrokerReport, CancelReject, ExecType, ExecutionReport
from trade_engine.domain.journal import ORDER_KINDS, EntryKind
from trade_engine.domain.order import Order, OrdStatus, order_id_for
from trade_engine.domain.position import Position
from trade_engine.domain.trading_state import GLOBAL, Scope, ScopeKind
from trade_engine.execution.commands import ClearCommand, ResumeCommand
from trade_engine.v1 import order_pb2
from trade_engine.wiring import Running

pytestmark = pytest.mark.stores

D = Decimal


async def tell(run: Running, *reports: BrokerReport) -> None:
    """What a broker says beside what the paper venue says."""
    await run.engine._sink_of("paper")(ACCOUNT, reports)


async def recorded(run: Running, order_id: str) -> Order:
    return (await run.record.find_orders(ACCOUNT, [order_id]))[order_id]


async def journaled(run: Running, order_id: str, exec_id: str) -> Order:
    """An order as the report with this ExecID left it, whatever came after."""
    entries = await run.engine.queries.entries(ACCOUNT, 0, 1000, frozenset({EntryKind.EXECUTION}))
    [payload] = [
        payload
        for payload in (orjson.loads(entry.payload) for entry in entries)
        if (payload["report"]["exec_id"], payload["order"]["order_id"]) == (exec_id, order_id)
    ]
    return Order.from_json(payload["order"])


async def updates(run: Running) -> list[order_pb2.OrderUpdate]:
    """What the order stream tells of the account, from its beginning."""
    entries = await run.engine.queries.entries(ACCOUNT, 0, 1000, ORDER_KINDS)
    return [update for each in entries if (update := update_of(each)) is not None]


async def held(run: Running) -> Position:
    [position] = await run.engine.queries.list_positions(ACCOUNT, "", "", None, 10)
    return position


async def resting(run: Running, target: int = 15_000, symbol: str = "AAPL") -> str:
    """The id of an order for 100 shares that the venue has and does not fill."""
    wish = signal(target, symbol=symbol)
    wish.max_slippage_bps = D(0)
    order = (await run.engine.submit(wish)).decision.order
    assert order is not None

    async def acknowledged() -> bool:
        return (await recorded(run, order.order_id)).ord_status is OrdStatus.NEW

    await eventually(acknowledged)
    return order.order_id


def report(order_id: str, exec_type: ExecType, exec_id: str, **said: object) -> ExecutionReport:
    return ExecutionReport(order_id, exec_id, exec_type, time.time_ns(), **said)  # type: ignore[arg-type]


async def test_a_bust_reaches_every_store_and_may_come_first_or_twice(
    database_url: str, redis_url: str
) -> None:
    async with replicas(2, database_url, redis_url) as [one, other]:
        answer = await one.engine.submit(signal(15_000))
        assert answer.decision.order is not None
        await until_quiet(one)
        order_id = answer.decision.order.order_id
        [fill] = await one.record.find_fills(ACCOUNT, "momentum-v1", "AAPL")
        correction = report(
            order_id, ExecType.TRADE_CORRECT, "c-1", exec_ref_id=fill.exec_id, last_qty=D(90)
        )
        await tell(other, correction)
        await tell(one, correction, correction)
        assert (await held(one)).quantity == 90
        assert (await recorded(one, order_id)).leaves_qty == 10, "what is not filled may fill yet"
        bust = report(order_id, ExecType.TRADE_CANCEL, "b-1", exec_ref_id="x-1")
        late = report(order_id, ExecType.TRADE, "x-1", last_qty=D(4), last_px=D(150))
        await tell(one, bust)
        await tell(other, late, bust, late)
        assert (await held(other)).quantity == 90
        await tell(one, report(order_id, ExecType.TRADE_CANCEL, "b-2", exec_ref_id=fill.exec_id))
        after = await held(other)
        assert (after.quantity, after.cost, after.fees) == (0, 0, 0)
        state = await one.record.load(ACCOUNT)
        assert state is not None
        assert (state.cash, state.realized_pnl) == (1_000_000, 0)
        counts = await audit(one)
        assert (counts["fills"], counts["amendments"]) == (2, 3)

        before = await state_in_redis(redis_url)
        await command(redis_url, "FLUSHDB")
        await one.engine.publish_quotes([quote()])
        await one.engine.evaluate(signal(15_000))
        assert await state_in_redis(redis_url) == before


async def test_a_refused_cancel_is_told_and_the_order_stands(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        order_id = await resting(run)
        broker = run.engine._parts.brokers["paper"]
        asked: list[str] = []

        async def cancel(orders: list[Order]) -> list[object]:
            asked.extend(order.order_id for order in orders)
            return []

        broker.cancel = cancel  # type: ignore[method-assign,assignment]
        pending = await run.engine.cancel_order(ACCOUNT, order_id, "", "enough", "olga")
        assert pending.ord_status is OrdStatus.PENDING_CANCEL
        await eventually(lambda: asked)
        refusal = CancelReject(order_id, time.time_ns(), text="too late to cancel")
        await tell(run, refusal, refusal)
        after = await recorded(run, order_id)
        assert (after.ord_status, after.text) == (OrdStatus.NEW, "too late to cancel")
        *_, wished, refused = await updates(run)  # and the refusal that was told again is no update
        assert (wished.kind, wished.order.ord_status) == (
            order_pb2.UPDATE_KIND_CANCEL_REQUESTED,
            order_pb2.ORD_STATUS_PENDING_CANCEL,
        )
        assert (refused.kind, refused.order.ord_status, refused.order.text) == (
            order_pb2.UPDATE_KIND_CANCEL_REJECTED,
            order_pb2.ORD_STATUS_NEW,
            "too late to cancel",
        )
        assert (refused.order.order_id, refused.order.leaves_qty) == (order_id, "100")
        assert refused.order.last_sequence == refused.sequence == after.last_sequence
        assert not refused.HasField("execution_report")
        await audit(run)


@pytest.mark.parametrize(("tolerance_bps", "is_halted"), [(0, True), (499, True), (500, False)])
async def test_an_overfill_is_booked_and_past_its_tolerance_halts(
    database_url: str, redis_url: str, tolerance_bps: int, *, is_halted: bool
) -> None:
    rules = rulebook()
    rules.accounts[ACCOUNT] = replace(rules.accounts[ACCOUNT], overfill_bps_max=D(tolerance_bps))
    async with replicas(2, database_url, redis_url, rules) as [run, other]:
        order_id, beside = await resting(run), await resting(run, symbol="IBM")
        whole = report(order_id, ExecType.TRADE, "x-1", last_qty=D(105), last_px=D(150))
        await tell(run, whole)
        await tell(other, whole)
        after = await recorded(run, order_id)
        assert (after.ord_status, after.cum_qty) == (OrdStatus.FILLED, 105)
        assert (await held(run)).quantity == 105
        next_one = (await other.engine.submit(signal(3_000, strategy_id="next"))).decision
        assert (next_one.reasons == [Reason.TRADING_HALTED]) is is_halted
        assert (await recorded(run, beside)).cancel_requested is is_halted
        if is_halted:
            scope = Scope(ScopeKind.ACCOUNT, ACCOUNT)
            await run.engine.resume(ResumeCommand(scope, "asked them", "olga", "", True))
            await tell(run, whole)  # told once more, it halts nobody once more
            again = (await run.engine.submit(signal(3_000, strategy_id="next"))).decision
            assert again.order is not None
        await run.engine.cancel_all(ClearCommand(GLOBAL, "over", "olga", ""))
        await until_quiet(run)
        await audit(run)


@pytest.mark.parametrize("exec_type", [ExecType.REPLACED, ExecType.RESTATED])
async def test_an_order_that_its_broker_enlarges_unasked_halts_before_more_is_filled(
    database_url: str, redis_url: str, exec_type: ExecType
) -> None:
    async with replicas(2, database_url, redis_url) as [run, other]:
        order_id, beside = await resting(run), await resting(run, symbol="IBM")
        enlarged = report(order_id, exec_type, "r-1", order_qty=D(300))
        await tell(run, enlarged)
        await tell(other, enlarged)
        booked = await journaled(run, order_id, "r-1")
        assert (booked.order_qty, booked.leaves_qty) == (300, 300), "it may fill: it is reserved"
        after = await recorded(run, order_id)
        assert after.order_qty == 300
        assert after.cancel_requested
        assert (await recorded(run, beside)).cancel_requested
        refused = (await other.engine.submit(signal(3_000, strategy_id="next"))).decision
        assert refused.reasons == [Reason.TRADING_HALTED]
        assert f"order {order_id} unasked: OrderQty 300, not 100" in refused.message
        scope = Scope(ScopeKind.ACCOUNT, ACCOUNT)
        await run.engine.resume(ResumeCommand(scope, "asked them", "olga", "", True))
        await tell(run, enlarged)  # told once more, it halts nobody once more
        again = (await run.engine.submit(signal(3_000, strategy_id="next"))).decision
        assert again.order is not None
        await run.engine.cancel_all(ClearCommand(GLOBAL, "over", "olga", ""))
        await until_quiet(run)
        await audit(run)


async def test_reports_of_an_unknown_order_are_booked_once_it_is_known(
    database_url: str, redis_url: str
) -> None:
    async with replicas(2, database_url, redis_url) as [run, other]:
        order_id = order_id_for(ACCOUNT, "lost")
        early = [
            report(order_id, ExecType.NEW, "n-1", broker_order_id="b-1"),
            report(order_id, ExecType.TRADE, "x-1", last_qty=D(100), last_px=D(150)),
            report("o-stranger", ExecType.NEW, "n-2"),
        ]
        await tell(run, *early)
        await tell(other, *early)
        assert await run.record.find_orders(ACCOUNT, [order_id]) == {}
        kinds = [each.kind for each in await run.engine.queries.entries(ACCOUNT, 0, 100)]
        assert kinds.count(EntryKind.REPORT_IGNORED) == 3, "each once, however often it is told"
        await command(redis_url, "FLUSHDB")  # what is kept is in the record
        await run.engine.publish_quotes([quote()])
        decision = (await other.engine.submit(signal(15_000, signal_id="lost"))).decision
        assert decision.order is not None
        after = await recorded(run, order_id)
        assert (after.ord_status, after.cum_qty) == (OrdStatus.FILLED, 100)
        assert (await held(run)).quantity == 100
        sent = await run.engine._parts.brokers["paper"].query(ACCOUNT, [order_id])
        assert sent == {}, "its broker had it already: it was not sent again"
        state = await run.record.load(ACCOUNT)
        assert state is not None
        assert [each["report"]["exec_id"] for each in state.unattributed] == ["n-2"]
        await audit(run)


@pytest.mark.parametrize(
    ("exec_type", "said", "because"),
    [
        (ExecType.TRADE, {"last_qty": D(105), "last_px": D(150)}, "filled 105 of order"),
        (ExecType.REPLACED, {"order_qty": D(300)}, "OrderQty 300, not 100"),
        (ExecType.RESTATED, {"order_qty": D(300)}, "OrderQty 300, not 100"),
    ],
)
async def test_what_is_booked_of_an_order_once_it_is_known_halts_like_any_other_report(
    database_url: str, redis_url: str, exec_type: ExecType, said: dict[str, object], because: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        beside, order_id = await resting(run, symbol="IBM"), order_id_for(ACCOUNT, "lost")
        await tell(run, report(order_id, exec_type, "x-1", **said))
        assert (await run.engine.submit(signal(15_000, signal_id="lost"))).decision.order
        refused = (await run.engine.submit(signal(3_000, strategy_id="next"))).decision
        assert refused.reasons == [Reason.TRADING_HALTED]
        assert because in refused.message

        async def is_canceled() -> bool:
            return (await recorded(run, beside)).ord_status is OrdStatus.CANCELED

        await eventually(is_canceled)
        await audit(run)


async def test_a_bust_of_an_order_that_becomes_known_later_is_booked(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        order_id = order_id_for(ACCOUNT, "lost")
        await tell(
            run,
            report(order_id, ExecType.TRADE, "x-1", last_qty=D(60), last_px=D(150)),
            report(order_id, ExecType.TRADE, "x-2", last_qty=D(40), last_px=D(150)),
            report(order_id, ExecType.TRADE_CANCEL, "b-1", exec_ref_id="x-1"),
        )
        assert (await run.engine.submit(signal(15_000, signal_id="lost"))).decision.order
        assert ((await held(run)).quantity, (await recorded(run, order_id)).cum_qty) == (40, 40)
        await audit(run)
