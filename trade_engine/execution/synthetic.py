"""Synthetic fills: what reconciliation books where a broker filled more than it told executions of.

Their ExecID follows from order and CumQty, so that whoever makes one makes the same, and it can be
booked only where it lifts the order to exactly that. When the real execution arrives after all it
takes the place of as much: the synthetic one is corrected, or busted, in the same batch. An
execution that the venue dates later than the synthetic fill is none that it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from trade_engine.domain.execution import SYNTHETIC, ExecType, ExecutionReport
from trade_engine.domain.money import ZERO, quotient, text
from trade_engine.domain.order import Order
from trade_engine.execution.order_facts import Execution
from trade_engine.execution.ports import BrokerOrder, Fill


def synthetic_fill(order: Order, seen: BrokerOrder, now_ns: int) -> ExecutionReport | None:
    """The fill that lifts an order to the broker's CumQty; None where nothing is missing.

    Its price is what makes AvgPx the broker's, or the order's limit where the broker does not say;
    None where there is neither.
    """
    gap = seen.cum_qty - order.cum_qty
    if gap <= 0:
        return None
    px = order.price
    if seen.avg_px is not None:
        missing = seen.avg_px * seen.cum_qty - order.cum_value
        px = quotient(missing, gap) if missing > 0 else seen.avg_px
    if px is None:
        return None
    return ExecutionReport(
        cl_ord_id=order.cl_ord_id,
        exec_id=f"{SYNTHETIC}{order.order_id}-{text(seen.cum_qty)}",
        exec_type=ExecType.TRADE,
        transact_time_ns=now_ns,
        last_qty=gap,
        last_px=px,
        broker_order_id=seen.broker_order_id,
        text="made in reconciliation: the broker filled this, and told no execution of it",
    )


def is_stale(order: Order, report: ExecutionReport) -> bool:
    """Whether a synthetic fill was overtaken: the order is not where it would lift it from."""
    lifts_to = Decimal(report.exec_id.rpartition("-")[2])
    return order.cum_qty + report.last_qty != lifts_to


def make_room(
    report: ExecutionReport, executions: Sequence[Execution], fills: Sequence[Fill]
) -> Iterator[ExecutionReport]:
    """What a real execution takes the place of: amendments of synthetic ones, to be booked first.

    executions are the order's, as they count now; fills are the same as they were booked.
    """
    if any(report.exec_id in each.ids for each in executions):
        return
    made_ns = {fill.exec_id: fill.transact_time_ns for fill in fills}
    left, value = report.last_qty, report.last_qty * (report.last_px or ZERO)
    for each in executions:
        if not each.exec_id.startswith(SYNTHETIC) or each.busted or not left:
            continue
        if report.transact_time_ns > made_ns[each.exec_id]:
            continue
        taken = min(left, each.last_qty)
        yield _less(each, taken, quotient(value * taken, report.last_qty), report)
        left -= taken


def _less(
    each: Execution, taken: Decimal, value: Decimal, report: ExecutionReport
) -> ExecutionReport:
    """The synthetic execution without what the real one tells; what it cost in all stays."""
    rest = each.last_qty - taken
    rest_px = None
    if rest:
        rest_px = quotient(each.value - value, rest) if each.value > value else each.last_px
    return ExecutionReport(
        cl_ord_id=report.cl_ord_id,
        exec_id=f"{each.exec_id}-for-{report.exec_id}",
        exec_type=ExecType.TRADE_CORRECT if rest else ExecType.TRADE_CANCEL,
        transact_time_ns=report.transact_time_ns,
        last_qty=rest,
        last_px=rest_px,
        exec_ref_id=each.ids[-1],
        text=f"execution {report.exec_id} takes its place",
    )
