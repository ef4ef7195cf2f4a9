"""What `execution.ports.Broker` and `brokers.base` promise, for every adapter.

An adapter joins with a `BrokerUnderTest`: how to connect a new broker to the same venue (a process
that starts again), and how to move the venue's market.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support import quickfix
from tests.support.fix import fix_broker
from tests.support.fix_client import OtherClient
from tests.support.fix_venue import FixVenue
from tests.support.memory_books import MemoryBooks
from tests.support.paper import (
    INSTRUMENTS,
    ManualClock,
    RecordingSink,
    eventually,
    order,
    quote,
    seen,
)
from trade_engine.brokers.paper import PaperBroker
from trade_engine.brokers.paper_books import PaperBooks
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.order import Order, TimeInForce
from trade_engine.domain.replacement import ApprovedReplacement, Replacement, Terms
from trade_engine.domain.signal import Side
from trade_engine.execution.ports import Broker, BrokerOrder, Delivery
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.paper_venue import PaperVenueBooks

ACCOUNT = "main"
SENT = Delivery.SENT


@dataclass
class Connected:
    """A broker that serves the account, and what it reported."""

    broker: Broker
    sink: RecordingSink
    day_orders_only: bool = False

    async def send(self, *orders: Order) -> list[Delivery]:
        if self.day_orders_only:
            for each in orders:
                each.time_in_force = TimeInForce.DAY
        return await self.broker.send(orders)  # type: ignore[arg-type]

    async def says(self, *expected: str) -> None:
        """Wait for reports, and hold them against what is expected."""
        await eventually(lambda: len(self.sink.reports()) >= len(expected))
        assert self.sink.seen() == list(expected)

    async def says_no_more(self) -> None:
        """Give what should not come the time to come."""
        before = self.sink.seen()
        await asyncio.sleep(0.1)
        assert self.sink.seen() == before


@dataclass
class BrokerUnderTest:
    """One venue, which outlives the brokers that are connected to it one after the other.

    show puts a market of AAPL before the venue: bid, ask, and their sizes. amend lets the venue
    bust an execution (by ExecID; quantity 0), or correct it to a smaller quantity or another
    price; a venue that cannot be made to do so has none. lacks says which tests are not for this
    venue, and why.
    """

    connect: Callable[[], Broker]
    show: Callable[[Broker, str, str, str | None, str | None], None]
    unknown_symbol: str = "NOPE"
    is_embedded: bool = True
    day_orders_only: bool = False
    lacks: Mapping[str, str] = field(default_factory=dict)
    amend: Callable[[Broker, str, str, str | None], Awaitable[None]] | None = None

    @asynccontextmanager
    async def connected(self, *, booking: bool = True) -> AsyncIterator[Connected]:
        """A broker with the account open; with booking off its reports stay unbooked."""
        sink = RecordingSink()
        if not booking:
            sink.opened.clear()
        broker = self.connect()
        await broker.start(sink)
        await broker.open_account(ACCOUNT)
        try:
            yield Connected(broker, sink, day_orders_only=self.day_orders_only)
        finally:
            await broker.stop()


def paper_on(books: Callable[[], PaperBooks]) -> BrokerUnderTest:
    clock = ManualClock()
    shown = [0]

    def connect() -> PaperBroker:
        return PaperBroker(
            PaperConfig(),
            books=books(),
            find_instrument=INSTRUMENTS.get,
            clock=clock,
            holder="process",
        )

    def show(
        broker: Broker, bid: str, ask: str, bid_size: str | None, ask_size: str | None
    ) -> None:
        assert isinstance(broker, PaperBroker)
        shown[0] += 1
        market = quote(bid, ask, bid_size, ask_size, time_ns=clock() + shown[0])
        broker.on_quotes([market])

    async def amend(broker: Broker, exec_id: str, quantity: str, price: str | None) -> None:
        assert isinstance(broker, PaperBroker)
        px = None if price is None else Decimal(price)
        assert await broker.amend(ACCOUNT, exec_id, Decimal(quantity), px)

    return BrokerUnderTest(connect, show, amend=amend)


NO_SUCH_QUESTION = "FIX asks about one order at a time"


@asynccontextmanager
async def own_fix_venue(folder: Path, version: str) -> AsyncIterator[BrokerUnderTest]:
    """The paper matcher behind a FIX session."""
    venue = FixVenue(version)
    await venue.start()

    async def amend(_: Broker, exec_id: str, quantity: str, price: str | None) -> None:
        theirs = exec_id.partition("/")[2]  # ours begins with the order's
        px = None if price is None else Decimal(price)
        assert await venue.paper.amend(ACCOUNT, theirs, Decimal(quantity), px)

    try:
        yield BrokerUnderTest(
            lambda: fix_broker(folder / "session.sqlite", venue.port, version, can_replace=True),
            lambda _, *market: venue.show(*market),
            is_embedded=False,
            amend=amend,
            lacks={"test_what_the_venue_holds": NO_SUCH_QUESTION},
        )
    finally:
        await venue.stop()


ORDERMATCH_LACKS = {
    "test_reject": "it takes any symbol",
    "test_a_sale": "it trades at the seller's price, not at the resting one",
    "test_a_market_order": "it takes limit orders only",
    "test_immediate_or_cancel": "it takes DAY orders only",
    "test_fill_or_kill": "it takes DAY orders only",
    "test_what_the_venue_holds": NO_SUCH_QUESTION,
}


@asynccontextmanager
async def ordermatch(folder: Path) -> AsyncIterator[BrokerUnderTest]:
    """QuickFIX's own matching engine, on FIX 4.2; another client of it makes the market."""
    with (
        quickfix.running("ordermatch", folder / "venue", ["ENGINE", "OTHER"]) as venue,
        OtherClient(venue.port) as other,
    ):

        def show(_: Broker, bid: str, ask: str, bid_size: str | None, ask_size: str | None) -> None:
            other.withdraw()
            other.trade("1", bid_size or "1000000", bid)
            other.trade("2", ask_size or "1000000", ask)

        yield BrokerUnderTest(
            lambda: fix_broker(folder / "session.sqlite", venue.port, "FIX.4.2"),
            show,
            is_embedded=False,
            day_orders_only=True,
            lacks=ORDERMATCH_LACKS,
        )


