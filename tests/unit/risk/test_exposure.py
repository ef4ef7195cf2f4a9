from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cases import signal
from tests.support.memory_engine import order_for
from trade_engine.domain.market import Instrument
from trade_engine.domain.order import Order
from trade_engine.domain.position import Position
from trade_engine.domain.signal import Side
from trade_engine.risk.exposure import Elsewhere, Exposure, Held

D = Decimal
PRICES = {"AAPL": D(100), "IBM": D(10), "ES": D(5000)}
units = st.integers(-20, 20).map(Decimal)
amounts = st.integers(0, 20).map(Decimal)


def order(side: Side, quantity: int | Decimal, symbol: str, strategy_id: str = "a") -> Order:
    made = order_for(signal(side=side, symbol=symbol, strategy_id=strategy_id), 1)
    made.order_qty = made.leaves_qty = Decimal(quantity)
    return made


@pytest.mark.parametrize(
    ("held", "more", "worst"),
    [
        ((0, 0, 0), (0, 0), 0),
        ((10, 0, 0), (0, 0), 10),
        ((-10, 0, 0), (0, 0), 10),
        ((10, 5, 0), (0, 0), 15),
        ((10, 0, 5), (0, 0), 10),
        ((10, 0, 25), (0, 0), 15),
        ((-10, 25, 0), (0, 0), 15),
        ((10, 5, 40), (0, 0), 30),
        ((10, 0, 0), (1, 0), 11),
        ((10, 0, 0), (0, 1), 10),
        ((10, 0, 0), (0, 21), 11),
        ((-10, 0, 0), (0, 1), 11),
        ((-10, 0, 0), (21, 0), 11),
    ],
)
def test_the_worst_that_may_come_to_be_held(
    held: tuple[int, int, int], more: tuple[int, int], worst: int
) -> None:
    found = Held(*map(Decimal, held)).worst_quantity(*map(Decimal, more))
    assert found == worst


@given(held=units, buys=st.lists(amounts, max_size=4), sells=st.lists(amounts, max_size=4))
def test_no_way_to_fill_comes_out_worse(held: D, buys: list[D], sells: list[D]) -> None:
    worst = Held(held, sum(buys, D(0)), sum(sells, D(0))).worst_quantity()
    reached = []
    for filled in itertools.product((0, 1), repeat=len(buys) + len(sells)):
        signed = zip(filled, [*buys, *(-each for each in sells)], strict=True)
        reached.append(abs(held + sum((each * yes for yes, each in signed), D(0))))
    assert max(reached) == worst


def test_strategies_add_up_and_stay_apart() -> None:
    exposure = Exposure(
        [Position("a", "AAPL", D(100)), Position("b", "AAPL", D(-30)), Position("b", "IBM", D(5))],
        [order(Side.BUY, 7, "AAPL"), order(Side.SELL, 9, "AAPL", "b")],
    )
    assert exposure.of_symbol("AAPL") == Held(D(70), D(7), D(9))
    assert exposure.own("a", "AAPL") == Held(D(100), D(7), D(0))
    assert exposure.own("b", "AAPL") == Held(D(-30), D(0), D(9))
    assert exposure.own("c", "AAPL") == Held()
    assert exposure.of_symbol("GOOG").is_empty
    assert exposure.symbols() == ["AAPL", "IBM"]


def test_what_is_working_becomes_what_is_held() -> None:
    buy = order(Side.BUY, 10, "AAPL")
    exposure = Exposure([], [buy])
    exposure.work(buy, D(-4))
    exposure.fill("a", "AAPL", D(4))
    assert exposure.of_symbol("AAPL") == exposure.own("a", "AAPL") == Held(D(4), D(6), D(0))
    sell = order(Side.SELL, 4, "AAPL")
    exposure.work(sell, D(4))
    assert exposure.of_symbol("AAPL") == Held(D(4), D(6), D(4))


def test_gross_counts_every_other_symbol_at_its_worst() -> None:
    exposure = Exposure(
        [Position("a", "AAPL", D(-3)), Position("a", "IBM", D(8)), Position("b", "IBM", D(-2))],
        [order(Side.SELL, 30, "IBM"), order(Side.BUY, 1, "ES")],
    )
    assert exposure.gross_without("AAPL", PRICES.get) == (24 * 10 + 5000, [])
    assert exposure.gross_without("IBM", PRICES.get) == (300 + 5000, [])
    assert exposure.gross_without("GOOG", PRICES.get) == (300 + 240 + 5000, [])


def test_what_has_no_price_is_named_and_only_when_it_matters() -> None:
    exposure = Exposure(
        [Position("a", "ZZZ", D(1)), Position("a", "BBB", D(-1)), Position("a", "AAA", D(0))],
        [order(Side.BUY, 1, "IBM")],
    )
    assert exposure.gross_without("AAPL", PRICES.get) == (10, ["BBB", "ZZZ"])
    assert exposure.gross_without("ZZZ", PRICES.get) == (10, ["BBB"])
    assert exposure.market_value(PRICES.get) is None


def test_market_value_is_signed_and_asks_no_price_of_what_only_works() -> None:
    exposure = Exposure(
        [Position("a", "AAPL", D(3)), Position("b", "IBM", D(-50))], [order(Side.BUY, 1, "GOOG")]
    )
    assert exposure.market_value(PRICES.get) == 300 - 500
    assert Exposure([], []).market_value(PRICES.get) == 0


def test_what_all_other_symbols_add_up_to() -> None:
    """AAPL aside: 3 IBM long with 2 more bought, 4 ES short with 1 more sold, one without price."""
    exposure = Exposure(
        [
            Position("a", "AAPL", D(9)),
            Position("a", "IBM", D(3)),
            Position("b", "ES", D(-4)),
            Position("b", "ZZZ", D(1)),
        ],
        [],
    )
    exposure.of_symbol("IBM").working_buy = D(2)
    exposure.of_symbol("ES").working_sell = D(1)
    instruments = {
        symbol: Instrument(symbol, D(1), D(1), "USD", kind, underlying=underlying)
        for symbol, kind, underlying in (
            ("AAPL", "equity", ""),
            ("IBM", "equity", ""),
            ("ES", "future", "AAPL"),
            ("ZZZ", "equity", ""),
        )
    }
    values = {"AAPL": D(1), "IBM": D(10), "ES": D(100)}
    found = exposure.elsewhere("AAPL", values.get, instruments)
    assert found == Elsewhere(
        gross=D(50 + 500),
        net_long=D(50 - 400),
        net_short=D(-30 + 500),
        funds=D(20 + 400),
        working=D(20 + 100),
        asset_gross=D(500),
        class_gross=D(50),
        missing=["ZZZ"],
    )
