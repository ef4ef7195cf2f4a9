"""What the paper venue charges."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.brokers.paper_order import PaperOrder
from trade_engine.domain.money import BPS, ZERO


def charge(order: PaperOrder, quantity: Decimal, price: Decimal, config: PaperConfig) -> Decimal:
    """Add a fill's cost to the order's, and return what the fill is charged.

    The minimum and the rounding hold for the order, not for each of its fills: the fills' charges
    add up to what one fill of the whole would have been charged. To be called before the fill is
    counted in the order's cum_qty.
    """
    if config.is_free:
        return ZERO
    paid = _owed(order.commission, config) if order.cum_qty else ZERO
    order.commission += (
        config.commission_per_share * quantity
        + config.commission_bps * quantity * price * order.multiplier / BPS
    )
    return _owed(order.commission, config) - paid


def _owed(cost: Decimal, config: PaperConfig) -> Decimal:
    owed = max(cost, config.commission_min)
    steps = (owed / config.commission_step).to_integral_value(rounding=ROUND_HALF_EVEN)
    return steps * config.commission_step
