"""Orders and the sessions of their instruments: DAY orders end, and GTC orders go on.

A broker that expires DAY orders by itself says so; for the one that does not, the engine ends them.
One that was not sent expires here. One that the broker has is canceled there, and stays what it is
until the broker has answered: that it is over is the broker's to say.

A DAY order is good for the session of its instrument's calendar in which, or before which, it was
approved. Where that calendar is not known any more, the account's own day ends it.
"""

from __future__ import annotations

from trade_engine.domain.account import ENGINE
from trade_engine.domain.execution import ExecRestatementReason, ExecType
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.order import DeliveryState, Order, TimeInForce
from trade_engine.domain.session import Session
from trade_engine.execution.batch import Batch
from trade_engine.execution.fills import engine_report
from trade_engine.execution.order_changes import cancel_unsent, request_cancel
from trade_engine.execution.order_state import turn_day
from trade_engine.execution.order_table import DAY_ENDED

DAY_IS_OVER = "DAY: the session is over"
STANDS_AGAIN = "GTC: a new session has begun"


def turn_sessions(batch: Batch, account_session: Session | None) -> list[Order]:
    """Do what sessions that ended or began do to open orders.

    Answers with the orders that brokers must cancel.
    """
    to_cancel = []
    for order in [each for each in batch.state.orders.values() if heeds_sessions(each)]:
        session = _session(batch, order) or account_session
        if session is None:
            continue
        if order.time_in_force is TimeInForce.GTC:
            _renew(batch, order, session)
        elif _is_over(order, session):
            _end(batch, order)
            to_cancel.append(order)
    return [order for order in to_cancel if order.is_open]


def heeds_sessions(order: Order) -> bool:
    """Whether a session that ends or begins changes an open order as it stands."""
    if order.time_in_force is TimeInForce.GTC:
        return order.ord_status in DAY_ENDED
    return order.time_in_force is TimeInForce.DAY and not order.cancel_requested


def _session(batch: Batch, order: Order) -> Session | None:
    hours = batch.hours(order.symbol)
    return hours.session if hours is not None else None


def _is_over(order: Order, session: Session) -> bool:
    """Whether the session of now began after an order last changed.

    So a broker that refuses to cancel it is asked once in a session.
    """
    return max(order.created_at_ns, order.updated_at_ns) < session.begins_ns


def _end(batch: Batch, order: Order) -> None:
    if order.delivery is DeliveryState.QUEUED:
        cancel_unsent(batch, order, DAY_IS_OVER, ExecType.EXPIRED)
    else:
        request_cancel(batch, order, "", DAY_IS_OVER, ENGINE)


def _renew(batch: Batch, order: Order, session: Session) -> None:
    """Let an order that was done for an earlier day stand again, once its market is open."""
    if not order.updated_at_ns < session.opens_ns <= batch.now_ns:
        return
    working_before = order.working_qty
    if not turn_day(order, batch.now_ns):
        return
    batch.exposure.work(order, order.working_qty - working_before)
    report = engine_report(order, ExecType.RESTATED, batch.now_ns, STANDS_AGAIN)
    report.exec_id += f"-{session.name}"
    report.exec_restatement_reason = ExecRestatementReason.GT_RENEWAL
    batch.write_order(
        EntryKind.EXECUTION, order, {"report": report.to_json(), "broker": order.broker}
    )
