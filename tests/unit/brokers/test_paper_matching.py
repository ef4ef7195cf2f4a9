from collections.abc import Sequence
from decimal import Decimal

import pytest

from tests.support.paper import INSTRUMENTS, NOON_NS, executions, order, quote, seen
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.brokers.paper_matching import PaperMatcher
from trade_engine.brokers.paper_order import PaperOrder
from trade_engine.domain.clock import NS_PER_MS, NS_PER_S
from trade_engine.domain.execution import BrokerReport, ExecutionReport
from trade_engine.domain.market import Quote
from trade_engine.domain.order import Order, OrdType, TimeInForce
from trade_engine.domain.signal import Side

BUY, SELL = Side.BUY, Side.SELL
DAY, GTC, IOC, FOK = TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK
MIDNIGHT_NS = NOON_NS + 12 * 3_600 * NS_PER_S


class Venue:
    """A matcher driven in few words; each call answers with the reports in few words."""

    def __init__(self, **config: object) -> None:
        self.config = PaperConfig(**config)  # type: ignore[arg-type]
        self.matcher = PaperMatcher(self.config, INSTRUMENTS.get)
        self.now_ns = NOON_NS
        self.reports: list[ExecutionReport] = []
        self.quotes = 0

    def order(self, each: Order) -> list[str]:
        return self._note(self.matcher.arrive(PaperOrder.arriving(each, self.now_ns), self.now_ns))

    def quote(self, *args: str | None, symbol: str = "AAPL") -> list[str]:
        self.quotes += 1
        return self.on(quote(*args, time_ns=NOON_NS + self.quotes, symbol=symbol))

    def on(self, each: Quote) -> list[str]:
        return self._note(self.matcher.on_quote(each, self.now_ns))

    def cancel(self, cl_ord_id: str) -> list[str]:
        return self._note(self.matcher.cancel(cl_ord_id, self.now_ns))

    def at(self, now_ns: int) -> list[str]:
        self.now_ns = now_ns
        return self._note(self.matcher.on_time(now_ns))

    def _note(self, reports: Sequence[BrokerReport]) -> list[str]:
        self.reports += executions(reports)
        return seen(reports)


# ---- fills --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "price", "filled_at"),
    [
        (BUY, "100.02", "100.02"),
        (BUY, "100.05", "100.02"),
        (BUY, "100.01", None),
        (BUY, None, "100.02"),
        (SELL, "99.98", "99.98"),
        (SELL, "99.90", "99.98"),
        (SELL, "99.99", None),
        (SELL, None, "99.98"),
    ],
)
def test_an_order_that_reaches_the_touch_fills_at_the_touch(
    side: Side, price: str | None, filled_at: str | None
) -> None:
    venue = Venue()
    venue.quote("99.98", "100.02")
    expected = ["a NEW"] + ([f"a TRADE 100@{filled_at}"] if filled_at else [])
    assert venue.order(order("a", side, price=price)) == expected
    assert ("a" in venue.matcher.orders) == (filled_at is None)


def test_the_rest_walks_on_with_the_quotes() -> None:
    venue = Venue()
    venue.quote("99.98", "100.00", None, "40")
    assert venue.order(order("a", BUY, "100", "100.00")) == ["a NEW", "a TRADE 40@100"]
    assert venue.quote("99.98", "100.01", None, "500") == []
    assert venue.quote("99.98", "99.99", None, "35") == ["a TRADE 35@99.99"]
    assert venue.quote("99.98", "99.99", None, "35") == ["a TRADE 25@99.99"]
    assert not venue.matcher.orders
    assert [each.exec_id for each in venue.reports] == ["a-1", "a-2", "a-3", "a-4"]
    assert {each.broker_order_id for each in venue.reports} == {"P-a"}


