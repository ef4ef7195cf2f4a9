"""The adapter around the matching: what is durable when, what is known after a failure."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.memory_books import Fault, MemoryBooks
from tests.support.paper import INSTRUMENTS, ManualClock, RecordingSink, eventually, order, quote
from trade_engine.brokers import base, paper_account
from trade_engine.brokers.paper import PaperBroker
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.order import TimeInForce
from trade_engine.domain.signal import Side
from trade_engine.execution.ports import Delivery

SENT, IN_DOUBT, NOT_SENT = Delivery.SENT, Delivery.IN_DOUBT, Delivery.NOT_SENT


class Setup:
    def __init__(self, books: MemoryBooks, holder: str = "one", **config: Any) -> None:
        self.books = books
        self.clock = ManualClock()
        self.sink = RecordingSink()
        self.quotes = 0
        self.broker = PaperBroker(
            PaperConfig(**config),
            books=books,
            find_instrument=INSTRUMENTS.get,
            clock=self.clock,
            holder=holder,
        )

    def quote(self, *args: str | None, symbol: str = "AAPL") -> None:
        self.quotes += 1
        time_ns = self.clock() + self.quotes
        self.broker.on_quotes([quote(*args, symbol=symbol, time_ns=time_ns)])

    async def said(self, *expected: str, account_id: str = "main") -> None:
        """Wait for as many reports as expected, and hold them against each other."""
        await eventually(lambda: len(self.sink.seen(account_id)) >= len(expected))
        assert self.sink.seen(account_id) == list(expected)


@asynccontextmanager
async def venue(
    books: MemoryBooks | None = None, holder: str = "one", **config: Any
) -> AsyncIterator[Setup]:
    setup = Setup(books or MemoryBooks(), holder, **config)
    await setup.broker.start(setup.sink)
    await setup.broker.open_account("main")
    try:
        yield setup
    finally:
        await setup.broker.stop()


def once(method: str, fault: str) -> Fault:
    """Fail the next call of a method."""
    return times(method, fault, 1)


def times(method: str, fault: str, count: int) -> Fault:
    left = [count]

    def decide(called: str) -> str:
        if called == method and left[0]:
            left[0] -= 1
            return fault
        return ""

    return decide


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper_account, "RETRY_S_MIN", 0.002)
    monkeypatch.setattr(paper_account, "RETRY_S_MAX", 0.01)
    monkeypatch.setattr(paper_account, "ACKNOWLEDGE_AFTER_S", 0.01)
    monkeypatch.setattr(base, "RETRY_S_MIN", 0.002)


# ---- sending ------------------------------------------------------------------------------------


async def test_an_order_is_in_the_books_before_it_is_answered_for() -> None:
    async with venue() as setup:
        setup.quote("99.00", "100.00", None, "60")
        assert await setup.broker.send([order("a"), order("b", quantity="5")]) == [SENT, SENT]
        assert setup.books.accounts["main"].orders.keys() == {"a", "b"}
        assert setup.sink.calls == []
        await setup.said("a NEW", "a TRADE 60@100", "b NEW")
        assert len(setup.sink.calls) == 1
        messages = setup.books.messages("main")
        assert [(each["kind"], each["cl_ord_id"], each["verdict"]) for each in messages] == [
            ("ORDER", "a", "TAKEN"),
            ("ORDER", "b", "TAKEN"),
        ]
        assert messages[0]["terms"] == {
            "symbol": "AAPL",
            "side": "BUY",
            "ord_type": "LIMIT",
            "time_in_force": "GTC",
            "order_qty": "100",
            "price": "100",
        }
        # The log tells what happened in its order: a came, traded, then b came.
        assert [each["seq"] for each in messages] == [1, 4]
        assert [each["seq"] for each in setup.books.reports("main")] == [2, 3, 5]


async def test_one_batch_is_one_write() -> None:
    async with venue() as setup:
        setup.quote("99.00", "100.00")
        await setup.broker.send([order(f"o-{number}") for number in range(64)])
        assert setup.books.writes == 1


async def test_nothing_to_send() -> None:
    async with venue() as setup:
        assert await setup.broker.send([]) == []
        assert await setup.broker.cancel([]) == []
        assert setup.books.writes == 0


async def test_an_account_that_is_not_open_sends_nothing() -> None:
    async with venue() as setup:
        await setup.broker.close_account("main")
        assert await setup.broker.send([order("a")]) == [NOT_SENT]
        assert await setup.broker.cancel([order("a")]) == [NOT_SENT]
        assert await setup.broker.send([order("a", account_id="other")]) == [NOT_SENT]
        with pytest.raises(StoreUnavailable, match="not open"):
            await setup.broker.query("main", ["a"])
        await setup.broker.close_account("main")
        assert setup.books.messages("main") == []


async def test_an_account_is_opened_after_the_start() -> None:
    setup = Setup(MemoryBooks())
    with pytest.raises(StoreUnavailable, match="not started"):
        await setup.broker.open_account("main")


async def test_opening_again_is_harmless() -> None:
    async with venue() as setup:
        await setup.broker.open_account("main")
        assert setup.books.accounts["main"].token == 1


async def test_an_account_whose_books_do_not_answer_is_not_open() -> None:
    async with venue() as setup:
        setup.books.fault = once("take_over", "lost")
        with pytest.raises(StoreUnavailable):
            await setup.broker.open_account("other")
        assert await setup.broker.send([order("a", account_id="other")]) == [NOT_SENT]
        await setup.broker.open_account("other")
        assert await setup.broker.send([order("a", account_id="other")]) == [SENT]


# ---- quotes -------------------------------------------------------------------------------------


async def test_quotes_that_come_during_a_write_are_met_in_order() -> None:
    async with venue(MemoryBooks(delay_s=0.02)) as setup:
        sending = asyncio.create_task(setup.broker.send([order("a")]))
        await asyncio.sleep(0.005)
        for ask, size in [("100.00", "10"), ("101.00", "50"), ("99.00", "20"), ("98.00", "70")]:
            setup.quote("90.00", ask, None, size)
        assert await sending == [SENT]
        await setup.said(
            "a NEW", "a TRADE 10@100", "a TRADE 20@99", "a TRADE 70@98"
        )  # fmt: skip
        assert setup.books.writes == 2


async def test_a_quote_wakes_only_whom_it_concerns() -> None:
    async with venue() as setup:
        await setup.broker.open_account("other")
        await setup.broker.send([order("a", symbol="IBM")])
        await setup.broker.send([order("b", account_id="other")])
        setup.quote("99.00", "100.00")
        await setup.said("b NEW", "b TRADE 100@100", account_id="other")
        await setup.said("a NEW")
        # Filled, so the next quote concerns nobody.
        board = setup.broker._venue.board
        await eventually(lambda: list(board._watchers) == ["IBM"])


async def test_an_account_meets_the_market_of_the_moment_when_it_is_opened() -> None:
    async with venue() as setup:
        await setup.broker.send([order("a")])
        await setup.said("a NEW")
        await setup.broker.close_account("main")
        assert setup.broker._venue.board._watchers == {}
        setup.quote("99.00", "98.00")
        setup.quote("99.00", "100.00", None, "30")
        await setup.broker.open_account("main")
        await setup.said("a NEW", "a TRADE 30@100")


async def test_too_many_quotes_at_once_leave_the_last_of_each_symbol(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paper_account, "PENDING_QUOTES_MAX", 3)
    async with venue() as setup:
        await setup.broker.send([order("a"), order("b", symbol="IBM")])
        setup.quote("99.00", "100.00", None, "1", symbol="IBM")
        for _ in range(2):
            setup.quote("99.00", "100.00", None, "10")
        setup.quote("99.00", "100.00", None, "30")
        await setup.said("a NEW", "b NEW", "b TRADE 1@100", "a TRADE 30@100")


async def test_an_older_quote_is_not_shown() -> None:
    async with venue() as setup:
        now_ns = setup.clock()
        setup.broker.on_quotes([quote("99.00", "100.00", time_ns=now_ns)])
        setup.broker.on_quotes([quote("49.00", "50.00", time_ns=now_ns - 1)])
        await setup.broker.send([order("a")])
        await setup.said("a NEW", "a TRADE 100@100")


# ---- cancels ------------------------------------------------------------------------------------


async def test_a_cancel_is_reported_once_and_is_logged_however_late() -> None:
    async with venue() as setup:
        first, unknown = order("a"), order("never-sent")
        await setup.broker.send([first])
        assert await setup.broker.cancel([first, unknown]) == [SENT, SENT]
        assert await setup.broker.cancel([first]) == [SENT]
        await setup.said("a NEW", "a CANCELED")
        verdicts = [
            (each["cl_ord_id"], each["verdict"])
            for each in setup.books.messages("main") if each["kind"] == "CANCEL"
        ]  # fmt: skip
        assert verdicts == [("a", "TAKEN"), ("never-sent", "NOT_OPEN"), ("a", "NOT_OPEN")]


async def test_a_cancel_sees_the_quotes_that_came_before_it() -> None:
    async with venue() as setup:
        first = order("a")
        await setup.broker.send([first])
        setup.quote("99.00", "100.00")
        assert await setup.broker.cancel([first]) == [SENT]
        await setup.said("a NEW", "a TRADE 100@100")


# ---- the same ClOrdID again ---------------------------------------------------------------------


async def test_a_copy_makes_no_second_order() -> None:
    async with venue() as setup:
        setup.quote("99.00", "100.00")
        resting = order("rests", price="90.00")
        filled = order("fills")
        assert await setup.broker.send([resting, filled, filled]) == [SENT] * 3
        assert await setup.broker.send([resting]) == [SENT]
        assert await setup.broker.send([order("new"), filled, resting]) == [SENT] * 3
        await setup.said(
            "rests NEW", "fills NEW", "fills TRADE 100@100", "new NEW", "new TRADE 100@100"
        )
        assert [each["verdict"] for each in setup.books.messages("main")] == [
            *("TAKEN", "TAKEN", "DUPLICATE"),
            "DUPLICATE",
            *("TAKEN", "DUPLICATE", "DUPLICATE"),
        ]


async def test_other_terms_under_a_known_name_change_nothing() -> None:
    async with venue() as setup:
        setup.quote("99.00", "100.00")
        await setup.broker.send([order("rests", price="90.00"), order("fills")])
        assert await setup.broker.send(
            [order("rests", price="100.00"), order("fills", quantity="1"), order("new")]
        ) == [IN_DOUBT, IN_DOUBT, SENT]
        await setup.said(
            "rests NEW", "fills NEW", "fills TRADE 100@100", "new NEW", "new TRADE 100@100"
        )
        known = await setup.broker.query("main", ["rests", "fills"])
        assert known["rests"].is_open
        assert known["fills"].cum_qty == 100


async def test_a_refused_copy_takes_nothing_of_the_quote() -> None:
    async with venue() as setup:
        setup.quote("99.00", "100.00", None, "100")
        await setup.broker.send([order("old")])
        setup.quote("99.00", "100.00", None, "100")
        await setup.broker.send([order("old"), order("new")])
        await setup.said("old NEW", "old TRADE 100@100", "new NEW", "new TRADE 100@100")


async def test_a_copy_that_comes_with_the_quote_that_fills_the_first() -> None:
    async with venue() as setup:
        await setup.broker.send([order("a")])
        setup.quote("99.00", "100.00")
        assert await setup.broker.send([order("a")]) == [SENT]
        await setup.said("a NEW", "a TRADE 100@100")
        known = (await setup.broker.query("main", ["a"]))["a"]
        assert (known.is_open, known.cum_qty, len(known.reports)) == (False, 100, 2)


async def test_a_copy_is_known_after_a_restart_too() -> None:
    books = MemoryBooks()
    async with venue(books) as setup:
        setup.quote("99.00", "100.00")
        await setup.broker.send([order("fills"), order("rests", price="90.00")])
        await setup.said("fills NEW", "fills TRADE 100@100", "rests NEW")
    async with venue(books) as setup:
        setup.quote("99.00", "100.00")
        assert await setup.broker.send([order("fills"), order("rests", price="90.00")]) == [
            SENT,
            SENT,
        ]
        assert [each["exec_type"] for each in books.reports("main")] == ["NEW", "TRADE", "NEW"]


# ---- when the books fail ------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["lost", "unclear"])
async def test_an_unclear_write_is_in_doubt_and_then_stands_once(fault: str) -> None:
    async with venue() as setup:
        setup.quote("99.00", "100.00", None, "150")
        setup.books.fault = once("record", fault)
        assert await setup.broker.send([order("a")]) == [IN_DOUBT]
        await setup.said("a NEW", "a TRADE 100@100")
        assert len(setup.books.messages("main")) == 1
        # Of the quote's 150, 100 are gone: as if nothing had been.
        assert await setup.broker.send([order("b")]) == [SENT]
        await setup.said("a NEW", "a TRADE 100@100", "b NEW", "b TRADE 50@100")


async def test_while_a_write_is_in_doubt_nothing_else_is_done_or_said() -> None:
    async with venue() as setup:
        setup.books.fault = times("record", "unclear", 1)
        assert await setup.broker.send([order("a")]) == [IN_DOUBT]
        setup.books.fault = lambda _: "lost"
        assert await setup.broker.send([order("b")]) == [NOT_SENT]
        assert await setup.broker.cancel([order("a")]) == [NOT_SENT]
        with pytest.raises(StoreUnavailable, match="ask again later"):
            await setup.broker.query("main", ["a"])
        setup.quote("99.00", "100.00")
        await asyncio.sleep(0.03)
        assert setup.sink.seen() == []
        setup.books.fault = lambda _: ""
        await setup.said("a NEW", "a TRADE 100@100")
        assert (await setup.broker.query("main", ["a", "b"])).keys() == {"a"}


@pytest.mark.parametrize("fault", ["lost", "unclear"])
async def test_a_fill_whose_write_is_unclear_happens_once(fault: str) -> None:
    async with venue() as setup:
        await setup.broker.send([order("a")])
        setup.books.fault = once("record", fault)
        setup.quote("99.00", "100.00", None, "40")
        await setup.said("a NEW", "a TRADE 40@100")
        setup.quote("99.00", "100.00", None, "500")
        await setup.said("a NEW", "a TRADE 40@100", "a TRADE 60@100")
        assert len(setup.books.reports("main")) == 3


@pytest.mark.parametrize("fault", ["lost", "unclear"])
async def test_a_cancel_whose_write_is_unclear_happens_once(fault: str) -> None:
    async with venue() as setup:
        first = order("a")
        await setup.broker.send([first])
        setup.books.fault = once("record", fault)
        assert await setup.broker.cancel([first]) == [IN_DOUBT]
        await setup.said("a NEW", "a CANCELED")
        assert len(setup.books.messages("main")) == 2


@pytest.mark.parametrize("method", ["find", "record"])
async def test_a_copy_of_a_closed_order_while_the_books_fail(method: str) -> None:
    async with venue() as setup:
        setup.quote("99.00", "100.00")
        await setup.broker.send([order("old")])
        setup.books.fault = once(method, "unclear")
        answers = await setup.broker.send([order("old"), order("new")])
        assert answers == [IN_DOUBT, IN_DOUBT]
        await setup.said("old NEW", "old TRADE 100@100", "new NEW", "new TRADE 100@100")
        verdicts = [each["verdict"] for each in setup.books.messages("main")]
        assert verdicts == ["TAKEN", "DUPLICATE", "TAKEN"]


async def test_a_caller_that_gives_up_leaves_no_order_half_done() -> None:
    async with venue(MemoryBooks(delay_s=0.02)) as setup:
        sending = asyncio.create_task(setup.broker.send([order("a")]))
        await asyncio.sleep(0.005)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await setup.said("a NEW")
        assert setup.books.accounts["main"].orders.keys() == {"a"}


async def test_dying_in_doubt_leaves_what_the_books_say() -> None:
    books = MemoryBooks()
    for number, (fault, arrived) in enumerate([("lost", False), ("unclear", True)]):
        name = f"o-{number}"
        async with venue(books) as setup:
            books.fault = once("record", fault)
            assert await setup.broker.send([order(name)]) == [IN_DOUBT]
            # The process dies: nothing of it reaches the books any more.
            books.fault = lambda _: "lost"
        books.fault = lambda _: ""
        async with venue(books) as setup:
            known = await setup.broker.query("main", [name])
            assert (name in known) == arrived
            await setup.said(*([f"{name} NEW"] if arrived else []))


# ---- one process at a time ----------------------------------------------------------------------


async def test_whoever_opens_an_account_last_trades_it() -> None:
    books = MemoryBooks()
    async with venue(books, "one") as one:
        await one.broker.send([order("a")])
        await one.said("a NEW")
        await eventually(lambda: books.accounts["main"].acknowledged_seq == 2)
        async with venue(books, "two") as two:
            assert await one.broker.send([order("b")]) == [NOT_SENT]
            assert "b" not in books.accounts["main"].orders
            for each in (one, two):
                each.quote("99.00", "100.00")
            await two.said("a TRADE 100@100")
            assert one.sink.seen() == ["a NEW"]
            assert await one.broker.send([order("c")]) == [NOT_SENT]
            assert await two.broker.send([order("c", price="90.00")]) == [SENT]
        await one.broker.open_account("main")
        assert await one.broker.send([order("d")]) == [SENT]
        assert (await one.broker.query("main", ["c"]))["c"].is_open


async def test_quotes_stop_trading_where_the_account_is_lost() -> None:
    books = MemoryBooks()
    async with venue(books, "one") as one:
        await one.broker.send([order("a")])
        async with venue(books, "two"):
            one.quote("99.00", "100.00")
            account = one.broker._accounts["main"]
            await eventually(lambda: not account.is_open)
            await eventually(lambda: all(task.done() for task in account._tasks))
            assert len(books.reports("main")) == 1


@pytest.mark.parametrize("fault", ["lost", "unclear"])
async def test_a_write_in_doubt_is_not_repeated_over_a_new_owner(fault: str) -> None:
    books = MemoryBooks()
    async with venue(books, "one") as one:
        books.fault = times("record", fault, 1)
        assert await one.broker.send([order("a")]) == [IN_DOUBT]
        async with venue(books, "two") as two:
            account = one.broker._accounts["main"]
            await eventually(lambda: not account.is_open)
            assert books.accounts["main"].holder == "two"
            arrived = fault == "unclear"
            assert ("a" in await two.broker.query("main", ["a"])) == arrived
            assert one.sink.seen() == []
            await two.said(*(["a NEW"] if arrived else []))


# ---- delivery -----------------------------------------------------------------------------------


async def test_reports_come_again_until_they_are_booked() -> None:
    async with venue() as setup:
        setup.sink.failures = 3
        await setup.broker.send([order("a")])
        await setup.said("a NEW")
        await eventually(lambda: setup.books.accounts["main"].acknowledged_seq == 2)


async def test_reports_that_were_not_booked_come_again_after_a_restart() -> None:
    books = MemoryBooks()
    async with venue(books) as setup:
        await setup.broker.send([order("a")])
        await setup.said("a NEW")
        setup.sink.opened.clear()
        setup.quote("99.00", "100.00", None, "40")
        await eventually(lambda: len(books.reports("main")) == 2)
    async with venue(books) as setup:
        await setup.said("a TRADE 40@100")
        assert setup.sink.reports()[0].exec_id == "a-2"
        setup.quote("99.00", "100.00", None, "60")
        await setup.said("a TRADE 40@100", "a TRADE 60@100")
        assert setup.sink.reports()[1].exec_id == "a-3"


async def test_what_was_booked_does_not_come_again() -> None:
    books = MemoryBooks()
    async with venue(books) as setup:
        await setup.broker.send([order("a")])
        await setup.said("a NEW")
    async with venue(books) as setup:
        await asyncio.sleep(0.02)
        assert setup.sink.calls == []


async def test_the_next_write_takes_along_what_was_booked() -> None:
    async with venue() as setup:
        await setup.broker.send([order("a")])
        await setup.said("a NEW")
        await setup.broker.send([order("b")])
        assert setup.books.accounts["main"].acknowledged_seq == 2


async def test_a_slow_sink_does_not_hold_up_the_venue() -> None:
    async with venue() as setup:
        setup.sink.opened.clear()
        await setup.broker.send([order("a", quantity="10")])
        await asyncio.sleep(0)
        for number in range(3):
            setup.quote("99.00", "100.00", None, str(number + 1))
            count = number + 2
            await eventually(lambda: len(setup.books.reports("main")) == count)  # noqa: B023
        setup.sink.opened.set()
        await setup.said("a NEW", "a TRADE 1@100", "a TRADE 2@100", "a TRADE 3@100")
        assert len(setup.sink.calls) == 2


# ---- time ---------------------------------------------------------------------------------------


async def test_latency_is_waited_out() -> None:
    async with venue(latency_ms=5) as setup:
        await asyncio.sleep(0.01)  # the account's task sleeps now, with nothing due
        setup.quote("99.00", "100.00")
        assert await setup.broker.send([order("a")]) == [SENT]
        known = await setup.broker.query("main", ["a"])
        assert known["a"].is_open
        assert known["a"].reports == []
        assert known["a"].leaves_qty == 100
        await asyncio.sleep(0.02)
        assert setup.sink.seen() == []
        setup.clock.advance_ms(5)
        await setup.said("a NEW", "a TRADE 100@100")


async def test_a_traveling_order_arrives_after_a_restart() -> None:
    books = MemoryBooks()
    async with venue(books, latency_ms=5) as setup:
        first = order("a")
        await setup.broker.send([first, order("b")])
        await setup.broker.cancel([first])
    async with venue(books, latency_ms=5) as setup:
        setup.clock.advance_ms(100)
        await setup.said("a NEW", "b NEW", "a CANCELED")


async def test_a_day_order_expires_by_itself_and_after_a_restart_too() -> None:
    books = MemoryBooks()
    async with venue(books) as setup:
        await setup.broker.send([order("a", tif=TimeInForce.DAY)])
        await setup.said("a NEW")
    async with venue(books) as setup:
        setup.clock.advance_ms(12 * 3_600_000)
        await setup.broker.close_account("main")
        await setup.broker.open_account("main")
        await setup.said("a EXPIRED")


async def test_a_sleep_follows_what_falls_due_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper_account, "SLEEP_S_MAX", 0.01)
    async with venue() as setup:
        await setup.broker.send([order("a", Side.SELL, tif=TimeInForce.DAY)])
        setup.clock.advance_ms(12 * 3_600_000)
        await setup.said("a NEW", "a EXPIRED")
