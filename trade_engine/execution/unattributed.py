"""Reports of orders that the record does not have: kept until it has them.

That is an order of a record that lost its tail, or of another engine's. Its signal may come again:
then the order is known, what was reported of it is booked, and it is not sent, for the broker has
it already.
"""

from __future__ import annotations

from typing import Any

from trade_engine.domain.account import AccountState
from trade_engine.domain.execution import ExecutionReport
from trade_engine.domain.order import Order
from trade_engine.execution.amendments import amends
from trade_engine.execution.batch import Batch
from trade_engine.execution.fills import UNKNOWN_ORDER, ignore, named_orders
from trade_engine.execution.guarded_booking import book_guarded
from trade_engine.execution.requests import StateChange

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


def adopt(batch: Batch, order: Order) -> list[StateChange] | None:
    """Book what was reported of an order before it was known, and guard it like any report.

    Answers with the halts that follow; None where nothing was reported of it.
    """
    mine = _reported_of(batch.state, order.order_id)
    if not mine:
        return None
    batch.state.unattributed = [kept for kept in batch.state.unattributed if kept not in mine]
    halts = []
    for kept in mine:
        known = batch.find(order.order_id)
        assert known is not None  # noqa: S101  it was approved in this batch
        halts += book_guarded(batch, kept["broker"], _told(kept), known)
    return halts


def adopted_amends(state: AccountState, order_id: str) -> bool:
    """Whether what was reported of an order can only be booked with the executions at hand."""
    return any(amends(_told(kept)) for kept in _reported_of(state, order_id))


def _reported_of(state: AccountState, order_id: str) -> list[dict[str, Any]]:
    """What is kept of an order, in the order of arrival."""
    return [kept for kept in state.unattributed if order_id in named_orders(_told(kept))]


def _told(kept: dict[str, Any]) -> ExecutionReport:
    return ExecutionReport.from_json(kept["report"])
