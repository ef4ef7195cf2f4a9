"""Sizing: from the exposure that a strategy wants to the order that gets it there.

    order = target / reference price - (position + working), rounded down to the lot

A working order that is to be replaced is left out of `working`: what is then missing is what it is
to have left, and its OrderQty is that and what it has filled. Where nothing is missing, or only in
the other direction, nothing more of it is wanted, and it is to be canceled.

side is a guard: an order in the other direction is no order. max_notional caps the size, and the
result says so; max_slippage_bps bounds the limit price. No limit of the engine resizes here.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trade_engine.domain.decision import Reason, Sizing
from trade_engine.domain.market import Instrument
from trade_engine.domain.money import ZERO
from trade_engine.domain.signal import ExposureUnit, Side, Signal
from trade_engine.risk.price import limit_price, worst_unit_value
from trade_engine.risk.standing import Replaceable
from trade_engine.risk.view import View

NOTIONAL, BUY = ExposureUnit.NOTIONAL, Side.BUY
AT_TARGET, SIDE_MISMATCH, BELOW_LOT = Reason.AT_TARGET, Reason.SIDE_MISMATCH, Reason.BELOW_LOT


@dataclass(slots=True)
class Sized:
    """The size; no_action says why there is nothing to order (order_quantity is then 0).

    replaces is the order that gets new terms, None where a new one is made. filled_notional is what
    it has filled, at the worst price.
    """

    sizing: Sizing
    no_action: Reason | None
    replaces: Replaceable | None = None
    filled_notional: Decimal = ZERO

    @property
    def whole_quantity(self) -> Decimal:
        """OrderQty: all of the order, what is filled already included."""
        quantity = self.sizing.order_quantity
        return quantity if self.replaces is None else quantity + self.replaces.cum_qty

    @property
    def cancels(self) -> bool:
        """Whether nothing more is wanted of the order that would be replaced."""
        return self.replaces is not None and not self.sizing.order_quantity


def target_notional(signal: Signal, equity: Decimal | None) -> Decimal | None:
    """The signed exposure wanted, in money; None when it needs an equity that is not known."""
    if signal.exposure_unit is NOTIONAL:
        return signal.target_exposure
    return None if equity is None else signal.target_exposure * equity


def size(
    signal: Signal,
    view: View,
    instrument: Instrument,
    reference: Decimal,
    slippage_bps: Decimal,
    multiplier: Decimal,
) -> Sized | None:
    """Size the order; None when the target cannot be known (see `target_notional`).

    Quantities round toward zero to the lot: the order never goes past the target, from whichever
    side, nor past max_notional at its worst price. target_quantity is rounded for whoever reads it.
    multiplier is what one unit at price 1 is worth to the account.
    """
    wanted = target_notional(signal, view.equity)
    if wanted is None:
        return None
    side, lot, held, standing = signal.side, instrument.lot, view.quantity, view.standing
    price = reference * multiplier
    lot_value = price * lot
    working = view.working_buy - view.working_sell
    there = held + working
    replaces = None if standing is None else standing.replaceable
    if replaces is not None:
        there -= replaces.leaves_qty * side.sign
    # Rounded once, and only the change: a target rounded by itself would be passed when reducing.
    change = (wanted - there * price) // lot_value * lot
    target = wanted // lot_value * lot
    limit = limit_price(side, reference, slippage_bps, instrument.tick)
    unit = worst_unit_value(limit, reference, multiplier)

    no_action, capped_by, most = _no_action(side, change), "", signal.max_notional
    quantity = abs(change) if no_action is None else ZERO
    notional = quantity * unit
    if no_action is None and most is not None and notional > most:
        quantity, capped_by = most // (unit * lot) * lot, "max_notional"
        notional = quantity * unit
        no_action = None if quantity else BELOW_LOT
    sizing = Sizing(reference, held, working, target, quantity, limit, notional, capped_by)
    if replaces is None or no_action is BELOW_LOT:
        return Sized(sizing, no_action)
    return _replacing(sizing, replaces, unit)


def _replacing(sizing: Sizing, replaces: Replaceable, unit: Decimal) -> Sized:
    """New terms for a working order, unless it has them already."""
    if (sizing.order_quantity, sizing.limit_price) == (replaces.leaves_qty, replaces.price):
        sizing.order_quantity = sizing.order_notional = ZERO
        return Sized(sizing, AT_TARGET)
    return Sized(sizing, None, replaces, replaces.cum_qty * unit)


def _no_action(side: Side, change: Decimal) -> Reason | None:
    if not change:
        return AT_TARGET
    return None if (change > ZERO) == (side is BUY) else SIDE_MISMATCH
