"""An engine whose stores stop answering, lose replies, or come back empty: it waits, and heals."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import psycopg
import pytest

from tests.private_redis import PrivateRedis
from tests.proxy import Address, Proxy
from tests.support.api_server import Told, told
from tests.support.e2e import (
    ACCOUNT,
    APPROVED,
    Client,
    assert_clean,
    connected,
    engine_on,
    eventually,
    submit_request,
)
from tests.support.record import address, through
from trade_engine.domain.order import order_id_for
from trade_engine.embedded.binaries import locate
from trade_engine.storage.postgres.url import connection_words
from trade_engine.storage.redis import keys
from trade_engine.v1 import control_service_pb2, signal_service_pb2

pytestmark = [pytest.mark.stores, pytest.mark.faults]

POSTGRES_LIMIT_S = 1.0
REDIS_LIMIT_S = 0.4
SLACK_S = 1.0  # of a busy machine


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine gives its stores up sooner than by default, so that the tests are quick."""
    monkeypatch.setenv("TRADE_ENGINE_DATABASE_TIME_LIMIT_MS", str(int(POSTGRES_LIMIT_S * 1000)))
    monkeypatch.setenv("TRADE_ENGINE_REDIS_TIME_LIMIT_MS", str(int(REDIS_LIMIT_S * 1000)))


@asynccontextmanager
async def serving(database_url: str, redis_url: str, folder: Path) -> AsyncIterator[Client]:
    """A client of an engine that came to be while this loop went on: the proxies live in it."""
    opened = engine_on(database_url, redis_url, folder)
    engine = await asyncio.to_thread(opened.__enter__)
    try:
        async with connected(engine.target) as client:
            await client.publish()
            yield client
        assert await asyncio.to_thread(engine.stop) == 0
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Proxy]:
    """What stands between the engine and PostgreSQL."""
    async with Proxy(address(database_url)) as proxy:
        yield proxy


@pytest.fixture
async def behind_record(
    record: Proxy, database_url: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Client]:
    async with serving(through(record.port, database_url), redis_url, tmp_path) as client:
        yield client
    await assert_clean(database_url)


@pytest.fixture
async def risk(redis_url: str) -> AsyncIterator[Proxy]:
    """What stands between the engine and Redis."""
    async with Proxy(redis_address(redis_url)) as proxy:
        yield proxy


@pytest.fixture
async def behind_risk(
    risk: Proxy, database_url: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Client]:
    number = redis_url.partition("db=")[2] or urlsplit(redis_url).path.strip("/") or "0"
    url = f"redis://127.0.0.1:{risk.port}/{number}"
    async with serving(database_url, url, tmp_path) as client:
        yield client
    await assert_clean(database_url)


def redis_address(redis_url: str) -> Address:
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        return Path(parts.path)
    return parts.hostname or "127.0.0.1", parts.port or 6379


