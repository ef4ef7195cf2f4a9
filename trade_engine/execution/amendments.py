"""Busts and corrections: what an execution counted for is taken back, and counted anew.

The order of arrival must not matter, so nothing is undone by arithmetic on the position: it is
folded from its executions as they were and as they are now, and moved by the difference. An order
whose fill is busted may be able to fill again; it then stands with its reservation.
"""

from __future__ import annotations

from typing import Any

from trade_engine.domain.execution import SYNTHETIC, ExecutionReport
from trade_engine.domain.money import ZERO, text
from trade_engine.domain.order import Order
from trade_engine.execution.batch import Batch
from trade_engine.execution.order_chain import AMENDMENTS
from trade_engine.execution.order_facts import Execution
from trade_engine.execution.ports import Fill
from trade_engine.portfolio.ledger import cash_moved, refold


def needs_executions(order: Order, report: ExecutionReport) -> bool:
    """Whether a report can only be folded in with the order's executions at hand."""
    if order.chain and (order.chain["waiting"] or "synthetic" in order.chain):
        return True
    return amends(report)


def amends(report: ExecutionReport) -> bool:
    """Whether a report is folded in beside an order's executions, whatever the order knows."""
    return report.exec_type in AMENDMENTS or report.exec_id.startswith(SYNTHETIC)


def executions_of(batch: Batch, order: Order) -> list[Execution] | None:
    """What was booked for an order, as it now counts; None where that was not read."""
    fills = batch.executions.get((order.strategy_id, order.symbol))
    if fills is None:
        return None
    return [
        Execution(
            exec_id=fill.exec_id,
            last_qty=fill.last_qty,
            value=fill.last_qty * fill.last_px,
            commission=fill.commission,
            busted=not fill.last_qty,
            ids=[fill.exec_id, *fill.amended_by],
        )
        for fill in fills
        if fill.order_id == order.order_id
    ]


def rebook(batch: Batch, order: Order, execution: Execution) -> dict[str, Any]:
    """Move position, cash and result by what an amendment changed; answers with it, to journal."""
    fills = batch.executions[order.strategy_id, order.symbol]
    fill = next(
        each
        for each in fills
        if each.order_id == order.order_id and each.exec_id == execution.exec_id
    )
    multiplier, state = batch.multiplier(order.symbol), batch.state
    before = refold(order.strategy_id, order.symbol, _surviving(fills), multiplier)
    take_numbers(fill, execution)
    after = refold(order.strategy_id, order.symbol, _surviving(fills), multiplier)
    position = state.position(order.strategy_id, order.symbol)
    position.quantity += after.quantity - before.quantity
    position.cost += after.cost - before.cost
    if position.local_cost is not None:
        position.local_cost += (after.local_cost or ZERO) - (before.local_cost or ZERO)
    position.realized_pnl += after.realized_pnl - before.realized_pnl
    position.fees += after.fees - before.fees
    state.cash += cash_moved(after) - cash_moved(before)
    state.realized_pnl += after.realized_pnl - before.realized_pnl
    state.fees += after.fees - before.fees
    batch.exposure.fill(order.strategy_id, order.symbol, after.quantity - before.quantity)
    batch.keep_position(position)
    batch.keep_amended(fill)
    return {
        "amended": {
            "exec_id": fill.exec_id,
            "last_qty": text(fill.last_qty),
            "last_px": text(fill.last_px),
            "commission": text(fill.commission),
        },
        "position": position.to_json(),
        "cash": text(state.cash),
        "realized_pnl": text(after.realized_pnl - before.realized_pnl),
    }


def take_numbers(fill: Fill, execution: Execution) -> None:
    """Let a fill count for what its execution counts for now."""
    fill.last_qty, fill.last_px = execution.last_qty, execution.last_px
    fill.commission = execution.commission
    fill.amended_by = execution.ids[1:]


def _surviving(fills: list[Fill]) -> list[Fill]:
    return [fill for fill in fills if fill.last_qty]
