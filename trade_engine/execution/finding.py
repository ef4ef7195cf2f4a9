"""What a batch needs from the record before it is computed, beside the account's state."""

from __future__ import annotations

from trade_engine.domain.account import AccountState, PositionKey
from trade_engine.domain.decision import Decision
from trade_engine.domain.order import Order, order_id_for
from trade_engine.execution.amendments import needs_executions
from trade_engine.execution.attempt import Attempt
from trade_engine.execution.fills import named_orders
from trade_engine.execution.flattening import closing_signals
from trade_engine.execution.ports import Fill, RecordLookups
from trade_engine.execution.requests import CancelRequest, FlattenRequest, ReportsRequest
from trade_engine.execution.unattributed import adopted_amends


async def find_closed(
    record: RecordLookups, attempt: Attempt, state: AccountState
) -> dict[str, Order]:
    """Orders that requests name and that are not open: closed ones, or unknown."""
    wanted: set[str] = set()
    for request in attempt.requests:
        if isinstance(request, ReportsRequest):
            wanted.update(name for each in request.reports for name in named_orders(each))
        elif isinstance(request, CancelRequest):
            wanted.add(request.order_id)
    missing = [order_id for order_id in wanted if order_id not in state.orders]
    if not missing:
        return {}
    return await record.find_orders(state.account_id, missing)


async def find_flattened(
    record: RecordLookups, attempt: Attempt, state: AccountState
) -> dict[str, Decision]:
    """What requests to flatten have led to before: they may come again."""
    signal_ids = [
        signal.signal_id
        for request in attempt.requests
        if isinstance(request, FlattenRequest)
        for signal in closing_signals(state, request.command)
    ]
    if not signal_ids:
        return {}
    return await record.find_decisions(state.account_id, signal_ids)


async def find_executions(
    record: RecordLookups, attempt: Attempt, state: AccountState, closed: dict[str, Order]
) -> dict[PositionKey, list[Fill]]:
    """The executions of positions that a bust or a correction is about, or may wait for.

    One that came before its order was known is booked when that order's signal comes.
    """
    about: set[PositionKey] = set()
    for report in attempt.execution_reports():
        for name in named_orders(report):
            order = state.orders.get(name) or closed.get(name)
            if order is not None and needs_executions(order, report):
                about.add((order.strategy_id, order.symbol))
    for signal in attempt.signals() if state.unattributed else ():
        if adopted_amends(state, order_id_for(state.account_id, signal.signal_id)):
            about.add((signal.strategy_id, signal.symbol))
    find = record.find_fills
    return {key: await find(state.account_id, *key) for key in sorted(about)}
