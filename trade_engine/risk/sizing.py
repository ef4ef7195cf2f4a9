"""Sizing: from the exposure that a strategy wants to the order that gets it there.

    order = (target - (position + working)) at the reference price, rounded down to the lot

side is a guard: an order in the other direction is no order. max_notional caps the size, and the
result says so; max_slippage_bps bounds the limit price. No limit of the engine resizes here.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trade_engine.domain.decision import Reason, Sizing
from trade_engine.domain.market import Instrument
from trade_engine.domain.money import ZERO, round_down
from trade_engine.domain.signal import ExposureUnit, Side, Signal
from trade_engine.risk.price import limit_price, worst_unit_value
from trade_engine.risk.view import View


@dataclass(slots=True)
class Sized:
    """The size; no_action says why there is nothing to order (order_quantity is then 0)."""

    sizing: Sizing
    no_action: Reason | None


def target_notional(signal: Signal, equity: Decimal | None) -> Decimal | None:
    """The signed exposure wanted, in money; None when it needs an equity that is not known."""
    if signal.exposure_unit is ExposureUnit.NOTIONAL:
        return signal.target_exposure
    return None if equity is None else signal.target_exposure * equity


def size(
    signal: Signal,
    view: View,
    instrument: Instrument,
    reference: Decimal,
    slippage_bps: Decimal,
) -> Sized | None:
    """Size the order; None when the target cannot be known (see `target_notional`).

    Quantities round toward zero to the lot: the order never goes past the target, nor past
    max_notional at its worst price.
    """
    wanted = target_notional(signal, view.equity)
    if wanted is None:
        return None
    side, lot = signal.side, instrument.lot
    target = wanted // (reference * instrument.multiplier * lot) * lot
    working = view.working_buy - view.working_sell
    change = round_down(target - view.quantity - working, lot)
    limit = limit_price(side, reference, slippage_bps, instrument.tick)
    unit = worst_unit_value(limit, reference, instrument.multiplier)

    quantity, capped_by = abs(change), ""
    no_action = _no_action(side, change)
    if no_action is None and signal.max_notional is not None:
        most = signal.max_notional // (unit * lot) * lot
        if quantity > most:
            quantity, capped_by = most, "max_notional"
            no_action = None if quantity else Reason.BELOW_LOT
    if no_action is not None:
        quantity = ZERO
    return Sized(
        Sizing(
            reference_price=reference,
            current_quantity=view.quantity,
            working_quantity=working,
            target_quantity=target,
            order_quantity=quantity,
            limit_price=limit,
            order_notional=quantity * unit,
            capped_by=capped_by,
        ),
        no_action,
    )


def _no_action(side: Side, change: Decimal) -> Reason | None:
    if not change:
        return Reason.AT_TARGET
    return None if (change > 0) == (side is Side.BUY) else Reason.SIDE_MISMATCH
