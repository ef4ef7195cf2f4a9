from __future__ import annotations

from decimal import Decimal
from itertools import product

import pytest

from trade_engine.domain.limits import (
    STRATEGY_RATE,
    Level,
    LevelKey,
    Limit,
    Limits,
    Raise,
    Rate,
    waived,
    waived_rate,
)

S = 1_000_000_000
WHERE = {
    "default": (Level.DEFAULT, ""),
    "account": (Level.ACCOUNT, "main"),
    "strategy": (Level.STRATEGY, "momentum"),
    "class": (Level.ASSET_CLASS, "equity"),
    "symbol": (Level.SYMBOL, "AAPL"),
    "pair": (Level.STRATEGY_SYMBOL, "momentum|AAPL"),
}
ELSEWHERE = {
    (Level.ACCOUNT, "second"),
    (Level.STRATEGY, "AAPL"),
    (Level.ASSET_CLASS, "fx"),
    (Level.SYMBOL, "momentum"),
    (Level.STRATEGY_SYMBOL, "momentum|IBM"),
    (Level.STRATEGY_SYMBOL, "value|AAPL"),
}


def limits(values: dict[LevelKey, int], name: str = "slippage_bps_max") -> Limits:
    return Limits(
        "v", {key: {name: Limit(Decimal(value), str(key))} for key, value in values.items()}, {}
    )


def rated(**at: tuple[int, int, int]) -> Limits:
    return Limits(
        "v",
        {},
        {WHERE[name]: {STRATEGY_RATE: Rate(*rate, source=name)} for name, rate in at.items()},
    )


@pytest.mark.parametrize("tightest", WHERE)
def test_the_tightest_level_holds(tightest: str) -> None:
    values = {key: 10 if name == tightest else 20 for name, key in WHERE.items()}
    values |= dict.fromkeys(ELSEWHERE, 1)
    found = limits(values).in_force(0, "main", "momentum", "AAPL", "equity")["slippage_bps_max"]
    assert found == Limit(Decimal(10), str(WHERE[tightest]))


def test_of_equal_limits_the_widest_level_is_named() -> None:
    found = limits(dict.fromkeys(WHERE.values(), 10)).in_force(0, "main", "momentum", "AAPL")
    assert found["slippage_bps_max"].source == str(WHERE["default"])


@pytest.mark.parametrize("only", [level for level in WHERE if level != "default"])
def test_a_level_holds_for_its_own_alone(only: str) -> None:
    found = limits({WHERE[only]: 10})
    reached = {
        ids
        for ids in product(("main", "x"), ("momentum", "y"), ("AAPL", "z"), ("equity", "fx"))
        if found.in_force(0, *ids)
    }
    account, strategy, symbol = only == "account", only == "strategy", only == "symbol"
    assert reached == {
        ids
        for ids in product(("main", "x"), ("momentum", "y"), ("AAPL", "z"), ("equity", "fx"))
        if (account and ids[0] == "main")
        or (
            (strategy or only == "pair") and ids[1] == "momentum" and (strategy or ids[2] == "AAPL")
        )
        or (symbol and ids[2] == "AAPL")
        or (only == "class" and ids[3] == "equity")
    }


def test_of_floors_the_largest_holds() -> None:
    values = {WHERE["default"]: 5, WHERE["account"]: 9, WHERE["symbol"]: 7}
    found = limits(values, "confidence_min").in_force(0, "main", "momentum", "AAPL")
    assert found["confidence_min"] == Limit(Decimal(9), str(WHERE["account"]))


@pytest.mark.parametrize("name", ["confidence_min", "leverage_max"])
@pytest.mark.parametrize("where", ["default", "symbol"])
def test_a_number_holds_over_a_waiver(name: str, where: str) -> None:
    other = "account" if where == "default" else "default"
    found = Limits(
        "v",
        {
            WHERE[where]: {name: waived(name, "waived")},
            WHERE[other]: {name: Limit(Decimal(3), "set")},
        },
        {},
    )
    assert found.in_force(0, "main", "momentum", "AAPL")[name].source == "set"


