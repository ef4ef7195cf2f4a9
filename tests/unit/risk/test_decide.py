"""The decision as a whole: precedence, outcomes, what follows from an approval, and its records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cases import (
    NOW_NS,
    RATE,
    SIGNAL,
    STOCK,
    inputs,
    limits,
    quote,
    signal,
    told_to,
    view,
)
from trade_engine.domain.activity import Approval
from trade_engine.domain.decision import CheckResult, Checks, Decision, Outcome, Reason
from trade_engine.domain.limits import NUMERIC_LIMITS, RATES
from trade_engine.domain.order import DeliveryState, OrdType, TimeInForce, order_id_for
from trade_engine.domain.rulebook import StrategyTerms
from trade_engine.domain.session import Session, utc_day
from trade_engine.domain.signal import ExposureUnit, Side, TimeHorizon
from trade_engine.domain.trading_state import Scope, ScopeKind, TradingState
from trade_engine.risk.pre_trade import CHECKS, decide
from trade_engine.risk.standing import Standing
from trade_engine.risk.view import Hours, Inputs, Throttle, View, Worth

BUY, SELL = Side.BUY, Side.SELL
D = Decimal
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "refusals.md"

# What each check refuses by, in the order of CHECKS; a change of the inputs that does it.
SHUT = Session("XNYS", "2023-11-15", NOW_NS, NOW_NS + 1, NOW_NS + 2)
FAULTS: list[tuple[str, Reason, dict[str, Any]]] = [
    ("trading_state", Reason.TRADING_HALTED, {"trading": told_to(TradingState.HALTED)}),
    (
        "strategy",
        Reason.STRATEGY_NOT_PERMITTED,
        {"strategy": StrategyTerms("momentum", accounts=("other",))},
    ),
    ("restricted", Reason.INSTRUMENT_RESTRICTED, {"instrument": {"restricted": True}}),
    ("currency", Reason.CURRENCY_MISMATCH, {"instrument": {"currency": "EUR"}}),
    ("signal_age", Reason.SIGNAL_STALE, {"signal": {"created_at_ns": NOW_NS - 10**18}}),
    (
        "duplicate",
        Reason.DUPLICATE_ORDER,
        {
            "standing": {"approvals": [Approval(SELL, D(10), NOW_NS)]},
            "limits": {"duplicate_interval_ms_min": 1},
        },
    ),
    ("strategy_rate", Reason.STRATEGY_THROTTLED, {"allowed": False}),
    ("account_rate", Reason.ACCOUNT_THROTTLED, {"account_allowed": False}),
    ("confidence", Reason.CONFIDENCE_LOW, {"limits": {"confidence_min": "0.9"}}),
    ("quote", Reason.QUOTE_STALE, {"quote": {"time_ns": NOW_NS - 10**18}}),
    ("session", Reason.SESSION_CLOSED, {"hours": Hours("XNYS", SHUT)}),
    ("marks", Reason.MARK_MISSING, {"missing_marks": ["IBM"]}),
    (
        "equity",
        Reason.EQUITY_UNKNOWN,
        {
            "equity": D(-10_000),
            "signal": {
                "exposure_unit": ExposureUnit.EQUITY_FRACTION,
                "target_exposure": D("0.1"),
                "side": SELL,
            },
        },
    ),
    ("books", Reason.PORTFOLIO_UNKNOWN, {"books_fault": "it is away"}),
    ("slippage", Reason.SLIPPAGE_LIMIT, {"limits": {"slippage_bps_max": "0.01"}}),
    (
        "price_collar",
        Reason.PRICE_COLLAR,
        {"limits": {"price_band_bps_max": 1}, "earlier": quote(99)},
    ),
    ("short_sale", Reason.NOT_SHORTABLE, {"instrument": {"shortable": False}}),
    ("opposite_order", Reason.OPPOSITE_ORDER, {"standing": {"opposite_order_id": "o-1"}}),
    ("order_quantity", Reason.ORDER_QUANTITY_LIMIT, {"limits": {"order_quantity_max": 9}}),
    ("order_notional", Reason.ORDER_NOTIONAL_LIMIT, {"limits": {"order_notional_max": 1}}),
    (
        "symbol_position",
        Reason.SYMBOL_POSITION_LIMIT,
        {"limits": {"symbol_position_notional_max": 1}},
    ),
    ("asset_exposure", Reason.ASSET_EXPOSURE_LIMIT, {"limits": {"asset_exposure_max": 1}}),
    (
        "asset_concentration",
        Reason.CONCENTRATION_LIMIT,
        {"limits": {"asset_concentration_max": "0.001"}},
    ),
    (
        "asset_class_exposure",
        Reason.ASSET_CLASS_EXPOSURE_LIMIT,
        {"limits": {"asset_class_exposure_max": 1}},
    ),
    ("gross_exposure", Reason.GROSS_EXPOSURE_LIMIT, {"limits": {"gross_exposure_max": 1}}),
    ("net_exposure", Reason.NET_EXPOSURE_LIMIT, {"limits": {"net_exposure_max": 1}}),
    ("leverage", Reason.LEVERAGE_LIMIT, {"limits": {"leverage_max": "0.001"}}),
    ("buying_power", Reason.LIMIT_NOT_SET, {"limits": {"borrowing_max": None}}),
    ("open_orders", Reason.OPEN_ORDERS_LIMIT, {"limits": {"open_orders_max": "0.5"}}),
    ("turnover", Reason.TURNOVER_LIMIT, {"limits": {"turnover_day_max": 1}}),
    (
        "daily_loss",
        Reason.DAILY_LOSS_LIMIT,
        {"start_equity": D(200_000), "limits": {"daily_loss_max": 1}},
    ),
    (
        "drawdown",
        Reason.DRAWDOWN_LIMIT,
        {"peak_equity": D(200_000), "limits": {"drawdown_max": 1}},
    ),
    (
        "repeated_executions",
        Reason.REPEATED_EXECUTIONS_LIMIT,
        {"limits": {"repeated_executions_max": "0.5"}},
    ),
]
OF_ORDER = {"books", "marks", "duplicate"} | {
    name for name, _, _ in FAULTS[[name for name, _, _ in FAULTS].index("price_collar") :]
}
"""These judge the order."""
OF_EQUITY = {"asset_concentration", "leverage"}
"""Without an equity, these refuse by that."""


def with_faults(faults: list[tuple[str, Reason, dict[str, Any]]]) -> Inputs:
    """The inputs of a sale of 10, with all these faults."""
    found: dict[str, dict[str, Any]] = {
        "signal": {"target_exposure": D(-1000), "side": SELL, "max_slippage_bps": D(1)}
    }
    for _, _, fault in faults:
        for name, change in fault.items():
            place, changes = (name, change) if isinstance(change, dict) else ("", {name: change})
            found.setdefault(place, {}).update(changes)
    loose = found.get("", {})
    state = view(
        equity=loose.get("equity", 100_000),
        trading=loose.get("trading"),
        standing=Standing(cash=D(100_000), **found.get("standing", {})),
    )
    level = D(-10_000)
    state.worth = Worth(loose.get("start_equity", level), loose.get("peak_equity", level))
    state.missing_marks = loose.get("missing_marks", [])
    return inputs(
        signal=replace(SIGNAL, **found["signal"]),
        view=state,
        instrument=replace(STOCK, **found.get("instrument", {})),
        quote=quote(**found.get("quote", {})),
        limits=limits(**found.get("limits", {})),
        hours=loose.get("hours", Hours("24/7", utc_day(NOW_NS))),
        books_fault=loose.get("books_fault"),
        throttle=Throttle(RATE, allowed=loose.get("allowed", True), remaining=0, retry_after_ns=0),
        account_throttle=Throttle(RATE, loose.get("account_allowed", True), 0, 0),
        earlier=loose.get("earlier", quote()),
        strategy=loose.get("strategy"),
        strategies_listed="strategy" in loose,
    )


def test_all_failures_are_listed_in_order_of_precedence() -> None:
    """Mend one fault after the other, from the first: the next one leads."""
    for mended in range(len(FAULTS)):
        left = FAULTS[mended:]
        decision = decide(with_faults(left))
        assert decision.outcome is Outcome.REJECTED
        poor = any(name == "equity" for name, _, _ in left)
        reasons = [
            Reason.EQUITY_UNKNOWN if poor and name in OF_EQUITY else reason
            for name, reason, _ in left
        ]
        assert decision.reasons == list(dict.fromkeys(reasons))
        failed = [check for check in decision.checks if not check.passed]
        assert [check.name for check in failed] == [name for name, _, _ in left]
        assert decision.message == "; ".join(check.message for check in failed)
    assert decide(with_faults([])).outcome is Outcome.APPROVED


def test_the_walk_leaves_no_check_out() -> None:
    """A symbol that is unknown has nothing else to be refused by, so it walks alone."""
    assert [f"check_{name}" for name, _, _ in FAULTS] == [
        check.__name__ for check in CHECKS if check.__name__ != "check_instrument"
    ]
    assert [check.__name__ for check in CHECKS].index("check_instrument") == 2
    decision = decide(replace_inputs(with_faults(FAULTS), instrument=None))
    assert decision.reasons[:4] == [
        Reason.TRADING_HALTED,
        Reason.STRATEGY_NOT_PERMITTED,
        Reason.INSTRUMENT_UNKNOWN,
        Reason.SIGNAL_STALE,
    ]


def replace_inputs(given: Inputs, **changes: Any) -> Inputs:
    return Inputs(**({each.name: getattr(given, each.name) for each in fields(given)} | changes))


def test_a_reason_is_listed_once() -> None:
    decision = decide(inputs(limits={}))
    assert decision.reasons == [Reason.LIMIT_NOT_SET]
    failed = [check for check in decision.checks if not check.passed]
    assert 6 <= len(failed) <= len(NUMERIC_LIMITS)


@pytest.mark.parametrize(
    ("wish", "why", "message"),
    [
        (
            signal(1000),
            Reason.AT_TARGET,
            "position and working orders are at the target within one lot",
        ),
        (
            signal(0),
            Reason.SIDE_MISMATCH,
            "reaching the target needs an order in the direction that side forbids",
        ),
        (
            signal(2000, max_notional=D("99.99")),
            Reason.BELOW_LOT,
            "max_notional buys less than one lot",
        ),
    ],
)
def test_no_action(wish: Any, why: Reason, message: str) -> None:
    decision = decide(inputs(signal=wish, view=view(10)))
    assert (decision.outcome, decision.reasons) == (Outcome.NO_ACTION, [why])
    assert (decision.message, decision.order) == (message, None)
    assert decision.sizing is not None
    assert (decision.sizing.order_quantity, decision.sizing.order_notional) == (0, 0)


@pytest.mark.parametrize("fault", FAULTS, ids=[name for name, _, _ in FAULTS])
def test_a_refusal_that_needs_no_order_goes_before_no_action(
    fault: tuple[str, Reason, dict[str, Any]],
) -> None:
    """What judges the signal judges it all the same; what judges the order has none to judge."""
    name, reason, _ = fault
    given = with_faults([fault])
    given.view.quantity = given.view.symbol_quantity = D(-10)
    decision = decide(given)
    if name in OF_ORDER:
        assert (decision.outcome, decision.reasons) == (Outcome.NO_ACTION, [Reason.AT_TARGET])
    else:
        assert (decision.outcome, decision.reasons) == (Outcome.REJECTED, [reason])


def test_no_action_does_not_need_the_marks_of_what_else_is_held() -> None:
    for side in Side:
        decision = decide(inputs(signal=signal(1000, side), view=view(10, missing_marks=("IBM",))))
        assert decision.outcome is Outcome.NO_ACTION


@pytest.mark.parametrize(
    ("horizon", "time_in_force"),
    [
        (TimeHorizon.INTRADAY, TimeInForce.DAY),
        (TimeHorizon.SWING, TimeInForce.GTC),
        (TimeHorizon.LONG, TimeInForce.GTC),
    ],
)
def test_an_approval_is_an_order(horizon: TimeHorizon, time_in_force: TimeInForce) -> None:
    wish = signal(time_horizon=horizon, max_slippage_bps=D(10), max_notional=D(500))
    decision = decide(inputs(signal=wish, delivery=DeliveryState.SENDING, broker="ib"))
    order = decision.order
    assert (decision.outcome, decision.reasons) == (Outcome.APPROVED, [])
    assert decision.message == "BUY 4 AAPL at 100.1 or better, capped by max_notional"
    assert order is not None
    assert order.order_id == order_id_for("main", "s-1") == order.cl_ord_id
    assert (order.account_id, order.strategy_id) == ("main", "momentum")
    assert (order.symbol, order.signal_id, order.side) == ("AAPL", "s-1", BUY)
    assert (order.ord_type, order.time_in_force) == (OrdType.LIMIT, time_in_force)
    assert (order.order_qty, order.leaves_qty, order.cum_qty) == (4, 4, 0)
    assert (order.price, order.broker) == (D("100.1"), "ib")
    assert order.delivery is DeliveryState.SENDING
    assert order.created_at_ns == order.updated_at_ns == decision.decided_at_ns == NOW_NS
    assert order.is_open


def test_an_approval_without_a_cap_says_nothing_of_one() -> None:
    decision = decide(inputs(signal=signal(-1000, SELL)))
    assert decision.message == "SELL 10 AAPL at 100 or better"
    assert decision.limits_version == "v1"


# ---- whatever comes -------------------------------------------------------------------------

small = st.integers(-30, 30)
working = st.integers(0, 20)
fine = st.decimals("0.01", "400", places=2)


def mostly(usual: st.SearchStrategy[Any], *odd: Any) -> st.SearchStrategy[Any]:
    """An odd value now and then: were each likely, hardly a signal would get past all checks."""
    return st.integers(0, 19).flatmap(lambda die: st.sampled_from(odd) if die == 13 else usual)


@st.composite
def anything(draw: st.DrawFn) -> Inputs:
    scope = draw(st.sampled_from([Scope(ScopeKind.STRATEGY, "momentum"), Scope(ScopeKind.GLOBAL)]))
    state = draw(mostly(st.sampled_from([None, TradingState.REDUCE_ONLY]), *TradingState))
    price = draw(st.integers(1, 60).map(Decimal))
    market = quote(
        bid=draw(mostly(st.just(price), None, D(0), price + 1)),
        ask=draw(mostly(st.just(price + 1), None, D(-1), price - 1)),
        last=draw(st.sampled_from([None, price])),
        time_ns=draw(mostly(st.just(NOW_NS), NOW_NS - 10**18)),
    )
    target = draw(st.integers(-5000, 5000))
    values = {spec.name: st.just(500) for spec in NUMERIC_LIMITS} | {
        name: st.sampled_from([1000, 5000, 10**9])
        for name in (
            "order_notional_max",
            "symbol_position_notional_max",
            "asset_exposure_max",
            "asset_class_exposure_max",
            "gross_exposure_max",
            "net_exposure_max",
            "borrowing_max",
            "turnover_day_max",
        )
    }
    values |= {
        "asset_concentration_max": st.sampled_from([100, 1000]),
        "leverage_max": st.sampled_from([100, 1000]),
        "price_band_bps_max": st.just(5000),
    }
    in_force: dict[str, int | str | None] = {
        name: draw(mostly(value, None, 1)) for name, value in values.items()
    }
    in_force["confidence_min"] = draw(mostly(st.just("0.5"), None, "0.81"))
    return inputs(
        signal=signal(
            target,
            draw(mostly(st.just(BUY if target > 0 else SELL), *Side)),
            exposure_unit=draw(mostly(st.just(ExposureUnit.NOTIONAL), *ExposureUnit)),
            max_slippage_bps=draw(st.none() | fine),
            max_notional=draw(st.none() | st.integers(1, 9000).map(Decimal)),
            created_at_ns=draw(mostly(st.none() | st.just(NOW_NS), 0, NOW_NS + 2 * 10**9)),
        ),
        view=view(
            draw(small),
            draw(working),
            draw(working),
            others=(draw(small), draw(working), draw(working)),
            trading=None if state is None else told_to(state, scope),
            other_gross=draw(st.integers(0, 3000)),
            equity=draw(mostly(st.integers(1, 30), None, 0, -1)),
            missing_marks=draw(mostly(st.just(()), ("IBM",))),
            standing=draw(standings()),
        ),
        instrument=draw(
            mostly(
                st.builds(
                    replace,
                    st.just(STOCK),
                    shortable=st.booleans(),
                    multiplier=mostly(st.just(D(1)), D(10)),
                ),
                None,
                replace(STOCK, restricted=True),
                replace(STOCK, currency="EUR"),
            )
        ),
        quote=draw(mostly(st.just(market), None)),
        limits=limits(**in_force),
        throttle=Throttle(
            draw(mostly(st.just(RATE), None)),
            draw(mostly(st.just(True), False)),
            remaining=0,
            retry_after_ns=1,
        ),
        account_throttle=Throttle(RATE, draw(mostly(st.just(True), False)), 0, 1),
        earlier=draw(mostly(st.just(quote(price)), None, quote(price * 3))),
        strategies_listed=draw(mostly(st.just(False), True)),
    )


def standings() -> st.SearchStrategy[Standing]:
    money = st.integers(0, 3000).map(Decimal)
    signed = st.integers(-3000, 3000).map(Decimal)
    return st.builds(
        Standing,
        cash=signed,
        net_long=signed,
        net_short=signed,
        funds=money,
        working=money,
        asset_gross=money,
        class_gross=money,
        traded=money,
        open_orders=mostly(st.just(3), 500),
        executions=mostly(st.just(3), 500),
        opposite_order_id=mostly(st.just(""), "o-1"),
        approvals=mostly(st.just([]), [Approval(BUY, D(1), NOW_NS)]),
    )


@given(anything())
def test_whatever_comes_is_decided_and_explained(given: Inputs) -> None:
    decision = decide(given)
    failed = [check for check in decision.checks if not check.passed]
    assert (decision.outcome is Outcome.REJECTED) == bool(failed)
    assert (decision.outcome is Outcome.APPROVED) == (decision.order is not None)
    assert (decision.outcome is Outcome.APPROVED) == (not decision.reasons)
    assert decision.message
    assert len(set(decision.reasons)) == len(decision.reasons)
    for check in decision.checks:
        assert check.passed == (check.reason is None) == (check.message == "")
        assert check.name
        assert check.unit
        assert check.scope
    names = [check.name for check in decision.checks]
    assert names == [name for name in map(_name, CHECKS) if name in names]
    assert decide(given) == decision


def _name(check: Any) -> str:
    return str(check.__name__).removeprefix("check_")


@settings(max_examples=300)
@given(anything())
def test_an_approval_breaks_no_rule(given: Inputs) -> None:
    """The rules once more, from the inputs alone."""
    order = decide(given).order
    if order is None:
        return
    state, wish, instrument, market = given.view, given.signal, given.instrument, given.quote
    assert instrument is not None
    assert market is not None
    reference = market.reference
    assert reference is not None
    price = order.price
    assert price is not None
    assert not instrument.restricted
    assert instrument.currency == given.currency
    assert state.trading is None or state.trading.state is not TradingState.HALTED
    assert given.throttle.rate is not None
    assert given.throttle.allowed
    sign, quantity, unit = order.side.sign, order.order_qty, reference * instrument.multiplier
    assert order.side is wish.side
    bound = wish.max_slippage_bps or given.limits["slippage_bps_max"].value
    assert bound <= given.limits["slippage_bps_max"].value
    assert (price - reference) * sign <= reference * bound / 10_000
    worst = quantity * max(price, reference) * instrument.multiplier
    assert worst <= (wish.max_notional or worst)
    assert worst <= given.limits["order_notional_max"].value

    held, buys, sells = state.symbol_quantity, state.symbol_working_buy, state.symbol_working_sell
    before = max(abs(held + buys), abs(held - sells))
    more_buys, more_sells = (quantity, D(0)) if sign > 0 else (D(0), quantity)
    after = max(abs(held + buys + more_buys), abs(held - sells - more_sells))
    grows = after > before
    if sign < 0 and not instrument.shortable:
        assert held - sells - quantity >= 0
    if grows:
        assert after * unit <= given.limits["symbol_position_notional_max"].value
        gross = after * unit + state.other_gross
        assert gross <= given.limits["gross_exposure_max"].value
        assert not state.missing_marks
    if state.trading is not None and state.trading.state is TradingState.REDUCE_ONLY:
        own = -sign * state.quantity - (state.working_buy if sign > 0 else state.working_sell)
        assert quantity <= own
        assert not grows or state.trading.scope.kind is ScopeKind.STRATEGY


@settings(max_examples=300)
@given(anything())
def test_an_approval_fits_the_account_around_it(given: Inputs) -> None:
    """The rules about how the account stands, once more, from the inputs alone."""
    order = decide(given).order
    if order is None:
        return
    state, wish, instrument, market = given.view, given.signal, given.instrument, given.quote
    price = order.price
    assert instrument is not None
    assert market is not None
    assert market.reference is not None
    assert price is not None
    sign, quantity, unit = (
        order.side.sign,
        order.order_qty,
        market.reference * instrument.multiplier,
    )
    worst = quantity * max(price, market.reference) * instrument.multiplier
    held, buys, sells = state.symbol_quantity, state.symbol_working_buy, state.symbol_working_sell
    before = max(abs(held + buys), abs(held - sells))
    more_buys, more_sells = (quantity, D(0)) if sign > 0 else (D(0), quantity)
    after = max(abs(held + buys + more_buys), abs(held - sells - more_sells))
    grows = after > before
    standing = state.standing
    assert standing is not None
    assert not given.strategies_listed
    assert not standing.opposite_order_id
    assert given.account_throttle is not None and given.account_throttle.allowed  # noqa: PT018
    assert quantity <= given.limits["order_quantity_max"].value
    assert given.earlier is not None
    assert given.earlier.reference is not None
    band = given.earlier.reference * given.limits["price_band_bps_max"].value / 10_000
    assert abs(price - given.earlier.reference) <= band
    assert standing.executions + 1 <= given.limits["repeated_executions_max"].value
    equal = [each for each in standing.approvals if each.side is order.side]
    assert all(each.quantity != quantity for each in equal)
    own = -sign * state.quantity - (state.working_buy if sign > 0 else state.working_sell)
    if grows or quantity > own:
        assert wish.confidence >= given.limits["confidence_min"].value
        assert standing.open_orders + 1 <= given.limits["open_orders_max"].value
        turnover = standing.traded + standing.working + (buys + sells) * unit + worst
        assert turnover <= given.limits["turnover_day_max"].value
        longest = standing.net_long + (held + buys) * unit
        shortest = standing.net_short + (sells - held) * unit
        new = (longest + quantity * unit) if sign > 0 else (shortest + quantity * unit)
        net = given.limits["net_exposure_max"].value
        assert new <= max(net, longest, shortest)
        needs = standing.funds - standing.cash + max(buys + more_buys, -held, D(0)) * unit
        needed = standing.funds - standing.cash + max(buys, -held, D(0)) * unit
        assert needs <= max(given.limits["borrowing_max"].value, needed)
    if grows:
        in_asset, in_class = (
            standing.asset_gross + after * unit,
            standing.class_gross + after * unit,
        )
        assert state.equity is not None
        assert in_asset <= given.limits["asset_exposure_max"].value
        assert in_asset <= given.limits["asset_concentration_max"].value * state.equity
        assert in_class <= given.limits["asset_class_exposure_max"].value
        assert after * unit + state.other_gross <= given.limits["leverage_max"].value * state.equity


@given(anything(), st.integers(0, 9))
def test_records_read_back_as_they_were(given: Inputs, sequence: int) -> None:
    decision = decide(given)
    decision.sequence = sequence
    written = orjson.loads(orjson.dumps(decision.to_json()))
    assert Decision.from_json(written, sequence) == decision
    assert Decision.from_json(written, sequence).to_json() == decision.to_json()
    state = orjson.loads(orjson.dumps(given.view.to_json()))
    assert View.from_json(state) == given.view


def test_a_check_without_numbers_reads_back() -> None:
    check = CheckResult("instrument", passed=True, scope="symbol:AAPL", unit="instrument")
    assert Checks.from_json([check.to_json()]) == [check]


# ---- docs/refusals.md -----------------------------------------------------------------------


def rows() -> Iterator[list[str]]:
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def test_every_reason_is_documented_with_its_kind() -> None:
    found = {code.strip("`"): kind for code, kind, _, _ in rows()}
    no_action = {Reason.AT_TARGET, Reason.SIDE_MISMATCH, Reason.BELOW_LOT}
    assert found == {
        reason.value: "NO_ACTION" if reason in no_action else "REJECTED" for reason in Reason
    }
    assert list(found) == [reason.value for reason in Reason]
    assert all(meaning and what_to_do for _, _, meaning, what_to_do in rows())


def test_the_document_speaks_of_limits_that_exist() -> None:
    named = set(re.findall(r"`(\w+_(?:max|min|rate))`", DOCUMENT.read_text()))
    assert named == {spec.name for spec in NUMERIC_LIMITS} | set(RATES) - {"account_cancel_rate"}
