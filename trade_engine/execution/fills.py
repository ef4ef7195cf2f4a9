"""Step 10 of the path: what brokers report joins the batch: order, fill, position and cash."""

from __future__ import annotations

from typing import Any

from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.money import text
from trade_engine.domain.order import Order, OrdStatus
from trade_engine.execution.batch import Batch
from trade_engine.execution.observer import Alert
from trade_engine.execution.order_state import FillDelta, apply_report
from trade_engine.execution.ports import Fill
from trade_engine.portfolio.ledger import book


def book_report(batch: Batch, broker: str, report: ExecutionReport, order: Order | None) -> None:
    """Fold one report into its order; journal it, or that it was not accepted and why.

    A report that says nothing new (a broker repeats itself after a reconnect) leaves no entry.
    """
    if order is None:
        ignore(batch, broker, report, "no order of this account has this ClOrdID")
        return
    leaves_before, before = order.leaves_qty, _gist(order)
    applied = apply_report(order, report, batch.now_ns)
    if not applied.accepted:
        ignore(batch, broker, report, applied.why)
        return
    if order.ord_status is OrdStatus.PENDING_CANCEL and not order.leaves_qty:
        # Nothing is left to cancel: the broker has no cancel to confirm any more.
        order.ord_status = OrdStatus.FILLED
    if applied.fill_delta is None and _gist(order) == before:
        return
    batch.exposure.work(order, order.leaves_qty - leaves_before)
    if applied.late_fill or applied.overfill:
        batch.alert(
            Alert.FILL_OUT_OF_ORDER,
            order_id=order.order_id,
            exec_id=report.exec_id,
            late=applied.late_fill,
            overfill=applied.overfill,
        )
    booked = _book_fill(batch, broker, order, report, applied.fill_delta)
    batch.write_order(
        EntryKind.EXECUTION, order, {"report": report.to_json(), "broker": broker, **booked}
    )


def ignore(batch: Batch, broker: str, report: ExecutionReport, why: str) -> None:
    """Journal a report that could not be applied: it is evidence, and somebody must look."""
    batch.alert(Alert.REPORT_IGNORED, broker=broker, exec_id=report.exec_id, why=why)
    batch.write(
        EntryKind.REPORT_IGNORED, {"report": report.to_json(), "broker": broker, "why": why}
    )


def engine_report(order: Order, exec_type: ExecType, now_ns: int, why: str) -> ExecutionReport:
    """A report that the engine itself makes of an order that no broker has."""
    return ExecutionReport(
        cl_ord_id=order.cl_ord_id,
        exec_id=f"engine-{order.order_id}-{exec_type}",
        exec_type=exec_type,
        transact_time_ns=now_ns,
        text=why,
    )


def _gist(order: Order) -> tuple[object, ...]:
    return (
        order.ord_status,
        order.delivery,
        order.cum_qty,
        order.leaves_qty,
        order.broker_order_id,
        order.chain,
    )


def _book_fill(
    batch: Batch, broker: str, order: Order, report: ExecutionReport, fill: FillDelta | None
) -> dict[str, Any]:
    """Book a fill; answers with what it did to position and cash, for the journal."""
    if fill is None:
        return {}
    state = batch.state
    position = state.position(order.strategy_id, order.symbol)
    booked = book(
        position,
        order.side,
        fill.last_qty,
        fill.last_px,
        fill.commission,
        batch.multiplier(order.symbol),
    )
    state.cash += booked.cash_change
    state.realized_pnl += booked.realized_pnl
    state.fees += fill.commission
    batch.exposure.fill(order.strategy_id, order.symbol, fill.last_qty * order.side.sign)
    batch.keep_position(position)
    batch.keep_fill(
        Fill(
            broker=broker,
            exec_id=report.exec_id,
            order_id=order.order_id,
            sequence=batch.next_sequence,
            strategy_id=order.strategy_id,
            symbol=order.symbol,
            side=order.side,
            last_qty=fill.last_qty,
            last_px=fill.last_px,
            commission=fill.commission,
            transact_time_ns=report.transact_time_ns,
        )
    )
    return {
        "position": position.to_json(),
        "cash": text(state.cash),
        "realized_pnl": text(booked.realized_pnl),
    }
