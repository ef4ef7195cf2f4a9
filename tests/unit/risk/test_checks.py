"""Every check: one unit below its limit, at it and above; long, short, flat and through zero."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.support.cases import (
    MS,
    NOW_NS,
    RATE,
    STOCK,
    inputs,
    judged,
    limits,
    quote,
    signal,
    told_to,
    view,
)
from trade_engine.domain.decision import CheckResult, Outcome, Reason
from trade_engine.domain.limits import waived
from trade_engine.domain.order import OrderPolicy
from trade_engine.domain.signal import ExposureUnit, Side
from trade_engine.domain.trading_state import GLOBAL, Scope, ScopeKind, TradingState
from trade_engine.risk.pre_trade import decide
from trade_engine.risk.view import Throttle

BUY, SELL = Side.BUY, Side.SELL
OWN = Scope(ScopeKind.STRATEGY, "momentum")
D = Decimal


def refused(name: str, reason: Reason, **changes: Any) -> CheckResult:
    """What a check said that alone refused."""
    decision, check = judged(name, **changes)
    assert check is not None
    assert not check.passed
    assert (decision.outcome, decision.reasons) == (Outcome.REJECTED, [reason]), decision.message
    assert check.reason is reason
    assert decision.message == check.message != ""
    assert decision.order is None
    return check


def passed(name: str, **changes: Any) -> CheckResult:
    """What a check said that passed, as all of them did."""
    decision, check = judged(name, **changes)
    assert decision.outcome is not Outcome.REJECTED, decision.message
    assert check is not None
    assert (check.passed, check.reason, check.message) == (True, None, "")
    return check


def numbers(check: CheckResult) -> tuple[D | None, D | None, D | None, str, str]:
    return check.limit, check.observed, check.projected, check.unit, check.scope


# ---- trading state --------------------------------------------------------------------------


def test_active_lets_through() -> None:
    assert passed("trading_state").scope == "account:main"
    assert passed("trading_state", view=view(trading=told_to(TradingState.ACTIVE))).passed


@pytest.mark.parametrize("held", [0, 50])
def test_halted_refuses_even_what_closes(held: int) -> None:
    state = view(held, trading=told_to(TradingState.HALTED, Scope(ScopeKind.SYMBOL, "AAPL")))
    wish = signal(0, SELL) if held else signal()
    check = refused("trading_state", Reason.TRADING_HALTED, view=state, signal=wish)
    assert (check.scope, check.source) == ("SYMBOL:AAPL", "SYMBOL:AAPL")
    assert check.message == (
        "trading is HALTED for SYMBOL:AAPL (a test, by olga): no order may be sent"
    )


# what the strategy holds, what the other strategies hold, the target, and whether it only reduces
REDUCING = [
    # long: up to the position, not through zero
    ((10, 0, 0), (0, 0, 0), 0, SELL, True),
    ((10, 0, 0), (0, 0, 0), 900, SELL, True),
    ((10, 0, 0), (0, 0, 0), -100, SELL, False),
    ((10, 0, 0), (0, 0, 0), 1100, BUY, False),
    # short: the same, mirrored
    ((-10, 0, 0), (0, 0, 0), 0, BUY, True),
    ((-10, 0, 0), (0, 0, 0), 100, BUY, False),
    ((-10, 0, 0), (0, 0, 0), -1100, SELL, False),
    # flat: everything opens
    ((0, 0, 0), (0, 0, 0), 100, BUY, False),
    ((0, 0, 0), (0, 0, 0), -100, SELL, False),
    # closes pending are spent; opens pending do not give more to close
    ((10, 0, 4), (0, 0, 0), 0, SELL, True),
    ((10, 4, 4), (0, 0, 0), 0, SELL, False),
    ((10, 1, 0), (0, 0, 0), 0, SELL, False),
    ((10, 1, 0), (0, 0, 0), 100, SELL, True),
    ((-10, 4, 0), (0, 0, 0), 0, BUY, True),
    ((-10, 4, 4), (0, 0, 0), 0, BUY, False),
    # another strategy holds the opposite: what closes here may not open nor flip the account's
    ((10, 0, 0), (-10, 0, 0), 0, SELL, False),
    ((10, 0, 0), (-5, 0, 0), 500, SELL, True),
    ((10, 0, 0), (-5, 0, 0), 400, SELL, False),
    ((10, 0, 0), (-5, 0, 0), 0, SELL, False),
    ((-10, 0, 0), (5, 0, 0), -500, BUY, True),
    ((-10, 0, 0), (5, 0, 0), -400, BUY, False),
    ((-10, 0, 0), (30, 0, 0), 0, BUY, False),
    ((-10, 0, 0), (-30, 0, 0), 0, BUY, True),
    # closes that others have working are spent; what they may open does not give more to close
    ((10, 0, 0), (0, 0, 10), 0, SELL, False),
    ((10, 0, 0), (10, 0, 10), 0, SELL, True),
    ((10, 0, 0), (10, 0, 11), 0, SELL, False),
    ((10, 0, 0), (-10, 50, 0), 0, SELL, False),
    # another strategy holds the same: nothing of its own to close
    ((0, 0, 0), (50, 0, 0), -100, SELL, False),
]


@pytest.mark.parametrize(("own", "others", "target", "side", "reduces"), REDUCING)
def test_reduce_only_lets_through_what_only_closes(
    own: tuple[int, int, int],
    others: tuple[int, int, int],
    target: int,
    side: Side,
    *,
    reduces: bool,
) -> None:
    for scope in (GLOBAL, Scope(ScopeKind.ACCOUNT, "main"), Scope(ScopeKind.SYMBOL, "AAPL")):
        state = view(*own, others=others, trading=told_to(TradingState.REDUCE_ONLY, scope))
        wish = signal(target, side)
        if reduces:
            passed("trading_state", view=state, signal=wish)
        else:
            check = refused("trading_state", Reason.REDUCE_ONLY, view=state, signal=wish)
            assert "only orders that close a position may be sent" in check.message


@pytest.mark.parametrize("others", [0, -5, -10, -100, 40])
def test_a_strategy_told_to_reduce_closes_whatever_others_hold(others: int) -> None:
    state = view(10, others=(others, 0, 0), trading=told_to(TradingState.REDUCE_ONLY, OWN))
    passed("trading_state", view=state, signal=signal(0, SELL))
    refused("trading_state", Reason.REDUCE_ONLY, view=state, signal=signal(-100, SELL))


@pytest.mark.parametrize("others", [0, -5, -10, -100, 40])
def test_an_operator_who_closes_all_closes_whatever_others_hold(others: int) -> None:
    state = view(10, others=(others, 0, 0), trading=told_to(TradingState.REDUCE_ONLY))
    passed("trading_state", view=state, signal=signal(0, SELL), closing=True)
    wish = signal(-100, SELL)
    refused("trading_state", Reason.REDUCE_ONLY, view=state, signal=wish, closing=True)


@pytest.mark.parametrize("held", [10, 0, -10])
def test_reduce_only_has_nothing_against_no_order(held: int) -> None:
    state = view(held, trading=told_to(TradingState.REDUCE_ONLY))
    for side in Side:
        decision, _ = judged("trading_state", view=state, signal=signal(held * 100, side))
        assert (decision.outcome, decision.reasons) == (Outcome.NO_ACTION, [Reason.AT_TARGET])


def test_reduce_only_refuses_what_cannot_be_sized() -> None:
    state = view(10, trading=told_to(TradingState.REDUCE_ONLY))
    decision, _ = judged("trading_state", view=state, signal=signal(0, SELL), quote=None)
    assert decision.reasons == [Reason.REDUCE_ONLY, Reason.QUOTE_MISSING]


# ---- the instrument -------------------------------------------------------------------------


def test_an_unknown_instrument_refuses() -> None:
    check = refused("instrument", Reason.INSTRUMENT_UNKNOWN, instrument=None)
    assert check.scope == "symbol:AAPL"
    assert check.message == "AAPL is not in the instruments file"
    for name in ("restricted", "currency", "order_notional", "symbol_position", "gross_exposure"):
        assert judged(name, instrument=None)[1] is None


@pytest.mark.parametrize(("held", "target", "side"), [(0, 1000, BUY), (10, 0, SELL), (-5, 0, BUY)])
def test_restricted_is_restricted_even_for_what_closes(held: int, target: int, side: Side) -> None:
    check = refused(
        "restricted",
        Reason.INSTRUMENT_RESTRICTED,
        instrument=replace(STOCK, restricted=True),
        view=view(held),
        signal=signal(target, side),
    )
    assert check.message == "AAPL is restricted: no order in it may be sent"


def test_another_currency_refuses() -> None:
    check = refused("currency", Reason.CURRENCY_MISMATCH, instrument=replace(STOCK, currency="EUR"))
    assert check.message == (
        "AAPL trades in EUR and the account counts in USD: nothing is converted"
    )
    passed("currency", instrument=replace(STOCK, currency="EUR"), currency="EUR")


@pytest.mark.parametrize(
    ("own", "others", "target", "side", "left"),
    [
        ((10, 0, 0), (0, 0, 0), 100, SELL, 1),
        ((10, 0, 0), (0, 0, 0), 0, SELL, 0),
        ((10, 0, 0), (0, 0, 0), -100, SELL, -1),
        ((0, 0, 0), (0, 0, 0), -100, SELL, -1),
        ((10, 0, 4), (0, 0, 0), 0, SELL, 0),
        ((10, 4, 4), (0, 0, 0), 0, SELL, -4),  # the buy that works may never fill
        ((0, 0, 0), (5, 0, 0), -500, SELL, 0),  # the account holds what another strategy bought
        ((0, 0, 0), (5, 0, 0), -600, SELL, -1),
        ((10, 0, 0), (0, 0, 1), 0, SELL, -1),
        ((10, 0, 0), (-1, 0, 0), 0, SELL, -1),
        ((-10, 0, 0), (0, 0, 0), -1100, SELL, -11),
    ],
)
def test_what_is_not_shortable_stays_at_zero_or_above(
    own: tuple[int, int, int], others: tuple[int, int, int], target: int, side: Side, left: int
) -> None:
    given: dict[str, Any] = {
        "instrument": replace(STOCK, shortable=False),
        "view": view(*own, others=others),
        "signal": signal(target, side),
    }
    if left >= 0:
        check = passed("short_sale", **given)
    else:
        check = refused("short_sale", Reason.NOT_SHORTABLE, **given)
        assert f"would leave {left}" in check.message
    assert (check.limit, check.projected, check.unit) == (0, left, "units")
    assert judged("short_sale", **(given | {"instrument": STOCK}))[1] is None


@pytest.mark.parametrize("held", [-10, 0, 10])
def test_buying_is_no_short_sale(held: int) -> None:
    given = {"instrument": replace(STOCK, shortable=False), "view": view(held, 0, 90)}
    decision, check = judged("short_sale", signal=signal(2000), **given)
    assert check is None
    assert decision.outcome is Outcome.APPROVED


# ---- age and rate ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_ns", "fits"),
    [(5000 * MS - 1, True), (5000 * MS, True), (5000 * MS + 1, False), (0, True)],
)
def test_signal_age(age_ns: int, *, fits: bool) -> None:
    given = {
        "signal": signal(created_at_ns=NOW_NS - age_ns),
        "limits": limits(signal_age_ms_max=5000),
    }
    if fits:
        check = passed("signal_age", **given)
    else:
        check = refused("signal_age", Reason.SIGNAL_STALE, **given)
        assert check.message == (
            "age of a signal since its create_time: 5000.000001 ms is more than signal_age_ms_max "
            "allows, 5000 ms for strategy:momentum (limits.toml:signal_age_ms_max)"
        )
    assert numbers(check) == (5000, None, D(age_ns) / MS, "ms", "strategy:momentum")


@pytest.mark.parametrize(
    ("ahead_ns", "fits"), [(999 * MS, True), (1000 * MS, True), (1000 * MS + 1, False)]
)
def test_a_signal_from_the_future(ahead_ns: int, *, fits: bool) -> None:
    given = {"signal": signal(created_at_ns=NOW_NS + ahead_ns)}
    if fits:
        assert passed("signal_age", **given).projected == 0
        return
    check = refused("signal_age", Reason.SIGNAL_FROM_FUTURE, **given)
    assert numbers(check) == (1000, D("1000.000001"), None, "ms", "strategy:momentum")
    assert check.message == "create_time is 1000.000001 ms ahead of the engine's clock"


def test_a_signal_without_a_time_has_no_age() -> None:
    assert passed("signal_age", signal=signal(created_at_ns=None)).projected == 0


def test_strategy_rate() -> None:
    check = passed("strategy_rate", throttle=Throttle(RATE, True, 0, 0))
    assert numbers(check) == (61, 0, None, "signals", "strategy:momentum")
    assert check.source == "limits.toml:default"
    throttle = Throttle(RATE, allowed=False, remaining=0, retry_after_ns=33_333_334)
    check = refused("strategy_rate", Reason.STRATEGY_THROTTLED, throttle=throttle)
    assert check.message == (
        "strategy:momentum sends faster than its rate allows; next in 33.333334 ms"
    )


def test_no_rate_refuses() -> None:
    throttle = Throttle(None, allowed=True, remaining=9, retry_after_ns=0)
    check = refused("strategy_rate", Reason.LIMIT_NOT_SET, throttle=throttle)
    assert "strategy_signal_rate is not set for strategy:momentum" in check.message


# ---- quotes, marks, equity ------------------------------------------------------------------


def test_no_quote_refuses() -> None:
    check = refused("quote", Reason.QUOTE_MISSING, quote=None)
    assert check.message == "no quote of AAPL is known"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"bid": D(0)}, "bid is not positive"),
        ({"ask": D(-1)}, "ask is not positive"),
        ({"last": D(0)}, "last is not positive"),
        ({"bid": D("100.01")}, "bid is above ask (crossed)"),
        ({"bid": None}, "neither bid and ask nor last is known"),
        ({"ask": None}, "neither bid and ask nor last is known"),
    ],
)
def test_a_quote_that_is_no_price_refuses(changes: dict[str, Any], fault: str) -> None:
    check = refused("quote", Reason.QUOTE_INVALID, quote=quote(**changes))
    assert check.message == f"the quote of AAPL from test is unusable: {fault}"


@pytest.mark.parametrize("sides", [{"bid": None}, {"ask": None}, {"bid": None, "ask": None}])
def test_the_last_trade_is_a_price_where_a_side_is_missing(sides: dict[str, Any]) -> None:
    passed("quote", quote=quote(last=D(100), **sides))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("age_ns", "fits"), [(0, True), (10 * MS, True), (10 * MS + 1, False)])
def test_quote_age_counts_both_ways(age_ns: int, *, fits: bool, sign: int) -> None:
    given = {
        "quote": quote(time_ns=NOW_NS - sign * age_ns),
        "limits": limits(quote_age_ms_max=10),
    }
    check = passed("quote", **given) if fits else refused("quote", Reason.QUOTE_STALE, **given)
    assert numbers(check) == (10, None, D(age_ns) / MS, "ms", "symbol:AAPL")


@pytest.mark.parametrize(
    ("own", "others", "target", "side", "judges"),
    [
        ((0, 0, 0), (0, 0, 0), 1000, BUY, True),
        ((10, 0, 0), (0, 0, 0), 0, SELL, False),
        ((10, 0, 0), (0, 0, 0), -1000, SELL, False),  # through zero, as far on the other side
        ((10, 0, 0), (0, 0, 0), -1100, SELL, True),
        ((10, 0, 0), (-10, 0, 0), 0, SELL, True),  # the account was flat
        ((0, 0, 0), (10, 0, 0), -1000, SELL, False),
    ],
)
def test_a_missing_mark_refuses_what_lets_the_account_grow(
    own: tuple[int, int, int],
    others: tuple[int, int, int],
    target: int,
    side: Side,
    *,
    judges: bool,
) -> None:
    state = view(*own, others=others, missing_marks=("IBM", "MSFT"))
    if not judges:
        decision, check = judged("marks", view=state, signal=signal(target, side))
        assert (decision.outcome, check) == (Outcome.APPROVED, None)
        return
    check = refused("marks", Reason.MARK_MISSING, view=state, signal=signal(target, side))
    assert numbers(check) == (None, 2, None, "symbols", "account:main")
    assert check.message == "exposure is unknown: no usable quote of IBM, MSFT"


@pytest.mark.parametrize(
    ("equity", "known"), [("0.01", True), ("0", False), (-5, False), (None, False)]
)
def test_a_fraction_needs_an_equity(equity: str | None, *, known: bool) -> None:
    given = {
        "signal": signal("0.5", exposure_unit=ExposureUnit.EQUITY_FRACTION),
        "view": view(equity=equity),
    }
    if known:
        check = passed("equity", **given)
    else:
        check = refused("equity", Reason.EQUITY_UNKNOWN, **given)
        assert "equity is not known or not positive" in check.message
    observed = None if equity is None else D(equity)
    assert numbers(check) == (None, observed, None, "USD", "account:main")


def test_a_notional_needs_no_equity() -> None:
    none = {name: waived(name, "w") for name in ("asset_concentration_max", "leverage_max")}
    decision, check = judged("equity", view=view(equity=None), limits=limits() | none)
    assert (decision.outcome, check) == (Outcome.APPROVED, None)


# ---- the order ------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "fits"), [("9.99", True), ("10", True), ("10.01", False)])
def test_slippage_is_at_most_the_collar(asked: str, *, fits: bool) -> None:
    given = {"signal": signal(max_slippage_bps=D(asked)), "limits": limits(slippage_bps_max=10)}
    check = (
        passed("slippage", **given) if fits else refused("slippage", Reason.SLIPPAGE_LIMIT, **given)
    )
    assert numbers(check) == (10, None, D(asked), "bps", "symbol:AAPL")


def test_without_a_bound_of_its_own_a_signal_has_the_collar() -> None:
    given = {"signal": signal(max_slippage_bps=None), "limits": limits(slippage_bps_max=10)}
    assert passed("slippage", **given).projected == 10
    order = decide(inputs(**given)).order
    assert order is not None
    assert order.price == D("100.10")


WAIVED = {name: waived(name, "w") for name in ("slippage_bps_max", "price_band_bps_max")}


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("most", [None, D(5000)])
def test_where_nothing_bounds_the_price_there_is_no_order(side: Side, most: Decimal | None) -> None:
    wish = signal(1000 * side.sign, side, max_slippage_bps=None, max_notional=most)
    check = refused("slippage", Reason.SLIPPAGE_LIMIT, signal=wish, limits=limits() | WAIVED)
    assert "must set max_slippage_bps" in check.message
    passed("slippage", signal=replace(wish, max_slippage_bps=D(10)), limits=limits() | WAIVED)
    waits = replace(STOCK, order_policy=OrderPolicy.LIMIT)
    decision = decide(inputs(signal=wish, limits=limits() | WAIVED, instrument=waits))
    assert decision.order is not None
    assert decision.order.price == 100


@pytest.mark.parametrize(("side", "price"), [(BUY, "103"), (SELL, "97")])
def test_where_slippage_is_waived_the_price_band_bounds_it(side: Side, price: str) -> None:
    held = limits(price_band_bps_max=300) | {"slippage_bps_max": WAIVED["slippage_bps_max"]}
    wish = signal(1000 * side.sign, side, max_slippage_bps=None)
    order = decide(inputs(signal=wish, limits=held)).order
    assert order is not None
    assert order.price == D(price)


@pytest.mark.parametrize(("bps", "fits"), [("101.01", False), ("101.02", True)])
def test_a_bound_that_does_not_reach_a_tick_refuses_to_buy(bps: str, *, fits: bool) -> None:
    given = {"quote": quote("0.0099"), "signal": signal(max_slippage_bps=D(bps))}
    if fits:
        passed("slippage", **given)
        return
    check = refused("slippage", Reason.SLIPPAGE_LIMIT, **given)
    assert check.message == (
        "the reference price 0.0099 plus 101.01 bps is less than one tick of AAPL: "
        "there is no price to buy at"
    )
    passed("slippage", quote=quote("0.0099"), signal=signal(-1000, SELL))
    decision, _ = judged("slippage", quote=quote("0.0099"), signal=signal(0))
    assert decision.outcome is Outcome.NO_ACTION


@pytest.mark.parametrize(
    ("limit", "fits"), [("1010.11", True), ("1010.10", True), ("1010.09", False)]
)
def test_order_notional_is_counted_at_the_worst_price(limit: str, *, fits: bool) -> None:
    given = {
        "signal": signal(max_slippage_bps=D(101)),
        "limits": limits(order_notional_max=limit),
    }
    if fits:
        check = passed("order_notional", **given)
    else:
        check = refused("order_notional", Reason.ORDER_NOTIONAL_LIMIT, **given)
    assert numbers(check) == (D(limit), None, D("1010.10"), "USD", "symbol:AAPL")


def test_a_large_order_is_refused_even_if_it_closes() -> None:
    refused(
        "order_notional",
        Reason.ORDER_NOTIONAL_LIMIT,
        view=view(10),
        signal=signal(0, SELL),
        limits=limits(order_notional_max=999),
    )


# what the strategy has, what the others have, the target; worst quantity before and after
WORST = [
    ((0, 0, 0), (0, 0, 0), 1000, BUY, 0, 10),
    ((0, 0, 0), (0, 0, 0), -1000, SELL, 0, 10),
    ((4, 0, 0), (0, 0, 0), 1000, BUY, 4, 10),
    ((-4, 0, 0), (0, 0, 0), 1000, BUY, 4, 10),
    ((4, 0, 0), (0, 0, 0), -1000, SELL, 4, 10),
    ((0, 4, 0), (0, 0, 0), 1000, BUY, 4, 10),
    ((0, 0, 4), (0, 0, 0), 1000, BUY, 4, 14),  # the working sell may never fill
    ((0, 4, 0), (0, 0, 0), -1000, SELL, 4, 14),
    ((4, 3, 0), (0, 0, 0), 1000, BUY, 7, 10),
    ((0, 0, 0), (20, 0, 0), 1000, BUY, 20, 30),
    ((0, 0, 0), (-20, 0, 0), -1000, SELL, 20, 30),
    ((0, 0, 0), (20, 0, 0), -1000, SELL, 20, 20),
    ((0, 0, 0), (-4, 0, 0), 1000, BUY, 4, 6),
    ((0, 0, 0), (0, 5, 9), 1000, BUY, 9, 15),
    ((0, 0, 0), (0, 5, 9), -1000, SELL, 9, 19),
]


@pytest.mark.parametrize(("own", "others", "target", "side", "before", "after"), WORST)
@pytest.mark.parametrize("elsewhere", [0, 700])
@pytest.mark.parametrize("multiplier", [1, 10])
def test_position_and_gross_exposure_count_the_worst_case(
    own: tuple[int, int, int],
    others: tuple[int, int, int],
    target: int,
    side: Side,
    before: int,
    after: int,
    elsewhere: int,
    multiplier: int,
) -> None:
    given: dict[str, Any] = {
        "view": view(*own, others=others, other_gross=elsewhere),
        "signal": signal(target * multiplier, side),
        "instrument": replace(STOCK, multiplier=D(multiplier)),
    }
    unit, cent = 100 * multiplier, D("0.01")
    for name, limit_name, reason, more in (
        ("symbol_position", "symbol_position_notional_max", Reason.SYMBOL_POSITION_LIMIT, 0),
        ("gross_exposure", "gross_exposure_max", Reason.GROSS_EXPOSURE_LIMIT, elsewhere),
    ):
        value = D(more + after * unit)
        for limit in (value + cent, value):
            check = passed(name, limits=limits(**{limit_name: limit}), **given)
            scope = "symbol:AAPL" if name == "symbol_position" else "account:main"
            assert numbers(check) == (limit, more + before * unit, value, "USD", scope)
        short = limits(**{limit_name: value - cent})
        if after > before:
            check = refused(name, reason, limits=short, **given)
            assert f"{limit_name} allows, {value - cent} USD for {check.scope}" in check.message
        else:
            passed(name, limits=short, **given)  # past the limit already, and no further


@pytest.mark.parametrize(
    "name",
    [
        "signal_age_ms_max",
        "quote_age_ms_max",
        "slippage_bps_max",
        "order_notional_max",
        "symbol_position_notional_max",
        "gross_exposure_max",
    ],
)
@pytest.mark.parametrize(("held", "target", "side"), [(0, 1000, BUY), (10, 0, SELL)])
def test_a_limit_that_is_not_set_refuses(name: str, held: int, target: int, side: Side) -> None:
    decision = decide(
        inputs(limits=limits(**{name: None}), view=view(held), signal=signal(target, side))
    )
    assert (decision.outcome, decision.reasons) == (Outcome.REJECTED, [Reason.LIMIT_NOT_SET])
    (check,) = [check for check in decision.checks if not check.passed]
    assert f"the limit {name} is not set for {check.scope}" in check.message
    assert check.unit in {"ms", "bps", "USD"}
    assert (check.limit, check.source) == (None, "")