@pytest.mark.parametrize("where", ["default", "strategy"])
def test_a_rate_holds_over_a_waiver(where: str) -> None:
    rate = Rate(5, S, 1, "set")
    found = Limits(
        "v",
        {},
        {
            WHERE[where]: {STRATEGY_RATE: waived_rate("waived")},
            WHERE["account"]: {STRATEGY_RATE: rate},
        },
    )
    assert found.rate(0, "main", "momentum") == rate
    waived_only = Limits("v", {}, {WHERE[where]: {STRATEGY_RATE: waived_rate("waived")}})
    held = waived_only.rate(0, "main", "momentum")
    assert held is not None
    assert held.is_waived


def test_names_are_tightened_one_by_one() -> None:
    found = Limits(
        "v",
        {
            WHERE["default"]: {"a": Limit(Decimal(1), "d"), "b": Limit(Decimal(9), "d")},
            WHERE["account"]: {"a": Limit(Decimal(2), "a"), "b": Limit(Decimal(8), "a")},
        },
        {},
    ).in_force(0, "main", "s", "X")
    assert found == {"a": Limit(Decimal(1), "d"), "b": Limit(Decimal(8), "a")}


@pytest.mark.parametrize(
    ("rates", "held"),
    [
        ({}, None),
        ({"default": (30, S, 60)}, Rate(30, S, 60, "default")),
        ({"default": (30, S, 60), "strategy": (5, S, 10)}, Rate(5, S, 10, "strategy")),
        ({"default": (30, S, 0), "strategy": (5, S, 10)}, Rate(5, S, 0, "strategy, burst default")),
        ({"account": (9, S, 7), "strategy": (9, 2 * S, 7)}, Rate(9, 2 * S, 7, "strategy")),
        ({"default": (5, S, 9), "account": (5, S, 3)}, Rate(5, S, 3, "account")),
        (
            {"default": (8, S, 3), "account": (9, S, 2), "strategy": (1, S, 4)},
            Rate(1, S, 2, "strategy, burst account"),
        ),
    ],
)
def test_the_tightest_pace_holds_and_the_tightest_burst(
    rates: dict[str, tuple[int, int, int]], held: Rate | None
) -> None:
    assert rated(**rates).rate(0, "main", "momentum") == held


def test_a_pace_is_compared_exactly() -> None:
    slower, quicker = (10**9, 3 * S + 1, 0), (10**9, 3 * S, 0)
    found = rated(default=quicker, account=slower).rate(0, "main", "momentum")
    assert found is not None
    assert found.source == "account"


def test_a_rate_of_another_strategy_does_not_count() -> None:
    found = rated(default=(30, S, 60), strategy=(5, S, 10))
    assert found.rate(0, "main", "value") == Rate(30, S, 60, "default")


def test_made_up_ids_make_nothing_grow() -> None:
    found = limits(dict.fromkeys(WHERE.values(), 10))
    found.rates[WHERE["strategy"]] = {STRATEGY_RATE: Rate(1, S, 1, "here")}
    for number in range(200):
        ids = f"a{number}", f"s{number}", f"X{number}"
        assert found.in_force(0, *ids)["slippage_bps_max"].source == str(WHERE["default"])
        assert found.rate(0, *ids[:2]) is None
    assert len(found._in_force) == 1
    assert len(found._rate) == 1


def test_what_was_worked_out_makes_no_difference_to_equality() -> None:
    one, other = limits({WHERE["default"]: 1}), limits({WHERE["default"]: 1})
    one.in_force(0, "main", "momentum", "AAPL")
    one.rate(0, "main", "momentum")
    assert one == other
    assert "_in_force" not in repr(one)


# ---- raises ---------------------------------------------------------------------------------

FROM_NS, UNTIL_NS = 1_000, 2_000


def raised(*at: str, value: int = 50, name: str = "slippage_bps_max") -> Limits:
    """Limits of 10 on every level, and raises of these levels from 1000 until 2000."""
    of = limits(dict.fromkeys(WHERE.values(), 10), name)
    raises = [
        Raise(where, name, *WHERE[where], Decimal(value), FROM_NS, UNTIL_NS, "r", "ann")
        for where in at
    ]
    return Limits("v", of.numbers, {}, tuple(raises))


def slippage(of: Limits, now_ns: int) -> Limit:
    return of.in_force(now_ns, "main", "momentum", "AAPL", "equity")["slippage_bps_max"]


