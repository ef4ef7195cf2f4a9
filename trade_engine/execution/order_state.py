"""The life of an order, as the path to capital sees it: what happens is folded into `Order`.

Each function here puts an order's fields and its memory (`Order.chain`) into the order machine
(`order_chain`, ruled by `order_table`), lets one thing happen to it, and writes back what follows.
An illegal event changes nothing, and `Applied.why` says in words what was wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from trade_engine.domain.execution import CancelReject, ExecType, ExecutionReport
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import DeliveryState, Order, OrdStatus
from trade_engine.execution.order_chain import AMENDMENTS, OrderChain
from trade_engine.execution.order_facts import Execution, Request, RequestKind
from trade_engine.execution.order_memory import memory_json, recall
from trade_engine.execution.order_table import DAY_ENDED, ENDED

__all__ = [
    "Applied",
    "Execution",
    "FillDelta",
    "RequestKind",
    "apply_cancel_reject",
    "apply_report",
    "chain_of",
    "note_delivery",
    "note_request",
    "status_by_itself",
    "turn_day",
]

_MARKS = ENDED | DAY_ENDED | {OrdStatus.STOPPED, OrdStatus.SUSPENDED}
_PENDING = {
    OrdStatus.PENDING_CANCEL: RequestKind.CANCEL,
    OrdStatus.PENDING_REPLACE: RequestKind.REPLACE,
}


@dataclass(slots=True)
class FillDelta:
    """What a report adds to the ledger: units, price per unit, and the fee, as it was reported."""

    last_qty: Decimal
    last_px: Decimal
    commission: Decimal


@dataclass(slots=True)
class Applied:
    """What became of an event.

    why says in words why it was not accepted; the order is then unchanged. repeats: it told only
    what is known already. late_fill: the order
    was closed already. overfill: more than OrderQty is now filled. Both are booked all the same.
    amended is an execution with its new numbers after a bust (busted, all 0) or a correction: the
    position has to be folded again from the surviving ones. waiting: the amendment is kept until
    the execution that it names arrives.
    """

    accepted: bool
    why: str = ""
    repeats: bool = False
    fill_delta: FillDelta | None = None
    late_fill: bool = False
    overfill: bool = False
    amended: Execution | None = None
    waiting: bool = False


def apply_report(
    order: Order,
    report: ExecutionReport,
    now_ns: int,
    executions: Sequence[Execution] | None = None,
) -> Applied:
    """Fold one report into the order, in place; an illegal one changes nothing.

    executions are all that were booked for the order, in order of arrival, with their present
    numbers; only a bust or a correction needs them, and is refused without.
    """
    if executions is None and report.exec_type in AMENDMENTS:
        return Applied(
            accepted=False,
            why=f"{report.exec_type} needs the order's executions, which are not at hand",
        )
    chain = chain_of(order, executions or ())
    why = chain.refusal(report)
    if why:
        return Applied(accepted=False, why=why, repeats=chain.repeats(report))
    could_fill = chain.leaves_qty > 0
    touched = chain.fold(report)
    order.delivery = DeliveryState.SENT
    _write(chain, order, now_ns)
    order.broker_order_id = report.broker_order_id or order.broker_order_id
    order.text = report.text or order.text
    if report.exec_type is ExecType.TRADE and touched is not None:
        return Applied(
            accepted=True,
            fill_delta=_delta(touched, report),
            late_fill=not could_fill,
            overfill=chain.cum_qty > chain.order_qty,
            amended=touched if len(touched.ids) > 1 else None,
        )
    waiting = report.exec_type in AMENDMENTS and touched is None
    return Applied(
        accepted=True,
        overfill=touched is not None and chain.cum_qty > chain.order_qty,
        amended=touched,
        waiting=waiting,
    )


def apply_cancel_reject(order: Order, reject: CancelReject, now_ns: int) -> Applied:
    """The broker refuses to cancel or to replace: the order stands as it did before."""
    chain = chain_of(order)
    why = chain.reject_refusal(reject)
    if why:
        return Applied(accepted=False, why=why)
    chain.reject_request(reject)
    order.cancel_requested = any(
        each.kind is RequestKind.CANCEL for each in chain.requests.values()
    )
    if not reject.unknown_order:
        order.delivery = DeliveryState.SENT
    _write(chain, order, now_ns)
    order.text = reject.text or order.text
    return Applied(accepted=True)


def note_request(
    order: Order,
    kind: RequestKind,
    cl_ord_id: str,
    now_ns: int,
    order_qty: Decimal | None = None,
    price: Decimal | None = None,
    signal_id: str = "",
    fx_rate: Decimal | None = None,
) -> Applied:
    """Remember that we ask the broker, under a ClOrdID of its own, to cancel or to replace.

    OrdStatus stays as it is until the broker answers: what it fills meanwhile, it fills.
    """
    chain = chain_of(order)
    why = chain.request_refusal(kind, cl_ord_id)
    if why:
        return Applied(accepted=False, why=why)
    chain.request(kind, cl_ord_id, order_qty, price, signal_id, now_ns, fx_rate)
    order.cancel_requested = order.cancel_requested or kind is RequestKind.CANCEL
    _write(chain, order, now_ns)
    return Applied(accepted=True)


def note_delivery(order: Order, cl_ord_id: str, delivery: DeliveryState, now_ns: int) -> None:
    """How far the sending of a request has come."""
    chain = chain_of(order)
    chain.requests[cl_ord_id].delivery = delivery
    _write(chain, order, now_ns)


def turn_day(order: Order, now_ns: int) -> bool:
    """A new trading day: a GTC order that was done for the day stands again. Says if it changed."""
    chain = chain_of(order)
    before = order.ord_status
    chain.turn_day()
    if chain.ord_status is before:
        return False
    _write(chain, order, now_ns)
    return True


def status_by_itself(order: Order) -> OrdStatus:
    """The state that an order is in beside all that is asked about it: filled, done for the day."""
    chain = chain_of(order)
    chain.requests = {}
    return chain.ord_status


def chain_of(order: Order, executions: Sequence[Execution] = ()) -> OrderChain:
    """The machine in the order's state; executions that are not given count as a sum."""
    chain = OrderChain(
        cl_ord_id=order.cl_ord_id,
        order_qty=order.order_qty,
        price=order.price,
        time_in_force=order.time_in_force,
        sent=True,
        cl_ord_ids=[order.cl_ord_id],
        executions=list(executions),
        fx_rate=order.fx_rate,
    )
    chain.unlisted_qty = order.cum_qty - chain.cum_qty
    chain.unlisted_value = order.cum_value - chain.cum_value
    if order.chain:
        recall(chain, order.chain)
        _heed_visible(chain, order)
    else:
        chain.acknowledged, chain.marks, chain.requests = _told_by_fields(order)
    return chain


