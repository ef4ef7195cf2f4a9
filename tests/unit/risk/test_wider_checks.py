"""The checks of how the account stands around an order: below the limit, at it, and above."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.support.cases import MS, NOW_NS, RATE, STOCK, inputs, judged, limits, quote, signal, view
from tests.unit.risk.test_checks import numbers, passed, refused
from trade_engine.domain.activity import Approval
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.limits import waived, waived_rate
from trade_engine.domain.rulebook import StrategyTerms
from trade_engine.domain.signal import Side
from trade_engine.risk.pre_trade import FIRST_CHECKS, decide
from trade_engine.risk.standing import Standing
from trade_engine.risk.view import Throttle

BUY, SELL = Side.BUY, Side.SELL
D = Decimal
CENT = D("0.01")


def standing(**changes: Any) -> Standing:
    return replace(Standing(cash=D(100_000)), **changes)


def around(
    limit_name: str, value: Decimal, unit: Decimal = CENT
) -> list[tuple[dict[str, Any], bool]]:
    """The limit one unit above a value, at it, and one unit below; and whether the value fits."""
    return [
        ({"limits": limits(**{limit_name: value + unit})}, True),
        ({"limits": limits(**{limit_name: value})}, True),
        ({"limits": limits(**{limit_name: value - unit})}, False),
    ]


# ---- strategies -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "refusal", "message"),
    [
        (StrategyTerms("momentum"), None, ""),
        (StrategyTerms("momentum", ("main",), ("AAPL",)), None, ""),
        (StrategyTerms("momentum", (), ("IBM",), ("equity",)), None, ""),
        (None, Reason.STRATEGY_UNKNOWN, "momentum is not among the strategies of the limits file"),
        (
            StrategyTerms("momentum", ("other",)),
            Reason.STRATEGY_NOT_PERMITTED,
            "momentum may not trade on account main",
        ),
        (
            StrategyTerms("momentum", ("main",), ("IBM",), ("fx",)),
            Reason.STRATEGY_NOT_PERMITTED,
            "momentum may not trade AAPL",
        ),
    ],
)
def test_a_strategy_trades_what_it_is_permitted(
    terms: StrategyTerms | None, refusal: Reason | None, message: str
) -> None:
    given: dict[str, Any] = {"strategy": terms, "strategies_listed": True}
    if refusal is None:
        passed("strategy", **given)
    else:
        assert refused("strategy", refusal, **given).message == message


def test_where_no_strategy_is_listed_all_may_trade() -> None:
    assert passed("strategy").scope == "strategy:momentum"


# ---- equal orders ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_ns", "fits"), [(10 * MS + 1, True), (10 * MS, True), (10 * MS - 1, False), (-5, False)]
)
def test_an_equal_order_waits(age_ns: int, *, fits: bool) -> None:
    older = Approval(BUY, D(10), NOW_NS - 10**12)
    given = {
        "view": view(standing=standing(approvals=[older, Approval(BUY, D(10), NOW_NS - age_ns)])),
        "limits": limits(duplicate_interval_ms_min=10),
    }
    if fits:
        check = passed("duplicate", **given)
    else:
        check = refused("duplicate", Reason.DUPLICATE_ORDER, **given)
        assert "equal orders are at least 10 ms apart" in check.message
    age_ms = D(max(age_ns, 0)) / MS
    assert numbers(check) == (10, age_ms, None, "ms", "strategy:momentum")


@pytest.mark.parametrize("other", [Approval(SELL, D(10), NOW_NS), Approval(BUY, D(11), NOW_NS)])
def test_another_side_or_quantity_is_no_duplicate(other: Approval) -> None:
    given = limits(duplicate_interval_ms_min=10**6)
    passed("duplicate", view=view(standing=standing(approvals=[other])), limits=given)


@pytest.mark.parametrize(
    ("age_ns", "fits"), [(10 * MS + 1, True), (10 * MS, True), (10 * MS - 1, False), (-5, False)]
)
def test_where_an_equal_order_may_be_forgotten_none_is_approved(age_ns: int, *, fits: bool) -> None:
    given = {
        "view": view(standing=standing(forgotten_ns=NOW_NS - age_ns)),
        "limits": limits(duplicate_interval_ms_min=10),
    }
    if fits:
        passed("duplicate", **given)
        return
    check = refused("duplicate", Reason.DUPLICATES_UNKNOWN, **given)
    assert numbers(check) == (10, None, None, "ms", "strategy:momentum")
    assert "whether an equal one was is not known" in check.message


# ---- rates and confidence -------------------------------------------------------------------


def test_account_rate() -> None:
    check = passed("account_rate", account_throttle=Throttle(RATE, True, 3, 0))
    assert numbers(check) == (61, 3, None, "signals", "account:main")
    full = Throttle(RATE, allowed=False, remaining=0, retry_after_ns=MS)
    assert judged("account_rate", account_throttle=None)[1] is None, "from before there was one"
    check = refused("account_rate", Reason.ACCOUNT_THROTTLED, account_throttle=full)
    assert check.message == "account:main sends faster than its rate allows; next in 1 ms"
    unset = Throttle(None, allowed=True, remaining=0, retry_after_ns=0)
    check = refused("account_rate", Reason.LIMIT_NOT_SET, account_throttle=unset)
    assert "account_signal_rate is not set for account:main" in check.message


@pytest.mark.parametrize(
    ("name", "given"), [("strategy_rate", "throttle"), ("account_rate", "account_throttle")]
)
def test_a_waived_rate_lets_everything_through(name: str, given: str) -> None:
    throttle = Throttle(waived_rate("w"), allowed=False, remaining=0, retry_after_ns=0)
    assert passed(name, **{given: throttle}).source == "w"


@pytest.mark.parametrize(("asked", "fits"), [("0.79", True), ("0.8", True), ("0.81", False)])
def test_confidence(asked: str, *, fits: bool) -> None:
    given = limits(confidence_min=asked)
    if fits:
        check = passed("confidence", limits=given)
    else:
        check = refused("confidence", Reason.CONFIDENCE_LOW, limits=given)
        assert "a confidence of 0.8 is less than confidence_min asks, 0.81" in check.message
        passed("confidence", limits=given, view=view(10), signal=signal(0, SELL))
    assert numbers(check) == (D(asked), D("0.8"), None, "confidence", "strategy:momentum")


# ---- the price collar -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "change"),
    [(given["limits"], fits) for given, fits in around("price_band_bps_max", D(100))],
)
@pytest.mark.parametrize(("side", "price"), [(BUY, 101), (SELL, 99)])
def test_the_price_is_held_against_an_earlier_quote(
    limit: dict[str, Any], side: Side, price: int, *, change: bool
) -> None:
    given: dict[str, Any] = {
        "limits": limit,
        "earlier": quote(100),
        "quote": quote(price),
        "signal": signal(price * 10 * side.sign, side),
    }
    if change:
        check = passed("price_collar", **given)
    else:
        check = refused("price_collar", Reason.PRICE_COLLAR, **given)
        assert f"the limit price {price} is 1 away from 100" in check.message
    assert numbers(check) == (
        limit["price_band_bps_max"].value / 100,
        None,
        1,
        "price",
        "symbol:AAPL",
    )


@pytest.mark.parametrize("earlier", [None, quote(bid=D(0))])
def test_without_an_earlier_quote_no_price_is_believed(earlier: Any) -> None:
    refused("price_collar", Reason.PRICE_BAND_UNKNOWN, earlier=earlier)
    waiver = {"price_band_bps_max": waived("price_band_bps_max", "w")}
    passed("price_collar", earlier=earlier, limits=limits() | waiver)


# ---- the order ------------------------------------------------------------------------------


def test_an_opposite_working_order_is_named() -> None:
    state = view(0, 0, 4, standing=standing(opposite_order_id="o-7"))
    check = refused("opposite_order", Reason.OPPOSITE_ORDER, view=state)
    assert check.message == (
        "order o-7 of strategy:momentum works on the other side of AAPL: cancel it, or wait until "
        "it is done"
    )
    decision, found = judged("opposite_order", view=state, signal=signal(-400))
    assert (decision.outcome, found) == (Outcome.NO_ACTION, None)


@pytest.mark.parametrize(("most", "fits"), [(11, True), (10, True), (9, False)])
def test_order_quantity(most: int, *, fits: bool) -> None:
    given = limits(order_quantity_max=most)
    if fits:
        check = passed("order_quantity", limits=given)
    else:
        check = refused("order_quantity", Reason.ORDER_QUANTITY_LIMIT, limits=given)
        assert "in steps" not in check.message
    assert numbers(check) == (most, None, 10, "units", "symbol:AAPL")


@pytest.mark.parametrize(
    ("limit", "most"), [({"order_quantity_max": 3}, 300), ({"order_notional_max": 350}, 350)]
)
def test_a_refused_exit_says_how_to_go_in_steps(limit: dict[str, Any], most: int) -> None:
    given: dict[str, Any] = {"view": view(10), "limits": limits(**limit)}
    decision = decide(inputs(signal=signal(0, SELL), **given))
    assert decision.outcome is Outcome.REJECTED
    assert decision.message.endswith(f"with the same target and a max_notional of at most {most}")
    step = signal(0, SELL, max_notional=D(most))
    order = decide(inputs(signal=step, **given)).order
    assert order is not None
    assert order.order_qty == 3


# ---- worst cases around the symbol ----------------------------------------------------------

# own position and working orders, target, side; longest and shortest before and after, in units
SIDES = [
    ((0, 0, 0), 1000, BUY, (0, 0), (10, 0)),
    ((0, 0, 0), -1000, SELL, (0, 0), (0, 10)),
    ((4, 0, 0), 1000, BUY, (4, -4), (10, -4)),
    ((-4, 0, 0), 1000, BUY, (-4, 4), (10, 4)),  # through zero
    ((4, 0, 0), -1000, SELL, (4, -4), (4, 10)),
    ((0, 4, 0), 1000, BUY, (4, 0), (10, 0)),
    ((0, 0, 4), 1000, BUY, (0, 4), (14, 4)),
    ((0, 4, 0), -1000, SELL, (4, 0), (4, 14)),
]


@pytest.mark.parametrize(("own", "target", "side", "before", "after"), SIDES)
@pytest.mark.parametrize("elsewhere", [(0, 0), (700, -300), (-300, 700)])
def test_net_exposure_counts_the_worst_of_both_directions(
    own: tuple[int, int, int],
    target: int,
    side: Side,
    before: tuple[int, int],
    after: tuple[int, int],
    elsewhere: tuple[int, int],
) -> None:
    state = view(*own, standing=standing(net_long=D(elsewhere[0]), net_short=D(elsewhere[1])))
    was = max(elsewhere[0] + before[0] * 100, elsewhere[1] + before[1] * 100)
    will = max(elsewhere[0] + after[0] * 100, elsewhere[1] + after[1] * 100)
    for limit, fits in around("net_exposure_max", D(will)):
        given: dict[str, Any] = {"view": state, "signal": signal(target, side), **limit}
        if fits or will <= was:
            check = passed("net_exposure", **given)
        else:
            check = refused("net_exposure", Reason.NET_EXPOSURE_LIMIT, **given)
        assert numbers(check)[1:] == (was, will, "USD", "account:main")


WORST = [
    ((0, 0, 0), 1000, BUY, 0, 10),
    ((0, 0, 0), -1000, SELL, 0, 10),
    ((4, 3, 0), 1000, BUY, 7, 10),
    ((-4, 0, 0), 1000, BUY, 4, 10),
    ((0, 0, 4), 1000, BUY, 4, 14),
    ((4, 0, 0), -1000, SELL, 4, 10),
    ((10, 0, 0), 0, SELL, 10, 10),  # a close
]


@pytest.mark.parametrize(("own", "target", "side", "before", "after"), WORST)
@pytest.mark.parametrize(
    ("name", "limit_name", "reason", "where", "scope"),
    [
        (
            "asset_exposure",
            "asset_exposure_max",
            Reason.ASSET_EXPOSURE_LIMIT,
            "asset_gross",
            "asset:AAPL",
        ),
        (
            "asset_class_exposure",
            "asset_class_exposure_max",
            Reason.ASSET_CLASS_EXPOSURE_LIMIT,
            "class_gross",
            "asset_class:equity",
        ),
    ],
)
def test_exposure_in_an_asset_and_in_a_class(
    own: tuple[int, int, int],
    target: int,
    side: Side,
    before: int,
    after: int,
    name: str,
    limit_name: str,
    reason: Reason,
    where: str,
    scope: str,
) -> None:
    state = view(*own, standing=standing(**{where: D(700)}))
    will = D(700 + after * 100)
    for limit, fits in around(limit_name, will):
        given: dict[str, Any] = {"view": state, "signal": signal(target, side), **limit}
        if fits or after <= before:
            check = passed(name, **given)
        else:
            check = refused(name, reason, **given)
            assert f"{limit_name} allows" in check.message
        assert numbers(check)[1:] == (700 + before * 100, will, "USD", scope)


def test_an_underlying_names_the_asset() -> None:
    claim = replace(STOCK, underlying="ES")
    assert passed("asset_exposure", instrument=claim).scope == "asset:ES"
    assert passed("asset_concentration", instrument=claim).scope == "asset:ES"


@pytest.mark.parametrize(("own", "target", "side", "before", "after"), WORST)
@pytest.mark.parametrize(
    ("name", "limit_name", "reason", "more"),
    [
        (
            "asset_concentration",
            "asset_concentration_max",
            Reason.CONCENTRATION_LIMIT,
            {"standing": standing(asset_gross=D(700))},
        ),
        ("leverage", "leverage_max", Reason.LEVERAGE_LIMIT, {"other_gross": 700}),
    ],
)
def test_what_is_held_to_equity(
    own: tuple[int, int, int],
    target: int,
    side: Side,
    before: int,
    after: int,
    name: str,
    limit_name: str,
    reason: Reason,
    more: dict[str, Any],
) -> None:
    will = D(700 + after * 100)
    for limit, fits in around(limit_name, will / 1000, D("0.00001")):
        state = view(*own, equity=1000, **more)
        given: dict[str, Any] = {"view": state, "signal": signal(target, side), **limit}
        if fits or after <= before:
            check = passed(name, **given)
        else:
            check = refused(name, reason, **given)
            assert "times 1000 USD for" in check.message
        assert check.limit == limit["limits"][limit_name].value * 1000
        assert numbers(check)[1:4] == (700 + before * 100, will, "USD")


@pytest.mark.parametrize("equity", [None, 0, -1])
@pytest.mark.parametrize("name", ["asset_concentration", "leverage"])
def test_without_an_equity_only_what_does_not_grow_passes(name: str, equity: int | None) -> None:
    _, check = judged(name, view=view(equity=equity))
    assert check is not None
    assert (check.reason, check.limit) == (Reason.EQUITY_UNKNOWN, None)
    decision, check = judged(name, view=view(10, equity=equity), signal=signal(0, SELL))
    assert decision.outcome is Outcome.APPROVED
    assert check is not None
    assert check.passed
    waiver = limits() | {
        each: waived(each, "w") for each in ("asset_concentration_max", "leverage_max")
    }
    assert passed(name, view=view(equity=equity), limits=waiver).source == "w"


@pytest.mark.parametrize(
    ("own", "target", "side", "needed"),
    [
        ((0, 0, 0), 1000, BUY, 1000),
        ((0, 5, 0), 1000, BUY, 1000),
        ((-4, 0, 0), 0, BUY, 400),  # covering needs what the short needed already
        ((-4, 0, 0), 1000, BUY, 1400),
        ((5, 0, 0), 1000, BUY, 500),  # what is held was paid for
        ((0, 0, 0), -1000, SELL, 0),
        ((0, 7, 0), -1000, SELL, 700),
    ],
)
def test_buying_power(own: tuple[int, int, int], target: int, side: Side, needed: int) -> None:
    for cash in (0, 5_000):
        state = view(*own, standing=standing(cash=D(cash), funds=D(5_000)))
        borrowed = D(max(needed + 5_000 - cash, 0))
        before = D(max(own[1], -own[0], 0) * 100 + 5_000 - cash)
        for limit, fits in around("borrowing_max", borrowed):
            given: dict[str, Any] = {"view": state, "signal": signal(target, side), **limit}
            if fits or borrowed <= before:
                check = passed("buying_power", **given)
            else:
                check = refused("buying_power", Reason.BUYING_POWER, **given)
            assert numbers(check)[1:] == (before, borrowed, "USD", "account:main")


# ---- how many, how much ---------------------------------------------------------------------


@pytest.mark.parametrize(("most", "fits"), [(5, True), (4, True), (3, False)])
def test_open_orders(most: int, *, fits: bool) -> None:
    given: dict[str, Any] = {
        "view": view(standing=standing(open_orders=3)),
        "limits": limits(open_orders_max=most),
    }
    check = (
        passed("open_orders", **given)
        if fits
        else refused("open_orders", Reason.OPEN_ORDERS_LIMIT, **given)
    )
    assert numbers(check) == (most, 3, 4, "orders", "account:main")
    closing = view(10, standing=standing(open_orders=3))
    passed("open_orders", **(given | {"view": closing, "signal": signal(0, SELL)}))


def test_turnover_counts_fills_working_orders_and_this_one() -> None:
    state = view(0, 2, 0, others=(0, 0, 1), standing=standing(traded=D(5_000), working=D(600)))
    wish = signal(1000, max_slippage_bps=D(100))  # 8 more, at 101
    for limit, fits in around("turnover_day_max", D(5_000 + 600 + 300 + 808)):
        given: dict[str, Any] = {"view": state, "signal": wish, **limit}
        if fits:
            check = passed("turnover", **given)
        else:
            check = refused("turnover", Reason.TURNOVER_LIMIT, **given)
        assert numbers(check)[1:] == (5_900, 6_708, "USD", "account:main")
    closing = view(10, standing=standing(traded=D(5_000)))
    passed("turnover", view=closing, signal=signal(0, SELL), limits=limits(turnover_day_max=1))


@pytest.mark.parametrize(("most", "fits"), [(5, True), (4, True), (3, False)])
def test_repeated_executions_disable_even_what_closes(most: int, *, fits: bool) -> None:
    given: dict[str, Any] = {
        "view": view(10, standing=standing(executions=3)),
        "signal": signal(0, SELL),
        "limits": limits(repeated_executions_max=most),
    }
    if fits:
        check = passed("repeated_executions", **given)
    else:
        check = refused("repeated_executions", Reason.REPEATED_EXECUTIONS_LIMIT, **given)
        assert check.message.endswith("; an operator may resume it")
    assert numbers(check) == (most, 3, 4, "orders", "strategy:momentum")


# ---- limits that are not set, and those waived ----------------------------------------------

WIDER = [
    "duplicate_interval_ms_min",
    "confidence_min",
    "price_band_bps_max",
    "order_quantity_max",
    "asset_exposure_max",
    "asset_concentration_max",
    "asset_class_exposure_max",
    "net_exposure_max",
    "leverage_max",
    "borrowing_max",
    "open_orders_max",
    "turnover_day_max",
    "repeated_executions_max",
]


@pytest.mark.parametrize("name", WIDER)
@pytest.mark.parametrize(("held", "target", "side"), [(0, 1000, BUY), (10, 0, SELL)])
def test_a_limit_that_is_not_set_refuses(name: str, held: int, target: int, side: Side) -> None:
    given = {"view": view(held), "signal": signal(target, side)}
    decision = decide(inputs(limits=limits(**{name: None}), **given))
    assert decision.reasons == [Reason.LIMIT_NOT_SET]
    assert f"the limit {name} is not set" in decision.message
    waiver = limits() | {name: waived(name, "limits.toml:default acknowledged_unlimited")}
    decision = decide(inputs(limits=waiver, **given))
    assert decision.outcome is Outcome.APPROVED
    told = [check for check in decision.checks if check.source.endswith("acknowledged_unlimited")]
    assert all(check.limit is None for check in told)


def test_a_decision_from_before_is_judged_by_the_rules_of_its_day() -> None:
    decision = decide(inputs(view=view(standing=None), earlier=None, account_throttle=None))
    assert decision.outcome is Outcome.APPROVED
    assert len(decision.checks) <= len(FIRST_CHECKS)
    assert "leverage" not in {check.name for check in decision.checks}


def test_books_that_are_at_hand_pass_and_are_told() -> None:
    assert judged("books", books_fault=None)[1] is None
    assert passed("books", books_fault="").reason is None
    refused("books", Reason.PORTFOLIO_UNKNOWN, books_fault="it is away")


def test_a_view_from_before_there_was_more_says_nothing_of_it() -> None:
    told = replace(view(), worth=None, standing=None).to_json()
    assert told.keys().isdisjoint({"start_equity", "peak_equity", "standing"})


def test_a_decision_from_before_asks_nothing_of_an_order_that_is_none() -> None:
    old = view(10, standing=None)
    decision = decide(inputs(view=old, signal=signal(1000), account_throttle=None))
    assert decision.outcome is Outcome.NO_ACTION
    assert not {"order_notional", "symbol_position", "gross_exposure"} & {
        check.name for check in decision.checks
    }
