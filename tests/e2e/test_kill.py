"""The engine killed with -9 under load: nothing acknowledged is lost, nothing is sent twice."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import grpc
import psycopg
import pytest
import redis

from tests.support.audited import audit
from tests.support.engine_process import EngineProcess, engine_process
from tests.support.trading import replicas, until_quiet
from tests.support.wide import wide_toml
from trade_engine.config.rulebook import load_rulebook
from trade_engine.domain.rulebook import Rulebook
from trade_engine.storage.postgres.url import connection_words
from trade_engine.v1 import (
    decision_pb2,
    market_data_service_pb2,
    market_data_service_pb2_grpc,
    signal_pb2,
    signal_service_pb2,
    signal_service_pb2_grpc,
)

pytestmark = [pytest.mark.stores, pytest.mark.faults]

SYMBOLS = ("AAPL", "IBM")


@pytest.fixture
def limits(tmp_path: Path) -> Path:
    """Limits that a load of small orders soon reaches."""
    file = tmp_path / "limits.toml"
    file.write_text(
        wide_toml(
            10_000_000,
            signal_age_ms_max=60_000,
            quote_age_ms_max=600_000,
            order_notional_max=100_000,
            symbol_position_notional_max=60_000,
            gross_exposure_max=100_000,
        )
    )
    return file


def rules(limits: Path) -> Rulebook:
    return load_rulebook(limits, None)


def submit_request(number: int) -> signal_service_pb2.SubmitSignalRequest:
    """Signals that go up and down again, so that orders go on being approved at the limits."""
    up = number // 40 % 2 == 0
    return signal_service_pb2.SubmitSignalRequest(
        signal=signal_pb2.Signal(
            signal_id=f"load-{number}",
            strategy_id=f"s{number % 8}",
            symbol=SYMBOLS[number % 2],
            side=signal_pb2.Signal.BUY if up else signal_pb2.Signal.SELL,
            confidence=0.5,
            target_exposure=15_000.0 if up else 0.0,
            time_horizon=signal_pb2.Signal.INTRADAY,
            constraints=signal_pb2.SignalConstraints(max_slippage_bps=20),
        )
    )


async def publish_quotes(channel: grpc.aio.Channel) -> None:
    request = market_data_service_pb2.PublishQuotesRequest()
    for symbol in SYMBOLS:
        quote = request.quotes.add(symbol=symbol, bid="149.99", ask="150.01")
        quote.quote_time.FromNanoseconds(time.time_ns())
    stub = market_data_service_pb2_grpc.MarketDataServiceStub(channel)
    await stub.PublishQuotes(iter([request]))


class Load:
    """Signals without end, many in flight; remembers every answer that arrived."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, decision_pb2.Decision] = {}
        self._numbers = itertools.count()

    async def run(self, target: str, seconds: float, in_flight: int = 24) -> None:
        """Submit for so long, or until the server is gone."""
        async with grpc.aio.insecure_channel(target) as channel:
            await publish_quotes(channel)
            stub = signal_service_pb2_grpc.SignalServiceStub(channel)
            deadline = time.monotonic() + seconds
            await asyncio.gather(*(self._worker(stub, deadline) for _ in range(in_flight)))

    async def _worker(
        self, stub: signal_service_pb2_grpc.SignalServiceAsyncStub, deadline: float
    ) -> None:
        while time.monotonic() < deadline:
            request = submit_request(next(self._numbers))
            try:
                answer = await stub.SubmitSignal(request, timeout=10)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    return
                raise
            self.acknowledged[answer.decision.signal_id] = answer.decision


