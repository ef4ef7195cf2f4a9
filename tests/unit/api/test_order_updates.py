"""The hub, without gRPC: whatever happens in between, each update comes once and in order."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing

import pytest

from tests.support.memory_engine import MemoryRecord, order_for
from tests.unit.api.test_answers import SIGNAL
from trade_engine.api.order_updates import HubSettings, OrderUpdateHub
from trade_engine.api.update_batch import UpdateFilter
from trade_engine.domain.errors import EngineError, ShuttingDown
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.v1 import signal_service_pb2 as pb

SYMBOLS = ("AAPL", "MSFT", "GOOG")


def incident(_rpc: str, error: BaseException) -> EngineError:
    raise AssertionError("no fault of our own was expected") from error


def a_hub(record: MemoryRecord, settings: HubSettings) -> OrderUpdateHub:
    return OrderUpdateHub(record, lambda: 0, incident, settings)


def grow(record: MemoryRecord, chance: random.Random) -> None:
    """Add an entry: mostly a change of an order, in some symbol."""
    if chance.random() < 0.2:
        record.append(EntryKind.TRADING_STATE, {})
        return
    order = order_for(SIGNAL, len(record.journal) + 1)
    order.order_id = f"o-{len(record.journal)}"
    order.symbol = chance.choice(SYMBOLS)
    record.put_order(EntryKind.DELIVERY, order)


def wanted(record: MemoryRecord, after: int, symbol: str) -> list[int]:
    """The sequences that a subscriber must get."""
    return [
        order.last_sequence
        for order in record.orders.values()
        if order.last_sequence > after and symbol in ("", order.symbol)
    ]


async def read(
    hub: OrderUpdateHub, symbol: str, after: int | None, until: asyncio.Future[int]
) -> tuple[int, list[int], list[int]]:
    """Follow until a heartbeat has reached `until`.

    Returns where the snapshot (or `after`) stood, the sequences that came, and the heartbeats.
    """
    start = after or 0
    seen: list[int] = []
    heads: list[int] = []
    async with aclosing(hub.follow("main", UpdateFilter(symbol=symbol), after)) as responses:
        async for response in responses:
            message = (
                pb.StreamOrderUpdatesResponse.FromString(response)
                if isinstance(response, bytes)
                else response
            )
            match message.WhichOneof("item"):
                case "snapshot_end":
                    start = message.snapshot_end.sequence
                case "updates":
                    seen += [update.sequence for update in message.updates.updates]
                    assert not heads or seen[-1] > heads[-1], "a heartbeat promised too much"
                case "heartbeat":
                    heads.append(message.heartbeat.head_sequence)
                case _:
                    assert message.HasField("snapshot")
            if heads and until.done() and heads[-1] >= until.result():
                break
            await asyncio.sleep(random.random() * 0.002)  # a reader at its own pace
    return start, seen, heads


@pytest.mark.parametrize("seed", range(25))
async def test_whenever_a_subscriber_comes_it_gets_each_update_once(seed: int) -> None:
    """Small pages, little kept, lost wakes and slow reads: every seam is crossed many times."""
    chance = random.Random(seed)
    record = MemoryRecord()
    settings = HubSettings(
        poll_s=0.01,
        coalesce_s=chance.choice([0.0, 0.001]),
        heartbeat_s=0.01,
        page=chance.choice([1, 3, 10]),
        recent_max=chance.choice([0, 5, 50]),
        readers_max=2,
    )
    hub = a_hub(record, settings)
    loss = chance.choice([0.0, 0.5, 1.0])
    record.on_growth = lambda account, sequence: (
        hub.wake(account, sequence) if chance.random() >= loss else None
    )
    record.delay_s = chance.choice([0.0, 0.001])
    record.chance = chance
    last: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    readers: list[tuple[str, asyncio.Task[tuple[int, list[int], list[int]]]]] = []
    for _ in range(150):
        if chance.random() < 0.15 and len(readers) < 12:
            after = chance.choice([None, 0, chance.randint(0, len(record.journal))])
            symbol = chance.choice(["", *SYMBOLS])
            readers.append((symbol, asyncio.create_task(read(hub, symbol, after, last))))
        grow(record, chance)
        if chance.random() < 0.3:
            await asyncio.sleep(0.001)
    last.set_result(len(record.journal))

    for symbol, reader in readers:
        start, seen, heads = await reader
        assert seen == wanted(record, start, symbol)
        assert heads == sorted(heads)
        assert heads[-1] <= len(record.journal)


class SlowReply(MemoryRecord):
    """Holds the answer about entries after 3 back: it is old when it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.released = asyncio.Event(), asyncio.Event()

    async def entries(
        self,
        account_id: str,
        after_sequence: int,
        limit: int,
        kinds: frozenset[EntryKind] | None = None,
    ) -> list[JournalEntry]:
        found = await super().entries(account_id, after_sequence, limit, kinds)
        if after_sequence == 3:
            self.asked.set()
            await self.released.wait()
        return found


