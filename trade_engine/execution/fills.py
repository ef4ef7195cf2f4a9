"""Step 10 of the path: what brokers report joins the batch: order, fill, position and cash."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trade_engine.domain.execution import (
    SYNTHETIC,
    BrokerReport,
    CancelReject,
    ExecType,
    ExecutionReport,
)
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.money import ZERO, text
from trade_engine.domain.order import Order, OrdStatus, order_id_of
from trade_engine.domain.replacement import is_replacement
from trade_engine.execution.amendments import executions_of, rebook
from trade_engine.execution.batch import Batch
from trade_engine.execution.commissions import unplaced_commission
from trade_engine.execution.observer import Alert
from trade_engine.execution.order_state import (
    Applied,
    Execution,
    FillDelta,
    apply_cancel_reject,
    apply_report,
    status_by_itself,
)
from trade_engine.execution.ports import Fill
from trade_engine.execution.report_faults import printable
from trade_engine.execution.synthetic import is_stale, make_room
from trade_engine.portfolio.ledger import book

UNKNOWN_ORDER = "no order of this account has this ClOrdID"
QUARANTINED_CHARS_MAX = 4000
NOTHING = FillDelta(ZERO, ZERO, ZERO)
UNSETTLED = frozenset({OrdStatus.PENDING_CANCEL, OrdStatus.PENDING_REPLACE, OrdStatus.PENDING_NEW})
"""States of an order that waits for the broker: what it claims meanwhile contradicts nothing."""


def book_report(batch: Batch, broker: str, report: ExecutionReport, order: Order | None) -> None:
    """Fold one report into its order; journal it, or that it was not accepted and why.

    A report that says nothing new (a broker repeats itself after a reconnect) leaves no entry.
    """
    if order is None:
        ignore(batch, broker, report, UNKNOWN_ORDER)
        return
    unplaced = unplaced_commission(batch, order, report)
    if unplaced:
        report = replace(report, commission=ZERO, commission_currency="", commission_kind="")
    if report.exec_id.startswith(SYNTHETIC) and report.exec_type is ExecType.TRADE:
        if is_stale(order, report):
            return
    elif report.exec_type is ExecType.TRADE and "synthetic" in order.chain:
        for amendment in _make_room(batch, report, order):
            book_report(batch, broker, amendment, order)
    working_before, before = order.working_qty, _gist(order)
    applied = apply_report(order, report, batch.now_ns, executions_of(batch, order))
    if applied.repeats:
        return
    if not applied.accepted:
        ignore(batch, broker, report, applied.why)
        return
    if order.ord_status is OrdStatus.PENDING_CANCEL and not order.leaves_qty:
        # Nothing is left to cancel: the broker has no cancel to confirm any more.
        order.ord_status = status_by_itself(order)
    derived = _contradicted(order, report)
    touches = applied.fill_delta is not None or applied.amended is not None
    if not touches and _gist(order) == before and not derived:
        return
    batch.exposure.work(order, order.working_qty - working_before)
    stray = touches and order.broker != broker
    if applied.late_fill or applied.overfill or stray:
        batch.alert(
            Alert.FILL_OUT_OF_ORDER,
            order_id=order.order_id,
            exec_id=report.exec_id,
            late=applied.late_fill,
            overfill=applied.overfill,
            **({"broker": broker} if stray else {}),
        )
    if derived:
        batch.alert(
            Alert.STATUS_CONTRADICTED,
            order_id=order.order_id,
            exec_id=report.exec_id,
            claimed=report.ord_status,
            derived=derived["derived"],
        )
    booked = _book(batch, broker, order, report, applied)
    if unplaced:
        batch.alert(
            Alert.COMMISSION_UNPLACED,
            order_id=order.order_id,
            exec_id=report.exec_id,
            **unplaced,
        )
        booked["unplaced_commission"] = unplaced
    batch.write_order(
        EntryKind.EXECUTION,
        order,
        {"report": report.to_json(), "broker": broker, **booked, **derived},
    )


def _make_room(batch: Batch, report: ExecutionReport, order: Order) -> list[ExecutionReport]:
    """What of the order's synthetic executions a real one takes the place of."""
    executions = executions_of(batch, order) or ()
    fills = batch.executions.get((order.strategy_id, order.symbol), ())
    return list(make_room(report, executions, fills))


def _contradicted(order: Order, report: ExecutionReport) -> dict[str, str]:
    """The state that follows from the reports, if the broker claims another; else nothing.

    REPLACED is no state of an order since FIX 4.3: a broker that still says so contradicts nothing.
    """
    claimed, derived = report.ord_status, order.ord_status
    if claimed in (None, derived, OrdStatus.REPLACED) or derived in UNSETTLED:
        return {}
    return {"derived": derived.value}