async def refused(call: Any) -> Told:
    """What a call is told that cannot be carried out now."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return told(caught.value)


def arrivals(database_url: str) -> dict[str, int]:
    """How often each order arrived at the venue."""
    with psycopg.connect(**connection_words(database_url)) as connection:
        found = connection.execute(
            "SELECT cl_ord_id, count(*) FROM paper.messages"
            " WHERE message->>'kind' = 'ORDER' GROUP BY 1"
        ).fetchall()
    return dict(found)


# ---- PostgreSQL -----------------------------------------------------------------------------


async def test_a_lost_reply_to_a_commit_is_looked_up_and_the_signal_answered(
    behind_record: Client, record: Proxy, database_url: str, tmp_path: Path
) -> None:
    client = behind_record
    for number in range(10):
        signal_id = f"lost-{number}"
        record.lose_reply(signal_id.encode())
        decision = await client.submit(signal_id, strategy_id=f"s{number}", timeout_s=5)
        assert decision.outcome == APPROVED
        assert record.lost_replies == number + 1
        again = await client.signals.SubmitSignal(
            submit_request(signal_id, strategy_id=f"s{number}")
        )
        assert (again.replayed, again.decision) == (True, decision)
    await client.until_quiet()
    orders = await client.orders()
    assert arrivals(database_url) == dict.fromkeys((each.order_id for each in orders), 1)
    assert len(orders) == 10
    lines = (tmp_path / "engine.log").read_text().splitlines()
    assert all("[error" in each for each in lines if "commit_unknown" in each)
    assert sum("commit_unknown" in each for each in lines) >= 10


async def test_a_reply_that_never_comes_is_waited_for_no_longer_than_the_limit(
    behind_record: Client, record: Proxy
) -> None:
    record.lose_reply(b"silent", cut=False)
    began = time.monotonic()
    decision = await behind_record.submit("silent", timeout_s=5)
    assert decision.outcome == APPROVED
    assert POSTGRES_LIMIT_S * 0.9 < time.monotonic() - began < 2 * POSTGRES_LIMIT_S + SLACK_S
    await behind_record.until_quiet()


@pytest.mark.parametrize("lost", [2, 3, 4])
async def test_replies_lost_all_along_the_life_of_an_order_leave_one_order_and_one_fill(
    behind_record: Client, record: Proxy, database_url: str, lost: int
) -> None:
    """Its decision, its arrival at the venue, its reports: each of them is written by its id."""
    order_id = order_id_for(ACCOUNT, "unlucky")
    record.lose_reply(order_id.encode(), count=lost)
    decision = await behind_record.submit("unlucky", timeout_s=5)
    assert (decision.outcome, decision.order_id) == (APPROVED, order_id)

    async def all_lost_and_quiet() -> bool:
        return record.lost_replies >= lost and (await behind_record.status()).open_orders == 0

    await eventually(all_lost_and_quiet)
    [order] = await behind_record.orders()
    assert (order.order_id, order.cum_qty) == (order_id, order.order_qty)
    assert arrivals(database_url) == {order_id: 1}
    positions = control_service_pb2.ListPositionsRequest()
    [position] = (await behind_record.control.ListPositions(positions)).positions
    assert position.quantity == order.order_qty


async def test_a_postgres_that_is_silent_for_three_seconds_is_survived(
    behind_record: Client, record: Proxy, database_url: str
) -> None:
    client = behind_record
    await client.submit("before", strategy_id="a")
    await client.until_quiet()
    record.black_hole = True
    began = time.monotonic()
    asked = [
        asyncio.ensure_future(client.submit(f"during-{n}", strategy_id=f"d{n}", timeout_s=2.5))
        for n in range(20)
    ]
    orders = signal_service_pb2.ListOrdersRequest()
    decision = signal_service_pb2.GetDecisionRequest(signal_id="before")
    for call in (
        client.signals.ListOrders(orders, timeout=2.5),
        client.signals.GetDecision(decision, timeout=2.5),
    ):
        error = await refused(call)
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert error.metadata["store"] == "postgres"
        assert error.retry_ms
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert time.monotonic() - began < 2.5 + SLACK_S, "answered by their deadline"
    assert {type(each) for each in answers} == {grpc.aio.AioRpcError}
    assert {each.code() for each in answers if isinstance(each, grpc.aio.AioRpcError)} <= {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
    await asyncio.sleep(max(0.0, 3.0 - (time.monotonic() - began)))
    record.black_hole = False

    async def all_decided() -> bool:
        """Asked again under the same ids, as a client does."""
        again = [client.submit(f"during-{n}", strategy_id=f"d{n}", timeout_s=5) for n in range(20)]
        return {decision.outcome for decision in await asyncio.gather(*again)} == {APPROVED}

    await eventually(all_decided)
    await client.until_quiet()
    found = await client.orders()
    assert len(found) == 21
    assert arrivals(database_url) == dict.fromkeys((each.order_id for each in found), 1)


# ---- Redis ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["silent", "refusing"])
async def test_without_redis_the_gate_closes_and_opens_again_by_itself(
    behind_risk: Client, risk: Proxy, how: str
) -> None:
    client = behind_risk
    assert (await client.submit("before", strategy_id="a")).outcome == APPROVED
    await client.until_quiet()
    if how == "silent":
        risk.black_hole = True
    else:
        risk.refuse = True
        risk.cut()
    for number in range(3):
        began = time.monotonic()
        error = await refused(client.submit(f"closed-{number}", strategy_id="b", timeout_s=5))
        assert time.monotonic() - began < 2 * REDIS_LIMIT_S + SLACK_S
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "GATE_CLOSED")
        assert error.metadata["account_id"] == ACCOUNT
        assert "Redis" in error.metadata["gate_reason"]
        assert error.retry_ms
    assert await client.decision("closed-0") is None
    assert await client.decision("before") is not None, "the record answers all the same"
    status = await client.status()
    assert (status.gate_open, "Redis" in status.gate_reason) == (False, True)

    risk.black_hole = risk.refuse = False
    risk.cut()

    async def is_open() -> bool:
        return (await client.status()).gate_open

    await eventually(is_open, within_s=10)
    assert (await client.submit("closed-0", strategy_id="b")).outcome == APPROVED
    await client.until_quiet()


@pytest.fixture
def own_redis() -> Iterator[PrivateRedis]:
    """A server that can be ended; the path of its socket has to be short."""
    folder = Path(tempfile.mkdtemp(prefix="te-redis-"))
    server = PrivateRedis(str(locate().valkey_server), folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


async def test_a_redis_that_comes_back_empty_is_filled_from_the_record(
    own_redis: PrivateRedis, database_url: str, tmp_path: Path
) -> None:
    async with serving(database_url, own_redis.url, tmp_path) as client:
        for number in range(3):
            await client.submit(f"before-{number}", strategy_id=f"s{number}")
        await client.until_quiet()
        scope = control_service_pb2.Scope(strategy_id="s0")
        halt = control_service_pb2.HaltRequest(scope=scope, reason="drill")
        await client.control.Halt(halt)
        before = folded(own_redis)
        await asyncio.to_thread(own_redis.stop)
        assert (await refused(client.submit("down"))).reason == "GATE_CLOSED"
        await asyncio.to_thread(own_redis.restart, empty=True)

        async def rebuilt() -> bool:
            return (await client.status()).gate_open and folded(own_redis) == before

        await eventually(rebuilt)
        # Quotes are not in the record: until the feed comes again, nothing can be priced.
        unpriced = await client.submit("unpriced", strategy_id="s1", target_exposure=30_000.0)
        assert unpriced.reasons[0].startswith("QUOTE"), unpriced.reasons
        await client.publish()
        assert (await client.submit("priced", strategy_id="s4")).outcome == APPROVED
        halted = await client.submit("halted", strategy_id="s0", target_exposure=30_000.0)
        assert list(halted.reasons) == ["TRADING_HALTED"]
        await client.until_quiet()
    await assert_clean(database_url)


def folded(server: PrivateRedis) -> list[Any]:
    """The account's fold and the operators' controls, field by field."""
    with server.client() as client:
        return [client.hgetall(key) for key in (keys.state(ACCOUNT), keys.CONTROLS)]
