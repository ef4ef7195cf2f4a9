"""What stands beyond limits: each that bounds what stands, on every level, at its boundary."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from tests.support.cases import NOW_NS, STOCK, signal
from tests.support.memory_engine import order_for
from trade_engine.domain.account import AccountState
from trade_engine.domain.day import Day
from trade_engine.domain.limits import (
    CONFIDENCE,
    DUPLICATE_INTERVAL,
    NUMERIC_LIMITS,
    PRICE_BAND,
    QUOTE_AGE,
    SIGNAL_AGE,
    SLIPPAGE,
    Level,
    LevelKey,
    Limit,
    Limits,
    Raise,
    waived,
)
from trade_engine.domain.market import Instrument
from trade_engine.domain.order import Order
from trade_engine.domain.position import Position
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.signal import Side
from trade_engine.risk.limit_breaches import Breach, standing_breaches

D = Decimal
OF_SIGNALS = {SIGNAL_AGE, DUPLICATE_INTERVAL, CONFIDENCE, QUOTE_AGE, SLIPPAGE, PRICE_BAND}
"""The limits that nothing which stands is judged by."""
NOTE = Instrument("IBM.N", D("0.01"), D(1), "USD", "bond", underlying="IBM")
LEVELS: dict[str, LevelKey] = {
    "default": (Level.DEFAULT, ""),
    "account": (Level.ACCOUNT, "main"),
    "strategy": (Level.STRATEGY, "momentum"),
    "class": (Level.ASSET_CLASS, "equity"),
    "symbol": (Level.SYMBOL, "AAPL"),
    "pair": (Level.STRATEGY_SYMBOL, "momentum|AAPL"),
}
ACCOUNT = "account:main"
OBSERVED = {
    "order_quantity_max": ("order:o-1", "20"),
    "order_notional_max": ("order:o-1", "2020"),
    "symbol_position_notional_max": ("symbol:AAPL", "12000"),
    "asset_exposure_max": ("asset:AAPL", "12000"),
    "asset_concentration_max": ("asset:AAPL", "1.2"),
    "asset_class_exposure_max": ("asset_class:equity", "12000"),
    "gross_exposure_max": (ACCOUNT, "18000"),
    "net_exposure_max": (ACCOUNT, "7000"),
    "leverage_max": (ACCOUNT, "1.8"),
    "borrowing_max": (ACCOUNT, "2000"),
    "open_orders_max": (ACCOUNT, "2"),
    "turnover_day_max": (ACCOUNT, "4000"),
    "repeated_executions_max": ("strategy:momentum", "3"),
    "daily_loss_max": (ACCOUNT, "1000"),
    "drawdown_max": (ACCOUNT, "2500"),
}
EQUITY = D(10_000)


def order(
    order_id: str, strategy_id: str, symbol: str, side: Side, quantity: int, px: int
) -> Order:
    made = order_for(signal(side=side, symbol=symbol, strategy_id=strategy_id), 1)
    made.order_id, made.price = order_id, D(px)
    made.order_qty = made.leaves_qty = D(quantity)
    return made


def account() -> AccountState:
    """Long 100 AAPL and 20 more working, short 50 notes on IBM and 10 more working; each at 100."""
    state = AccountState("main", "USD", "epoch", 1, b"", cash=D(5_000))
    state.positions = {
        ("momentum", "AAPL"): Position("momentum", "AAPL", D(100), D(10_000)),
        ("value", "IBM.N"): Position("value", "IBM.N", D(-50), D(-5_000)),
        ("idle", "AAPL"): Position("idle", "AAPL"),
    }
    orders = [
        order("o-1", "momentum", "AAPL", Side.BUY, 20, 101),
        order("o-2", "value", "IBM.N", Side.SELL, 10, 99),
    ]
    state.orders = {each.order_id: each for each in orders}
    state.activity.executions = {"momentum": 3, "value": 1}
    state.day = Day("d", NOW_NS * 2, start_equity=D(11_000), peak_equity=D(12_500), traded=D(1_000))
    return state


def rules(numbers: dict[LevelKey, dict[str, Limit]], *raises: Raise) -> Rulebook:
    return Rulebook(
        "v", Limits("v", numbers, {}, raises), {each.symbol: each for each in (STOCK, NOTE)}
    )


def at_100(_symbol: str) -> Decimal | None:
    return D(100)


def unquoted(_symbol: str) -> Decimal | None:
    return None


def breaches(
    name: str,
    limit: str,
    level: str = "default",
    unit_value: Callable[[str], Decimal | None] = at_100,
    equity: Decimal | None = EQUITY,
) -> list[Breach]:
    numbers = {LEVELS[level]: {name: Limit(D(limit), f"l:{level}")}}
    return standing_breaches(account(), rules(numbers), unit_value, equity, NOW_NS)


def test_every_limit_is_asked_about_or_is_of_signals() -> None:
    told = {spec.name for spec in NUMERIC_LIMITS if spec not in OF_SIGNALS}
    assert told == OBSERVED.keys()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", OBSERVED)
def test_at_the_limit_nothing_is_beyond_it_and_just_below_it_is(name: str, level: str) -> None:
    scope, observed = OBSERVED[name]
    assert breaches(name, observed, level) == []
    lower = str(D(observed) - D("0.000001"))
    [breach] = breaches(name, lower, level)
    assert (breach.limit_name, breach.scope, breach.source) == (name, scope, f"l:{level}")
    assert (str(breach.limit), breach.observed) == (lower, D(observed))
    assert breach.account_id == "main"


@pytest.mark.parametrize("name", OBSERVED)
def test_limits_of_others_are_not_asked_about(name: str) -> None:
    others: list[LevelKey] = [
        (Level.ACCOUNT, "second"),
        (Level.STRATEGY, "idle"),
        (Level.ASSET_CLASS, "crypto"),
        (Level.SYMBOL, "TSLA"),
        (Level.STRATEGY_SYMBOL, "value|AAPL"),
    ]
    numbers = {key: {name: Limit(D(0), "l")} for key in others}
    assert standing_breaches(account(), rules(numbers), at_100, EQUITY, NOW_NS) == []


def test_the_limits_of_two_levels_are_each_named_once() -> None:
    name = "gross_exposure_max"
    numbers = {
        LEVELS["default"]: {name: Limit(D(17_000), "l:default")},
        LEVELS["strategy"]: {name: Limit(D(16_000), "l:strategy")},
        LEVELS["symbol"]: {name: Limit(D(18_000), "l:symbol")},
    }
    found = standing_breaches(account(), rules(numbers), at_100, EQUITY, NOW_NS)
    assert [(each.source, each.observed) for each in found] == [
        ("l:default", 18_000),
        ("l:strategy", 18_000),
    ]
    assert [each.order_ids for each in found] == [["o-1", "o-2"]] * 2


@pytest.mark.parametrize(
    ("name", "orders"),
    [
        ("order_quantity_max", ["o-1"]),
        ("symbol_position_notional_max", ["o-1"]),
        ("asset_class_exposure_max", ["o-1"]),
        ("repeated_executions_max", ["o-1"]),
        ("leverage_max", ["o-1", "o-2"]),
        ("daily_loss_max", []),
    ],
)
def test_the_orders_that_count_toward_it(name: str, orders: list[str]) -> None:
    _, observed = OBSERVED[name]
    [breach] = breaches(name, str(D(observed) - D("0.1")))
    assert breach.order_ids == orders


def test_what_has_one_underlying_is_one_asset() -> None:
    found = breaches("asset_exposure_max", "1")
    assert [(each.scope, each.observed) for each in found] == [
        ("asset:AAPL", 12_000),
        ("asset:IBM", 6_000),
    ]


@pytest.mark.parametrize("name", OBSERVED)
def test_what_no_quote_values_is_told_as_unknown(name: str) -> None:
    counted = {"order_quantity_max", "order_notional_max", "open_orders_max"}
    by_count = counted | {"repeated_executions_max"}
    found = breaches(name, "1000000", unit_value=unquoted, equity=None)
    assert [each.observed for each in found] == ([] if name in by_count else [None] * len(found))
    assert bool(found) is (name not in by_count)


@pytest.mark.parametrize("equity", [None, D(0), D(-5)])
@pytest.mark.parametrize("name", ["leverage_max", "asset_concentration_max"])
def test_no_multiple_of_an_equity_that_is_not_there_is_enough(
    name: str, equity: Decimal | None
) -> None:
    found = breaches(name, "1000000", equity=equity)
    assert {each.observed for each in found} == {None}


def test_nothing_stands_in_an_account_that_holds_nothing() -> None:
    numbers = {LEVELS["default"]: {name: Limit(D(0), "l") for name in OBSERVED}}
    empty = AccountState("main", "USD", "epoch", 1, b"")
    assert standing_breaches(empty, rules(numbers), unquoted, None, NOW_NS) == []


def test_a_waived_limit_is_never_breached_and_a_raised_one_by_its_raise() -> None:
    name, default = "gross_exposure_max", LEVELS["default"]
    numbers = {default: {name: waived(name, "l")}}
    assert standing_breaches(account(), rules(numbers), at_100, EQUITY, NOW_NS) == []
    numbers = {default: {name: Limit(D(17_000), "l")}}
    raised = Raise("r", name, *default, D(18_000), NOW_NS, NOW_NS + 1, "r", "ann")
    for now_ns, count in ((NOW_NS - 1, 1), (NOW_NS, 0), (NOW_NS + 1, 1)):
        found = standing_breaches(account(), rules(numbers, raised), at_100, EQUITY, now_ns)
        assert len(found) == count


@pytest.mark.parametrize(("asked", "observed"), [({}, 4_080), ({"fx_rate": "2"}, 8_160)])
def test_an_order_asked_to_be_for_more_counts_with_what_it_may_come_to_be(
    asked: dict[str, str], observed: int
) -> None:
    state = account()
    request = {"kind": "REPLACE", "signal_id": "s-9", "cl_ord_id": "o-1.1"}
    terms = {"order_qty": "40", "price": "102"} | asked
    state.orders["o-1"].chain = {"marks": [], "requests": [request | terms]}
    for most, beyond in ((observed, []), (observed - 1, [D(observed)])):
        numbers = {LEVELS["default"]: {"order_notional_max": Limit(D(most), "l")}}
        found = standing_breaches(state, rules(numbers), at_100, EQUITY, NOW_NS)
        assert [each.observed for each in found] == beyond


def test_an_order_without_a_price_counts_at_the_market_or_is_unknown() -> None:
    state = account()
    state.orders["o-1"].price = None
    numbers = {LEVELS["default"]: {"order_notional_max": Limit(D(1_999), "l")}}
    [found] = standing_breaches(state, rules(numbers), at_100, EQUITY, NOW_NS)
    assert (found.scope, found.observed) == ("order:o-1", D(2_000))
    [unknown] = standing_breaches(state, rules(numbers), unquoted, EQUITY, NOW_NS)
    assert (unknown.scope, unknown.observed) == ("order:o-1", None)
