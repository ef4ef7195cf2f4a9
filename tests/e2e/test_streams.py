"""StreamOrderUpdates over real replicas: what subscribers get is what the journal holds."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import psycopg
import pytest

from tests.support.api_server import a_signal, told
from tests.support.e2e import (
    APPROVED,
    SYMBOLS,
    Client,
    assert_clean,
    connected,
    engine_on,
    eventually,
)
from tests.support.engine_process import EngineProcess
from trade_engine.storage.postgres.url import connection_words
from trade_engine.v1 import order_pb2, signal_pb2
from trade_engine.v1 import signal_service_pb2 as pb

pytestmark = pytest.mark.stores

HEARTBEAT_S = 5


class Change(NamedTuple):
    """What a change of an order is held against: a stream's, or the journal's."""

    sequence: int
    order_id: str
    strategy_id: str
    symbol: str
    ord_status: str
    cum_qty: str


@dataclass
class Replicas:
    """Two engines on the same stores."""

    engines: list[EngineProcess]
    clients: list[Client]
    database_url: str

    def journal(self) -> list[Change]:
        """Every entry that holds an order, as it stands in the record."""
        with psycopg.connect(**connection_words(self.database_url)) as connection:
            entries = connection.execute(
                "SELECT sequence, payload::jsonb FROM journal ORDER BY sequence"
            ).fetchall()
        found = []
        for sequence, payload in entries:
            order = payload.get("decision", payload).get("order")
            if order is not None:
                found.append(
                    Change(
                        sequence,
                        order["order_id"],
                        order["strategy_id"],
                        order["symbol"],
                        order["ord_status"],
                        order["cum_qty"],
                    )
                )
        return found


@pytest.fixture
def started(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[list[EngineProcess]]:
    with ExitStack() as stack:
        yield [stack.enter_context(engine_on(database_url, redis_url, tmp_path)) for _ in range(2)]


@pytest.fixture
async def replicas(started: list[EngineProcess], database_url: str) -> AsyncIterator[Replicas]:
    async with connected(started[0].target) as first, connected(started[1].target) as second:
        await first.publish()
        yield Replicas(started, [first, second], database_url)
    await assert_clean(database_url)


def change(update: order_pb2.OrderUpdate) -> Change:
    return seen(update.order, update.sequence)


def seen(order: order_pb2.Order, sequence: int) -> Change:
    return Change(
        sequence,
        order.order_id,
        order.strategy_id,
        order.symbol,
        order_pb2.OrdStatus.Name(order.ord_status).removeprefix("ORD_STATUS_"),
        order.cum_qty,
    )


def follow(client: Client, after: int | None = None, **which: str) -> Any:
    request = pb.StreamOrderUpdatesRequest(after_sequence=after, **which)
    return client.signals.StreamOrderUpdates(request)


async def trade(client: Client, name: str, seconds: float) -> None:
    """Orders without a pause: up and down, filled or canceled, in both symbols."""

    async def worker(strategy_id: str) -> None:
        number = 0
        while time.monotonic() < deadline:
            number += 1
            up = number % 2 == 1
            decision = await client.submit(
                f"{strategy_id}-{number}",
                strategy_id=strategy_id,
                symbol=SYMBOLS[number // 2 % 2],
                side=signal_pb2.Signal.BUY if up else signal_pb2.Signal.SELL,
                target_exposure=1_500.0 if up else 0.0,
                # Every third rests where nobody trades.
                constraints={"max_slippage_bps": 0.0 if number % 3 == 0 else 20.0},
            )
            if number % 3 == 0 and decision.outcome == APPROVED:
                request = pb.CancelOrderRequest(order_id=decision.order_id)
                await client.signals.CancelOrder(request)
            await asyncio.sleep(random.random() / 50)

    deadline = time.monotonic() + seconds
    await asyncio.gather(*(worker(f"{name}-{each}") for each in range(4)))


# ---- resuming -------------------------------------------------------------------------------


class Reader:
    """A subscriber that hangs up every so often, and comes back to any replica."""

    def __init__(self, clients: list[Client], chance: random.Random) -> None:
        self.changes: list[Change] = []
        self.hung_up = 0
        self._clients = clients
        self._chance = chance

    @property
    def last(self) -> int:
        return self.changes[-1].sequence if self.changes else 0

    async def run(self) -> None:
        """Read for ever; what a killed replica cuts off is taken up at another."""
        while True:
            call = follow(self._chance.choice(self._clients), self.last)
            try:
                for _ in range(self._chance.randint(1, 8)):
                    message = await call.read()
                    updates = [change(each) for each in message.updates.updates]
                    # It may act on the first few of a message, and be gone.
                    self.changes += updates[: self._chance.randint(0, len(updates))]
                    if updates and self.last != updates[-1].sequence:
                        break
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.05)
            finally:
                call.cancel()
            self.hung_up += 1

    async def run_until(self, sequence: int) -> None:
        while self.last < sequence:  # noqa: ASYNC110  nothing tells of a list that grows
            await asyncio.sleep(0.02)


@pytest.mark.faults
async def test_who_comes_back_to_any_replica_misses_nothing_and_gets_nothing_twice(
    replicas: Replicas,
) -> None:
    readers = [Reader(replicas.clients, random.Random(seed)) for seed in range(4)]
    reading = [asyncio.create_task(reader.run()) for reader in readers]
    await asyncio.gather(*(trade(each, f"r{n}", 2) for n, each in enumerate(replicas.clients)))
    survivor = replicas.clients[1]
    cut_off = asyncio.create_task(last_words(follow(replicas.clients[0])))
    await asyncio.to_thread(replicas.engines[0].kill)
    assert await cut_off is grpc.StatusCode.UNAVAILABLE
    await trade(survivor, "after", 1)
    await survivor.until_quiet()
    journal = replicas.journal()
    assert len(journal) > 100
    for reader in readers:
        await asyncio.wait_for(reader.run_until(journal[-1].sequence), 20)
    for task in reading:
        task.cancel()
    await asyncio.wait(reading)
    for reader in readers:
        assert reader.hung_up > 3
        assert reader.changes == journal


async def last_words(call: Any) -> grpc.StatusCode:
    """How a stream ends that its reader did not end."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_sequence_that_the_journal_never_had_is_refused(replicas: Replicas) -> None:
    client = replicas.clients[0]
    head = (await client.status()).sequence
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await follow(client, head + 1).read()
    error = told(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "SEQUENCE_AHEAD")
    assert error.metadata["head_sequence"] == str(head)


