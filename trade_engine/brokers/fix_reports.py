"""What comes in: a venue's messages become the engine's words, field by field, or are refused.

An ExecID is unique for the life of its order only, and many venues count from 1 again each day. So
an execution's name is its order's ClOrdID and its ExecID together, which is unique for ever.

A report goes by its order's first ClOrdID, whatever the order is called by then; only what answers
a request to replace keeps the request's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from fixcore.message.message import Message

from trade_engine.brokers import fix_fields as tag
from trade_engine.brokers.fix_known import KnownOrders
from trade_engine.domain.clock import NS_PER_S
from trade_engine.domain.errors import InvalidField
from trade_engine.domain.execution import (
    CancelReject,
    ExecRestatementReason,
    ExecType,
    ExecutionReport,
)
from trade_engine.domain.money import ZERO, parse
from trade_engine.domain.order import OrdStatus, order_id_of
from trade_engine.domain.replacement import is_replacement

_EXEC_TYPES = {
    "0": ExecType.NEW,
    "1": ExecType.TRADE,  # partial fill, and 2 fill: FIX 4.2, and venues that never left it
    "2": ExecType.TRADE,
    "3": ExecType.DONE_FOR_DAY,
    "4": ExecType.CANCELED,
    "5": ExecType.REPLACED,
    "6": ExecType.PENDING_CANCEL,
    "7": ExecType.STOPPED,
    "8": ExecType.REJECTED,
    "9": ExecType.SUSPENDED,
    "A": ExecType.PENDING_NEW,
    "B": ExecType.CALCULATED,
    "C": ExecType.EXPIRED,
    "D": ExecType.RESTATED,
    "E": ExecType.PENDING_REPLACE,
    "F": ExecType.TRADE,
    "G": ExecType.TRADE_CORRECT,
    "H": ExecType.TRADE_CANCEL,
    "I": ExecType.ORDER_STATUS,
}
_OF_TRANS_TYPE = {
    "1": ExecType.TRADE_CANCEL,
    "2": ExecType.TRADE_CORRECT,
    "3": ExecType.ORDER_STATUS,
}
"""FIX 4.2's ExecTransType(20), where it says more than ExecType; 0 is "new"."""
_RESTATEMENTS = dict(
    zip(
        ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "99"),
        ExecRestatementReason,
        strict=True,
    )
)
_STATUSES = {
    "0": OrdStatus.NEW,
    "1": OrdStatus.PARTIALLY_FILLED,
    "2": OrdStatus.FILLED,
    "3": OrdStatus.DONE_FOR_DAY,
    "4": OrdStatus.CANCELED,
    "5": OrdStatus.REPLACED,
    "6": OrdStatus.PENDING_CANCEL,
    "7": OrdStatus.STOPPED,
    "8": OrdStatus.REJECTED,
    "9": OrdStatus.SUSPENDED,
    "A": OrdStatus.PENDING_NEW,
    "B": OrdStatus.CALCULATED,
    "C": OrdStatus.EXPIRED,
    "D": OrdStatus.ACCEPTED_FOR_BIDDING,
    "E": OrdStatus.PENDING_REPLACE,
}
_WITH_QUANTITIES = frozenset({ExecType.TRADE, ExecType.TRADE_CORRECT})
_AMENDING = frozenset({ExecType.TRADE_CORRECT, ExecType.TRADE_CANCEL})
_RESTATING = frozenset({ExecType.REPLACED, ExecType.RESTATED})
_REPLACING = frozenset({ExecType.REPLACED, ExecType.PENDING_REPLACE})
_OPEN_STATUSES = frozenset("0156789ADE") - {"8"}
_REJECTED = "8"
_UNKNOWN_ORDER = "5"  # OrdRejReason(103)
_UNKNOWN_TO_CANCEL = "1"  # CxlRejReason(102)
_COMMISSION_PER_UNIT, _COMMISSION_ABSOLUTE = "1", "3"
_TIMESTAMP = re.compile(r"(\d{8}-\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?")
_ID_CHARS_MAX = 128


class Unreadable(Exception):
    """A message of the venue that is not what it should be; says which field, and why."""


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """What the venue says of an order that it was asked about; known is False for "never seen"."""

    order_id: str
    known: bool
    broker_order_id: str = ""
    cum_qty: Decimal = ZERO
    leaves_qty: Decimal = ZERO
    is_open: bool = False


def read_execution_report(
    message: Message, known: KnownOrders, *, asked: bool
) -> ExecutionReport | StatusAnswer:
    """ExecutionReport (8). asked: a question about this order has no answer yet.

    Raises:
        Unreadable: a field is missing, malformed, or of another order.
    """
    order_id = _order_id(message, known)
    order = known.get(order_id)
    if order is not None:
        _check_same(message, tag.SYMBOL, order.symbol)
        _check_same(message, tag.SIDE, order.side_code)
    exec_type = _exec_type(message)
    if exec_type is ExecType.ORDER_STATUS:
        return _status_answer(message, order_id)
    if (
        asked
        and exec_type is ExecType.REJECTED
        and message.get(tag.ORD_REJ_REASON) == _UNKNOWN_ORDER
    ):
        return StatusAnswer(order_id, known=False)
    report = ExecutionReport(
        cl_ord_id=order_id,
        exec_id=_exec_name(message, order_id, tag.EXEC_ID),
        exec_type=exec_type,
        transact_time_ns=read_time_ns(message),
        broker_order_id=message.get(tag.ORDER_ID)[:_ID_CHARS_MAX],
        text=message.get(tag.TEXT),
        ord_status=_STATUSES.get(message.get(tag.ORD_STATUS)),
    )
    if exec_type in _WITH_QUANTITIES:
        report.last_qty = _number(message, tag.LAST_QTY)
        if report.last_qty <= 0:
            raise Unreadable(f"LastQty(32) is {report.last_qty}, allowed is a number above 0")
        report.last_px = _number(message, tag.LAST_PX)
        report.commission = _commission(message, report)
        report.commission_currency = message.get(tag.COMM_CURRENCY)[:_ID_CHARS_MAX]
    if exec_type in _AMENDING:
        report.exec_ref_id = _exec_name(message, order_id, tag.EXEC_REF_ID)
    if exec_type in _REPLACING and is_replacement(message.get(tag.CL_ORD_ID)):
        report.cl_ord_id = message.get(tag.CL_ORD_ID)[:_ID_CHARS_MAX]
        report.orig_cl_ord_id = message.get(tag.ORIG_CL_ORD_ID)[:_ID_CHARS_MAX]
    if exec_type in _RESTATING:
        report.order_qty = _optional_number(message, tag.ORDER_QTY)
        report.price = _optional_number(message, tag.PRICE)
        report.exec_restatement_reason = _RESTATEMENTS.get(
            message.get(tag.EXEC_RESTATEMENT_REASON, "-")
        )
    return report


