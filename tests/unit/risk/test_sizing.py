from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, Inexact, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cases import STOCK, signal, view
from trade_engine.domain.decision import Reason
from trade_engine.domain.market import Instrument
from trade_engine.domain.money import COST_QUANTUM, MAX_ABS, MAX_DECIMALS, ZERO
from trade_engine.domain.signal import ExposureUnit, Side, Signal
from trade_engine.risk.sizing import Sized, size, target_notional
from trade_engine.risk.view import View

BUY, SELL = Side.BUY, Side.SELL


def sized(wish: Signal, state: View, price: str = "100", bps: int = 0) -> Sized:
    found = size(wish, state, STOCK, Decimal(price), Decimal(bps), STOCK.multiplier)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("target", "side", "held", "ordered", "why"),
    [
        # flat
        (1000, BUY, (0, 0, 0), 10, None),
        (1099, BUY, (0, 0, 0), 10, None),
        (-1000, SELL, (0, 0, 0), 10, None),
        (-1099, SELL, (0, 0, 0), 10, None),
        (99, BUY, (0, 0, 0), 0, Reason.AT_TARGET),
        (0, BUY, (0, 0, 0), 0, Reason.AT_TARGET),
        # long
        (1000, BUY, (4, 0, 0), 6, None),
        (1000, BUY, (10, 0, 0), 0, Reason.AT_TARGET),
        (1000, BUY, (11, 0, 0), 0, Reason.SIDE_MISMATCH),
        (1000, SELL, (11, 0, 0), 1, None),
        (0, SELL, (11, 0, 0), 11, None),
        # reducing, it stops before the target as well
        (950, SELL, (10, 0, 0), 0, Reason.AT_TARGET),
        (950, SELL, (11, 0, 0), 1, None),
        (50, SELL, (10, 0, 0), 9, None),
        (-950, BUY, (-10, 0, 0), 0, Reason.AT_TARGET),
        (-950, BUY, (-12, 0, 0), 2, None),
        (-950, SELL, (10, 0, 0), 19, None),
        # short, and through zero both ways
        (-1000, SELL, (-4, 0, 0), 6, None),
        (-1000, BUY, (-4, 0, 0), 0, Reason.SIDE_MISMATCH),
        (1000, BUY, (-4, 0, 0), 14, None),
        (-1000, SELL, (4, 0, 0), 14, None),
        # what is working counts as if it were held
        (1000, BUY, (0, 10, 0), 0, Reason.AT_TARGET),
        (1000, BUY, (0, 4, 0), 6, None),
        (1000, BUY, (12, 0, 2), 0, Reason.AT_TARGET),
        (1000, BUY, (8, 5, 3), 0, Reason.AT_TARGET),
        (0, SELL, (10, 0, 10), 0, Reason.AT_TARGET),
        # odd lots stay
        (1000, BUY, ("0.5", 0, 0), 9, None),
        (0, SELL, ("0.5", 0, 0), 0, Reason.AT_TARGET),
    ],
)
def test_the_order_goes_from_what_is_held_and_working_to_the_target(
    target: int, side: Side, held: tuple[int, int, int], ordered: int, why: Reason | None
) -> None:
    found = sized(signal(target, side), view(*held))
    assert (found.sizing.order_quantity, found.no_action) == (ordered, why)
    assert found.sizing.current_quantity == Decimal(held[0])
    assert found.sizing.working_quantity == Decimal(held[1]) - Decimal(held[2])
    assert found.sizing.capped_by == ""


@pytest.mark.parametrize(
    ("cap", "ordered", "capped_by", "why"),
    [
        ("1010.10", 10, "", None),  # 10 at 101.01, the worst price
        ("1010.09", 9, "max_notional", None),
        ("101.01", 1, "max_notional", None),
        ("101", 0, "max_notional", Reason.BELOW_LOT),
    ],
)
def test_max_notional_caps_the_order_at_its_worst_price(
    cap: str, ordered: int, capped_by: str, why: Reason | None
) -> None:
    wish = signal(1000, max_notional=Decimal(cap))
    found = size(wish, view(), STOCK, Decimal(100), Decimal(101), STOCK.multiplier)
    assert found is not None
    assert (found.sizing.order_quantity, found.no_action) == (ordered, why)
    assert found.sizing.capped_by == capped_by
    assert found.sizing.limit_price == Decimal("101.01")
    assert found.sizing.order_notional == ordered * Decimal("101.01")


def test_a_cap_says_nothing_where_there_is_no_order() -> None:
    found = sized(signal(1000, SELL, max_notional=COST_QUANTUM), view())
    assert (found.no_action, found.sizing.capped_by) == (Reason.SIDE_MISMATCH, "")


