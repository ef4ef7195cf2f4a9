"""What reaches a broker, and when: never from a sender past its lease, never after a cancel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NoReturn

import orjson
import pytest
from structlog.testing import capture_logs

from tests.support.holding import (
    BROKER,
    Hold,
    broker,
    lease_elsewhere,
    sender_first,
    sends,
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
from trade_engine.brokers.paper import PaperBroker
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.order import DeliveryState, Order, OrdStatus
from trade_engine.domain.trading_state import GLOBAL, TradingState
from trade_engine.execution import order_router, report_intake, requests
from trade_engine.execution.commands import HaltCommand
from trade_engine.execution.ports import Delivery
from trade_engine.wiring import Running, running

pytestmark = pytest.mark.stores


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done from time to time is done often."""
    monkeypatch.setattr(order_router, "LOOK_EVERY_S", 0.2)


async def approve(run: Running, *, resting: bool = False, strategy_id: str = "momentum-v1") -> str:
    """An approved order, by default one that fills as soon as it is sent; answers with its id."""
    wish = signal(15_000, strategy_id=strategy_id)
    if resting:
        wish.max_slippage_bps = Decimal(0)
    order = (await run.engine.submit(wish)).decision.order
    assert order is not None
    return order.order_id


async def recorded(run: Running, order_id: str) -> Order:
    return (await run.record.find_orders(ACCOUNT, [order_id]))[order_id]


async def until(run: Running, order_id: str, status: OrdStatus) -> None:
    async def so() -> bool:
        return (await recorded(run, order_id)).ord_status is status

    await eventually(so)


async def test_a_sender_that_lost_its_lease_records_nothing(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_router, "LEASE_TTL_MS", 800)
    monkeypatch.setattr(order_router, "RENEW_EVERY_S", 0.2)
    async with replicas(2, database_url, redis_url) as runs:
        old, new = await sender_first(runs)
        stalled, slow = Hold(broker(old), "send"), Hold(broker(new), "send")
        Hold(old.engine._parts.leases, "renew")
        order_id = await approve(old)
        await asyncio.wait_for(slow.reached.wait(), 10)
        stalled.let_go()
        await eventually(lambda: not sends(old))
        assert (await recorded(new, order_id)).delivery is DeliveryState.SENDING

        halt = HaltCommand(GLOBAL, TradingState.HALTED, "drill", "ops", False, "")
        result = await new.engine.halt(halt)
        assert (result.drained, result.in_doubt_order_ids) == (False, [order_id])
        slow.let_go()
        await until_quiet(new)
        found = await recorded(new, order_id)
        assert (found.ord_status, found.cum_qty) == (OrdStatus.FILLED, Decimal(100))


async def test_a_stop_gives_the_lease_back_last(database_url: str, redis_url: str) -> None:
    holders = []
    async with replicas(2, database_url, redis_url) as runs:
        old, new = await sender_first(runs)
        leases = new.engine._parts.leases
        sending = asyncio.Event()

        async def slow_to_end(_orders: Sequence[Any]) -> list[Delivery]:
            try:
                sending.set()
                return await asyncio.Future()
            finally:
                await asyncio.sleep(0.3)
                holders.append(await leases.holder(ACCOUNT, BROKER))

        broker(old).send = slow_to_end  # type: ignore[assignment,method-assign]
        await approve(old)
        await sending.wait()
        before = await leases.holder(ACCOUNT, BROKER)
        await old.engine.stop(0)
        assert holders == [before]
        assert await leases.holder(ACCOUNT, BROKER) != before, "and it is given back"


