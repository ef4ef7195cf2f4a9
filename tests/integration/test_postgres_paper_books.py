"""The paper venue's books: one writer, all or nothing, and documents that come back whole."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from trade_engine.brokers.paper_books import Doc, PaperBooks, Recorded
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.paper_venue import PaperVenueBooks

pytest_plugins = ["tests.support.record_fixtures"]
pytestmark = pytest.mark.stores

NOW_NS = 1_700_000_000_123_456_789


@pytest.fixture
def books(database: Database) -> PaperBooks:
    return PaperVenueBooks(database)


def message(seq: int, cl_ord_id: str = "o-1") -> Doc:
    terms = {"symbol": "AAPL", "price": "150.25"}
    return {"seq": seq, "kind": "ORDER", "cl_ord_id": cl_ord_id, "received_at_ns": NOW_NS,
            "verdict": "TAKEN", "terms": terms}  # fmt: skip


def order(cl_ord_id: str = "o-1", priority: int = 1, **other: Any) -> Doc:
    return {"cl_ord_id": cl_ord_id, "priority": priority, "is_open": True, "cum_qty": "0",
            "arrived_at_ns": NOW_NS, "commission": "0.000000000001", **other}  # fmt: skip


def report(seq: int, cl_ord_id: str = "o-1") -> Doc:
    return {"seq": seq, "cl_ord_id": cl_ord_id, "exec_id": f"{cl_ord_id}-{seq}", "text": "é\x00"}


async def taken(books: PaperBooks, holder: str = "venue-1") -> Doc:
    found = await books.take_over("main", holder)
    assert found is not None
    return found


async def write(books: PaperBooks, token: int, last_seq: int, **parts: Any) -> Recorded:
    none: dict[str, Any] = {"messages": [], "new_orders": [], "orders": [], "reports": []}
    rest = {**none, "acknowledged_seq": 0, **parts}
    return await books.record("main", token, last_seq=last_seq, **rest)


async def test_books_start_empty(books: PaperBooks) -> None:
    assert await books.take_over("main", "venue-1", only_if_held=True) is None
    assert await taken(books) == {"token": 1, "last_seq": 0, "orders": [], "unacknowledged": []}
    assert await books.find("main", ["o-1"]) == {}


async def test_what_is_recorded_is_there_after_a_take_over(
    books: PaperBooks, side_door: psycopg.AsyncConnection[Any]
) -> None:
    token = (await taken(books))["token"]
    late, early = order("o-2", 2), order("o-1", 1)
    reports = [report(3, "o-2"), report(4, "o-1")]
    messages = [message(1, "o-1"), message(2, "o-2")]
    assert await write(
        books, token, 4, messages=messages, new_orders=[late, early], reports=reports
    ) == "DONE"  # fmt: skip
    assert await taken(books) == {
        "token": 2,
        "last_seq": 4,
        "orders": [early, late],
        "unacknowledged": reports,
    }
    found = await books.find("main", ["o-1", "o-2", "o-3"])
    assert found == {
        "o-1": {**early, "reports": [reports[1]]},
        "o-2": {**late, "reports": [reports[0]]},
    }
    assert await books.find("other", ["o-1"]) == {}
    cursor = await side_door.execute("SELECT message FROM paper.messages ORDER BY seq")
    assert [row[0] for row in await cursor.fetchall()] == messages


async def test_orders_are_brought_up_to_date_and_closed_ones_do_not_rest(
    books: PaperBooks,
) -> None:
    token = (await taken(books))["token"]
    await write(books, token, 0, new_orders=[order("o-1", 1), order("o-2", 2)])
    filled = order("o-1", 1, is_open=False, cum_qty="10")
    worked = order("o-2", 2, cum_qty="5")
    assert await write(books, token, 0, orders=[filled, worked]) == "DONE"
    assert (await taken(books))["orders"] == [worked]
    assert (await books.find("main", ["o-1"]))["o-1"] == {**filled, "reports": []}


async def test_an_older_token_changes_nothing(books: PaperBooks) -> None:
    old = (await taken(books))["token"]
    new = (await taken(books, "venue-2"))["token"]
    assert await write(books, old, 2, new_orders=[order()], reports=[report(1)]) == "FENCED"
    await books.acknowledge("main", old, 9)
    assert await books.find("main", ["o-1"]) == {}
    assert await write(books, new, 1, new_orders=[order()], reports=[report(1)]) == "DONE"
    assert (await taken(books))["unacknowledged"] == [report(1)]


async def test_only_its_holder_takes_it_back(books: PaperBooks) -> None:
    await taken(books, "venue-1")
    await taken(books, "venue-2")
    assert await books.take_over("main", "venue-1", only_if_held=True) is None
    back = await books.take_over("main", "venue-2", only_if_held=True)
    assert back is not None
    assert back["token"] == 3


async def test_an_order_that_is_there_is_a_duplicate_and_nothing_is_written(
    books: PaperBooks,
) -> None:
    token = (await taken(books))["token"]
    await write(books, token, 1, new_orders=[order("o-1")], messages=[message(1)])
    again = await write(
        books, token, 3, new_orders=[order("o-2"), order("o-1")], reports=[report(2), report(3)]
    )
    assert again == "DUPLICATE"
    after = await taken(books)
    assert (after["last_seq"], after["unacknowledged"]) == (1, [])
    assert set(await books.find("main", ["o-1", "o-2"])) == {"o-1"}


async def test_acknowledged_reports_do_not_come_again(books: PaperBooks) -> None:
    token = (await taken(books))["token"]
    await write(books, token, 4, new_orders=[order()], reports=[report(seq) for seq in (1, 2, 4)])

    async def left() -> list[int]:
        nonlocal token
        found = await taken(books)
        token = found["token"]
        return [doc["seq"] for doc in found["unacknowledged"]]

    assert await left() == [1, 2, 4]
    await books.acknowledge("main", token, 2)
    assert await left() == [4]
    await books.acknowledge("main", token, 1)
    assert await left() == [4], "a lower one changes nothing"
    await write(books, token, 5, messages=[message(5)], acknowledged_seq=4)
    assert await left() == []


async def test_a_taker_waits_for_a_write_under_way_and_sees_it(
    books: PaperBooks, side_door: psycopg.AsyncConnection[Any]
) -> None:
    token = (await taken(books))["token"]
    async with side_door.transaction(force_rollback=True):
        # An execution of the same id, not committed: the write waits for what becomes of it.
        await side_door.execute(
            "INSERT INTO paper.reports VALUES ('main', 99, 'o-1', 'o-1-1', '{}')"
        )
        writing = asyncio.create_task(
            write(books, token, 1, new_orders=[order()], reports=[report(1)])
        )
        await asyncio.sleep(0.1)
        taking = asyncio.create_task(taken(books, "venue-2"))
        await asyncio.sleep(0.1)
        assert not writing.done()
        assert not taking.done()
    assert await writing == "DONE"
    seen = await taking
    assert (seen["orders"], seen["unacknowledged"]) == ([order()], [report(1)])
    assert await write(books, token, 2, messages=[message(2)]) == "FENCED"
