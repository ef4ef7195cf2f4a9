"""Both clients against a real server over an engine in memory, and through what breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.proxy import Proxy
from tests.support.api_server import serving
from tests.support.memory_engine import MemoryEngine
from trade_engine.client import (
    AsyncTradeEngineClient,
    Failed,
    OrderSnapshot,
    OrderUpdate,
    RetryPolicy,
    SnapshotEnd,
    Submitted,
    TradeEngineClient,
    TradeEngineError,
)
from trade_engine.domain.errors import GateClosed, QueueFull

POLICY = RetryPolicy(timeout_s=2, retry_for_s=10, backoff_s=0.05, backoff_s_max=0.2)
A_SIGNAL = {
    "strategy_id": "momentum-v1",
    "symbol": "AAPL",
    "side": "BUY",
    "confidence": 0.8,
    "target_exposure": 15000,
    "time_horizon": "INTRADAY",
}


def signals(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield A_SIGNAL | {"signal_id": f"s-{number}", "target_exposure": 15000 + number}


def orders_of(engine: MemoryEngine) -> int:
    return len(engine.record.orders)


async def in_thread(target: str, work: Callable[[TradeEngineClient], Any]) -> Any:
    def run() -> Any:
        with TradeEngineClient(target, policy=POLICY) as client:
            return work(client)

    return await asyncio.to_thread(run)


async def test_a_signal_twice_is_one_decision() -> None:
    async with serving() as server:
        target = f"127.0.0.1:{server.port}"

        def work(client: TradeEngineClient) -> None:
            first = client.submit(A_SIGNAL)
            second = client.submit(A_SIGNAL, signal_id=first.signal_id)
            assert (first.replayed, second.replayed) == (False, True)
            assert first.decision == second.decision
            assert client.get_decision(first.signal_id) == first.decision

        await in_thread(target, work)
        async with AsyncTradeEngineClient(target, policy=POLICY) as client:
            done = await client.submit(A_SIGNAL)
            assert (await client.submit(done.decision.signal)).replayed
        assert orders_of(server.engine) == 2


async def test_many_signals_each_have_a_result() -> None:
    async with serving() as server:
        target = f"127.0.0.1:{server.port}"
        results = await in_thread(target, lambda client: list(client.submit_many(signals(500))))
        assert {each.signal_id for each in results} == {f"s-{n}" for n in range(500)}
        assert all(isinstance(each, Submitted) for each in results)
        async with AsyncTradeEngineClient(target, policy=POLICY) as client:
            again = [each async for each in client.submit_many(signals(500), in_flight_max=7)]
        assert len(again) == 500
        assert all(isinstance(each, Submitted) and each.replayed for each in again)
        assert orders_of(server.engine) == 500


async def test_nothing_to_submit_is_no_result() -> None:
    async with serving() as server:
        target = f"127.0.0.1:{server.port}"
        assert await in_thread(target, lambda client: list(client.submit_many([]))) == []
        async with AsyncTradeEngineClient(target, policy=POLICY) as client:
            assert [each async for each in client.submit_many([])] == []


async def test_signals_may_wait_for_the_world() -> None:
    async with serving() as server, AsyncTradeEngineClient(f"127.0.0.1:{server.port}") as client:
        decided = asyncio.Event()

        async def slowly() -> AsyncIterator[dict[str, Any]]:
            for signal in signals(3):
                yield signal
                await decided.wait()
                decided.clear()

        found = []
        async for result in client.submit_many(slowly()):
            found.append(result.signal_id)
            decided.set()
        assert found == ["s-0", "s-1", "s-2"]


async def test_a_signal_that_cannot_be_decided_fails_alone() -> None:
    async with serving() as server:
        bad = A_SIGNAL | {"signal_id": "bad", "confidence": 7}
        results = await in_thread(
            f"127.0.0.1:{server.port}",
            lambda client: list(client.submit_many([*signals(2), bad, *signals(3)])),
        )
        failed = [each for each in results if isinstance(each, Failed)]
        assert [each.signal_id for each in failed] == ["bad"]
        assert failed[0].error.field_violations[0][0] == "confidence"
        assert len(results) == 6


async def test_what_the_callers_iterator_raises_comes_out_after_the_results() -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield from signals(2)
        raise RuntimeError("the feed broke")

    found = []

    def work(client: TradeEngineClient) -> None:
        for result in client.submit_many(broken()):
            found.append(result.signal_id)  # noqa: PERF401  it raises halfway

    async def gather(client: AsyncTradeEngineClient) -> None:
        async for result in client.submit_many(broken()):
            found.append(result.signal_id)  # noqa: PERF401  it raises halfway

    async with serving() as server:
        target = f"127.0.0.1:{server.port}"
        with pytest.raises(RuntimeError, match="the feed broke"):
            await in_thread(target, work)
        async with AsyncTradeEngineClient(target, policy=POLICY) as client:
            with pytest.raises(RuntimeError, match="the feed broke"):
                await gather(client)
    assert found == ["s-0", "s-1", "s-0", "s-1"]


@pytest.mark.parametrize("error", [GateClosed("closed for now"), QueueFull("full for now")])
async def test_a_gate_that_opens_again_costs_no_signal(error: Exception) -> None:
    async with serving() as server:
        target = f"127.0.0.1:{server.port}"
        server.engine.failure = error

        async def mend() -> None:
            await asyncio.sleep(0.3)
            server.engine.failure = None

        mending = asyncio.create_task(mend())
        one, many = await asyncio.gather(
            in_thread(target, lambda client: client.submit(A_SIGNAL, signal_id="one")),
            in_thread(target, lambda client: list(client.submit_many(signals(20)))),
        )
        await mending
        assert one.approved
        assert all(isinstance(each, Submitted) for each in many)
        assert len(many) == 20
        assert orders_of(server.engine) == 21


async def test_a_connection_cut_again_and_again_loses_and_doubles_nothing() -> None:
    async with serving() as server, Proxy(("127.0.0.1", server.port)) as proxy:
        server.engine.delay_s = 0.02
        target = f"127.0.0.1:{proxy.port}"

        async def cut() -> None:
            for _ in range(6):
                await asyncio.sleep(0.15)
                proxy.cut()

        async def by_asyncio() -> list[Any]:
            async with AsyncTradeEngineClient(target, policy=POLICY) as client:
                some = [each | {"signal_id": f"a-{each['signal_id']}"} for each in signals(150)]
                return [each async for each in client.submit_many(some, in_flight_max=8)]

        cutting = asyncio.create_task(cut())
        in_threads, in_tasks = await asyncio.gather(
            in_thread(
                target, lambda client: list(client.submit_many(signals(150), in_flight_max=8))
            ),
            by_asyncio(),
        )
        await cutting
        for results in (in_threads, in_tasks):
            assert all(isinstance(each, Submitted) for each in results)
            assert len({each.signal_id for each in results}) == len(results) == 150
        assert orders_of(server.engine) == 300


async def test_an_engine_that_is_not_there_is_said_within_the_time() -> None:
    quick = RetryPolicy(timeout_s=0.2, retry_for_s=0.5)
    async with Proxy(("127.0.0.1", 1)) as proxy:
        target = f"127.0.0.1:{proxy.port}"
        async with AsyncTradeEngineClient(target, policy=quick) as client:
            with pytest.raises(TradeEngineError) as one:
                await client.submit(A_SIGNAL)
            with pytest.raises(TradeEngineError):
                [each async for each in client.submit_many(signals(3))]
            with pytest.raises(TradeEngineError):
                [each async for each in client.watch()]
    assert one.value.code.name in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert target in one.value.message


async def test_a_watch_over_cut_connections_misses_and_repeats_nothing() -> None:
    async with serving() as server, Proxy(("127.0.0.1", server.port)) as proxy:
        target = f"127.0.0.1:{proxy.port}"
        direct = AsyncTradeEngineClient(f"127.0.0.1:{server.port}", policy=POLICY)
        await direct.submit(A_SIGNAL, signal_id="before")

        def follow(client: TradeEngineClient) -> list[Any]:
            seen: list[Any] = []
            for event in client.watch():
                seen.append(event)
                if sum(isinstance(each, OrderUpdate) for each in seen) == 30:
                    return seen
            return seen

        following = asyncio.create_task(in_thread(target, follow))
        while not proxy.connections:  # noqa: ASYNC110  what is waited for has no event to set
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        for number, signal in enumerate(signals(30)):
            await direct.submit(signal)
            await asyncio.sleep(0.02)
            if number % 7 == 3:
                proxy.cut()
        seen = await following
        await direct.close()
        assert [type(each) for each in seen[:2]] == [OrderSnapshot, SnapshotEnd]
        updates = [each for each in seen if isinstance(each, OrderUpdate)]
        sequences = [each.sequence for each in updates]
        assert sequences == sorted(set(sequences))
        assert [each.order.signal_id for each in updates] == [f"s-{n}" for n in range(30)]


async def test_lists_quotes_and_control() -> None:
    async with serving() as server, AsyncTradeEngineClient(f"127.0.0.1:{server.port}") as client:
        async for _ in client.submit_many(signals(7)):
            pass
        found = [each async for each in client.list_decisions(page_size=3)]
        assert [each.signal_id for each in found] == [f"s-{n}" for n in range(6, -1, -1)]
        orders = [each async for each in client.list_orders(page_size=2)]
        assert len(orders) == 7
        assert (await client.get_order(orders[0].order_id)).order_id == orders[0].order_id
        canceled = await client.cancel_order(orders[0].order_id, reason="late")
        assert canceled.order_id == orders[0].order_id
        told = await client.publish_quotes(
            [{"symbol": "AAPL", "bid": "1", "ask": "2"}, {"symbol": "IBM", "bid": "3", "ask": "2"}]
        )
        assert (told.accepted_count, told.rejected_count) == (1, 1)
        quotes = await client.get_quotes(["AAPL", "IBM"])
        assert [each.symbol for each in quotes.quotes] == ["AAPL"]
        assert list(quotes.missing_symbols) == ["IBM"]
        assert (await client.evaluate(A_SIGNAL)).sequence == 0
        assert [each async for each in client.positions()] == []
        assert (await client.status()).accounts
        assert (await client.halt({"global": True}, "feed")).account_sequences
        assert (await client.resume({"global": True}, "fine")).account_sequences
        with pytest.raises(TradeEngineError) as caught:
            await client.get_order("o-none")
        assert caught.value.reason == "ORDER_NOT_FOUND"