# ---- the snapshot ---------------------------------------------------------------------------


@dataclass
class Snapshot:
    """What a subscriber without a sequence got: open orders as of `sequence`, then changes."""

    orders: list[Change]
    sequence: int
    count: int
    changes: list[Change]


async def take_snapshot(client: Client, chance: random.Random, stop: asyncio.Event) -> Snapshot:
    """Subscribe at some moment, and read until there is nothing new after `stop`."""
    await asyncio.sleep(chance.random() * 1.5)
    call = follow(client)
    orders: list[Change] = []
    while (message := await call.read()).WhichOneof("item") == "snapshot":
        orders.append(seen(message.snapshot.order, message.snapshot.order.last_sequence))
    assert message.WhichOneof("item") == "snapshot_end"
    found = Snapshot(orders, message.snapshot_end.sequence, message.snapshot_end.count, [])
    reading = asyncio.create_task(read_changes(call, found.changes))
    await stop.wait()
    await asyncio.sleep(0.5)
    reading.cancel()
    await reading
    call.cancel()
    return found


async def read_changes(call: Any, into: list[Change]) -> None:
    """Read on until canceled."""
    with suppress(asyncio.CancelledError):
        while True:
            message = await call.read()
            assert message.WhichOneof("item") in ("updates", "heartbeat")
            into += [change(each) for each in message.updates.updates]


def open_at(journal: list[Change], sequence: int) -> list[Change]:
    """The last change of every order that was open after a sequence, by the journal alone."""
    last = {each.order_id: each for each in journal if each.sequence <= sequence}
    return [each for each in last.values() if each.ord_status not in ("FILLED", "CANCELED")]


