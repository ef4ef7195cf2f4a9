"""A broker that fills more than was ordered: booked, alerted on, and past a tolerance the end.

What the broker did with the account's money stands, so the fill counts like any other. But orders
out no longer mean what was approved, and nobody knows how much more will come.
"""

from __future__ import annotations

from decimal import Decimal

from trade_engine.domain.account import ENGINE
from trade_engine.domain.money import BPS, text
from trade_engine.domain.order import Order
from trade_engine.domain.trading_state import Scope, ScopeKind, ScopeState, TradingState
from trade_engine.execution.batch import Batch
from trade_engine.execution.observer import Alert
from trade_engine.execution.order_changes import set_trading_state
from trade_engine.execution.requests import StateChange


def halt_on_overfill(batch: Batch, order: Order, filled_before: Decimal) -> StateChange | None:
    """Halt the account if a report filled the order past what its terms tolerate."""
    tolerance_bps = batch.rulebook.accounts[order.account_id].overfill_bps_max
    is_tolerated = order.cum_qty * BPS <= order.order_qty * (BPS + tolerance_bps)
    if is_tolerated or order.cum_qty <= filled_before:
        return None
    scope = Scope(ScopeKind.ACCOUNT, order.account_id)
    why = (
        f"{order.broker} filled {text(order.cum_qty)} of order {order.order_id}, which was for "
        f"{text(order.order_qty)}"
    )
    batch.alert(Alert.OVERFILLED, account_id=order.account_id, order_id=order.order_id, why=why)
    return set_trading_state(
        batch,
        ScopeState(scope, TradingState.HALTED, why, ENGINE, batch.now_ns),
        "",
        cancel_open_orders=True,
        evidence={
            "overfill": {
                "order_id": order.order_id,
                "order_qty": text(order.order_qty),
                "cum_qty": text(order.cum_qty),
                "overfill_bps_max": text(tolerance_bps),
            }
        },
    )
