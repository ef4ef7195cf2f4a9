"""A watch over several streams: a whole snapshot or none, and each update once."""

from __future__ import annotations

from typing import Any

from trade_engine.client import OrderSnapshot, OrderUpdate, SnapshotEnd
from trade_engine.client.watching import Event, Watch
from trade_engine.v1.signal_service_pb2 import StreamOrderUpdatesResponse


def watch(after_sequence: int | None = None) -> Watch:
    return Watch("main", "momentum-v1", "AAPL", after_sequence)


def take(of: Watch, **item: Any) -> list[Event]:
    return list(of.take(StreamOrderUpdatesResponse(**item)))


def updates(*sequences: int) -> dict[str, Any]:
    return {"updates": {"updates": [{"sequence": each} for each in sequences]}}


def sequences(events: list[Event]) -> list[int]:
    return [each.sequence for each in events if isinstance(each, OrderUpdate)]


def test_the_first_request_asks_for_a_snapshot() -> None:
    request = watch().request()
    assert not request.HasField("after_sequence")
    assert (request.account_id, request.strategy_id, request.symbol) == (
        "main",
        "momentum-v1",
        "AAPL",
    )


def test_after_sequence_0_is_not_absent() -> None:
    assert watch(0).request().HasField("after_sequence")


def test_a_snapshot_comes_whole_with_its_end() -> None:
    some = watch()
    assert take(some, snapshot={"order": {"order_id": "o-1"}}) == []
    assert take(some, snapshot={"order": {"order_id": "o-2"}}) == []
    events = take(some, snapshot_end={"sequence": 7, "count": 2})
    assert [type(each) for each in events] == [OrderSnapshot, OrderSnapshot, SnapshotEnd]
    assert some.request().after_sequence == 7


def test_a_snapshot_cut_off_is_none() -> None:
    some = watch()
    take(some, snapshot={"order": {"order_id": "o-1"}})
    assert not some.request().HasField("after_sequence")
    take(some, snapshot={"order": {"order_id": "o-1"}})
    events = take(some, snapshot_end={"sequence": 8, "count": 1})
    assert len(events) == 2


def test_an_update_comes_once_whatever_is_sent_again() -> None:
    some = watch(3)
    assert sequences(take(some, **updates(4, 6))) == [4, 6]
    assert some.request().after_sequence == 6
    assert sequences(take(some, **updates(4, 6, 9))) == [9]


def test_a_heartbeat_moves_the_point_to_resume_from() -> None:
    some = watch(3)
    assert take(some, heartbeat={"head_sequence": 12}) == []
    assert some.request().after_sequence == 12
    take(some, heartbeat={"head_sequence": 5})
    assert some.request().after_sequence == 12


def test_a_heartbeat_within_a_snapshot_is_no_point_to_resume_from() -> None:
    some = watch()
    take(some, snapshot={"order": {"order_id": "o-1"}})
    take(some, heartbeat={"head_sequence": 12})
    assert not some.request().HasField("after_sequence")


def test_a_message_of_a_later_contract_is_passed_over() -> None:
    assert take(watch()) == []
