"""The ledger: fills folded into positions at average cost, in exact decimals.

A position holds its cost, not its average price. What a fill opens is added at what was paid for
it; what it closes takes its share of the cost with it, and the difference to what was received is
realized. The share of a part is a quotient, rounded once (`money.quotient`); a full close takes
all of the cost. Whatever is taken from cost is put into realized profit, so the rounding moves a
quantum between the two and never loses it: cash + cost - realized + fees is 0 after any fills.

Money of another currency is converted at each fill's own rate, cost and fee too, so that all sums
are the account's and what a currency gained or lost is realized with the rest. The same cost is
also kept in the instrument's currency, for the average price.

Executions that a venue busts or corrects are not undone by arithmetic on the position, which
would depend on the order of arrival: the position is folded again from those that survive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from trade_engine.domain.money import ZERO, quotient
from trade_engine.domain.position import Position
from trade_engine.domain.signal import Side


class Execution(Protocol):
    """A fill as the ledger needs it: units above 0; price and fee in the instrument's currency."""

    @property
    def side(self) -> Side:
        """BUY or SELL."""
        ...

    @property
    def last_qty(self) -> Decimal:
        """FIX LastQty(32)."""
        ...

    @property
    def last_px(self) -> Decimal:
        """FIX LastPx(31)."""
        ...

    @property
    def commission(self) -> Decimal:
        """FIX Commission(12); negative for a rebate."""
        ...

    @property
    def fx_rate(self) -> Decimal | None:
        """What one unit of its currency was worth in the account's; None where it is the same."""
        ...


@dataclass(frozen=True, slots=True)
class Booked:
    """What one fill did, in the account's currency.

    realized_pnl is gross of fees. cash_change is what came in (negative: went out), fee included.
    closing_fee and opening_fee are the fee, pro rata to the units closed and opened.
    """

    realized_pnl: Decimal
    cash_change: Decimal
    closing_fee: Decimal
    opening_fee: Decimal


def book(
    position: Position,
    side: Side,
    last_qty: Decimal,
    last_px: Decimal,
    commission: Decimal,
    multiplier: Decimal,
    fx_rate: Decimal | None = None,
) -> Booked:
    """Book one fill into the position, in place; fx_rate as in `Execution`.

    A fill against the position closes first; what is left of it opens on the other side at its own
    price (a flip through zero is a close and an open).

    Raises:
        ValueError: last_qty or multiplier is not above 0: nothing that can be booked.
    """
    if last_qty <= 0 or multiplier <= 0:
        raise ValueError(f"cannot book {last_qty} at multiplier {multiplier}: both must be above 0")
    sign = side.sign
    unit_value = sign * last_px * multiplier
    against = position.quantity * sign < 0
    closed_qty = min(last_qty, abs(position.quantity)) if against else ZERO
    realized = ZERO
    if fx_rate is not None:
        _keep_local(position, closed_qty, (last_qty - closed_qty) * unit_value)
        unit_value *= fx_rate
        commission *= fx_rate
    if closed_qty:
        share = _part(position.cost, closed_qty, abs(position.quantity))
        realized = -closed_qty * unit_value - share
        position.cost -= share
    position.cost += (last_qty - closed_qty) * unit_value
    position.quantity += last_qty * sign
    position.realized_pnl += realized
    position.fees += commission
    closing_fee = _part(commission, closed_qty, last_qty)
    return Booked(
        realized_pnl=realized,
        cash_change=-last_qty * unit_value - commission,
        closing_fee=closing_fee,
        opening_fee=commission - closing_fee,
    )


def refold(
    strategy_id: str, symbol: str, fills: Iterable[Execution], multiplier: Decimal
) -> Position:
    """Fold a position anew from the executions that survive busts and corrections.

    fills are all of the position's, in the order in which they were first reported; a corrected
    one stands, with its new numbers, where the one that it corrects stood.
    """
    position = Position(strategy_id, symbol)
    for fill in fills:
        book(
            position,
            fill.side,
            fill.last_qty,
            fill.last_px,
            fill.commission,
            multiplier,
            fill.fx_rate,
        )
    return position


def cash_moved(position: Position) -> Decimal:
    """All the cash that the position's fills brought in (negative: took out), fees included.

    What a bust does to cash is the difference of this before and after `refold`.
    """
    return position.realized_pnl - position.cost - position.fees


def _keep_local(position: Position, closed_qty: Decimal, opened: Decimal) -> None:
    """Move the cost in the instrument's currency, before the position's quantity moves."""
    cost = position.local_cost or ZERO
    if closed_qty:
        cost -= _part(cost, closed_qty, abs(position.quantity))
    position.local_cost = cost + opened


def _part(whole: Decimal, units: Decimal, of_units: Decimal) -> Decimal:
    """The share of `whole` that `units` out of `of_units` carry; a whole is never rounded."""
    if units == of_units:
        return whole
    return quotient(whole * units, of_units) if units else ZERO