def test_a_quoted_size_is_consumed_once_by_price_then_by_time() -> None:
    venue = Venue()
    for name, price in [("late", "100.00"), ("later", "100.00"), ("best", "100.10")]:
        venue.order(order(name, BUY, "50", price))
    venue.order(order("market", BUY, "20", None))
    assert venue.quote("99.00", "100.00", None, "100") == [
        "market TRADE 20@100",
        "best TRADE 50@100",
        "late TRADE 30@100",
    ]
    # What came after the size was gone gets nothing, however good its price.
    assert venue.order(order("new", BUY, "10", "200.00")) == ["new NEW"]
    # The seller's side of the same quote is untouched.
    assert venue.order(order("sell", SELL, "10", "98.00")) == ["sell NEW", "sell TRADE 10@99"]
    assert venue.quote("99.00", "100.00", None, "30") == [
        "new TRADE 10@100",
        "late TRADE 20@100",
    ]


def test_sellers_stand_in_order_of_the_lowest_price() -> None:
    venue = Venue()
    venue.order(order("high", SELL, "50", "101.00"))
    venue.order(order("low", SELL, "50", "100.00"))
    assert venue.quote("101.00", "101.10", "60", None) == [
        "low TRADE 50@101",
        "high TRADE 10@101",
    ]


def test_a_remainder_of_a_quote_serves_the_next_order() -> None:
    venue = Venue()
    venue.quote("99.98", "100.00", None, "60")
    assert venue.order(order("a", BUY, "50"))[1:] == ["a TRADE 50@100"]
    assert venue.order(order("b", BUY, "50"))[1:] == ["b TRADE 10@100"]
    assert venue.order(order("c", BUY, "50"))[1:] == []


def test_accounts_and_symbols_do_not_share_a_quote() -> None:
    venue, other = Venue(), Venue()
    for each in (venue, other):
        each.quote("99.98", "100.00", None, "60")
        assert each.order(order("a", BUY, "60"))[1:] == ["a TRADE 60@100"]
    venue.quote("49.98", "50.00", None, "60", symbol="IBM")
    assert venue.order(order("b", BUY, "60", symbol="IBM"))[1:] == ["b TRADE 60@50"]


def test_a_fill_is_in_whole_lots_unless_it_is_the_rest() -> None:
    venue = Venue()
    venue.quote("9", "10", None, "0.0025", symbol="BTC")
    assert venue.order(order("a", BUY, "0.01", "10", symbol="BTC"))[1:] == ["a TRADE 0.002@10"]
    assert venue.quote("9", "10", None, "0.0005", symbol="BTC") == []
    assert venue.quote("9", "10", None, "1.0005", symbol="BTC") == ["a TRADE 0.008@10"]


@pytest.mark.parametrize(
    ("market", "fills"),
    [
        (quote(None, None, last="99.50"), ["a TRADE 100@99.5", "b TRADE 100@99.5"]),
        (quote(None, "99.50"), ["a TRADE 100@99.5"]),
        (quote("99.50", None), ["b TRADE 100@99.5"]),
        (quote("99.50", "99.50"), ["a TRADE 100@99.5", "b TRADE 100@99.5"]),
        (quote("99.51", "99.50"), []),
        (quote("0", "0"), []),
        (quote("-1", "-1"), []),
        (quote("99.50", "99.50", "0", "0"), []),
        (quote("99.50", "99.50", "-5", "-5"), []),
        (quote(None, None), []),
    ],
)
def test_what_a_quote_offers(market: Quote, fills: list[str]) -> None:
    venue = Venue()
    venue.order(order("a", BUY, price="100.00"))
    venue.order(order("b", SELL, price="99.00"))
    assert venue.on(market) == fills


def test_an_older_quote_and_the_same_one_again_are_passed_by() -> None:
    venue = Venue()
    first = quote("99.00", "100.00", None, "10", time_ns=NOON_NS + 5)
    venue.on(first)
    assert venue.order(order("a", BUY, "100"))[1:] == ["a TRADE 10@100"]
    assert venue.on(first) == []
    assert venue.on(quote("99.00", "99.50", None, "10", time_ns=NOON_NS + 4)) == []
    assert venue.on(quote("99.00", "99.50", None, "10", time_ns=NOON_NS + 5)) == ["a TRADE 10@99.5"]


