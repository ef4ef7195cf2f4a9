"""The ledger: average cost by example, and what is conserved whatever is booked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_engine.domain.money import COST_QUANTUM, ONE, ZERO
from trade_engine.domain.position import Position
from trade_engine.domain.signal import Side
from trade_engine.portfolio.ledger import Booked, book, cash_moved, refold


@dataclass(frozen=True)
class Fill:
    side: Side
    last_qty: Decimal
    last_px: Decimal
    commission: Decimal = ZERO
    fx_rate: Decimal | None = None

    @property
    def signed_qty(self) -> Decimal:
        return self.last_qty * self.side.sign


def buy(qty: str, px: str, fee: str = "0") -> Fill:
    return Fill(Side.BUY, Decimal(qty), Decimal(px), Decimal(fee))


def sell(qty: str, px: str, fee: str = "0") -> Fill:
    return Fill(Side.SELL, Decimal(qty), Decimal(px), Decimal(fee))


def booked(position: Position, fill: Fill, multiplier: Decimal = ONE) -> Booked:
    return book(position, fill.side, fill.last_qty, fill.last_px, fill.commission, multiplier)


def flat() -> Position:
    return Position("momentum", "AAPL")


def folded(*fills: Fill, multiplier: Decimal = ONE) -> Position:
    return refold("momentum", "AAPL", fills, multiplier)


# ---- by example -----------------------------------------------------------------------------


def test_what_opens_is_added_at_what_it_cost() -> None:
    position = flat()
    assert booked(position, buy("10", "100", "1")) == Booked(
        realized_pnl=ZERO,
        cash_change=Decimal(-1001),
        closing_fee=ZERO,
        opening_fee=ONE,
    )
    booked(position, buy("30", "104"))
    assert (position.quantity, position.cost) == (40, 4120)
    assert position.avg_px(ONE) == 103
    assert (position.realized_pnl, position.fees) == (0, 1)


def test_what_closes_takes_its_share_of_the_cost() -> None:
    position = folded(buy("40", "103"))
    assert booked(position, sell("10", "110", "2")) == Booked(
        realized_pnl=Decimal(70),
        cash_change=Decimal(1098),
        closing_fee=Decimal(2),
        opening_fee=ZERO,
    )
    assert (position.quantity, position.cost) == (30, 3090)
    assert position.avg_px(ONE) == 103  # a reduction never moves it


def test_short_positions_are_the_mirror_image() -> None:
    position = folded(sell("10", "50"))
    assert (position.quantity, position.cost) == (-10, -500)
    assert booked(position, buy("4", "45")).realized_pnl == 20
    assert (position.quantity, position.cost) == (-6, -300)
    assert position.unrealized_pnl(Decimal(48), ONE) == 12


@pytest.mark.parametrize(
    ("first", "flip", "realized", "quantity", "cost"),
    [
        (buy("100", "50"), sell("250", "60", "5"), "1000", "-150", "-9000"),
        (sell("100", "50"), buy("250", "60", "5"), "-1000", "150", "9000"),
    ],
)
def test_a_flip_is_a_close_and_an_open(
    first: Fill, flip: Fill, realized: str, quantity: str, cost: str
) -> None:
    position = folded(first)
    result = booked(position, flip)
    assert result.realized_pnl == Decimal(realized)
    assert (result.closing_fee, result.opening_fee) == (2, 3)  # pro rata to 100 and 150
    assert (position.quantity, position.cost) == (Decimal(quantity), Decimal(cost))
    assert position.avg_px(ONE) == 60  # of the flipping fill alone
    assert position.fees == 5


def test_the_multiplier_scales_money_and_not_prices() -> None:
    multiplier = Decimal(50)
    position = folded(buy("2", "4000"), multiplier=multiplier)
    assert position.cost == 400_000
    assert position.avg_px(multiplier) == 4000
    assert booked(position, sell("1", "4010.25"), multiplier).realized_pnl == Decimal("512.5")


def test_prices_may_be_zero_or_negative() -> None:
    position = folded(buy("10", "-37.63"))
    assert (position.cost, cash_moved(position)) == (Decimal("-376.3"), Decimal("376.3"))
    assert booked(position, sell("10", "0")).realized_pnl == Decimal("376.3")
    assert position.cost == 0


def test_a_share_that_does_not_divide_is_rounded_once_and_nothing_is_lost() -> None:
    position = folded(buy("3", "0.000000000001"), buy("4", "0.000000000002"))
    assert position.cost == Decimal("0.000000000011")
    result = booked(position, sell("2", "1"))  # their share is 22/7 of the quantum: 3
    assert position.cost == Decimal("0.000000000008")
    assert result.realized_pnl == Decimal("1.999999999997")


def test_a_rebate_is_a_negative_fee() -> None:
    position = flat()
    assert booked(position, buy("1", "10", "-0.25")).cash_change == Decimal("-9.75")
    assert position.fees == Decimal("-0.25")


@pytest.mark.parametrize(("qty", "multiplier"), [("0", "1"), ("-1", "1"), ("1", "0"), ("1", "-1")])
def test_what_cannot_be_booked_changes_nothing(qty: str, multiplier: str) -> None:
    position = folded(buy("5", "10"))
    before = replace(position)
    with pytest.raises(ValueError, match="both must be above 0"):
        book(position, Side.BUY, Decimal(qty), ONE, ZERO, Decimal(multiplier))
    assert position == before


# ---- whatever is booked ---------------------------------------------------------------------

quantities = st.decimals("0.000001", "1000000", places=6)
prices = st.decimals("-500", "100000", places=6)
fees = st.decimals("-5", "50", places=4)
multipliers = st.sampled_from([ONE, Decimal(50), Decimal("0.01"), Decimal("12.5")])
fills = st.builds(
    Fill,
    side=st.sampled_from(Side),
    last_qty=st.one_of(quantities, st.integers(1, 5).map(Decimal)),
    last_px=prices,
    commission=fees,
)
histories = st.lists(fills, max_size=12)


@given(histories, multipliers)
def test_cash_is_what_was_paid_and_received(history: list[Fill], multiplier: Decimal) -> None:
    position, cash = flat(), ZERO
    for fill in history:
        cash += booked(position, fill, multiplier).cash_change
    paid = sum((fill.signed_qty * fill.last_px * multiplier for fill in history), ZERO)
    fees_paid = sum((fill.commission for fill in history), ZERO)
    assert cash == -paid - fees_paid == cash_moved(position)
    assert position.fees == fees_paid
    assert position.quantity == sum((fill.signed_qty for fill in history), ZERO)


@given(histories, multipliers, prices)
def test_profit_at_any_mark_is_cash_and_market_value(
    history: list[Fill], multiplier: Decimal, mark: Decimal
) -> None:
    position = folded(*history, multiplier=multiplier)
    profit = position.realized_pnl + position.unrealized_pnl(mark, multiplier) - position.fees
    assert profit == cash_moved(position) + position.quantity * mark * multiplier


@given(histories, multipliers)
def test_each_booking_tells_what_it_realized(history: list[Fill], multiplier: Decimal) -> None:
    position, realized = flat(), ZERO
    for fill in history:
        result = booked(position, fill, multiplier)
        realized += result.realized_pnl
        assert result.closing_fee + result.opening_fee == fill.commission
    assert realized == position.realized_pnl


@given(histories, multipliers)
def test_flat_costs_exactly_nothing(history: list[Fill], multiplier: Decimal) -> None:
    position = folded(*history, multiplier=multiplier)
    if position.quantity:
        side = Side.SELL if position.quantity > 0 else Side.BUY
        booked(position, Fill(side, abs(position.quantity), Decimal(7)), multiplier)
    assert position.quantity == 0
    assert position.cost == 0
    assert position.avg_px(multiplier) == 0


@given(histories, multipliers)
def test_only_the_closed_part_realizes(history: list[Fill], multiplier: Decimal) -> None:
    """A fill that adds to the position, or opens it, realizes nothing."""
    position = flat()
    for fill in history:
        adds = position.quantity * fill.side.sign >= 0
        result = booked(position, fill, multiplier)
        if adds:
            assert result.realized_pnl == 0
            assert result.closing_fee == 0


@given(histories, st.data(), multipliers)
def test_a_bust_leaves_no_trace(
    history: list[Fill], data: st.DataObject, multiplier: Decimal
) -> None:
    """Folding the survivors is the same as if the busted fill had never been."""
    busted = data.draw(fills)
    place = data.draw(st.integers(0, len(history)))
    with_it = folded(*history[:place], busted, *history[place:], multiplier=multiplier)
    never = flat()
    for fill in history:
        booked(never, fill, multiplier)
    survivors = folded(*history, multiplier=multiplier)
    assert survivors == never
    change = cash_moved(survivors) - cash_moved(with_it)
    assert change == busted.signed_qty * busted.last_px * multiplier + busted.commission


@given(histories, multipliers)
def test_an_average_lies_between_the_prices_paid(history: list[Fill], multiplier: Decimal) -> None:
    bought = [replace(fill, side=Side.BUY) for fill in history]
    if bought:
        average = folded(*bought, multiplier=multiplier).avg_px(multiplier)
        paid = [fill.last_px for fill in bought]
        assert min(paid) - COST_QUANTUM <= average <= max(paid) + COST_QUANTUM
