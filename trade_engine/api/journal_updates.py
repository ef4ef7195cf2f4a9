"""Journal entries into order updates, straight from what was written.

The journal's texts are the contract's: a number stands there as it is answered, a word as the enum
is named. So nothing is read into the engine's own types on the way, which takes three times as
long, for every update and every entry that somebody resumes over. An order that is at hand is
translated by `answers`; the tests hold both to the same.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson

from trade_engine.api.answers import timestamp
from trade_engine.domain.execution import ExecType
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.money import quotient, text
from trade_engine.v1 import order_pb2

_KIND = {
    EntryKind.DECISION: order_pb2.UPDATE_KIND_APPROVED,
    EntryKind.DELIVERY: order_pb2.UPDATE_KIND_DELIVERY,
    EntryKind.CANCEL_REQUESTED: order_pb2.UPDATE_KIND_CANCEL_REQUESTED,
    EntryKind.CANCEL_REJECTED: order_pb2.UPDATE_KIND_CANCEL_REJECTED,
    EntryKind.REPLACE_REQUESTED: order_pb2.UPDATE_KIND_REPLACE_REQUESTED,
    EntryKind.REPLACE_REJECTED: order_pb2.UPDATE_KIND_REPLACE_REJECTED,
    EntryKind.EXECUTION: order_pb2.UPDATE_KIND_EXECUTION,
}
_FILLS = frozenset(map(str, (ExecType.TRADE, ExecType.TRADE_CORRECT, ExecType.TRADE_CANCEL)))


def _words(enum: Any, prefix: str) -> dict[str, Any]:
    """The values of an enum by the words of the journal."""
    return {name.removeprefix(prefix): value for name, value in enum.items()}


_SIDE = _words(order_pb2.OrderSide, "ORDER_SIDE_")
_ORD_TYPE = _words(order_pb2.OrdType, "ORD_TYPE_")
_TIF = _words(order_pb2.TimeInForce, "TIME_IN_FORCE_")
_STATUS = _words(order_pb2.OrdStatus, "ORD_STATUS_")
_DELIVERY = _words(order_pb2.DeliveryState, "DELIVERY_STATE_")
_EXEC_TYPE = _words(order_pb2.ExecType, "EXEC_TYPE_")


def update_of(entry: JournalEntry) -> order_pb2.OrderUpdate | None:
    """Translate an entry of one of the order kinds; None for a decision without an order."""
    payload = orjson.loads(entry.payload)
    holder = payload["decision"] if entry.kind is EntryKind.DECISION else payload
    if holder["order"] is None:
        return None
    report = payload.get("report")
    given: dict[str, Any] = {"execution_report": _report(report)} if report else {}
    return order_pb2.OrderUpdate(
        sequence=entry.sequence,
        event_time=timestamp(entry.recorded_at_ns),
        order=_order(holder["order"]),
        kind=_KIND[entry.kind],
        **given,
    )


def _order(doc: dict[str, Any]) -> Any:
    """What `Order.to_json` wrote, as protobuf builds an Order from it."""
    order_id, cum_qty = doc["order_id"], doc["cum_qty"]
    return {
        "order_id": order_id,
        "cl_ord_id": order_id,
        "account_id": doc["account_id"],
        "strategy_id": doc["strategy_id"],
        "symbol": doc["symbol"],
        "signal_id": doc["signal_id"],
        "side": _SIDE[doc["side"]],
        "ord_type": _ORD_TYPE[doc["ord_type"]],
        "time_in_force": _TIF[doc["time_in_force"]],
        "order_qty": doc["order_qty"],
        "limit_price": doc["price"],
        "ord_status": _STATUS[doc["ord_status"]],
        "delivery_state": _DELIVERY[doc["delivery"]],
        "cum_qty": cum_qty,
        "leaves_qty": doc["leaves_qty"],
        "avg_px": "0" if cum_qty == "0" else _avg_px(doc["cum_value"], cum_qty),
        "broker": doc["broker"],
        "broker_order_id": doc["broker_order_id"],
        "create_time": timestamp(doc["created_at_ns"]),
        "update_time": timestamp(doc["updated_at_ns"] or doc["created_at_ns"]),
        "text": doc["text"],
        "last_sequence": doc["last_sequence"],
    }


def _avg_px(cum_value: str, cum_qty: str) -> str:
    return text(quotient(Decimal(cum_value), Decimal(cum_qty)))


def _report(doc: dict[str, Any]) -> dict[str, Any]:
    """What `ExecutionReport.to_json` wrote, as protobuf builds one from it."""
    is_fill = doc["exec_type"] in _FILLS
    return {
        "exec_id": doc["exec_id"],
        "exec_type": _EXEC_TYPE[doc["exec_type"]],
        "last_qty": doc["last_qty"] if is_fill else "",
        "last_px": doc["last_px"] if is_fill else "",
        "exec_ref_id": doc["exec_ref_id"],
        "commission": doc["commission"] if is_fill else "",
        "transact_time": timestamp(doc["transact_time_ns"]),
        "text": doc["text"],
    }