# ---- time in force ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tif", "size", "expected"),
    [
        (IOC, None, ["a NEW", "a TRADE 100@100"]),
        (IOC, "100", ["a NEW", "a TRADE 100@100"]),
        (IOC, "60", ["a NEW", "a TRADE 60@100", "a CANCELED"]),
        (IOC, "0", ["a NEW", "a CANCELED"]),
        (FOK, None, ["a NEW", "a TRADE 100@100"]),
        (FOK, "100", ["a NEW", "a TRADE 100@100"]),
        (FOK, "99", ["a NEW", "a CANCELED"]),
    ],
)
def test_immediate_orders_never_rest(
    tif: TimeInForce, size: str | None, expected: list[str]
) -> None:
    venue = Venue()
    venue.quote("99.00", "100.00", None, size)
    assert venue.order(order("a", BUY, tif=tif)) == expected
    assert not venue.matcher.orders
    assert venue.quote("99.00", "99.00") == []


@pytest.mark.parametrize("tif", [IOC, FOK])
@pytest.mark.parametrize("price", ["99.99", None])
def test_immediate_orders_without_a_market_are_canceled(
    tif: TimeInForce, price: str | None
) -> None:
    venue = Venue()
    assert venue.order(order("a", BUY, price=price, tif=tif)) == ["a NEW", "a CANCELED"]


def test_a_killed_order_takes_nothing_of_the_quote() -> None:
    venue = Venue()
    venue.quote("99.00", "100.00", None, "99")
    venue.order(order("a", BUY, tif=FOK))
    assert venue.order(order("b", BUY, "99"))[1:] == ["b TRADE 99@100"]


def test_a_market_order_waits_for_a_market() -> None:
    venue = Venue()
    assert venue.order(order("a", BUY, price=None)) == ["a NEW"]
    assert venue.quote("99.00", "100.00") == ["a TRADE 100@100"]


def test_day_orders_expire_when_the_day_ends_and_the_others_stay() -> None:
    venue = Venue()
    venue.order(order("day", BUY, tif=DAY))
    venue.order(order("gtc", BUY, tif=GTC))
    assert venue.matcher.next_due_ns == MIDNIGHT_NS
    assert venue.at(MIDNIGHT_NS - 1) == []
    assert venue.at(MIDNIGHT_NS + 5) == ["day EXPIRED"]
    assert venue.reports[-1].transact_time_ns == MIDNIGHT_NS
    assert venue.matcher.next_due_ns == 0
    # The next day has an end of its own.
    venue.order(order("tomorrow", BUY, tif=DAY))
    assert venue.matcher.next_due_ns == MIDNIGHT_NS + 24 * 3_600 * NS_PER_S
    assert venue.quote("98.00", "99.00") == ["gtc TRADE 100@99", "tomorrow TRADE 100@99"]


def test_the_day_is_over_before_a_later_quote_is_seen() -> None:
    venue = Venue()
    venue.order(order("day", BUY, tif=DAY))
    venue.now_ns = MIDNIGHT_NS
    assert venue.quote("98.00", "99.00") == ["day EXPIRED"]


@pytest.mark.parametrize(
    ("day_end_s", "ends_at_ns"),
    [
        (None, 0),
        (0, MIDNIGHT_NS),
        (13 * 3_600, NOON_NS + 3_600 * NS_PER_S),
        (11 * 3_600, NOON_NS + 23 * 3_600 * NS_PER_S),
        (12 * 3_600, NOON_NS + 24 * 3_600 * NS_PER_S),
    ],
)
def test_the_end_of_the_day_can_be_set(day_end_s: int | None, ends_at_ns: int) -> None:
    venue = Venue(day_end_s=day_end_s)
    venue.order(order("day", BUY, tif=DAY))
    assert venue.matcher.next_due_ns == ends_at_ns


# ---- cancels ------------------------------------------------------------------------------------


def test_a_canceled_order_is_gone() -> None:
    venue = Venue()
    venue.quote("99.00", "100.00", None, "40")
    venue.order(order("a", BUY))
    venue.order(order("b", BUY, "10"))
    assert venue.cancel("a") == ["a CANCELED"]
    assert venue.quote("99.00", "100.00") == ["b TRADE 10@100"]
    assert venue.cancel("a") == []
    assert venue.cancel("b") == []
    assert venue.cancel("unknown") == []