@pytest.mark.parametrize(
    ("now_ns", "holds"),
    [
        (FROM_NS - 1, False),
        (FROM_NS, True),
        (FROM_NS + 1, True),
        (UNTIL_NS - 1, True),
        (UNTIL_NS, False),
        (UNTIL_NS + 1, False),
    ],
)
def test_a_raise_holds_to_the_nanosecond(now_ns: int, *, holds: bool) -> None:
    found = slippage(raised(*WHERE), now_ns)
    assert found.value == (50 if holds else 10)
    source = str(WHERE["default"])
    assert found.source == (f"{source} raise default" if holds else source)


def test_raises_begin_and_end_in_any_order_of_looks() -> None:
    of = raised(*WHERE)
    for now_ns in (UNTIL_NS, FROM_NS, FROM_NS - 1, UNTIL_NS - 1, 0, FROM_NS, UNTIL_NS + 5):
        assert slippage(of, now_ns).value == (50 if FROM_NS <= now_ns < UNTIL_NS else 10)


@pytest.mark.parametrize("kept", WHERE)
def test_a_raise_lends_nothing_to_another_level(kept: str) -> None:
    found = slippage(raised(*(WHERE.keys() - {kept})), FROM_NS)
    assert (found.value, found.source) == (10, str(WHERE[kept]))


def test_between_two_instants_an_answer_is_the_same_object() -> None:
    of = raised("symbol")
    ids = ("main", "momentum", "AAPL", "equity")
    for first, last in ((0, FROM_NS - 1), (FROM_NS, UNTIL_NS - 1), (UNTIL_NS, 1 << 62)):
        assert of.in_force(first, *ids) is of.in_force(last, *ids)


BASE, FASTER = Rate(20, S, 40, "here"), Rate(50, S, 99, "")
STRATEGY, ANY = (Level.STRATEGY, "momentum"), (Level.DEFAULT, "")


def raised_rate(value: Rate, *, of: Rate = BASE) -> Limits:
    """A strategy's rate, raised from 1000 until 2000, below a looser one for all."""
    rates = {STRATEGY: {STRATEGY_RATE: of}, ANY: {STRATEGY_RATE: Rate(30, S, 60, "all")}}
    raises = (Raise("r", STRATEGY_RATE, *STRATEGY, value, FROM_NS, UNTIL_NS, "r", "ann"),)
    return Limits("v", {}, rates, raises)


@pytest.mark.parametrize(
    ("now_ns", "holds"),
    [(FROM_NS - 1, False), (FROM_NS, True), (UNTIL_NS - 1, True), (UNTIL_NS, False)],
)
def test_a_rate_is_raised_to_the_nanosecond_and_the_tightest_level_holds(
    now_ns: int, *, holds: bool
) -> None:
    of = raised_rate(FASTER)
    of.rate(UNTIL_NS + 5, "main", "momentum")
    assert of.rate(now_ns, "main", "momentum") == (Rate(30, S, 60, "all") if holds else BASE)
    raised = of.rates_in_force(now_ns)[STRATEGY][STRATEGY_RATE]
    assert raised == (Rate(50, S, 99, "here raise r") if holds else BASE)
    assert of.regular(of.raises[0]) == BASE
    assert of.rate(now_ns, "main", "another") == Rate(30, S, 60, "all")


@pytest.mark.parametrize(
    "of",
    [
        raised_rate(Rate(19, S, 99, "")),
        raised_rate(Rate(50, S, 39, "")),
        raised_rate(FASTER, of=waived_rate("x")),
    ],
)
def test_a_journal_whose_raise_of_a_rate_would_tighten_raises_nothing(of: Limits) -> None:
    assert of.rates_in_force(FROM_NS) == of.rates
    unset = Limits("v", {}, {}, of.raises)
    assert unset.rate(FROM_NS, "main", "momentum") is None


def test_a_journal_whose_raise_would_tighten_raises_nothing() -> None:
    assert slippage(raised(*WHERE, value=5), FROM_NS).value == 10
    floor = raised(*WHERE, value=50, name="confidence_min")
    found = floor.in_force(FROM_NS, "main", "momentum", "AAPL", "equity")["confidence_min"]
    assert found.value == 10
    unset = Limits("v", {}, {}, raised("symbol").raises)
    assert unset.in_force(FROM_NS, "main", "momentum", "AAPL") == {}
