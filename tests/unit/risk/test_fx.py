"""Instruments in another currency: the rate, and every check that speaks of money, converted."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.cases import MS, NOW_NS, STOCK, inputs, judged, limits, quote, signal, view
from trade_engine.domain.decision import CheckResult, Decision, Outcome, Reason, Sizing
from trade_engine.domain.fx import FxPair
from trade_engine.domain.market import Quote
from trade_engine.domain.order import Order
from trade_engine.domain.signal import ExposureUnit, Side
from trade_engine.risk.fx import Exchange, NoRate, Rate
from trade_engine.risk.pre_trade import decide
from trade_engine.risk.standing import Standing

D = Decimal
CENT = D("0.01")
EUROPEAN = replace(STOCK, currency="EUR")
PAIR = FxPair("EUR", "USD", "EURUSD", age_ms_max=D(5000), band_bps_max=D(200))
INVERSE = FxPair("EUR", "USD", "USDEUR", age_ms_max=D(5000), band_bps_max=D(200), inverse=True)
BROKE = Standing()


def fx(bid: str = "1.09", ask: str = "1.11", **changes: Any) -> Quote:
    return quote(1, symbol="EURUSD", **({"bid": D(bid), "ask": D(ask)} | changes))


def exchange(last: Quote | None, earlier: Quote | None = None, pair: FxPair = PAIR) -> Exchange:
    """With the quote itself as the earlier one, unless given."""
    return Exchange(pair, last, earlier or last)


def abroad(**changes: Any) -> dict[str, Any]:
    """Ten shares at 100 EUR, a euro in the middle at 1.10 dollars and at worst at 1.11."""
    given = {"instrument": EUROPEAN, "exchange": exchange(fx()), "signal": signal(1110)}
    return given | changes


# ---- the rate -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pair", "told", "reference", "worst"),
    [
        (PAIR, {"bid": "1.09", "ask": "1.11"}, "1.1", "1.11"),
        (PAIR, {"bid": "1.1", "ask": "1.1"}, "1.1", "1.1"),
        (PAIR, {"last": "1.1"}, "1.1", "1.1"),
        (PAIR, {"ask": "1.2", "last": "1.1"}, "1.1", "1.2"),
        (PAIR, {"bid": "1", "last": "1.1"}, "1.1", "1.1"),
        # the other way round: by the bid, rounded up; the middle half to even
        (INVERSE, {"bid": "0.8", "ask": "1"}, "1.111111111111", "1.25"),
        (INVERSE, {"bid": "0.9", "ask": "0.9"}, "1.111111111111", "1.111111111112"),
        (INVERSE, {"last": "3"}, "0.333333333333", "0.333333333334"),
        (INVERSE, {"bid": "2", "last": "4"}, "0.25", "0.5"),
        (INVERSE, {"ask": "8", "last": "4"}, "0.25", "0.25"),
    ],
)
def test_a_rate_and_the_worst_it_may_be(
    pair: FxPair, told: dict[str, str], reference: str, worst: str
) -> None:
    given_to: dict[str, Any] = {name: D(price) for name, price in told.items()}
    last = quote(1, **({"symbol": pair.symbol, "bid": None, "ask": None} | given_to))
    assert exchange(last, pair=pair).rate(NOW_NS) == Rate(D(reference), D(worst))


@pytest.mark.parametrize(
    ("last", "earlier", "reason", "why"),
    [
        (None, fx(), Reason.FX_QUOTE_MISSING, "no quote of EURUSD is known"),
        (fx(bid="1.2"), fx(), Reason.FX_QUOTE_INVALID, "unusable: bid is above ask (crossed)"),
        (fx(bid="0"), fx(), Reason.FX_QUOTE_INVALID, "bid is not positive"),
        (fx(time_ns=NOW_NS - 5000 * MS - 1), None, Reason.FX_QUOTE_STALE, "at most 5000 are"),
        (fx(time_ns=NOW_NS + 5000 * MS + 1), None, Reason.FX_QUOTE_STALE, "5000.000001 ms from"),
        (fx(time_ns=NOW_NS - 5000 * MS), None, None, ""),
        (fx(time_ns=NOW_NS + 5000 * MS), None, None, ""),
        # 200 bps of 1.10 are 0.022
        (fx("1.122", "1.122"), fx(), None, ""),
        (fx("1.078", "1.078"), fx(), None, ""),
        (fx("1.122001", "1.122001"), fx(), Reason.FX_QUOTE_INVALID, "more than 200 bps from"),
        (fx("1.077999", "1.077999"), fx(), Reason.FX_QUOTE_INVALID, "the earlier one at 1.1"),
        (fx(), fx(bid="2"), Reason.FX_QUOTE_INVALID, "no sane earlier one"),
    ],
)
def test_when_there_is_no_rate(
    last: Quote | None, earlier: Quote | None, reason: Reason | None, why: str
) -> None:
    found = exchange(last, earlier).rate(NOW_NS)
    if reason is None:
        assert isinstance(found, Rate)
        return
    assert isinstance(found, NoRate)
    assert found.reason is reason
    assert why in found.why
    decision, check = judged("currency", **abroad(exchange=exchange(last, earlier)))
    assert decision.outcome is Outcome.REJECTED
    assert reason in decision.reasons
    assert check is not None
    assert not check.passed
    assert check.message == f"no rate of EUR in USD: {found.why}"
    assert (check.source, check.unit, check.limit) == ("fx.EURUSD", "ms", 5000)


def test_without_an_earlier_quote_there_is_no_rate() -> None:
    found = Exchange(PAIR, fx(), None).rate(NOW_NS)
    assert isinstance(found, NoRate)
    assert found.reason is Reason.FX_QUOTE_INVALID


def test_a_euro_worth_nothing_is_no_rate() -> None:
    found = exchange(quote(10**14, symbol="USDEUR"), pair=INVERSE).rate(NOW_NS)
    assert isinstance(found, NoRate)
    assert "makes a EUR worth nothing" in found.why


def test_what_closes_needs_a_rate_as_it_needs_a_price() -> None:
    given = abroad(signal=signal(0, Side.SELL), view=view(10), exchange=exchange(None))
    assert judged("currency", **given)[0].reasons == [Reason.FX_QUOTE_MISSING]


def test_without_a_pair_it_is_refused_as_ever() -> None:
    decision, _ = judged("currency", **abroad(exchange=None))
    assert decision.reasons == [Reason.CURRENCY_MISMATCH]


# ---- sizing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "side", "held", "ordered"),
    [
        ("1110", Side.BUY, 0, 10),
        ("1109.99", Side.BUY, 0, 9),
        ("1110.01", Side.BUY, 0, 10),
        ("-1110", Side.SELL, 0, 10),
        ("-1109.99", Side.SELL, 0, 9),
        ("1110", Side.BUY, -5, 15),
        ("0", Side.SELL, 10, 10),
        ("555", Side.SELL, 10, 5),
    ],
)
def test_a_target_in_dollars_becomes_shares_at_the_worst_rate(
    target: str, side: Side, held: int, ordered: int
) -> None:
    decision = decide(inputs(**abroad(signal=signal(D(target), side), view=view(held))))
    assert decision.outcome is Outcome.APPROVED
    sizing, order = decision.sizing, decision.order
    assert sizing is not None
    assert order is not None
    assert (sizing.order_quantity, sizing.order_notional) == (ordered, ordered * D(111))
    assert (sizing.reference_price, sizing.limit_price) == (100, 100)
    assert (sizing.currency, sizing.fx_rate, order.fx_rate) == ("EUR", D("1.11"), D("1.11"))
    assert decision.message.endswith("at 100 or better, a EUR counted as 1.11")


@pytest.mark.parametrize(("cap", "ordered"), [("1110", 10), ("1109.99", 9), ("111", 1)])
def test_max_notional_is_in_dollars(cap: str, ordered: int) -> None:
    decision = decide(inputs(**abroad(signal=signal(5000, max_notional=D(cap)))))
    assert decision.order is not None
    assert decision.order.order_qty == ordered


def test_a_fraction_of_equity_is_of_dollars() -> None:
    wish = signal("0.0111", exposure_unit=ExposureUnit.EQUITY_FRACTION)
    decision = decide(inputs(**abroad(signal=wish)))
    assert decision.order is not None
    assert decision.order.order_qty == 10  # of an equity of 100,000


def test_the_rate_is_in_the_journal_and_read_again() -> None:
    decision = decide(inputs(**abroad()))
    assert decision.order is not None
    assert decision.sizing is not None
    assert Decision.from_json(decision.to_json(), 0) == decision
    assert Order.from_json(decision.order.to_json()).fx_rate == D("1.11")
    assert decision.order.copy() == decision.order
    made = exchange(fx(), fx("1.1", "1.1"))
    assert Exchange.from_json(PAIR, made.to_json()) == made
    nothing = Exchange(PAIR, None, None)
    assert Exchange.from_json(PAIR, nothing.to_json()) == nothing


def test_in_the_accounts_own_currency_nothing_is_added() -> None:
    decision = decide(inputs())
    assert decision.order is not None
    assert decision.sizing is not None
    assert "fx_rate" not in decision.order.to_json()
    assert not {"fx_rate", "currency"} & decision.sizing.to_json().keys()
    assert Sizing.from_json(decision.sizing.to_json()) == decision.sizing


prices = st.decimals("0.01", 5000, places=4)
rates = st.decimals("0.000001", 500, places=6)


@given(
    price=prices,
    bid=rates,
    spread=st.decimals(0, 1, places=6),
    target=st.decimals(-(10**9), 10**9, places=2),
    cap=st.none() | st.decimals("0.01", 10**9, places=2),
    held=st.integers(-1000, 1000),
    pair=st.sampled_from([PAIR, INVERSE]),
)
def test_never_past_the_target_nor_the_cap_in_dollars(
    price: Decimal,
    bid: Decimal,
    spread: Decimal,
    target: Decimal,
    cap: Decimal | None,
    held: int,
    pair: FxPair,
) -> None:
    last = quote(1, symbol=pair.symbol, bid=bid, ask=bid + spread)
    side = Side.BUY if target > 0 else Side.SELL
    wish = signal(target, side, max_notional=cap)
    given_to = abroad(
        signal=wish, exchange=exchange(last, pair=pair), quote=quote(price), view=view(held)
    )
    sizing = decide(inputs(**given_to, earlier=quote(price))).sizing
    assume(sizing is not None)
    assert sizing is not None
    ordered, after = Fraction(sizing.order_quantity), Fraction(held)
    after += ordered * side.sign
    # At every rate that the quote allows, exactly.
    most = 1 / Fraction(bid) if pair.inverse else Fraction(bid + spread)
    if ordered and abs(held) <= abs(after):
        assert abs(after) * Fraction(price) * most <= abs(Fraction(target))
    if cap is not None:
        assert ordered * Fraction(price) * most <= Fraction(cap)
    assert ordered * Fraction(sizing.limit_price) * most <= Fraction(sizing.order_notional)


# ---- the checks, at the boundary ------------------------------------------------------------

ELSEWHERE = Standing(asset_gross=D(100), class_gross=D(200), net_long=D(300), funds=D(50))


@pytest.mark.parametrize("off", [CENT, D(0), -CENT])
@pytest.mark.parametrize(
    ("name", "limit_name", "projected", "given_to"),
    [
        ("order_notional", "order_notional_max", "1110", {}),
        ("order_notional", "order_notional_max", "1121.1", {"bps": 100}),
        ("symbol_position", "symbol_position_notional_max", "1110", {}),
        ("symbol_position", "symbol_position_notional_max", "2220", {"held": 10}),
        ("asset_exposure", "asset_exposure_max", "1210", {"standing": ELSEWHERE}),
        ("asset_class_exposure", "asset_class_exposure_max", "1310", {"standing": ELSEWHERE}),
        ("gross_exposure", "gross_exposure_max", "1510", {"other_gross": 400}),
        ("net_exposure", "net_exposure_max", "1410", {"standing": ELSEWHERE}),
        ("buying_power", "borrowing_max", "1160", {"standing": ELSEWHERE}),
        ("turnover", "turnover_day_max", "1110", {"standing": BROKE}),
        ("turnover", "turnover_day_max", "1332", {"standing": BROKE, "working": 2}),
    ],
)
def test_money_is_converted_before_a_limit_is_held_to_it(
    name: str, limit_name: str, projected: str, given_to: dict[str, Any], off: Decimal
) -> None:
    given_to = dict(given_to)
    held, working = given_to.pop("held", 0), given_to.pop("working", 0)
    wish = signal((10 + held + working) * 111, max_slippage_bps=D(given_to.pop("bps", 0)))
    check = _at(name, limit_name, D(projected) + off, wish, view(held, working, **given_to))
    assert check.projected == D(projected)
    assert check.unit == "USD"
    assert check.passed == (off >= 0)


@pytest.mark.parametrize("off", [D("0.0001"), D(0), -D("0.0001")])
@pytest.mark.parametrize(
    ("name", "limit_name"),
    [("asset_concentration", "asset_concentration_max"), ("leverage", "leverage_max")],
)
def test_a_multiple_of_equity_is_of_dollars(name: str, limit_name: str, off: Decimal) -> None:
    check = _at(name, limit_name, D("0.111") + off, signal(1110), view(equity=10_000))
    assert check.limit == (D("0.111") + off) * 10_000
    assert check.passed == (off >= 0)


def _at(name: str, limit_name: str, limit: Decimal, wish: Any, around: Any) -> CheckResult:
    given_to = abroad(signal=wish, view=around, limits=limits(**{limit_name: limit}))
    decision, check = judged(name, **given_to)
    assert decision.sizing is not None
    assert decision.sizing.order_quantity == 10
    assert check is not None
    return check