def test_a_canceled_order_among_equals_is_the_right_one() -> None:
    venue = Venue()
    for name in "abcde":
        venue.order(order(name, BUY, "10"))
    assert venue.cancel("c") == ["c CANCELED"]
    assert [each.split()[0] for each in venue.quote("99.00", "100.00")] == ["a", "b", "d", "e"]


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (order("a", symbol="NOPE"), "NOPE is not traded here"),
        (order("a", quantity="0.5"), "quantity 0.5 is not a multiple of lot 1"),
        (order("a", quantity="0"), "quantity 0 is not a multiple of lot 1"),
        (order("a", quantity="-1"), "quantity -1 is not a multiple of lot 1"),
        (order("a", price="100.001"), "price 100.001 is not a multiple of tick 0.01"),
        (order("a", price="0"), "a limit order needs a price above 0"),
    ],
)
def test_an_order_that_cannot_trade_is_refused_in_words(refused: Order, why: str) -> None:
    venue = Venue()
    venue.quote("99.00", "100.00")
    assert venue.order(refused) == ["a REJECTED"]
    assert venue.reports[-1].text == why
    assert not venue.matcher.orders


def test_a_limit_order_without_a_price_is_refused() -> None:
    venue = Venue()
    priceless = order("a", price=None)
    priceless.ord_type = OrdType.LIMIT
    assert venue.order(priceless) == ["a REJECTED"]


def test_chance_depends_on_the_seed_and_the_order_alone() -> None:
    names = [f"o-{number}" for number in range(400)]

    def refused(seed: int, ordered: list[str]) -> set[str]:
        venue = Venue(seed=seed, reject_probability=0.25)
        for name in ordered:
            venue.order(order(name, BUY, "1"))
        return {each.cl_ord_id for each in venue.reports if each.exec_type == "REJECTED"}

    assert refused(1, names) == refused(1, names[::-1])
    assert refused(1, names) != refused(2, names)
    assert 60 < len(refused(1, names)) < 140
    assert refused(1, names[:20]) == refused(1, names) & set(names[:20])


def test_what_a_seed_means_stays() -> None:
    """A change of these draws would change every simulation that anybody has recorded."""
    venue = Venue(seed=0, reject_probability=0.25)
    verdicts = [venue.order(order(f"o-{number}"))[0] for number in range(12)]
    refused = [each.split()[0] for each in verdicts if each.endswith("REJECTED")]
    assert refused == ["o-0", "o-5", "o-6", "o-9", "o-11"]


def test_certain_refusal() -> None:
    assert Venue(reject_probability=1.0).order(order("a")) == ["a REJECTED"]


# ---- gaps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "price", "expected"),
    [
        (BUY, None, ["a NEW", "a TRADE 100@101.01"]),  # 100.00 + 1 % = 101.00… up to a tick
        (BUY, "101.01", ["a NEW", "a TRADE 100@101.01"]),
        (BUY, "101.00", ["a NEW"]),
        (SELL, None, ["a NEW", "a TRADE 100@98"]),  # 98.99 - 1 % = 98.0001, down to a tick
        (SELL, "98.01", ["a NEW"]),
    ],
)
def test_the_market_can_jump_away_before_an_order_arrives(
    side: Side, price: str | None, expected: list[str]
) -> None:
    venue = Venue(gap_probability=1.0, gap_bps=Decimal(100))
    venue.quote("98.99", "100.001")
    assert venue.order(order("a", side, price=price)) == expected


def test_an_order_that_missed_its_quote_by_a_gap_fills_on_the_next() -> None:
    venue = Venue(gap_probability=1.0, gap_bps=Decimal(100))
    venue.quote("99.00", "100.00")
    venue.order(order("a", BUY, price="100.00"))
    assert venue.quote("99.00", "100.00") == ["a TRADE 100@100"]


def test_a_gap_leaves_a_price_above_zero() -> None:
    venue = Venue(gap_probability=1.0, gap_bps=Decimal(9_999))
    venue.quote("0.01", "0.02")
    assert venue.order(order("a", SELL, price=None))[1:] == ["a TRADE 100@0.01"]