def test_a_fraction_of_equity() -> None:
    wish = signal("0.25", exposure_unit=ExposureUnit.EQUITY_FRACTION)
    assert target_notional(wish, Decimal(8000)) == 2000
    assert target_notional(wish, None) is None
    assert sized(wish, view(equity=8000)).sizing.target_quantity == 20
    assert size(wish, view(equity=None), STOCK, Decimal(100), ZERO, STOCK.multiplier) is None


@given(equity=st.none() | st.decimals(-MAX_ABS, MAX_ABS, places=2))
def test_a_notional_target_does_not_ask_for_equity(equity: Decimal | None) -> None:
    assert target_notional(signal(750), equity) == 750


def entering(least: Decimal, most: Decimal = MAX_ABS) -> st.SearchStrategy[Decimal]:
    """All that may enter, and the ends and the ordinary more often."""
    ends = [least, most, *(each for each in (Decimal(1), Decimal("0.01")) if least <= each <= most)]
    anything = st.decimals(least, most, places=MAX_DECIMALS)
    ordinary = st.decimals(max(least, Decimal(-5000)), min(most, Decimal(5000)), places=2)
    return st.sampled_from(ends) | ordinary.filter(lambda each: each >= least) | anything


positive = entering(COST_QUANTUM)
held = entering(-MAX_ABS)


Situation = tuple[Signal, View, Instrument, Decimal, Decimal, Decimal]


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    instrument = replace(STOCK, tick=draw(positive), lot=draw(positive), multiplier=draw(positive))
    fraction = draw(st.booleans())
    wish = signal(
        draw(entering(Decimal(-10), Decimal(10)) if fraction else held),
        draw(st.sampled_from(Side)),
        exposure_unit=ExposureUnit.EQUITY_FRACTION if fraction else ExposureUnit.NOTIONAL,
        max_notional=draw(st.none() | positive),
    )
    working = entering(ZERO)
    state = view(draw(held), draw(working), draw(working), equity=draw(held))
    # Half of the middle of two ticks is as fine as a reference gets.
    reference = draw(positive) + draw(st.sampled_from([ZERO, COST_QUANTUM / 2]))
    bps = draw(st.sampled_from([ZERO, Decimal(9999), Decimal(10000)]) | entering(ZERO))
    rate = draw(st.just(Decimal(1)) | positive)  # of the instrument's currency in the account's
    return wish, state, instrument, reference, bps, instrument.multiplier * rate


@given(situations())
def test_an_order_never_goes_wrong(
    situation: Situation,
) -> None:
    wish, state, instrument, reference, bps, multiplier = situation
    with localcontext() as context:
        context.traps[Inexact] = True  # nothing is rounded on the way
        found = size(*situation)
    assert found is not None
    sizing, lot, sign = found.sizing, Fraction(instrument.lot), wish.side.sign
    wanted = target_notional(wish, state.equity)
    assert wanted is not None
    unit = Fraction(reference) * Fraction(multiplier)
    ordered, target = Fraction(sizing.order_quantity), Fraction(sizing.target_quantity)
    before = Fraction(state.quantity) + Fraction(state.working_buy) - Fraction(state.working_sell)
    after = before + sign * ordered

    # The target is told as what was wanted, less the part of a lot.
    assert (target / lot).denominator == 1
    assert 0 <= abs(Fraction(wanted)) - abs(target) * unit < lot * unit
    assert target * Fraction(wanted) >= 0
    # Whole lots, in the direction that side allows, and never past what was wanted.
    wish_in_units = Fraction(wanted) / unit
    assert ordered >= 0
    assert (ordered / lot).denominator == 1
    assert ordered == 0 or (
        before < after <= wish_in_units if sign > 0 else wish_in_units <= after < before
    )
    assert (found.no_action is None) == (ordered > 0)
    distance = (wish_in_units - before) * sign
    assert (found.no_action is Reason.AT_TARGET) == (abs(distance) < lot)
    assert (found.no_action is Reason.SIDE_MISMATCH) == (distance <= -lot)
    # At its worst price within max_notional, and as near to the target as that allows.
    worst = max(Fraction(sizing.limit_price), Fraction(reference)) * Fraction(multiplier)
    assert sizing.order_notional == ordered * worst
    if sizing.capped_by:
        assert wish.max_notional is not None
        assert ordered * worst <= Fraction(wish.max_notional) < (ordered + lot) * worst
        assert ordered + lot <= distance
    elif ordered:
        assert distance - ordered < lot
        assert wish.max_notional is None or ordered * worst <= Fraction(wish.max_notional)
    # No price beyond the bound on slippage.
    limit, slip = Fraction(sizing.limit_price), Fraction(bps) / 10_000
    tick = Fraction(instrument.tick)
    assert (limit / tick).denominator == 1
    if wish.side is BUY:
        assert 0 <= limit <= Fraction(reference) * (1 + slip) < limit + tick
    elif slip < 1:
        assert tick <= limit
        assert limit - tick < Fraction(reference) * (1 - slip) <= limit
    else:
        assert limit == tick
