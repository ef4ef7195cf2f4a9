"""Whoever is far behind reads page by page, and leaves the engine its time where it is at work."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from tests.support.memory_engine import MemoryRecord
from tests.unit.api.test_order_updates import a_hub, grow
from trade_engine.api import catching_up
from trade_engine.api.catching_up import FREE_PAGES
from trade_engine.api.order_updates import HubSettings, OrderUpdateHub
from trade_engine.api.update_batch import UpdateFilter
from trade_engine.domain.errors import ShuttingDown
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.v1 import signal_service_pb2 as pb

FOR_EVER = 1e9


class Counting(MemoryRecord):
    """Counts pages, how many are read at once, and does something with each."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = self.reading = self.at_once = 0
        self.meanwhile: Callable[[], object] = int

    async def entries(
        self,
        account_id: str,
        after_sequence: int,
        limit: int,
        kinds: frozenset[EntryKind] | None = None,
    ) -> list[JournalEntry]:
        self.pages += 1
        self.reading += 1
        self.at_once = max(self.at_once, self.reading)
        self.meanwhile()
        await asyncio.sleep(0.001)
        self.reading -= 1
        return await super().entries(account_id, after_sequence, limit, kinds)


@pytest.fixture
def record() -> Counting:
    record, chance = Counting(), random.Random(1)
    while len(record.orders) < 3 * FREE_PAGES:
        grow(record, chance)
    return record


def hub_of(record: Counting) -> OrderUpdateHub:
    """One update to a page; the tail reads nothing by itself."""
    return a_hub(record, HubSettings(page=1, poll_s=FOR_EVER, heartbeat_s=FOR_EVER, recent_max=0))


async def heard(hub: OrderUpdateHub, count: int) -> list[int]:
    """So many updates of a stream that resumes from 0."""
    sequences: list[int] = []
    stream = hub.follow("main", UpdateFilter(), 0)
    while len(sequences) < count:
        message = await anext(stream)
        assert isinstance(message, bytes)
        told = pb.StreamOrderUpdatesResponse.FromString(message).updates.updates
        sequences += [update.sequence for update in told]
    await stream.aclose()
    return sequences


async def test_where_nothing_is_committed_nobody_rests(
    record: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "REST", FOR_EVER)
    sequences = await heard(hub_of(record), len(record.orders))
    assert sequences == [order.last_sequence for order in record.orders.values()]


async def test_where_the_engine_is_at_work_a_page_is_followed_by_a_rest(
    record: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "REST", FOR_EVER)
    hub = hub_of(record)
    record.meanwhile = lambda: hub.wake("another", 1)
    reading = asyncio.create_task(heard(hub, len(record.orders)))
    while record.pages <= FREE_PAGES:  # noqa: ASYNC110  # of the record itself
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    assert record.pages == FREE_PAGES + 1, "it rests"
    hub.close()
    with pytest.raises(ShuttingDown):
        await reading


async def test_far_behind_streams_read_in_turn(record: Counting) -> None:
    hub = hub_of(record)
    crowd = [asyncio.create_task(heard(hub, len(record.orders))) for _ in range(8)]
    while record.pages < 8 * 2 * FREE_PAGES:  # noqa: ASYNC110  # all are past their free pages
        await asyncio.sleep(0.001)
    record.at_once = record.reading
    for each in await asyncio.gather(*crowd):
        assert each == [order.last_sequence for order in record.orders.values()]
    assert record.at_once <= 1
