"""What a subscriber was offered and did not take."""

from __future__ import annotations

import asyncio

from tests.unit.api.test_update_batch import entries
from trade_engine.api.order_tail import OFFERED_AT_ONCE, Subscriber, Tail
from trade_engine.api.update_batch import Batch, UpdateFilter
from trade_engine.domain.errors import ShuttingDown

EVERYTHING = UpdateFilter()


def batches(count: int, size: int) -> list[Batch]:
    journal = entries(count * size)
    return [Batch(journal[start : start + size]) for start in range(0, count * size, size)]


def test_what_waits_is_taken_up_to_the_size_of_a_message() -> None:
    subscriber = Subscriber(EVERYTHING, 0, lag_max=1000)
    for batch in batches(5, 4):
        subscriber.offer(batch)

    taken = [[view.last for view in subscriber.take(10)] for _ in range(4)]

    assert taken == [[4, 8], [12, 16], [20], []]


def test_a_batch_larger_than_a_message_is_taken_all_the_same() -> None:
    subscriber = Subscriber(EVERYTHING, 0, lag_max=1000)
    subscriber.offer(batches(1, 30)[0])

    assert [view.count for view in subscriber.take(10)] == [30]


def test_past_its_cap_a_subscriber_is_forgotten() -> None:
    subscriber = Subscriber(EVERYTHING, 0, lag_max=12)
    given = batches(5, 4)
    lagged = []
    for batch in given:
        subscriber.offer(batch)
        lagged.append(subscriber.lagged)

    assert lagged == [False, False, False, True, True]
    assert subscriber.take(100) == []


def test_what_was_taken_counts_no_longer() -> None:
    subscriber = Subscriber(EVERYTHING, 0, lag_max=12)
    for batch in batches(50, 4):
        subscriber.offer(batch)
        assert [view.last for view in subscriber.take(100)] == [batch.last]
    assert not subscriber.lagged


def test_only_what_the_filter_lets_through_counts() -> None:
    subscriber = Subscriber(UpdateFilter(symbol="X"), 0, lag_max=12)
    for batch in batches(6, 6):  # two of six each
        subscriber.offer(batch)

    assert not subscriber.lagged
    assert sum(view.count for view in subscriber.take(100)) == 12


async def test_a_tail_keeps_what_is_recent_and_says_from_where_on() -> None:
    tail = Tail("main", 0, recent_max=10)
    for batch in batches(5, 4):
        await tail.publish(batch)
    late = Subscriber(EVERYTHING, 14, lag_max=1000)

    tail.join(late)

    assert (tail.floor, tail.position) == (12, 20)
    assert [(view.count, view.last) for view in late.take(100)] == [(2, 16), (4, 20)]


async def test_who_joins_while_some_were_not_offered_yet_gets_it_once() -> None:
    """The tail lets others have their turns, and then some come and some go."""
    tail = Tail("main", 0, recent_max=100)
    early = [Subscriber(EVERYTHING, 0, lag_max=1000) for _ in range(3 * OFFERED_AT_ONCE)]
    for each in early:
        tail.join(each)
    publishing = asyncio.create_task(tail.publish(batches(1, 4)[0]))
    await asyncio.sleep(0)
    offered = sum(each.woken.is_set() for each in early)
    late = Subscriber(EVERYTHING, 0, lag_max=1000)
    tail.join(late)
    tail.subscribers.discard(early[-1])
    await publishing

    assert offered == OFFERED_AT_ONCE
    assert all([view.last for view in each.take(100)] == [4] for each in (*early, late))


async def test_a_heartbeat_tells_what_the_tail_had_offered_by_then() -> None:
    tail = Tail("main", 0, recent_max=100)
    subscriber = Subscriber(EVERYTHING, 0, lag_max=1000)
    tail.join(subscriber)
    tail.passed(7)
    tail.beat()
    tail.passed(9)

    assert subscriber.beat_due == 7


def test_entries_about_other_things_move_the_position_alone() -> None:
    tail = Tail("main", 5, recent_max=10)

    tail.passed(9)
    tail.passed(7)

    assert (tail.floor, tail.position) == (5, 9)


async def test_who_joins_what_is_over_is_ended_after_what_it_missed() -> None:
    tail = Tail("main", 0, recent_max=100)
    await tail.publish(batches(1, 4)[0])
    tail.end(ShuttingDown("over"), for_good=True)
    late = Subscriber(EVERYTHING, 0, lag_max=1000)

    tail.join(late)

    assert late.woken.is_set()
    assert late.ended is not None
    assert [view.last for view in late.take(100)] == [4]
