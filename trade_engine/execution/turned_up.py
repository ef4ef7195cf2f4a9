"""An order that was closed because its broker never saw it, and that the broker has after all.

It may fill. So it stands again from the first report that says so, holds its reservation, and is
canceled like any order, for as long as its broker needs: whoever was told that it is closed made
plans without it.
"""

from __future__ import annotations

from trade_engine.domain.account import ENGINE
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.order import UNCLEAR, Order, OrdStatus
from trade_engine.execution.batch import Batch
from trade_engine.execution.fills import engine_report
from trade_engine.execution.observer import Alert
from trade_engine.execution.order_changes import request_cancel

STANDS_AGAIN = "its broker has it after all"
NOT_WANTED = "it was closed as never seen, and turned up"
_LIVES = frozenset(
    {
        ExecType.NEW,
        ExecType.PENDING_NEW,
        ExecType.TRADE,
        ExecType.STOPPED,
        ExecType.SUSPENDED,
        ExecType.RESTATED,
    }
)
"""Reports that say that an order may fill at its broker, or has."""


def has_turned_up(order: Order, report: ExecutionReport) -> bool:
    """Whether the engine closed the order alone, nobody having proved that it arrived: it did."""
    alone = order.ord_status is OrdStatus.CANCELED and order.delivery in UNCLEAR
    return alone and report.exec_type in _LIVES


def stand_again(batch: Batch, order: Order, report: ExecutionReport) -> None:
    """Let the order be what it was before it was closed: unclear, and reserved for."""
    order.ord_status, order.chain, order.cancel_requested = OrdStatus.PENDING_NEW, {}, False
    order.leaves_qty = order.order_qty - order.cum_qty
    batch.exposure.work(order, order.leaves_qty)
    again = engine_report(order, ExecType.RESTATED, batch.now_ns, STANDS_AGAIN)
    batch.write_order(
        EntryKind.EXECUTION, order, {"report": again.to_json(), "broker": order.broker}
    )
    batch.alert(
        Alert.ORDER_TURNED_UP,
        order_id=order.order_id,
        exec_id=report.exec_id,
        reported=report.exec_type,
    )


def take_back(batch: Batch, order: Order) -> None:
    """Ask its broker to cancel what is left of it."""
    if order.is_open and not order.cancel_requested:
        request_cancel(batch, order, "", NOT_WANTED, ENGINE)
