"""A broker that changes an order by itself: what it says is folded in, and past the approval halts.

An order that works for more than it was approved for, or at a worse limit, and than the engine asks
for in a request to replace that is open, has terms that no decision allowed: a fill within them is
no overfill, and would pass unseen. Less, or a better limit, harms nobody. A corporate action scales
both, and is left alone.
"""

from __future__ import annotations

from trade_engine.domain.account import ENGINE
from trade_engine.domain.execution import ExecRestatementReason, ExecType, ExecutionReport
from trade_engine.domain.money import optional_text, text
from trade_engine.domain.order import Order
from trade_engine.domain.replacement import terms_asked
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import Scope, ScopeKind, ScopeState, TradingState
from trade_engine.execution.batch import Batch
from trade_engine.execution.observer import Alert
from trade_engine.execution.order_changes import set_trading_state
from trade_engine.execution.requests import StateChange


def halt_on_changed_terms(
    batch: Batch, before: Order, order: Order, report: ExecutionReport
) -> StateChange | None:
    """Halt the account if a report made the order larger than before, or its limit worse."""
    if _is_split(report):
        return None
    changes = [*_enlarged(before, order, report), *_worse_limit(before, order)]
    if not changes:
        return None
    why = f"{order.broker} changed order {order.order_id} unasked: " + ", ".join(changes)
    batch.alert(Alert.TERMS_CHANGED, account_id=order.account_id, order_id=order.order_id, why=why)
    scope = Scope(ScopeKind.ACCOUNT, order.account_id)
    return set_trading_state(
        batch,
        ScopeState(scope, TradingState.HALTED, why, ENGINE, batch.now_ns),
        "",
        cancel_open_orders=True,
        evidence={
            "changed_terms": {
                "order_id": order.order_id,
                "order_qty": [text(before.order_qty), text(order.order_qty)],
                "price": [optional_text(before.price), optional_text(order.price)],
            }
        },
    )


def _is_split(report: ExecutionReport) -> bool:
    reason = report.exec_restatement_reason
    return (
        report.exec_type is ExecType.RESTATED
        and reason is ExecRestatementReason.GT_CORPORATE_ACTION
    )


def _enlarged(before: Order, order: Order, report: ExecutionReport) -> list[str]:
    """OrderQty never falls below CumQty: an overfill that it follows has its own tolerance."""
    told, asked = report.order_qty, terms_asked(before)
    allowed = max(before.order_qty, asked.order_qty) if asked else before.order_qty
    if told is None or not allowed < told <= order.order_qty:
        return []
    return [f"OrderQty {text(order.order_qty)}, not {text(before.order_qty)}"]


def _worse_limit(before: Order, order: Order) -> list[str]:
    was, now, asked = before.price, order.price, terms_asked(before)
    if was is not None and asked is not None:
        was = max(was, asked.price) if order.side is Side.BUY else min(was, asked.price)
    if was is None or now is None or was == now or (now > was) is not (order.side is Side.BUY):
        return []
    return [f"Price {text(now)}, not {text(was)}"]