def read_cancel_reject(message: Message, known: KnownOrders) -> CancelReject:
    """OrderCancelReject (9).

    Raises:
        Unreadable: it names no order.
    """
    return CancelReject(
        cl_ord_id=message.get(tag.CL_ORD_ID)[:_ID_CHARS_MAX],
        transact_time_ns=read_time_ns(message),
        orig_cl_ord_id=_order_id(message, known),
        unknown_order=message.get(tag.CXL_REJ_REASON) == _UNKNOWN_TO_CANCEL,
        text=message.get(tag.TEXT),
    )


def _order_id(message: Message, known: KnownOrders) -> str:
    """The order: ClOrdID's, or OrigClOrdID's where that alone is known."""
    named = [order_id_of(message.get(each)) for each in (tag.CL_ORD_ID, tag.ORIG_CL_ORD_ID)]
    for order_id in named:
        if order_id in known:
            return order_id
    if not named[0] or len(named[0]) > _ID_CHARS_MAX:
        raise Unreadable(f"ClOrdID(11) is {named[0][:_ID_CHARS_MAX]!r}")
    return named[0]


def _check_same(message: Message, number: int, expected: str) -> None:
    given = message.get(number, expected)
    if given != expected:
        raise Unreadable(f"tag {number} is {given!r}, but the order's is {expected!r}")


def _exec_type(message: Message) -> ExecType:
    trans_type = message.get(tag.EXEC_TRANS_TYPE, "0")
    if trans_type != "0":
        if trans_type not in _OF_TRANS_TYPE:
            raise Unreadable(f"ExecTransType(20) is {trans_type!r}, allowed is 0, 1, 2 or 3")
        return _OF_TRANS_TYPE[trans_type]
    code = message.get(tag.EXEC_TYPE)
    if code not in _EXEC_TYPES:
        raise Unreadable(f"ExecType(150) is {code!r}, allowed is one of {''.join(_EXEC_TYPES)}")
    return _EXEC_TYPES[code]


def _status_answer(message: Message, order_id: str) -> StatusAnswer:
    status = message.get(tag.ORD_STATUS)
    if status == _REJECTED:
        known = message.get(tag.ORD_REJ_REASON) != _UNKNOWN_ORDER
        return StatusAnswer(order_id, known=known)
    if not status:
        raise Unreadable("OrdStatus(39) is missing")
    return StatusAnswer(
        order_id,
        known=True,
        broker_order_id=message.get(tag.ORDER_ID)[:_ID_CHARS_MAX],
        cum_qty=_number(message, tag.CUM_QTY),
        leaves_qty=_number(message, tag.LEAVES_QTY),
        is_open=status in _OPEN_STATUSES,
    )


def _exec_name(message: Message, order_id: str, number: int) -> str:
    exec_id = message.get(number)
    if not exec_id or len(exec_id) > _ID_CHARS_MAX:
        raise Unreadable(f"tag {number} is {exec_id[:_ID_CHARS_MAX]!r}, and names no execution")
    return f"{order_id}/{exec_id}"


def read_time_ns(message: Message) -> int:
    """TransactTime(60), or else SendingTime(52), in ns.

    Raises:
        Unreadable: it is missing or malformed.
    """
    written = message.get(tag.TRANSACT_TIME) or message.get(tag.SENDING_TIME)
    found = _TIMESTAMP.fullmatch(written)
    if found:
        try:
            whole = datetime.strptime(found[1], "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
        except ValueError:
            pass
        else:
            return int(whole.timestamp()) * NS_PER_S + int((found[2] or "").ljust(9, "0"))
    raise Unreadable(f"TransactTime(60) is {written!r}, allowed is YYYYMMDD-HH:MM:SS.sss")


def _number(message: Message, number: int) -> Decimal:
    try:
        return parse(message.get(number), f"tag {number}")
    except InvalidField as fault:
        raise Unreadable(fault.message) from None


def _optional_number(message: Message, number: int) -> Decimal | None:
    return _number(message, number) if number in message else None


def _commission(message: Message, report: ExecutionReport) -> Decimal:
    """In money; of another kind as it is stated, for the engine not to book but to alert on."""
    if tag.COMMISSION not in message:
        return ZERO
    stated, kind = _number(message, tag.COMMISSION), message.get(tag.COMM_TYPE)
    if kind == _COMMISSION_PER_UNIT:
        return stated * report.last_qty
    if kind != _COMMISSION_ABSOLUTE:
        report.commission_kind = f"CommType(13) {kind[:_ID_CHARS_MAX]!r}"
    return stated