async def test_a_snapshot_and_what_follows_it_fit_together_under_load(replicas: Replicas) -> None:
    stop = asyncio.Event()
    subscribers = [
        asyncio.create_task(take_snapshot(each, random.Random(f"{n}-{number}"), stop))
        for n, each in enumerate(replicas.clients)
        for number in range(6)
    ]
    resting = await rest(replicas.clients[0], 25)
    await asyncio.gather(*(trade(each, f"s{n}", 2) for n, each in enumerate(replicas.clients)))
    await eventually(lambda: only_these_are_open(replicas.clients[0], resting))
    await replicas.clients[1].publish(149)  # fills what rests
    await replicas.clients[0].until_quiet()
    stop.set()
    snapshots = await asyncio.gather(*subscribers)
    journal = replicas.journal()
    assert {each.order_id for each in journal if each.ord_status == "FILLED"} >= resting
    for found in snapshots:
        assert sorted(found.orders) == sorted(open_at(journal, found.sequence))
        assert found.count == len(found.orders)
        assert found.changes == [each for each in journal if each.sequence > found.sequence]
    assert max(each.count for each in snapshots) >= 25
    assert len({each.sequence for each in snapshots}) > 3


async def rest(client: Client, count: int) -> set[str]:
    """Orders that rest at the reference price, until the market comes to them."""
    decisions = await asyncio.gather(
        *(
            client.submit(strategy_id=f"rest-{n}", constraints={"max_slippage_bps": 0.0})
            for n in range(count)
        )
    )
    return {decision.order_id for decision in decisions}


async def only_these_are_open(client: Client, order_ids: set[str]) -> bool:
    """A SELL on its way to the venue would rest there, once the market has gone down."""
    request = pb.ListOrdersRequest(open_only=True, page_size=200)
    orders = (await client.signals.ListOrders(request)).orders
    return {order.order_id for order in orders} == order_ids


async def test_an_empty_snapshot_has_its_end_too(replicas: Replicas) -> None:
    head = (await replicas.clients[0].status()).sequence
    for client in replicas.clients:
        message = await follow(client).read()
        assert message.WhichOneof("item") == "snapshot_end"
        assert (message.snapshot_end.sequence, message.snapshot_end.count) == (head, 0)


# ---- filters and signs of life --------------------------------------------------------------


@pytest.mark.parametrize(
    "which", [{"strategy_id": "f-1"}, {"symbol": "IBM"}, {"strategy_id": "f-2", "symbol": "AAPL"}]
)
async def test_a_filter_lets_through_what_it_names_and_nothing_else(
    replicas: Replicas, which: dict[str, str]
) -> None:
    client = replicas.clients[0]
    live: list[Change] = []
    reading = asyncio.create_task(read_changes(follow(client, 0, **which), live))
    await trade(replicas.clients[1], "f", 0.7)
    await client.until_quiet()
    wanted = [
        each
        for each in replicas.journal()
        if all(getattr(each, name) == value for name, value in which.items())
    ]
    assert len(wanted) > 5
    again: list[Change] = []
    rereading = asyncio.create_task(read_changes(follow(client, 0, **which), again))
    await asyncio.sleep(0.5)
    for task in (reading, rereading):
        task.cancel()
        await task
    assert live == wanted
    assert again == wanted


async def test_a_silent_stream_tells_the_head_that_one_can_come_back_with(
    replicas: Replicas,
) -> None:
    client = replicas.clients[0]
    call = follow(client, 0, strategy_id="nobody")
    await trade(client, "noise", 0.3)
    await client.until_quiet()
    head = (await client.status()).sequence
    async with asyncio.timeout(2 * HEARTBEAT_S + 2):
        message = await call.read()
        while message.heartbeat.head_sequence < head:
            assert message.WhichOneof("item") == "heartbeat"
            message = await call.read()
    assert message.heartbeat.head_sequence == head
    assert abs(message.heartbeat.time.ToNanoseconds() / 1e9 - time.time()) < 2
    signal = a_signal("then", strategy_id="nobody")
    [other] = replicas.clients[1:]
    await other.signals.SubmitSignal(pb.SubmitSignalRequest(signal=signal))
    for resumed in (call, follow(other, head, strategy_id="nobody")):
        update = (await resumed.read()).updates.updates[0]
        assert (update.order.signal_id, update.sequence) == ("then", head + 1)
    await client.until_quiet()