def _told_by_fields(order: Order) -> tuple[bool, set[OrdStatus], dict[str, Request]]:
    """The facts (acknowledged, marks, requests) of an order that needs no memory."""
    visible = order.ord_status
    requests = {}
    kind = _PENDING.get(visible)
    if kind is not None:
        requests[kind.unnamed] = Request(kind, pending=True)
    if order.cancel_requested and visible not in ENDED:
        requests.setdefault(RequestKind.CANCEL.unnamed, Request(RequestKind.CANCEL))
    unheard = visible is OrdStatus.PENDING_NEW or (
        kind is not None and order.delivery is not DeliveryState.SENT
    )
    return not unheard, {visible} & _MARKS, requests


def _heed_visible(chain: OrderChain, order: Order) -> None:
    """A cancel may have been made visible, or taken as settled, without the machine's knowing."""
    if chain.ord_status is order.ord_status:
        return
    kind = _PENDING.get(order.ord_status)
    if kind is None:
        for each in chain.requests.values():
            each.pending = False
    else:
        chain.requests.setdefault(kind.unnamed, Request(kind)).pending = True


def _write(chain: OrderChain, order: Order, now_ns: int) -> None:
    order.ord_status = chain.ord_status
    order.order_qty = chain.order_qty
    order.price = chain.price
    order.fx_rate = chain.fx_rate
    order.cum_qty = chain.cum_qty
    order.cum_value = chain.cum_value
    order.leaves_qty = chain.leaves_qty
    order.chain = {} if _is_plain(chain, order) else memory_json(chain)
    order.updated_at_ns = now_ns


def _is_plain(chain: OrderChain, order: Order) -> bool:
    """Whether the order's own fields tell all of it, as they do for nearly every order."""
    facts = (chain.acknowledged, chain.marks, chain.requests)
    return (
        facts == _told_by_fields(order)
        and chain.cl_ord_ids == [order.cl_ord_id]
        and not (chain.waiting or chain.duplicates or chain.day or chain.synthetic)
    )


def _delta(execution: Execution, report: ExecutionReport) -> FillDelta | None:
    """What the new execution adds to the ledger; less, or nothing, if it was amended already."""
    if execution.busted:
        return None
    px = execution.last_px if len(execution.ids) > 1 else report.last_px or ZERO
    return FillDelta(execution.last_qty, px, execution.commission)
