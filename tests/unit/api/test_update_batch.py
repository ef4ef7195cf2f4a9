"""Order updates, serialized once and joined."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.memory_engine import MemoryRecord, order_for
from tests.unit.api.test_answers import SIGNAL
from trade_engine.api.update_batch import Batch, UpdateFilter, View, framed
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.v1 import signal_service_pb2

EVERYTHING = UpdateFilter()


def entries(count: int) -> list[JournalEntry]:
    """Changes of orders of strategies a and b in turn, in symbols X, Y and Z in turn."""
    record = MemoryRecord()
    for number in range(count):
        order = order_for(SIGNAL, number + 1)
        order.strategy_id, order.symbol = "ab"[number % 2], "XYZ"[number % 3]
        record.put_order(EntryKind.DELIVERY, order)
    return record.journal


def sequences(views: Sequence[View]) -> list[int]:
    response = signal_service_pb2.StreamOrderUpdatesResponse.FromString(framed(views))
    assert response.WhichOneof("item") == "updates"
    return [update.sequence for update in response.updates.updates]


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_views_are_joined_to_the_message_that_translating_them_would_give(
    sizes: list[int],
) -> None:
    journal = entries(sum(sizes))
    views, updates = [], []
    start = 0
    for size in sizes:
        batch = Batch(journal[start : start + size])
        view = batch.view(EVERYTHING, 0)
        assert view is not None
        views.append(view)
        updates += batch.updates
        start += size

    whole = signal_service_pb2.StreamOrderUpdatesResponse(
        updates=signal_service_pb2.OrderUpdates(updates=updates)
    )

    assert framed(views) == whole.SerializeToString()


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (UpdateFilter(), [1, 2, 3, 4, 5, 6, 7]),
        (UpdateFilter(strategy_id="a"), [1, 3, 5, 7]),
        (UpdateFilter(symbol="X"), [1, 4, 7]),
        (UpdateFilter("a", "X"), [1, 7]),
    ],
)
def test_a_view_holds_what_the_filter_lets_through(
    which: UpdateFilter, expected: list[int]
) -> None:
    view = Batch(entries(7)).view(which, 0)

    assert view is not None
    assert sequences([view]) == expected
    assert (view.count, view.last) == (len(expected), expected[-1])


def test_nothing_let_through_is_no_view() -> None:
    assert Batch(entries(7)).view(UpdateFilter("c"), 0) is None


def test_a_view_of_a_part_begins_after_its_sequence_and_is_nobody_elses() -> None:
    batch = Batch(entries(7))
    part = batch.view(EVERYTHING, 4)
    whole = batch.view(EVERYTHING, 0)

    assert part is not None
    assert whole is not None
    assert sequences([part]) == [5, 6, 7]
    assert sequences([whole]) == [1, 2, 3, 4, 5, 6, 7]
    assert batch.view(EVERYTHING, 7) is None


def test_those_with_the_same_filter_share_one_serialization() -> None:
    batch = Batch(entries(7))

    assert batch.view(UpdateFilter("a"), 0) is batch.view(UpdateFilter("a"), 0)


def test_a_batch_remembers_no_more_views_than_there_are_honest_filters() -> None:
    """Clients choose filters freely: what they make up must not stay for as long as the batch."""
    batch = Batch(entries(7))
    for number in range(1_000):
        assert batch.view(UpdateFilter(f"made-up-{number}"), 0) is None
    assert batch.view(UpdateFilter("a", "X"), 0) == batch.view(UpdateFilter("a", "X"), 0)
    assert len(batch._views) <= 64
