"""StreamOrderUpdates over a real server: nothing missed, nothing twice, nobody slowed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from decimal import Decimal
from types import AsyncGeneratorType
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.api_server import QUICK, Serving, a_signal, serving, told, until
from tests.support.memory_engine import START_NS, MemoryEngine, approved, filled
from trade_engine.api.order_updates import HubSettings
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.execution import CancelReject
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.order import DeliveryState, Order, OrdStatus
from trade_engine.domain.signal import Side, Signal, TimeHorizon
from trade_engine.v1 import order_pb2
from trade_engine.v1 import signal_service_pb2 as pb


@pytest.fixture
async def api() -> AsyncIterator[Serving]:
    async with serving() as running:
        yield running


async def submit(api: Serving, signal_id: str, **changes: Any) -> Order:
    signal = a_signal(signal_id, **changes)
    answer = await api.signals.SubmitSignal(pb.SubmitSignalRequest(signal=signal))
    return api.engine.record.orders[answer.decision.order_id]


def follow(api: Serving, after: int | None = None, **which: Any) -> Any:
    request = pb.StreamOrderUpdatesRequest(**which)
    if after is not None:
        request.after_sequence = after
    return api.signals.StreamOrderUpdates(request)


async def updates(call: Any, count: int) -> list[order_pb2.OrderUpdate]:
    """The next updates, `count` of them at least, whatever messages they come in."""
    found: list[order_pb2.OrderUpdate] = []
    while len(found) < count:
        response = await call.read()
        assert response is not grpc.aio.EOF
        found += response.updates.updates
    return found


def grow(engine: MemoryEngine, count: int) -> None:
    """Approve signals in bulk, without a call for each."""
    for _ in range(count):
        number = len(engine.record.journal) + 1
        signal = Signal(
            f"s-{number}",
            "main",
            "momentum-v1",
            "AAPL",
            Side.BUY,
            Decimal("0.8"),
            Decimal(15000),
            TimeHorizon.INTRADAY,
        )
        payload = {"decision": approved(signal, number).to_json(), "context": {}}
        engine.record.append(EntryKind.DECISION, payload)


async def test_the_life_of_an_order_is_told_step_by_step(api: Serving) -> None:
    call = follow(api, after=0)
    record = api.engine.record
    order = await submit(api, "s-1")
    order.delivery = DeliveryState.SENDING
    record.put_order(EntryKind.DELIVERY, order)
    record.append(EntryKind.TRADING_STATE, {"scope": "GLOBAL"})
    order.cancel_requested = True
    record.put_order(EntryKind.CANCEL_REQUESTED, order)
    record.put_order(EntryKind.EXECUTION, order, filled(order, "e-1"))

    told_ = await updates(call, 4)

    assert [(each.sequence, each.kind) for each in told_] == [
        (1, order_pb2.UPDATE_KIND_APPROVED),
        (2, order_pb2.UPDATE_KIND_DELIVERY),
        (4, order_pb2.UPDATE_KIND_CANCEL_REQUESTED),
        (5, order_pb2.UPDATE_KIND_EXECUTION),
    ]
    assert [each.order.last_sequence for each in told_] == [1, 2, 4, 5]
    assert [each.event_time.ToNanoseconds() - START_NS for each in told_] == [1, 2, 4, 5]
    assert [each.HasField("execution_report") for each in told_] == [False] * 3 + [True]
    last = told_[-1]
    assert (last.order.ord_status, last.order.avg_px) == (order_pb2.ORD_STATUS_FILLED, "150.2")
    assert last.execution_report == order_pb2.ExecutionReport(
        exec_id="e-1",
        exec_type=order_pb2.EXEC_TYPE_TRADE,
        last_qty="100",
        last_px="150.2",
        commission="1",
        transact_time=Timestamp(seconds=1_700_000_000),
    )


async def test_a_refused_cancel_is_told_live_and_to_whoever_comes_later(api: Serving) -> None:
    record = api.engine.record
    order = await submit(api, "s-1")
    call = follow(api, after=1)
    order.cancel_requested, order.ord_status = True, OrdStatus.PENDING_CANCEL
    record.put_order(EntryKind.CANCEL_REQUESTED, order)
    order.cancel_requested, order.ord_status = False, OrdStatus.NEW
    order.text = "too late to cancel"
    reject = CancelReject(order.order_id, START_NS, text=order.text).to_json()
    order.last_sequence = len(record.journal) + 1
    record.append(EntryKind.CANCEL_REJECTED, {"order": order.to_json(), "reject": reject})

    asked, refused = await updates(call, 2)
    [again] = await updates(follow(api, after=asked.sequence, symbol=order.symbol), 1)

    assert asked.kind == order_pb2.UPDATE_KIND_CANCEL_REQUESTED
    assert (refused.sequence, refused.kind) == (3, order_pb2.UPDATE_KIND_CANCEL_REJECTED)
    assert (refused.order.ord_status, refused.order.text) == (
        order_pb2.ORD_STATUS_NEW,
        "too late to cancel",
    )
    assert not refused.HasField("execution_report")
    assert again == refused


async def test_a_decision_without_an_order_is_no_update(api: Serving) -> None:
    call = follow(api, after=0)
    api.engine.record.append(EntryKind.DECISION, {"decision": {"order": None}, "context": {}})
    await submit(api, "s-2")

    assert [each.sequence for each in await updates(call, 1)] == [2]


async def test_a_snapshot_holds_the_open_orders_and_what_follows_it_is_live(api: Serving) -> None:
    orders = [await submit(api, f"s-{number}") for number in range(5)]
    filled(orders[0], "e-1")
    await submit(api, "other", symbol="MSFT")
    call = follow(api, symbol="AAPL")

    snapshot = [await call.read() for _ in range(4)]
    end = await call.read()
    await submit(api, "s-5", symbol="MSFT")
    await submit(api, "s-6")

    assert {one.WhichOneof("item") for one in snapshot} == {"snapshot"}
    assert {one.snapshot.order.signal_id for one in snapshot} == {"s-1", "s-2", "s-3", "s-4"}
    assert (end.snapshot_end.sequence, end.snapshot_end.count) == (6, 4)
    assert [each.sequence for each in await updates(call, 1)] == [8]


async def test_an_empty_snapshot_ends_too(api: Serving) -> None:
    end = await follow(api).read()

    assert end.WhichOneof("item") == "snapshot_end"
    assert (end.snapshot_end.sequence, end.snapshot_end.count) == (0, 0)


@pytest.mark.parametrize("after", [0, 1, 99, 100, 101, 250, 349, 350])
async def test_a_client_that_comes_back_gets_what_it_missed(api: Serving, after: int) -> None:
    grow(api.engine, 350)
    call = follow(api, after=after)
    grow(api.engine, 1)

    found = await updates(call, 351 - after)

    assert [each.sequence for each in found] == list(range(after + 1, 352))


async def test_an_absent_resume_point_is_not_zero(api: Serving) -> None:
    grow(api.engine, 1)

    first = await follow(api, after=0).read()
    snapshot = await follow(api).read()

    assert first.WhichOneof("item") == "updates"
    assert snapshot.WhichOneof("item") == "snapshot_end"


async def test_a_resume_point_ahead_of_the_journal_is_refused(api: Serving) -> None:
    grow(api.engine, 3)

    with pytest.raises(grpc.RpcError) as caught:
        await follow(api, after=4).read()

    error = told(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "SEQUENCE_AHEAD")
    assert error.metadata == {"after_sequence": "4", "head_sequence": "3"}


async def test_updates_are_filtered_by_strategy_and_symbol(api: Serving) -> None:
    which = [
        {},
        {"strategy_id": "pairs"},
        {"symbol": "MSFT"},
        {"strategy_id": "pairs", "symbol": "MSFT"},
    ]
    calls = [follow(api, after=0, **each) for each in which]
    await asyncio.gather(*(call.wait_for_connection() for call in calls))
    for number in range(12):
        strategy = ("momentum-v1", "pairs")[number % 3 == 0]
        symbol = ("AAPL", "MSFT")[number % 2]
        await submit(api, f"s-{number}", strategy_id=strategy, symbol=symbol)

    found = [
        [each.sequence for each in await updates(call, count)]
        for call, count in zip(calls, (12, 4, 6, 2), strict=True)
    ]

    assert found == [list(range(1, 13)), [1, 4, 7, 10], [2, 4, 6, 8, 10, 12], [4, 10]]


async def test_heartbeats_carry_the_head_and_are_good_to_come_back_with(api: Serving) -> None:
    call = follow(api, after=0, symbol="MSFT")
    await submit(api, "s-1")
    api.engine.record.append(EntryKind.TRADING_STATE, {})

    heads = []
    while 2 not in heads:
        response = await call.read()
        assert response.WhichOneof("item") == "heartbeat"
        heads.append(response.heartbeat.head_sequence)
    await submit(api, "s-2", symbol="MSFT")

    assert heads == sorted(heads)
    [found] = await updates(follow(api, after=2, symbol="MSFT"), 1)
    assert found.sequence == 3


async def test_updates_come_soon_by_wakes_and_late_without() -> None:
    patient = HubSettings(poll_s=0.4, heartbeat_s=10)
    async with serving(updates=patient) as api:
        call = follow(api, after=0)
        await call.wait_for_connection()
        await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()

        started = loop.time()
        grow(api.engine, 1)
        await updates(call, 1)
        woken_s = loop.time() - started
        api.engine.record.on_growth = lambda _account, _sequence: None  # the bell is broken
        started = loop.time()
        grow(api.engine, 1)
        await updates(call, 1)
        polled_s = loop.time() - started

    assert woken_s < 0.3
    assert polled_s < 2


async def test_many_subscribers_cost_the_record_one_read() -> None:
    """The journal is read once for all who follow it, however many they are."""
    async with serving(updates=HubSettings(poll_s=30, heartbeat_s=30)) as api:
        calls = [follow(api, after=0) for _ in range(50)]
        await asyncio.gather(*(call.wait_for_connection() for call in calls))
        await submit(api, "s-0")
        await asyncio.gather(*(updates(call, 1) for call in calls))
        reads = api.engine.record.reads

        grow(api.engine, 100)
        found = await asyncio.gather(*(updates(call, 100) for call in calls))

        assert api.engine.record.reads - reads <= 3
        assert all([each.sequence for each in one] == list(range(2, 102)) for one in found)


LAGGING = HubSettings(poll_s=0.1, heartbeat_s=10, lag_max=500)
NARROW = [("grpc.http2.bdp_probe", 0)]
"""A connection whose window does not grow: a write waits after some 100 kB instead of 10 MB."""


async def test_a_slow_reader_is_let_go_with_its_resume_point_and_slows_nobody() -> None:
    total = 5000
    async with serving(updates=LAGGING, channel_options=NARROW) as api:
        slow = follow(api, after=0)
        await slow.wait_for_connection()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{api.port}") as other:
            keen = type(api.signals)(other).StreamOrderUpdates(
                pb.StreamOrderUpdatesRequest(after_sequence=0)
            )
            for seen in range(0, total, 250):
                grow(api.engine, 250)
                found = await updates(keen, 250)
                assert [each.sequence for each in found] == list(range(seen + 1, seen + 251))
            keen.cancel()

        read: list[int] = []

        async def read_on() -> None:
            while True:
                read.extend(each.sequence for each in await updates(slow, 1))

        with pytest.raises(grpc.RpcError) as caught:
            await read_on()

        error = told(caught.value)
        assert (error.code, error.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "SUBSCRIBER_LAGGED",
        )
        assert error.metadata["resume_sequence"] == str(read[-1])
        assert read == list(range(1, read[-1] + 1))
        rest = await updates(follow(api, after=read[-1]), total - read[-1])
        assert [each.sequence for each in rest] == list(range(read[-1] + 1, total + 1))


async def test_streams_outlast_a_record_that_is_away_for_a_moment() -> None:
    async with serving(updates=HubSettings(poll_s=0.05, heartbeat_s=0.05, give_up_s=30)) as api:
        call = follow(api, after=0)
        await submit(api, "s-1")
        await updates(call, 1)
        api.engine.record.failure = StoreUnavailable("no answer", store="postgres")
        grow(api.engine, 3)
        beats = asyncio.create_task(call.read())
        await asyncio.sleep(0.3)
        assert not beats.done() or (await beats).heartbeat.head_sequence == 1
        api.engine.record.failure = None

        found = list((await beats).updates.updates)
        while len(found) < 3:
            found += await updates(call, 1)

    assert [each.sequence for each in found] == [2, 3, 4]


async def test_streams_end_when_the_record_stays_away() -> None:
    async with serving(updates=QUICK) as api:
        call = follow(api, after=0)
        await call.wait_for_connection()
        api.engine.record.failure = StoreUnavailable("no answer", store="postgres")

        with pytest.raises(grpc.RpcError) as caught:
            await updates(call, 1)

    error = told(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


async def test_a_fault_of_our_own_ends_the_streams_instead_of_silencing_them(
    api: Serving,
) -> None:
    call = follow(api, after=0)
    await submit(api, "s-1")
    await updates(call, 1)
    api.engine.record.append(EntryKind.DELIVERY, {"order": {"not": "an order"}})

    with pytest.raises(grpc.RpcError) as caught:
        await updates(call, 1)

    error = told(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert error.metadata == {"incident_id": "incident-1"}


async def test_nobody_following_costs_the_record_nothing(api: Serving) -> None:
    call = follow(api, after=0)
    await submit(api, "s-1")
    await updates(call, 1)
    call.cancel()
    await until(lambda: api.count("StreamOrderUpdates", "CANCELLED"))
    reads = api.engine.record.reads

    grow(api.engine, 10)
    await asyncio.sleep(0.3)

    assert api.engine.record.reads == reads


async def test_a_server_that_stops_ends_its_streams_with_words(api: Serving) -> None:
    calls = [follow(api, after=0), follow(api)]
    await submit(api, "s-1")
    for call in calls:
        await updates(call, 0 if call is calls[1] else 1)
    loop = asyncio.get_running_loop()
    started = loop.time()

    await api.server.stop(10)

    assert loop.time() - started < 2
    for call in calls:
        with pytest.raises(grpc.RpcError) as caught:
            await updates(call, 100)
        error = told(caught.value)
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")


async def test_a_client_that_does_not_read_does_not_hold_up_stopping() -> None:
    async with serving(updates=LAGGING, channel_options=NARROW) as api:
        slow = follow(api, after=0)
        await slow.wait_for_connection()
        for _ in range(20):
            grow(api.engine, 250)
            await asyncio.sleep(0.02)
        loop = asyncio.get_running_loop()
        started = loop.time()

        await api.server.stop(20)

        assert 0.9 < loop.time() - started < 5


def streams_kept() -> list[object]:
    """The handlers of this RPC that something still refers to."""
    generators = (each for each in gc.get_objects() if isinstance(each, AsyncGeneratorType))
    return [each for each in generators if each.__name__ == "StreamOrderUpdates"]


async def test_what_was_for_a_client_that_hung_up_does_not_wait_for_the_collector() -> None:
    async with serving(updates=LAGGING, channel_options=NARROW) as api:
        grow(api.engine, 1000)
        gc.collect()
        gc.disable()
        try:
            deaf = follow(api, after=0)
            await deaf.read()
            assert streams_kept()
            deaf.cancel()
            await until(lambda: not streams_kept())
        finally:
            gc.enable()
