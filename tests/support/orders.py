"""Orders and reports for the tests of the order machine."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from trade_engine.domain.execution import CancelReject, ExecType, ExecutionReport
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import Order, OrdStatus, OrdType, TimeInForce
from trade_engine.domain.signal import Side
from trade_engine.execution.order_chain import OrderChain
from trade_engine.execution.order_facts import RequestKind
from trade_engine.execution.order_table import Event

ORDER_QTY = Decimal(100)
FIRST_FILL = Decimal(40)
PX = Decimal(10)


def make_order(**changes: Any) -> Order:
    """An order of 100, approved and being sent."""
    values: dict[str, Any] = {
        "order_id": "X",
        "account_id": "acc",
        "strategy_id": "momentum",
        "symbol": "AAPL",
        "signal_id": "s-1",
        "side": Side.BUY,
        "ord_type": OrdType.LIMIT,
        "time_in_force": TimeInForce.DAY,
        "order_qty": ORDER_QTY,
        "leaves_qty": ORDER_QTY,
        "price": PX,
        "broker": "paper",
        "created_at_ns": 1,
    }
    return Order(**(values | changes))


def make_report(exec_type: ExecType, exec_id: str = "", **changes: Any) -> ExecutionReport:
    """A report about order X; a TRADE is of 40 at 10."""
    values: dict[str, Any] = {
        "cl_ord_id": "X",
        "exec_id": exec_id or f"e-{exec_type}",
        "exec_type": exec_type,
        "transact_time_ns": 2,
    }
    if exec_type is ExecType.TRADE:
        values |= {"last_qty": FIRST_FILL, "last_px": PX}
    return ExecutionReport(**(values | changes))


def fill(exec_id: str, qty: Decimal | int, px: Decimal | int = PX) -> ExecutionReport:
    return make_report(ExecType.TRADE, exec_id, last_qty=Decimal(qty), last_px=Decimal(px))


def bust(exec_id: str, ref: str) -> ExecutionReport:
    return make_report(ExecType.TRADE_CANCEL, exec_id, exec_ref_id=ref)


def correct(exec_id: str, ref: str, qty: int, px: Decimal | int | None = None) -> ExecutionReport:
    last_px = None if px is None else Decimal(px)
    return make_report(
        ExecType.TRADE_CORRECT, exec_id, exec_ref_id=ref, last_qty=Decimal(qty), last_px=last_px
    )


def sent_chain(time_in_force: TimeInForce = TimeInForce.DAY) -> OrderChain:
    chain = OrderChain("X", ORDER_QTY, PX, time_in_force)
    chain.send("X")
    return chain


REPORTS_TO: dict[OrdStatus, list[str]] = {
    OrdStatus.PENDING_NEW: [],
    OrdStatus.NEW: [ExecType.NEW],
    OrdStatus.PARTIALLY_FILLED: [ExecType.NEW, ExecType.TRADE],
    OrdStatus.FILLED: [ExecType.NEW, ExecType.TRADE, "fill the rest"],
    OrdStatus.DONE_FOR_DAY: [ExecType.NEW, ExecType.TRADE, ExecType.DONE_FOR_DAY],
    OrdStatus.CANCELED: [ExecType.NEW, ExecType.TRADE, ExecType.CANCELED],
    OrdStatus.EXPIRED: [ExecType.NEW, ExecType.TRADE, ExecType.EXPIRED],
    OrdStatus.REJECTED: [ExecType.REJECTED],
    OrdStatus.PENDING_CANCEL: [ExecType.NEW, ExecType.TRADE, "cancel", ExecType.PENDING_CANCEL],
    OrdStatus.PENDING_REPLACE: [ExecType.NEW, ExecType.TRADE, "replace", ExecType.PENDING_REPLACE],
    OrdStatus.STOPPED: [ExecType.NEW, ExecType.STOPPED],
    OrdStatus.SUSPENDED: [ExecType.NEW, ExecType.SUSPENDED],
    OrdStatus.CALCULATED: [ExecType.NEW, ExecType.TRADE, "fill the rest", ExecType.CALCULATED],
}
"""How an order comes into each state that the machine can show."""


def chain_in(status: OrdStatus, time_in_force: TimeInForce = TimeInForce.DAY) -> OrderChain:
    """A chain in this state, by the shortest honest way."""
    chain = sent_chain(time_in_force)
    for step in REPORTS_TO[status]:
        if step == "cancel":
            chain.request(RequestKind.CANCEL, "Y")
        elif step == "replace":
            chain.request(RequestKind.REPLACE, "Y", Decimal(120))
        elif step == "fill the rest":
            chain.fold(fill("e-rest", ORDER_QTY - FIRST_FILL))
        else:
            chain.fold(make_report(ExecType(step)))
    assert chain.ord_status is status
    return chain


def happen(chain: OrderChain, event: Event) -> str:
    """Let the event come, in its plainest form; answers with why it was refused, or ""."""
    match event:
        case Event.ORDER_SENT:
            chain.send("X")
            return ""
        case Event.NEW_DAY:
            chain.turn_day()
            return ""
        case Event.CANCEL_REQUEST | Event.REPLACE_REQUEST:
            kind = RequestKind.CANCEL if event is Event.CANCEL_REQUEST else RequestKind.REPLACE
            why = chain.request_refusal(kind, "Z")
            if not why:
                chain.request(kind, "Z", Decimal(120))
            return why
        case Event.CANCEL_REJECT:
            reject = CancelReject("Y", 3, orig_cl_ord_id="X")
            why = chain.reject_refusal(reject)
            if not why:
                chain.reject_request(reject)
            return why
        case Event.DUPLICATE_REJECTED:
            chain.send("X")
            return _report(chain, make_report(ExecType.REJECTED, "e-again"))
        case Event.TRADE:
            return _report(chain, fill("e-more", 10))
        case Event.TRADE_CANCEL:
            return _report(chain, bust("e-bust", "e-TRADE"))
        case Event.TRADE_CORRECT:
            return _report(chain, correct("e-correct", "e-TRADE", 30))
        case Event.REPLACED:
            report = make_report(ExecType.REPLACED, order_qty=Decimal(120))
            return _report(chain, report)
        case _:
            return _report(chain, make_report(ExecType(event.value), f"e-{event}-again"))


def _report(chain: OrderChain, report: ExecutionReport) -> str:
    why = chain.refusal(report)
    if not why:
        chain.fold(report)
    return why


def surviving_qty(chain: OrderChain) -> Decimal:
    return sum((each.last_qty for each in chain.executions), ZERO)
