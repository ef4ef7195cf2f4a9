"""Reports of orders that the record does not have: kept until it has them.

That is an order of a record that lost its tail, or of another engine's. Its signal may come again:
then the order is known, what was reported of it is booked, and it is not sent, for the broker has
it already.
"""

from __future__ import annotations

from typing import Any

from trade_engine.domain.execution import ExecutionReport
from trade_engine.domain.order import Order
from trade_engine.execution.batch import Batch
from trade_engine.execution.fills import UNKNOWN_ORDER, book_report, ignore, named_orders

KEPT_MAX = 20
"""More than these are in the journal only: the state is written with every batch."""


def keep_unknown(batch: Batch, broker: str, report: ExecutionReport) -> None:
    """Journal a report of an unknown order, alert on it, and keep it; once, however often told."""
    kept = {"broker": broker, "report": report.to_json()}
    if kept in batch.state.unattributed:
        return
    if len(batch.state.unattributed) < KEPT_MAX:
        batch.state.unattributed = [*batch.state.unattributed, kept]
    ignore(batch, broker, report, UNKNOWN_ORDER)


def adopt(batch: Batch, order: Order) -> bool:
    """Book what was reported of an order before it was known; says whether anything was."""
    if not batch.state.unattributed:
        return False
    mine = [
        kept for kept in batch.state.unattributed if order.order_id in named_orders(_told(kept))
    ]
    batch.state.unattributed = [kept for kept in batch.state.unattributed if kept not in mine]
    for kept in mine:
        book_report(batch, kept["broker"], _told(kept), batch.find(order.order_id))
    return bool(mine)


def _told(kept: dict[str, Any]) -> ExecutionReport:
    return ExecutionReport.from_json(kept["report"])