# ---- latency ------------------------------------------------------------------------------------


def test_an_order_takes_effect_when_it_has_traveled() -> None:
    venue = Venue(latency_ms=5)
    venue.quote("99.00", "100.00")
    assert venue.order(order("a", BUY)) == []
    assert venue.matcher.next_due_ns == NOON_NS + 5 * NS_PER_MS
    assert venue.at(NOON_NS + 5 * NS_PER_MS - 1) == []
    venue.now_ns = NOON_NS + 9 * NS_PER_MS
    # The quote of 9 ms came after the order, which met the one before it.
    assert venue.quote("99.00", "99.50") == ["a NEW", "a TRADE 100@100"]
    assert [each.transact_time_ns for each in venue.reports] == [NOON_NS + 5 * NS_PER_MS] * 2


def test_a_fill_can_overtake_a_cancel_on_its_way() -> None:
    venue = Venue(latency_ms=5)
    venue.order(order("a", BUY))
    venue.order(order("b", BUY, price="90.00"))
    venue.at(NOON_NS + 5 * NS_PER_MS)
    assert venue.cancel("a") == []
    assert venue.cancel("b") == []
    assert venue.cancel("b") == []
    venue.now_ns += 4 * NS_PER_MS
    assert venue.quote("99.00", "100.00") == ["a TRADE 100@100"]
    assert venue.at(NOON_NS + 60 * NS_PER_MS) == ["b CANCELED"]
    assert venue.reports[-1].transact_time_ns == NOON_NS + 10 * NS_PER_MS


def test_a_cancel_does_not_overtake_its_order() -> None:
    venue = Venue(latency_ms=5)
    venue.order(order("a", BUY))
    venue.cancel("a")
    assert venue.at(NOON_NS + 5 * NS_PER_MS) == ["a NEW", "a CANCELED"]
    assert not venue.matcher.wants_quotes("AAPL")


# ---- who waits for quotes -----------------------------------------------------------------------


def test_quotes_are_wanted_while_an_order_rests_or_travels() -> None:
    venue = Venue(latency_ms=5)
    assert not venue.matcher.wants_quotes("AAPL")
    venue.order(order("a", BUY))
    assert venue.matcher.wants_quotes("AAPL")
    venue.at(NOON_NS + 5 * NS_PER_MS)
    assert venue.matcher.wants_quotes("AAPL")
    assert not venue.matcher.wants_quotes("IBM")
    venue.quote("99.00", "100.00")
    assert not venue.matcher.wants_quotes("AAPL")


# ---- taking arrivals back -----------------------------------------------------------------------


@pytest.mark.parametrize("latency_ms", [0, 5])
def test_withdrawn_orders_leave_no_trace(latency_ms: int) -> None:
    venue, never = Venue(latency_ms=latency_ms), Venue(latency_ms=latency_ms)
    for each in (venue, never):
        each.quote("99.00", "100.00", "50", "50")
        each.order(order("old", BUY, "20"))
    touches = venue.matcher.touches(["AAPL", "IBM"])
    venue.matcher.take_changed()
    venue.order(order("filled", BUY, "10"))
    venue.order(order("partly", BUY, "90"))
    venue.order(order("resting", SELL, "90", "200.00", symbol="IBM", tif=DAY))
    venue.order(order("refused", SELL, "0.5"))
    venue.matcher.withdraw(["filled", "partly", "resting", "refused"], touches)
    assert venue.matcher.take_changed() == []
    for each in (venue, never):
        each.reports.clear()
        each.order(order("next", BUY, "400"))
        each.at(NOON_NS + 5 * NS_PER_MS)
        each.quote("201.00", "201.00", symbol="IBM")
        each.quote("99.00", "100.00", "50", "50")
    assert seen(venue.reports) == seen(never.reports)
    assert "next" in venue.matcher.orders
    assert not venue.matcher.wants_quotes("IBM")
    assert [each.to_doc() for each in venue.matcher.orders.values()] == [
        each.to_doc() for each in never.matcher.orders.values()
    ]
