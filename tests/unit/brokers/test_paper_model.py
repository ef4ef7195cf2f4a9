"""The matcher against a plainer one, and against itself with a restart in the middle."""

from dataclasses import dataclass
from decimal import Decimal

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paper import INSTRUMENTS, NOON_NS, executions, order, quote, seen
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.brokers.paper_matching import PaperMatcher
from trade_engine.brokers.paper_order import PaperOrder
from trade_engine.domain.clock import NS_PER_MS
from trade_engine.domain.execution import ExecutionReport
from trade_engine.domain.order import TimeInForce
from trade_engine.domain.signal import Side

FREE = PaperConfig()


@dataclass(frozen=True)
class Arrive:
    side: Side
    quantity: int
    price: int | None
    tif: TimeInForce


@dataclass(frozen=True)
class Market:
    bid: int
    spread: int
    bid_size: int | None
    ask_size: int | None


@dataclass(frozen=True)
class Cancel:
    which: int


Event = Arrive | Market | Cancel

EVENTS = st.lists(
    st.one_of(
        st.builds(
            Arrive,
            side=st.sampled_from(Side),
            quantity=st.integers(1, 9),
            price=st.none() | st.integers(8, 12),
            tif=st.sampled_from(TimeInForce),
        ),
        st.builds(
            Market,
            bid=st.integers(8, 12),
            spread=st.integers(0, 2),
            bid_size=st.none() | st.integers(0, 15),
            ask_size=st.none() | st.integers(0, 15),
        ),
        st.builds(Cancel, which=st.integers(0, 20)),
    ),
    max_size=40,
)


class PlainVenue:
    """The rules again, as plainly as can be: one list, sorted anew for every quote."""

    def __init__(self) -> None:
        self.open: list[list[int | str | Arrive]] = []  # [name, what, left]
        self.offer: dict[Side, tuple[int, float]] = {}
        self.said: list[str] = []

    def trade(self, row: list[int | str | Arrive]) -> None:
        name, what, left = row
        assert isinstance(what, Arrive)
        assert isinstance(left, int)
        if what.side not in self.offer:
            return
        price, size = self.offer[what.side]
        sign = what.side.sign
        if what.price is not None and sign * price > sign * what.price:
            return
        filled = int(min(left, size))
        if filled:
            self.offer[what.side] = (price, size - filled)
            row[2] = left - filled
            self.said.append(f"{name} TRADE {filled}@{price}")

    def arrive(self, name: str, what: Arrive) -> None:
        self.said.append(f"{name} NEW")
        row: list[int | str | Arrive] = [name, what, what.quantity]
        before = dict(self.offer)
        said = len(self.said)
        self.trade(row)
        if what.tif is TimeInForce.FOK and row[2] != 0:
            self.offer, row[2] = before, what.quantity
            del self.said[said:]
        if row[2] == 0:
            return
        if what.tif in (TimeInForce.IOC, TimeInForce.FOK):
            self.said.append(f"{name} CANCELED")
        else:
            self.open.append(row)

    def market(self, what: Market) -> None:
        big = float("inf")
        self.offer = {
            Side.BUY: (what.bid + what.spread, big if what.ask_size is None else what.ask_size),
            Side.SELL: (what.bid, big if what.bid_size is None else what.bid_size),
        }
        for side in Side:
            rows = [row for row in self.open if isinstance(row[1], Arrive) and row[1].side is side]
            for row in sorted(rows, key=lambda row: self.keenness(row[1])):
                self.trade(row)
        self.open = [row for row in self.open if row[2] != 0]

    def keenness(self, what: object) -> float:
        assert isinstance(what, Arrive)
        return float("-inf") if what.price is None else -what.side.sign * what.price

    def cancel(self, name: str) -> None:
        self.open = [row for row in self.open if row[0] != name]
        self.said.append(f"{name} CANCELED")

    def names(self) -> list[str]:
        return [str(row[0]) for row in self.open]


def arriving(name: str, what: Arrive, now_ns: int = NOON_NS) -> PaperOrder:
    price = None if what.price is None else str(what.price)
    return PaperOrder.arriving(
        order(name, what.side, str(what.quantity), price, tif=what.tif), now_ns
    )