def named_orders(report: BrokerReport) -> list[str]:
    """The ids of orders that a report may be about: under a request's own ClOrdID, or the order's.

    Most reports name one.
    """
    order_id = order_id_of(report.cl_ord_id)
    if not report.orig_cl_ord_id or order_id_of(report.orig_cl_ord_id) == order_id:
        return [order_id]
    return [order_id, order_id_of(report.orig_cl_ord_id)]


def book_cancel_reject(
    batch: Batch, broker: str, reject: CancelReject, order: Order | None
) -> None:
    """The broker refuses a request: the order stands as before, and whoever asked can see why.

    A refusal of what is not asked for any more (the order ended first, or it was told before)
    says nothing new.
    """
    if order is None:
        ignore(batch, broker, reject, UNKNOWN_ORDER)
        return
    working_before = order.working_qty
    if apply_cancel_reject(order, reject, batch.now_ns).accepted:
        batch.exposure.work(order, order.working_qty - working_before)
        replaces = is_replacement(reject.cl_ord_id)
        batch.write_order(
            EntryKind.REPLACE_REJECTED if replaces else EntryKind.CANCEL_REJECTED,
            order,
            {"reject": reject.to_json(), "broker": broker},
        )


def ignore(batch: Batch, broker: str, report: BrokerReport, why: str) -> None:
    """Journal a report that could not be applied: it is evidence, and somebody must look."""
    batch.alert(Alert.REPORT_IGNORED, broker=broker, cl_ord_id=report.cl_ord_id, why=why)
    batch.write(
        EntryKind.REPORT_IGNORED, {"report": report.to_json(), "broker": broker, "why": why}
    )


def quarantine(batch: Batch, broker: str, report: BrokerReport, why: str) -> None:
    """Put aside, as a text, a report that cannot be recorded as it came; somebody must look."""
    written = ascii(report)[:QUARANTINED_CHARS_MAX]
    why = printable(why)
    batch.alert(Alert.REPORT_QUARANTINED, broker=broker, report=written, why=why)
    batch.write(EntryKind.REPORT_QUARANTINED, {"report": written, "broker": broker, "why": why})


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
        order.order_qty,
        order.price,
        order.cum_qty,
        order.leaves_qty,
        order.broker_order_id,
        order.chain,
    )


def _book(
    batch: Batch, broker: str, order: Order, report: ExecutionReport, applied: Applied
) -> dict[str, Any]:
    """Book what a report did to executions; answers with what that did, for the journal."""
    if report.exec_type is ExecType.TRADE:
        counts = applied.fill_delta or NOTHING  # busted before it came
        return _book_fill(batch, broker, order, report, counts, applied.amended)
    return rebook(batch, order, applied.amended) if applied.amended is not None else {}


def _book_fill(
    batch: Batch,
    broker: str,
    order: Order,
    report: ExecutionReport,
    counts: FillDelta,
    amended: Execution | None,
) -> dict[str, Any]:
    """Book a fill for what it counts; amended: busts or corrections of it had come before it."""
    state, fx_rate = batch.state, batch.exchanges.booking_rate(order)
    fill = Fill(
        broker=broker,
        exec_id=report.exec_id,
        order_id=order.order_id,
        sequence=batch.next_sequence,
        strategy_id=order.strategy_id,
        symbol=order.symbol,
        side=order.side,
        last_qty=counts.last_qty,
        last_px=counts.last_px,
        commission=counts.commission,
        transact_time_ns=report.transact_time_ns,
        amended_by=amended.ids[1:] if amended is not None else [],
        fx_rate=fx_rate,
    )
    batch.keep_fill(fill)
    position, realized = state.position(order.strategy_id, order.symbol), ZERO
    if counts.last_qty:
        booked = book(
            position,
            order.side,
            counts.last_qty,
            counts.last_px,
            counts.commission,
            batch.multiplier(order.symbol),
            fx_rate,
        )
        realized = booked.realized_pnl
        state.cash += booked.cash_change
        state.realized_pnl += realized
        state.fees += booked.closing_fee + booked.opening_fee
        traded = abs(counts.last_qty * counts.last_px) * batch.multiplier(order.symbol)
        state.day.traded += traded if fx_rate is None else traded * fx_rate
        batch.exposure.fill(order.strategy_id, order.symbol, counts.last_qty * order.side.sign)
    batch.keep_position(position)
    told = {
        "position": position.to_json(),
        "cash": text(state.cash),
        "realized_pnl": text(realized),
    }
    return told if fx_rate is None else told | {"fx_rate": text(fx_rate)}