async def check_acknowledged(target: str, load: Load) -> None:
    """Every answer that a client saw is the decision on record."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub = signal_service_pb2_grpc.SignalServiceStub(channel)
        for signal_id, decision in load.acknowledged.items():
            request = signal_service_pb2.GetDecisionRequest(signal_id=signal_id)
            assert (await stub.GetDecision(request)).decision == decision


def check_venue(database_url: str) -> int:
    """The venue saw each approved order exactly once, and no other."""
    with psycopg.connect(**connection_words(database_url)) as connection:
        arrived = connection.execute(
            "SELECT cl_ord_id, count(*) FROM paper.messages"
            " WHERE message->>'kind' = 'ORDER' GROUP BY 1"
        ).fetchall()
        approved = connection.execute("SELECT order_id FROM orders").fetchall()
    assert {name for name, _ in arrived} == {name for (name,) in approved}
    assert {count for _, count in arrived} <= {1}
    return len(arrived)


async def settle_and_audit(database_url: str, redis_url: str, limits: Path) -> None:
    """Wait until nothing is open, then walk the journal and hold every table against it."""
    async with replicas(1, database_url, redis_url, rules(limits)) as [run]:
        await until_quiet(run)
        await audit(run)


async def test_kill_nine_under_load_loses_nothing_and_doubles_nothing(
    database_url: str, redis_url: str, limits: Path, tmp_path: Path
) -> None:
    load, log = Load(), tmp_path / "engine.log"
    arguments = ("--database-url", database_url, "--redis-url", redis_url, "--limits", limits)
    for _ in range(2):
        with engine_process(*arguments, log=log) as engine:
            await asyncio.gather(load.run(engine.target, 60), _kill_soon(engine))
    with engine_process(*arguments, log=log) as engine:
        await check_acknowledged(engine.target, load)
    assert len(load.acknowledged) > 100
    await settle_and_audit(database_url, redis_url, limits)
    assert check_venue(database_url) > 10


async def _kill_soon(engine: EngineProcess) -> None:
    await asyncio.sleep(1.2)
    await asyncio.to_thread(engine.kill)


async def test_flushall_under_load_passes_no_limit(
    database_url: str, redis_url: str, limits: Path, tmp_path: Path
) -> None:
    load, log = Load(), tmp_path / "engine.log"
    arguments = ("--database-url", database_url, "--redis-url", redis_url, "--limits", limits)
    with engine_process(*arguments, log=log) as engine:
        await asyncio.gather(load.run(engine.target, 4), _flush_often(redis_url, engine.target, 4))
    assert len(load.acknowledged) > 100
    await settle_and_audit(database_url, redis_url, limits)
    check_exposure(database_url, gross=100_000)


async def _flush_often(redis_url: str, target: str, seconds: float) -> None:
    client = redis.Redis.from_url(redis_url)
    deadline = time.monotonic() + seconds - 0.5
    async with grpc.aio.insecure_channel(target) as channel:
        while time.monotonic() < deadline:
            await asyncio.sleep(0.3)
            await asyncio.to_thread(client.flushdb)
            await publish_quotes(channel)
    client.close()


def check_exposure(database_url: str, *, gross: int) -> None:
    """At every fill, what was held by then is within the limit (at the reference of 150)."""
    with psycopg.connect(**connection_words(database_url)) as connection:
        fills = connection.execute(
            "SELECT symbol, side, last_qty FROM fills ORDER BY sequence"
        ).fetchall()
    held = dict.fromkeys(SYMBOLS, 0)
    assert fills
    for symbol, side, quantity in fills:
        held[symbol] += quantity if side == "BUY" else -quantity
        assert sum(abs(each) for each in held.values()) * 150 <= gross


async def test_sigterm_under_load_answers_or_refuses_and_loses_nothing(
    database_url: str, redis_url: str, limits: Path, tmp_path: Path
) -> None:
    load, log = Load(), tmp_path / "engine.log"
    arguments = ("--database-url", database_url, "--redis-url", redis_url, "--limits", limits)
    with engine_process(*arguments, log=log) as engine:
        running = asyncio.create_task(load.run(engine.target, 60))
        await asyncio.sleep(2)
        assert await asyncio.to_thread(engine.stop) == 0
        await running
    with engine_process(*arguments, log=log) as engine:
        await check_acknowledged(engine.target, load)
    await settle_and_audit(database_url, redis_url, limits)
    check_venue(database_url)