def sized(size: int | None) -> str | None:
    return None if size is None else str(size)


def drive(matcher: PaperMatcher, number: int, event: Event) -> list[ExecutionReport]:
    """Let one event happen, a millisecond after the one before."""
    now_ns = NOON_NS + number * NS_PER_MS
    match event:
        case Arrive():
            return executions(matcher.arrive(arriving(f"o{number}", event, now_ns), now_ns))
        case Market():
            market = quote(
                str(event.bid), str(event.bid + event.spread),
                sized(event.bid_size), sized(event.ask_size), time_ns=now_ns,
            )  # fmt: skip
            return executions(matcher.on_quote(market, now_ns))
        case Cancel():
            names = list(matcher.orders)
            return executions(
                matcher.cancel(names[event.which % len(names)], now_ns) if names else []
            )


@given(EVENTS)
def test_it_says_what_a_plainer_venue_says(events: list[Event]) -> None:
    matcher, plain = PaperMatcher(FREE, INSTRUMENTS.get), PlainVenue()
    said: list[str] = []
    for number, event in enumerate(events):
        names = plain.names()
        said += seen(drive(matcher, number, event))
        match event:
            case Arrive():
                plain.arrive(f"o{number}", event)
            case Market():
                plain.market(event)
            case Cancel() if names:
                plain.cancel(names[event.which % len(names)])
            case Cancel():
                pass
        assert said == plain.said
    assert sorted(matcher.orders) == sorted(plain.names())


@given(EVENTS, st.integers(0, 40), st.sampled_from([0, 3]))
def test_a_restart_from_the_books_changes_nothing(
    events: list[Event], restart_at: int, latency_ms: int
) -> None:
    """The books hold all there is to know of an order; the quote that stood is shown again."""
    config = PaperConfig(
        latency_ms=latency_ms,
        commission_per_share=Decimal("0.013"),
        commission_min=Decimal("0.05"),
        reject_probability=0.2,
        gap_probability=0.2,
        gap_bps=Decimal(900),
    )
    steady = PaperMatcher(config, INSTRUMENTS.get)
    restarted = PaperMatcher(config, INSTRUMENTS.get)
    books: dict[str, bytes] = {}
    for number, event in enumerate(events):
        if number == restart_at:
            docs = [orjson.loads(doc) for doc in books.values()]
            resting = [PaperOrder.from_doc(doc) for doc in docs if doc["is_open"]]
            assert [each.to_doc() for each in resting] == [doc for doc in docs if doc["is_open"]]
            market = restarted._markets.get("AAPL")
            restarted = PaperMatcher(config, INSTRUMENTS.get, resting)
            if market is not None:
                fresh = restarted._market("AAPL")
                fresh.quote = market.quote
                fresh.buys.price, fresh.buys.left = market.buys.price, market.buys.left
                fresh.sells.price, fresh.sells.left = market.sells.price, market.sells.left
        assert drive(restarted, number, event) == drive(steady, number, event)
        for changed in restarted.take_changed():
            books[changed.cl_ord_id] = orjson.dumps(changed.to_doc())
    assert list(restarted.orders) == list(steady.orders)


@given(EVENTS)
def test_nothing_is_filled_twice_or_past_its_limit(
    events: list[Event],
) -> None:
    matcher = PaperMatcher(FREE, INSTRUMENTS.get)
    ordered: dict[str, Arrive] = {}
    filled: dict[str, Decimal] = {}
    exec_ids: set[str] = set()
    for number, event in enumerate(events):
        if isinstance(event, Arrive):
            ordered[f"o{number}"] = event
        for report in drive(matcher, number, event):
            assert report.exec_id not in exec_ids
            exec_ids.add(report.exec_id)
            if report.last_px is None:
                continue
            what = ordered[report.cl_ord_id]
            filled[report.cl_ord_id] = filled.get(report.cl_ord_id, Decimal(0)) + report.last_qty
            assert filled[report.cl_ord_id] <= what.quantity
            if what.price is not None:
                assert what.side.sign * report.last_px <= what.side.sign * what.price
