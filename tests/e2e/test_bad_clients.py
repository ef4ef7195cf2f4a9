"""Clients that give up, vanish, send garbage or never read: the engine loses nothing by it."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
import psycopg
import pytest

from tests.proxy import Proxy
from tests.support.api_server import a_signal, told
from tests.support.e2e import (
    APPROVED,
    Client,
    assert_clean,
    connected,
    engine_on,
    eventually,
    submit_request,
)
from tests.support.engine_process import EngineProcess
from trade_engine.storage.postgres.url import connection_words
from trade_engine.v1 import signal_pb2
from trade_engine.v1 import signal_service_pb2 as pb

pytestmark = [pytest.mark.stores, pytest.mark.faults]

SUBMIT = "/trade_engine.v1.SignalService/SubmitSignal"
MIB = 1 << 20
_numbers = itertools.count()


@dataclass
class Serving:
    """A running engine, a good client of it, and its database."""

    engine: EngineProcess
    client: Client
    database_url: str

    @property
    def target(self) -> str:
        return self.engine.target

    async def still_serves(self) -> None:
        """A good client notices nothing."""
        name = f"good-{next(_numbers)}"
        decision = await self.client.submit(name, strategy_id=name, timeout_s=5)
        assert decision.outcome == APPROVED, decision
        assert (await self.client.status()).gate_open

    def memory_bytes(self) -> int:
        return int(psutil.Process(self.engine.process.pid).memory_info().rss)

    def connections(self) -> int:
        """How many clients are connected."""
        port = int(self.target.rpartition(":")[2])
        found = psutil.Process(self.engine.process.pid).net_connections("tcp")
        return sum(each.laddr.port == port and bool(each.raddr) for each in found)

    @asynccontextmanager
    async def no_commit(self) -> AsyncIterator[None]:
        """Nothing of the account can be committed meanwhile; all can be read."""
        words = connection_words(self.database_url)
        async with await psycopg.AsyncConnection.connect(**words) as connection:
            await connection.execute("SELECT FROM accounts FOR UPDATE")
            yield
            await connection.rollback()


@pytest.fixture
async def serving(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Serving]:
    """Whatever was done to it: it still serves, and the record holds."""
    with engine_on(database_url, redis_url, tmp_path) as engine:
        async with connected(engine.target) as client:
            await client.publish()
            running = Serving(engine, client, database_url)
            yield running
            await running.still_serves()
            await client.until_quiet()
        assert engine.stop() == 0
        assert "internal error" not in (tmp_path / "engine.log").read_text()
    await assert_clean(database_url)


async def decided_anyway(client: Client, signal_id: str, strategy_id: str) -> None:
    """The decision comes although nobody waits for it, and is the answer when asked again."""

    async def found() -> bool:
        return await client.decision(signal_id) is not None

    await eventually(found)
    first = await client.decision(signal_id)
    again = await client.signals.SubmitSignal(submit_request(signal_id, strategy_id=strategy_id))
    assert (again.replayed, again.decision) == (True, first)
    assert again.decision.outcome == APPROVED


# ---- those that do not wait -----------------------------------------------------------------


async def test_the_decision_of_an_expired_deadline_is_made_all_the_same(serving: Serving) -> None:
    async with serving.no_commit():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await serving.client.submit("impatient", strategy_id="a", timeout_s=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await serving.client.decision("impatient") is None
    await decided_anyway(serving.client, "impatient", "a")


async def test_the_decision_of_a_client_that_vanishes_is_made_all_the_same(
    serving: Serving,
) -> None:
    host, port = serving.target.split(":")
    async with (
        serving.no_commit(),
        Proxy((host, int(port))) as wire,
        connected(f"127.0.0.1:{wire.port}") as client,
    ):
        call = asyncio.ensure_future(client.submit("vanished", strategy_id="a"))
        stream = client.signals.SubmitSignals()
        signal = a_signal("vanished-too", strategy_id="b")
        await stream.write(pb.SubmitSignalsRequest(signals=[signal]))
        await asyncio.sleep(0.2)
        wire.refuse = True
        wire.cut()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await serving.client.decision("vanished") is None
    await decided_anyway(serving.client, "vanished", "a")
    await decided_anyway(serving.client, "vanished-too", "b")


async def test_two_hundred_clients_connect_and_vanish(serving: Serving) -> None:
    await serving.still_serves()
    assert serving.connections() == 1

    async def come_and_go(number: int) -> None:
        async with connected(serving.target) as client:
            match number % 4:
                case 0:  # in the middle of a call
                    call = asyncio.ensure_future(client.submit(f"gone-{number}"))
                    await asyncio.sleep(number / 4000)
                    call.cancel()
                case 1:  # as a subscriber
                    updates = client.signals.StreamOrderUpdates(pb.StreamOrderUpdatesRequest())
                    await updates.read()
                case 2:  # with a stream of signals half open
                    stream = client.signals.SubmitSignals()
                    request = pb.SubmitSignalsRequest(signals=[a_signal(f"gone-{number}")])
                    await stream.write(request)
                case _:  # without a word
                    await client.channel.channel_ready()

    for start in range(0, 200, 50):
        await asyncio.gather(*(come_and_go(number) for number in range(start, start + 50)))

    async def forgotten() -> bool:
        return serving.connections() == 1

    await eventually(forgotten)
    for number in range(0, 200, 2):  # whether it had arrived or not, it has one decision
        answer = await serving.client.signals.SubmitSignal(submit_request(f"gone-{number}"))
        assert await serving.client.decision(f"gone-{number}") == answer.decision


# ---- those that talk nonsense ---------------------------------------------------------------


async def test_bytes_that_are_no_message_are_refused_in_words(serving: Serving) -> None:
    call: Any = serving.client.channel.unary_unary(SUBMIT)
    for garbage in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", os.urandom(5_000)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(garbage, timeout=5)
        error = told(caught.value)
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert error.reason in ("MALFORMED_MESSAGE", "INVALID_ARGUMENT_FIELDS")


async def test_a_message_over_64_kib_is_refused_and_one_below_is_read(serving: Serving) -> None:
    call: Any = serving.client.channel.unary_unary(SUBMIT)
    for size, code in (
        (65 * 1024, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (63 * 1024, grpc.StatusCode.INVALID_ARGUMENT),
    ):
        request = pb.SubmitSignalRequest(signal=signal_pb2.Signal(signal_id="x" * size))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request.SerializeToString(), timeout=5)
        assert caught.value.code() is code


async def test_peers_that_speak_no_http2_disturb_nobody(serving: Serving) -> None:
    host, port = serving.target.split(":")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for said in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 4096,
        os.urandom(65536),
        preface + b"\xff" * 99,
    ):
        with socket.create_connection((host, int(port)), timeout=5) as peer:
            peer.sendall(said)
            await serving.still_serves()


# ---- those that do not read -----------------------------------------------------------------

SIGNALS = 4_200
UPDATES = 3 * SIGNALS
"""Approved, accepted, filled; more than the 10,000 that a subscriber may be behind."""


async def test_a_subscriber_that_never_reads_is_let_go_and_costs_nobody_else_anything(
    serving: Serving,
) -> None:
    # A window of a few KiB, as a client has that stopped reading long ago.
    deaf = {"http2.lookahead_bytes": 16 * 1024, "http2.bdp_probe": 0}
    from_the_beginning = pb.StreamOrderUpdatesRequest(after_sequence=0)
    async with connected(serving.target, **deaf) as other:
        streams = [
            other.signals.StreamOrderUpdates(pb.StreamOrderUpdatesRequest()) for _ in "deaf!"
        ]
        for stream in streams:  # each is live before the first order, and reads nothing more
            boundary = await stream.read()
            assert isinstance(boundary, pb.StreamOrderUpdatesResponse)
            assert boundary.HasField("snapshot_end")
        good = asyncio.create_task(
            sequences(serving.client.signals.StreamOrderUpdates(from_the_beginning), UPDATES)
        )
        await trade(serving.client, "first", 200)
        before = serving.memory_bytes()
        await trade(serving.client, "then", SIGNALS - 200)
        heard = await asyncio.wait_for(good, 20)
        assert heard == sorted(set(heard))
        grown = serving.memory_bytes() - before
        assert grown < 100 * MIB, f"{grown / MIB:.0f} MiB more"
        await serving.still_serves()

        late: list[int] = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            late += await sequences(streams[0], UPDATES)
        error = told(caught.value)
        assert (error.code, error.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "SUBSCRIBER_LAGGED",
        )
        resume = int(error.metadata["resume_sequence"])
        again = pb.StreamOrderUpdatesRequest(after_sequence=resume)
        missing = [each for each in heard if each > resume]
        rest = await sequences(other.signals.StreamOrderUpdates(again), len(missing))
        assert rest[: len(missing)] == missing
        for stream in streams[1:]:
            stream.cancel()


async def trade(client: Client, name: str, count: int) -> None:
    """Signals that are all approved: each strategy wants one share more than before."""
    strategies = 50
    stream = client.signals.SubmitSignals()

    async def send() -> None:
        for step in range(count // strategies):
            signals = [
                a_signal(
                    f"{name}-{step}-{strategy}",
                    strategy_id=f"{name}-{strategy}",
                    target_exposure=160.0 * (step + 1),
                )
                for strategy in range(strategies)
            ]
            await stream.write(pb.SubmitSignalsRequest(signals=signals))
        await stream.done_writing()

    sending = asyncio.create_task(send())
    outcomes = [result.decision.outcome async for message in stream for result in message.results]
    await sending
    assert outcomes == [APPROVED] * count


async def sequences(call: Any, count: int) -> list[int]:
    """The sequences of the next updates, `count` of them at least."""
    seen: list[int] = []
    while len(seen) < count:
        message = await call.read()
        assert message is not grpc.aio.EOF
        seen += [update.sequence for update in message.updates.updates]
    return seen
