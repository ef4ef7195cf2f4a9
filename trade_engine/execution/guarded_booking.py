"""A report of a known order is booked, and what it made of the order held against the approval."""

from __future__ import annotations

from trade_engine.domain.execution import ExecutionReport
from trade_engine.domain.order import Order
from trade_engine.execution.batch import Batch
from trade_engine.execution.changed_terms import halt_on_changed_terms
from trade_engine.execution.fills import book_report
from trade_engine.execution.overfill import halt_on_overfill
from trade_engine.execution.requests import StateChange
from trade_engine.execution.turned_up import has_turned_up, stand_again, take_back


def book_guarded(
    batch: Batch, broker: str, report: ExecutionReport, order: Order
) -> list[StateChange]:
    """Book one report; answers with the halts that follow from it."""
    was_gone = has_turned_up(order, report)
    if was_gone:
        stand_again(batch, order, report)
    before = order.copy()
    book_report(batch, broker, report, order)
    if was_gone:
        take_back(batch, order)
    halts = (
        halt_on_changed_terms(batch, before, order, report),
        halt_on_overfill(batch, order, before.cum_qty),
    )
    return [each for each in halts if each is not None]
