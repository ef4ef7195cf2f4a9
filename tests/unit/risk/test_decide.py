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
from trade_engine.domain.decision import CheckResult, Decision, Outcome, Reason
from trade_engine.domain.limits import NUMERIC_LIMITS
from trade_engine.domain.order import DeliveryState, OrdType, TimeInForce, order_id_for
from trade_engine.domain.session import Session, utc_day
from trade_engine.domain.signal import ExposureUnit, Side, TimeHorizon
from trade_engine.domain.trading_state import Scope, ScopeKind, TradingState
from trade_engine.risk.pre_trade import CHECKS, decide
from trade_engine.risk.view import Hours, Inputs, Throttle, View, Worth

BUY, SELL = Side.BUY, Side.SELL
D = Decimal
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "refusals.md"

# What each check refuses by, in the order of CHECKS; a change of the inputs that does it.
SHUT = Session("XNYS", "2023-11-15", NOW_NS, NOW_NS + 1, NOW_NS + 2)
FAULTS: list[tuple[str, Reason, dict[str, Any]]] = [
    ("trading_state", Reason.TRADING_HALTED, {"trading": told_to(TradingState.HALTED)}),
    ("restricted", Reason.INSTRUMENT_RESTRICTED, {"instrument": {"restricted": True}}),
    ("currency", Reason.CURRENCY_MISMATCH, {"instrument": {"currency": "EUR"}}),
    ("signal_age", Reason.SIGNAL_STALE, {"signal": {"created_at_ns": NOW_NS - 10**18}}),
    ("strategy_rate", Reason.STRATEGY_THROTTLED, {"allowed": False}),
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
    ("slippage", Reason.SLIPPAGE_LIMIT, {"limits": {"slippage_bps_max": "0.01"}}),
    ("short_sale", Reason.NOT_SHORTABLE, {"instrument": {"shortable": False}}),
    ("order_notional", Reason.ORDER_NOTIONAL_LIMIT, {"limits": {"order_notional_max": 1}}),
    (
        "symbol_position",
        Reason.SYMBOL_POSITION_LIMIT,
        {"limits": {"symbol_position_notional_max": 1}},
    ),
    ("gross_exposure", Reason.GROSS_EXPOSURE_LIMIT, {"limits": {"gross_exposure_max": 1}}),
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
]


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
    state = view(equity=loose.get("equity", 100_000), trading=loose.get("trading"))
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
        throttle=Throttle(RATE, allowed=loose.get("allowed", True), remaining=0, retry_after_ns=0),
    )


def test_all_failures_are_listed_in_order_of_precedence() -> None:
    """Mend one fault after the other, from the first: the next one leads."""
    for mended in range(len(FAULTS)):
        left = FAULTS[mended:]
        decision = decide(with_faults(left))
        assert decision.outcome is Outcome.REJECTED
        assert decision.reasons == [reason for _, reason, _ in left]
        failed = [check for check in decision.checks if not check.passed]
        assert [check.name for check in failed] == [name for name, _, _ in left]
        assert decision.message == "; ".join(check.message for check in failed)
    assert decide(with_faults([])).outcome is Outcome.APPROVED


def test_the_walk_leaves_no_check_out() -> None:
    """A symbol that is unknown has nothing else to be refused by, so it walks alone."""
    assert [f"check_{name}" for name, _, _ in FAULTS] == [
        check.__name__ for check in CHECKS if check.__name__ != "check_instrument"
    ]
    assert [check.__name__ for check in CHECKS].index("check_instrument") == 1
    decision = decide(replace_inputs(with_faults(FAULTS), instrument=None))
    assert decision.reasons[:3] == [
        Reason.TRADING_HALTED,
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
    of_order = {"marks", "short_sale", "order_notional", "symbol_position", "gross_exposure"}
    if name in of_order | {"daily_loss", "drawdown"}:
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
        for name in ("order_notional_max", "symbol_position_notional_max", "gross_exposure_max")
    }
    in_force = {name: draw(mostly(value, None, 1)) for name, value in values.items()}
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


@settings(max_examples=500)
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
    assert CheckResult.from_json(check.to_json()) == check


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
    named = set(re.findall(r"`(\w+_(?:max|rate))`", DOCUMENT.read_text()))
    assert named <= {spec.name for spec in NUMERIC_LIMITS} | {"strategy_signal_rate"}