@pytest.fixture(
    params=[
        pytest.param("paper", id="paper"),
        pytest.param("paper-postgres", id="paper on PostgreSQL", marks=pytest.mark.stores),
        pytest.param("FIX.4.4", id="FIX 4.4"),
        pytest.param("FIX.4.2", id="FIX 4.2"),
        pytest.param("ordermatch", id="FIX 4.2 at ordermatch"),
    ]
)
async def venue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BrokerUnderTest]:
    match request.param:
        case "paper":
            books = MemoryBooks()
            yield paper_on(lambda: books)
        case "paper-postgres":
            database = Database(request.getfixturevalue("database_url"))
            try:
                yield paper_on(lambda: PaperVenueBooks(database))
            finally:
                await database.close()
        case "FIX.4.4" | "FIX.4.2" as version:
            async with own_fix_venue(tmp_path, version) as under_test:
                skip_what_it_lacks(request, under_test)
                yield under_test
        case "ordermatch":
            async with ordermatch(tmp_path) as under_test:
                skip_what_it_lacks(request, under_test)
                yield under_test
        case unknown:
            raise AssertionError(unknown)


def skip_what_it_lacks(request: pytest.FixtureRequest, venue: BrokerUnderTest) -> None:
    why = venue.lacks.get(request.function.__name__)
    if why:
        pytest.skip(why)


def state(known: BrokerOrder) -> tuple[bool, int, int]:
    """Whether it is open, CumQty, LeavesQty."""
    return known.is_open, int(known.cum_qty), int(known.leaves_qty)


# ---- the life of an order -----------------------------------------------------------------------