async def test_a_tail_that_overtakes_a_page_leaves_no_gap() -> None:
    record, chance = SlowReply(), random.Random(1)
    while len(record.orders) < 5:
        grow(record, chance)
    hub = a_hub(record, HubSettings(poll_s=0.01, heartbeat_s=0.01, recent_max=0))
    record.on_growth = hub.wake
    until: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    live = asyncio.create_task(read(hub, "", len(record.journal), until))
    late = asyncio.create_task(read(hub, "", 3, until))
    await record.asked.wait()
    head = len(record.journal)
    for _ in range(10):
        grow(record, chance)
    while hub._tails["main"].floor <= head:  # noqa: ASYNC110  # until the tail is past the page
        await asyncio.sleep(0.001)
    record.released.set()
    until.set_result(len(record.journal))

    assert (await late)[1] == wanted(record, 3, "")
    assert (await live)[1] == wanted(record, head, "")


async def test_a_journal_that_ends_with_other_things_is_caught_up_with() -> None:
    """Nothing about orders lies between the resume point and the head, and nothing follows."""
    record = MemoryRecord()
    for _ in range(5):
        record.append(EntryKind.TRADING_STATE, {})
    hub = a_hub(record, HubSettings(poll_s=0.01, heartbeat_s=0.01))
    until: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    until.set_result(5)

    _, seen, heads = await asyncio.wait_for(read(hub, "", 2, until), 5)

    assert (seen, heads) == ([], [5])


async def test_a_stream_that_is_catching_up_while_the_hub_closes_ends_too() -> None:
    chance = random.Random(1)
    record = MemoryRecord()
    for _ in range(50):
        grow(record, chance)
    hub = a_hub(record, HubSettings(page=1))
    stream = hub.follow("main", UpdateFilter(), 0)
    await anext(stream)

    hub.close()

    with pytest.raises(ShuttingDown):
        await anext(stream)


async def test_a_stream_that_joins_while_the_hub_closes_ends_too() -> None:
    """Closing falls between the last page of the catch-up and joining the tail."""
    chance = random.Random(1)
    record = MemoryRecord()
    while not record.orders:
        grow(record, chance)
    hub = a_hub(record, HubSettings())
    stream = hub.follow("main", UpdateFilter(), 0)
    await anext(stream)  # the only page, so the next step is to join

    hub.close()

    with pytest.raises(ShuttingDown):
        await asyncio.wait_for(anext(stream), 1)


async def test_a_closed_hub_takes_nobody() -> None:
    record = MemoryRecord()
    hub = a_hub(record, HubSettings())
    record.delay_s = 0.05
    waiting = asyncio.ensure_future(anext(hub.follow("main", UpdateFilter(), 0)))
    await asyncio.sleep(0.01)  # the head is being asked for

    hub.close()

    with pytest.raises(ShuttingDown):
        await waiting
    with pytest.raises(ShuttingDown):
        await anext(hub.follow("main", UpdateFilter(), 0))


async def test_a_wake_of_what_was_read_reads_nothing() -> None:
    record = MemoryRecord()
    chance = random.Random(1)
    for _ in range(10):
        grow(record, chance)
    hub = a_hub(record, HubSettings(poll_s=60))
    stream = hub.follow("main", UpdateFilter(), 10)
    pending = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.05)
    reads = record.reads

    for sequence in range(11):
        hub.wake("main", sequence)
        hub.wake("another", sequence)
    await asyncio.sleep(0.05)

    assert record.reads == reads
    pending.cancel()
    await asyncio.gather(pending, return_exceptions=True)
    await stream.aclose()