async def test_an_order_canceled_on_its_way_that_did_not_leave_is_never_sent(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        await sender_first([run])
        handed_over, answer = [], asyncio.Event()

        async def send(orders: Sequence[Any]) -> list[Delivery]:
            handed_over.append(len(orders))
            await answer.wait()
            return [Delivery.NOT_SENT] * len(orders)

        broker(run).send = send  # type: ignore[method-assign]
        order_id = await approve(run)
        await eventually(lambda: handed_over)
        canceled = await run.engine.cancel_order(ACCOUNT, order_id, "", "changed my mind", "ops")
        assert canceled.ord_status is OrdStatus.PENDING_CANCEL
        answer.set()
        await until(run, order_id, OrdStatus.CANCELED)
        await asyncio.sleep(order_router.LOOK_EVERY_S * 3)
        assert handed_over == [1]


async def test_a_cancel_is_asked_for_again_until_it_is_reported(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        order_id = await approve(run, resting=True)
        await until(run, order_id, OrdStatus.NEW)
        real = broker(run).cancel
        lost: list[Sequence[Order]] = []

        async def cancel(orders: Sequence[Order]) -> list[Delivery]:
            if lost:
                return await real(orders)
            lost.append(orders)
            return [Delivery.SENT] * len(orders)

        broker(run).cancel = cancel  # type: ignore[method-assign]
        await run.engine.cancel_order(ACCOUNT, order_id, "", "changed my mind", "ops")
        await until(run, order_id, OrdStatus.CANCELED)
        assert lost


async def test_a_question_that_is_never_answered_holds_up_no_cancel(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def silent(_broker: Any, _account_id: str, names: Sequence[str]) -> NoReturn:
        asked.append(names)
        raise StoreUnavailable("settle it by hand")

    async def swallowed(orders: Sequence[Any]) -> list[Delivery]:
        return [Delivery.IN_DOUBT] * len(orders)

    async with replicas(1, database_url, redis_url) as [run]:
        first = await approve(run, resting=True)
        second = await approve(run, resting=True, strategy_id="other")
        for each in (first, second):
            await until(run, each, OrdStatus.NEW)

        monkeypatch.setattr(PaperBroker, "query", silent)
        broker(run).send = swallowed  # type: ignore[method-assign]
        wish = signal(1_500, strategy_id="another")
        assert (await run.engine.submit(wish)).decision.order is not None
        with capture_logs() as said:
            await eventually(lambda: len(asked) > 3)
        assert [each["why"] for each in said if each["event"] == "router_waits"] == [
            "settle it by hand"
        ], "once, however often it is asked"
        await run.engine.cancel_order(ACCOUNT, first, "", "enough", "ops")
        await until(run, first, OrdStatus.CANCELED)
    asked.clear()
    async with replicas(1, database_url, redis_url) as [run]:  # nor for who takes over
        await eventually(lambda: len(asked) > 1)
        await run.engine.cancel_order(ACCOUNT, second, "", "enough", "ops")
        await until(run, second, OrdStatus.CANCELED)


@pytest.mark.parametrize(("late_s", "status"), [(30, OrdStatus.FILLED), (61, OrdStatus.CANCELED)])
async def test_an_order_is_sent_within_a_minute_or_not_at_all(
    database_url: str, redis_url: str, late_s: int, status: OrdStatus
) -> None:
    passed_ns = 0
    plan = patient_plan(
        database_url, redis_url, rulebook(), "replica-0", clock=lambda: time.time_ns() + passed_ns
    )
    async with lease_elsewhere(database_url) as given_up, running(plan) as run:
        await run.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
        order_id = await approve(run)
        passed_ns = late_s * 1_000_000_000
        given_up.set()
        await until(run, order_id, status)
        arrived = await broker(run).query(ACCOUNT, [order_id])
        assert bool(arrived) is (status is OrdStatus.FILLED)


@pytest.mark.parametrize("words", ["from the venue \x00", "\x1b[31m\r\n", "\ud800", "x" * 100_000])
async def test_whatever_a_broker_says_its_report_is_booked(
    database_url: str, redis_url: str, words: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        order_id = await approve(run, resting=True)
        await until(run, order_id, OrdStatus.NEW)
        report = ExecutionReport(
            order_id, "x-1", ExecType.TRADE, 1, Decimal(1), Decimal(150), text=words
        )
        sink = run.engine._sink_of(BROKER)
        await asyncio.wait_for(sink(ACCOUNT, [report]), 5)
        assert (await recorded(run, order_id)).cum_qty == 1
        assert (await run.engine.submit(signal(1_500, strategy_id="next"))).decision.order


async def test_a_report_that_cannot_be_recorded_holds_up_no_other(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        order_id = await approve(run, resting=True)
        await until(run, order_id, OrdStatus.NEW)
        sink = run.engine._sink_of(BROKER)

        def of(exec_id: str) -> ExecutionReport:
            return ExecutionReport(order_id, exec_id, ExecType.TRADE, 1, Decimal(1), Decimal(150))

        await asyncio.wait_for(sink(ACCOUNT, [of("x-1"), of("x\x00"), of("x-2")]), 10)
        # What gets past us is refused by the record itself: here it meets the bad name raw.
        monkeypatch.setattr(requests, "fault_of", lambda _report: "")
        monkeypatch.setattr(report_intake, "REBOOK_AFTER_S", 0.01)
        await asyncio.wait_for(sink(ACCOUNT, [of("x-3"), of("y\x00"), of("x-4")]), 30)
        assert (await recorded(run, order_id)).cum_qty == 4
        entries = await run.engine.queries.entries(
            ACCOUNT, 0, 100, frozenset({EntryKind.REPORT_QUARANTINED})
        )
        first, second = (orjson.loads(each.payload) for each in entries)
        assert "exec_id='x\\x00'" in first["report"]
        assert "exec_id='y\\x00'" in second["report"]
        assert "SQLSTATE 22" in second["why"]