async def test_accept(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "101", None, None)
        assert await the.send(order("o-1")) == [SENT]
        await the.says("o-1 NEW")
        known = (await the.broker.query(ACCOUNT, ["o-1"]))["o-1"]
        assert state(known) == (True, 0, 100)
        assert known.broker_order_id == the.sink.reports()[0].broker_order_id != ""


async def test_reject(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        assert await the.send(order("o-1", symbol=venue.unknown_symbol)) == [SENT]
        await the.says("o-1 REJECTED")
        assert the.sink.reports()[0].text
        known = (await the.broker.query(ACCOUNT, ["o-1"]))["o-1"]
        assert state(known) == (False, 0, 0)


async def test_fill(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, None)
        assert await the.send(order("o-1")) == [SENT]
        await the.says("o-1 NEW", "o-1 TRADE 100@100")
        known = (await the.broker.query(ACCOUNT, ["o-1"]))["o-1"]
        assert state(known) == (False, 100, 0)


async def test_partial_fills_then_the_rest(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, "30")
        await the.send(order("o-1"))
        await the.says("o-1 NEW", "o-1 TRADE 30@100")
        known = (await the.broker.query(ACCOUNT, ["o-1"]))["o-1"]
        assert state(known) == (True, 30, 70)
        venue.show(the.broker, "99", "99.5", None, "500")
        await the.says("o-1 NEW", "o-1 TRADE 30@100", "o-1 TRADE 70@99.5")


async def test_a_sale(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", "40", None)
        await the.send(order("o-1", Side.SELL, price="98"))
        await the.says("o-1 NEW", "o-1 TRADE 40@99")


async def test_a_market_order(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, None)
        await the.send(order("o-1", price=None))
        await the.says("o-1 NEW", "o-1 TRADE 100@100")


async def test_immediate_or_cancel(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, "30")
        await the.send(order("o-1", tif=TimeInForce.IOC))
        await the.says("o-1 NEW", "o-1 TRADE 30@100", "o-1 CANCELED")
        known = (await the.broker.query(ACCOUNT, ["o-1"]))["o-1"]
        assert state(known) == (False, 30, 0)


async def test_fill_or_kill(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, "30")
        await the.send(order("o-1", tif=TimeInForce.FOK))
        await the.says("o-1 NEW", "o-1 CANCELED")


def amended(venue: BrokerUnderTest) -> Callable[[Broker, str, str, str | None], Awaitable[None]]:
    if venue.amend is None:
        pytest.skip("this venue cannot be made to amend an execution")
    return venue.amend


# ---- what the venue takes back ------------------------------------------------------------------


async def test_a_bust_of_an_order_that_rests(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, "30")
        await the.send(order("o-1"))
        await the.says("o-1 NEW", "o-1 TRADE 30@100")
        busted = the.sink.reports()[1].exec_id
        await amended(venue)(the.broker, busted, "0", None)
        await the.says("o-1 NEW", "o-1 TRADE 30@100", "o-1 TRADE_CANCEL")
        assert the.sink.reports()[2].exec_ref_id == busted
        known = (await the.broker.query(ACCOUNT, ["o-1"]))["o-1"]
        assert state(known) == (True, 0, 100)
        held = await the.broker.positions(ACCOUNT)
        assert not held or not any(held.values())
        venue.show(the.broker, "99", "99.5", None, "500")
        await eventually(lambda: the.sink.seen()[-1] == "o-1 TRADE 100@99.5")


async def test_a_bust_of_an_order_that_was_filled(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, None)
        await the.send(order("o-1"))
        await the.says("o-1 NEW", "o-1 TRADE 100@100")
        since_ns = the.sink.reports()[1].transact_time_ns
        await amended(venue)(the.broker, the.sink.reports()[1].exec_id, "0", None)
        await eventually(lambda: "o-1 TRADE_CANCEL" in the.sink.seen())
        told = await the.broker.executions(ACCOUNT, since_ns)
        if told is not None:
            assert [each.exec_type for each in told] == [ExecType.TRADE, ExecType.TRADE_CANCEL]
        known = (await the.broker.query(ACCOUNT, ["o-1"]))["o-1"]
        assert known.cum_qty == 0
        if not known.is_open:  # then it says so, or the order would stand here for ever
            assert the.sink.seen()[-1] == "o-1 CANCELED"


async def test_a_correction(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, "30")
        await the.send(order("o-1"))
        await the.says("o-1 NEW", "o-1 TRADE 30@100")
        corrected = the.sink.reports()[1].exec_id
        await amended(venue)(the.broker, corrected, "20", "99.5")
        await the.says("o-1 NEW", "o-1 TRADE 30@100", "o-1 TRADE_CORRECT 20@99.5")
        assert the.sink.reports()[2].exec_ref_id == corrected
        known = (await the.broker.query(ACCOUNT, ["o-1"]))["o-1"]
        assert state(known) == (True, 20, 80)
        held = await the.broker.positions(ACCOUNT)
        assert held is None or held["AAPL"] == 20


async def test_an_amendment_that_was_missed(venue: BrokerUnderTest) -> None:
    async with venue.connected(booking=False) as the:
        venue.show(the.broker, "99", "100", None, "30")
        await the.send(order("o-1"))
        exec_id = (await the.broker.query(ACCOUNT, ["o-1"]))["o-1"].reports[1].exec_id
        await amended(venue)(the.broker, exec_id, "0", None)
    async with venue.connected() as the:
        await the.says("o-1 NEW", "o-1 TRADE 30@100", "o-1 TRADE_CANCEL")


# ---- cancels ------------------------------------------------------------------------------------


async def test_cancel(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        first = order("o-1")
        await the.send(first)
        assert await the.broker.cancel([first]) == [SENT]
        await the.says("o-1 NEW", "o-1 CANCELED")
        venue.show(the.broker, "99", "100", None, None)
        await the.says_no_more()


async def test_cancel_what_is_partly_filled(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        first = order("o-1")
        venue.show(the.broker, "99", "100", None, "30")
        await the.send(first)
        assert await the.broker.cancel([first]) == [SENT]
        await the.says("o-1 NEW", "o-1 TRADE 30@100", "o-1 CANCELED")
        known = (await the.broker.query(ACCOUNT, ["o-1"]))["o-1"]
        assert state(known) == (False, 30, 0)


async def test_too_late_to_cancel(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        first = order("o-1")
        venue.show(the.broker, "99", "100", None, None)
        await the.send(first)
        await the.says("o-1 NEW", "o-1 TRADE 100@100")
        assert await the.broker.cancel([first]) == [SENT]
        await the.says_no_more()
        assert (await the.broker.query(ACCOUNT, ["o-1"]))["o-1"].cum_qty == 100


async def test_cancel_an_unknown_order(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        assert await the.broker.cancel([order("never-sent")]) == [SENT]
        await the.says_no_more()


# ---- replacing ----------------------------------------------------------------------------------


def new_terms(first: Order, cl_ord_id: str, quantity: str, price: str) -> ApprovedReplacement:
    terms = Terms(first.order_id, cl_ord_id, Decimal(quantity), Decimal(price))
    return ApprovedReplacement(Replacement(first, terms, first.cl_ord_id))


@asynccontextmanager
async def replacing(venue: BrokerUnderTest) -> AsyncIterator[Connected]:
    async with venue.connected() as the:
        if not the.broker.can_replace:
            pytest.skip(f"{the.broker.name} cannot replace")
        yield the


async def test_replace(venue: BrokerUnderTest) -> None:
    async with replacing(venue) as the:
        first = order("o-1")
        await the.send(first)
        assert await the.broker.replace([new_terms(first, "o-1.r2", "60", "99")]) == [SENT]
        await the.says("o-1 NEW", "o-1.r2 REPLACED")
        told = the.sink.reports()[1]
        assert isinstance(told, ExecutionReport)
        assert (told.order_qty, told.price) == (60, 99)
        for asked in ("o-1", "o-1.r2"):
            assert state((await the.broker.query(ACCOUNT, [asked]))[asked]) == (True, 0, 60)
        venue.show(the.broker, "99", "100", None, None)
        await the.says_no_more()
        venue.show(the.broker, "98", "99", None, None)
        await the.says("o-1 NEW", "o-1.r2 REPLACED", "o-1 TRADE 60@99")


async def test_replace_what_is_partly_filled(venue: BrokerUnderTest) -> None:
    async with replacing(venue) as the:
        first = order("o-1")
        venue.show(the.broker, "99", "100", None, "30")
        await the.send(first)
        await the.broker.replace([new_terms(first, "o-1.r2", "50", "100")])
        await the.says("o-1 NEW", "o-1 TRADE 30@100", "o-1.r2 REPLACED")
        assert state((await the.broker.query(ACCOUNT, ["o-1"]))["o-1"]) == (True, 30, 20)


async def test_replace_below_what_is_filled_stops_there(venue: BrokerUnderTest) -> None:
    async with replacing(venue) as the:
        first = order("o-1")
        venue.show(the.broker, "99", "100", None, "30")
        await the.send(first)
        await the.broker.replace([new_terms(first, "o-1.r2", "20", "100")])
        await the.says("o-1 NEW", "o-1 TRADE 30@100", "o-1.r2 REPLACED")
        told = the.sink.reports()[2]
        assert isinstance(told, ExecutionReport)
        assert told.order_qty == 30
        assert state((await the.broker.query(ACCOUNT, ["o-1"]))["o-1"]) == (False, 30, 0)


async def test_too_late_to_replace(venue: BrokerUnderTest) -> None:
    async with replacing(venue) as the:
        first = order("o-1")
        venue.show(the.broker, "99", "100", None, None)
        await the.send(first)
        await the.says("o-1 NEW", "o-1 TRADE 100@100")
        assert await the.broker.replace([new_terms(first, "o-1.r2", "200", "100")]) == [SENT]
        expected = ["o-1 NEW", "o-1 TRADE 100@100", "o-1.r2 REFUSED"]
        await eventually(lambda: seen(the.sink.told()) == expected)
        assert state((await the.broker.query(ACCOUNT, ["o-1.r2"]))["o-1.r2"]) == (False, 100, 0)


async def test_the_same_request_to_replace_twice(venue: BrokerUnderTest) -> None:
    async with replacing(venue) as the:
        first = order("o-1")
        await the.send(first)
        request = new_terms(first, "o-1.r2", "60", "99")
        assert await the.broker.replace([request]) == [SENT]
        await the.says("o-1 NEW", "o-1.r2 REPLACED")
        await the.broker.replace([request])
        await the.says_no_more()


async def test_a_request_to_replace_that_never_arrived_is_not_found(
    venue: BrokerUnderTest,
) -> None:
    async with replacing(venue) as the:
        await the.send(order("o-1"))
        assert await the.broker.query(ACCOUNT, ["o-1.r2"]) == {}


async def test_new_terms_hold_after_a_restart(venue: BrokerUnderTest) -> None:
    async with replacing(venue) as the:
        first = order("o-1")
        await the.send(first)
        await the.broker.replace([new_terms(first, "o-1.r2", "60", "99")])
        await the.says("o-1 NEW", "o-1.r2 REPLACED")
    async with venue.connected() as the:
        venue.show(the.broker, "98", "99", None, None)
        await eventually(lambda: "o-1 TRADE 60@99" in the.sink.seen())
        assert state((await the.broker.query(ACCOUNT, ["o-1"]))["o-1"]) == (False, 60, 0)


# ---- the same ClOrdID twice ---------------------------------------------------------------------


async def test_duplicate_cl_ord_id_while_open(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        await the.send(order("o-1"))
        assert await the.send(order("o-1")) == [SENT]
        venue.show(the.broker, "99", "100", None, "500")
        await the.says("o-1 NEW", "o-1 TRADE 100@100")
        await the.says_no_more()


async def test_duplicate_cl_ord_id_after_the_fill(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, None)
        await the.send(order("o-1"))
        assert await the.send(order("o-0"), order("o-1"), order("o-2")) == [SENT] * 3
        await the.says(
            *("o-1 NEW", "o-1 TRADE 100@100"),
            *("o-0 NEW", "o-0 TRADE 100@100"),
            *("o-2 NEW", "o-2 TRADE 100@100"),
        )
        await the.says_no_more()


async def test_duplicate_cl_ord_id_in_one_batch(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, None)
        assert await the.send(order("o-1"), order("o-1")) == [SENT, SENT]
        await the.says("o-1 NEW", "o-1 TRADE 100@100")
        await the.says_no_more()


async def test_duplicate_cl_ord_id_after_a_restart(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, None)
        await the.send(order("filled"), order("open", price="50"))
        await the.says("filled NEW", "filled TRADE 100@100", "open NEW")
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, None)
        assert await the.send(order("filled"), order("open", price="50")) == [SENT, SENT]
        await the.says_no_more()
        assert the.sink.calls == []


async def test_a_cl_ord_id_with_other_terms(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, None)
        await the.send(order("filled"), order("open", price="50"))
        await the.says("filled NEW", "filled TRADE 100@100", "open NEW")
        copies = [order("filled", quantity="7"), order("open", price="100")]
        assert await the.send(*copies) == [Delivery.IN_DOUBT] * 2
        await the.says_no_more()
        known = await the.broker.query(ACCOUNT, ["filled", "open"])
        assert known["filled"].cum_qty == 100
        assert known["open"].leaves_qty == 100


# ---- asking -------------------------------------------------------------------------------------


async def test_query_by_cl_ord_id(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, "130")
        await the.send(order("o-1"), order("o-2"), order("o-3", price="50"))
        await the.says("o-1 NEW", "o-1 TRADE 100@100", "o-2 NEW", "o-2 TRADE 30@100", "o-3 NEW")
        known = await the.broker.query(ACCOUNT, ["o-1", "o-2", "never-sent"])
        assert known.keys() == {"o-1", "o-2"}
        for name, about in known.items():
            assert about.cl_ord_id == name
            assert about.reports == [
                each for each in the.sink.reports() if each.cl_ord_id == name
            ]  # the very reports that were delivered, in order


async def test_query_of_another_account(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        await the.send(order("o-1"))
        await the.broker.open_account("other")
        assert await the.broker.query("other", ["o-1"]) == {}


async def test_what_the_venue_holds(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", "40", "130")
        await the.send(order("o-1"), order("o-2"), order("o-3", Side.SELL, price="98"))
        await the.says(
            *("o-1 NEW", "o-1 TRADE 100@100", "o-2 NEW", "o-2 TRADE 30@100"),
            *("o-3 NEW", "o-3 TRADE 40@99"),
        )
        resting = await the.broker.open_orders(ACCOUNT)
        assert resting is not None
        assert {each.cl_ord_id: state(each) for each in resting} == {
            "o-2": (True, 30, 70),
            "o-3": (True, 40, 60),
        }
        told = the.sink.reports()
        fills = [each for each in told if each.exec_type is ExecType.TRADE]
        since_ns = min(each.transact_time_ns for each in told)
        assert await the.broker.executions(ACCOUNT, since_ns) == fills
        latest_ns = max(each.transact_time_ns for each in told)
        assert await the.broker.executions(ACCOUNT, latest_ns + 1) == []
        held = await the.broker.positions(ACCOUNT)
        assert held is not None
        assert {symbol: int(quantity) for symbol, quantity in held.items()} == {"AAPL": 90}


async def test_a_venue_that_does_not_answer_does_not_say_that_it_holds_nothing(
    venue: BrokerUnderTest,
) -> None:
    async with venue.connected() as the:
        await the.broker.close_account(ACCOUNT)
        for question in (
            the.broker.open_orders(ACCOUNT),
            the.broker.executions(ACCOUNT, 0),
            the.broker.positions(ACCOUNT),
        ):
            with pytest.raises(StoreUnavailable):
                await question


# ---- connections --------------------------------------------------------------------------------


async def test_reconnect_with_missed_reports(venue: BrokerUnderTest) -> None:
    async with venue.connected(booking=False) as the:
        venue.show(the.broker, "99", "100", None, "30")
        await the.send(order("o-1"), order("o-2", price="50"))
        await the.broker.query(ACCOUNT, ["o-1", "o-2"])  # so the venue has read both
        venue.show(the.broker, "99", "99.5", None, "500")
        asked = [0]

        async def filled() -> bool:
            asked[0] += 1
            return (await the.broker.query(ACCOUNT, ["o-1"]))["o-1"].cum_qty == 100

        while not await filled():
            assert asked[0] < 1_000
            await asyncio.sleep(0.005)
        assert the.sink.calls == []
    async with venue.connected() as the:
        await the.says("o-1 NEW", "o-1 TRADE 30@100", "o-2 NEW", "o-1 TRADE 70@99.5")
        first = [each.exec_id for each in the.sink.reports()]
        assert len(set(first)) == 4
    async with venue.connected() as the:
        await the.says_no_more()
        assert the.sink.calls == []


async def test_resting_orders_survive_a_reconnect(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, "30")
        await the.send(order("o-1"), order("o-2", price="98"))
        await the.says("o-1 NEW", "o-1 TRADE 30@100", "o-2 NEW")
        exec_ids = {each.exec_id for each in the.sink.reports()}
    async with venue.connected() as the:
        venue.show(the.broker, "97", "98", None, "100")
        await the.says("o-1 TRADE 70@98", "o-2 TRADE 30@98")
        assert await the.broker.cancel([order("o-2", price="98")]) == [SENT]
        await the.says("o-1 TRADE 70@98", "o-2 TRADE 30@98", "o-2 CANCELED")
        assert not exec_ids & {each.exec_id for each in the.sink.reports()}


async def test_a_sink_that_fails_gets_the_reports_again(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        the.sink.failures = 2
        await the.send(order("o-1"))
        await the.says("o-1 NEW")


async def test_a_closed_account_is_left_alone(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        first = order("o-1")
        await the.send(first)
        await the.says("o-1 NEW")
        await the.broker.close_account(ACCOUNT)
        assert await the.send(order("o-2")) == [Delivery.NOT_SENT]
        assert await the.broker.cancel([first]) == [Delivery.NOT_SENT]
        with pytest.raises(StoreUnavailable):
            await the.broker.query(ACCOUNT, ["o-1"])
        venue.show(the.broker, "99", "100", None, None)
        await the.says_no_more()
        await the.broker.open_account(ACCOUNT)
        assert (await the.broker.query(ACCOUNT, ["o-1", "o-2"])).keys() == {"o-1"}
        venue.show(the.broker, "99", "99.5", None, None)
        await eventually(lambda: len(the.sink.reports()) > 1)
        assert the.sink.reports()[1].exec_type is ExecType.TRADE


async def test_opening_and_closing_again_is_harmless(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        await the.broker.open_account(ACCOUNT)
        assert await the.send(order("o-1")) == [SENT]
        await the.broker.close_account(ACCOUNT)
        await the.broker.close_account(ACCOUNT)
        await the.broker.open_account(ACCOUNT)
        assert await the.send(order("o-2")) == [SENT]
        await the.says("o-1 NEW", "o-2 NEW")


async def test_a_full_batch_stays_in_order(venue: BrokerUnderTest) -> None:
    async with venue.connected() as the:
        venue.show(the.broker, "99", "100", None, None)
        names = [f"o-{number}" for number in range(64)]
        assert await the.send(*(order(name) for name in names)) == [SENT] * 64
        expected = [line for name in names for line in (f"{name} NEW", f"{name} TRADE 100@100")]
        await the.says(*expected)
        assert len({each.exec_id for each in the.sink.reports()}) == 128
        if venue.is_embedded:  # what one handover brings is delivered in one call
            assert seen(the.sink.calls[0][1]) == expected
