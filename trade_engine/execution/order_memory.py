"""The canonical form of what must be remembered of an order beside its own fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from trade_engine.domain.execution import ExecutionReport
from trade_engine.domain.money import optional_text, text
from trade_engine.domain.order import DeliveryState, OrdStatus
from trade_engine.execution.order_chain import OrderChain
from trade_engine.execution.order_facts import Request, RequestKind


def memory_json(chain: OrderChain) -> dict[str, Any]:
    """What must be remembered beside an order's own fields; executions are kept as fills.

    synthetic is there only when it is so.
    """
    doc: dict[str, Any] = {
        "cl_ord_id": chain.cl_ord_id,
        "cl_ord_ids": chain.cl_ord_ids,
        "sent": chain.sent,
        "cash_order": chain.cash_order,
        "acknowledged": chain.acknowledged,
        "duplicates": chain.duplicates,
        "day": chain.day,
        "marks": sorted(mark.value for mark in chain.marks),
        "requests": [_request_json(key, each) for key, each in chain.requests.items()],
        "waiting": [report.to_json() for report in chain.waiting],
    }
    if chain.synthetic:
        doc["synthetic"] = True
    return doc


def recall(chain: OrderChain, doc: dict[str, Any]) -> None:
    """Take over what `memory_json` wrote."""
    chain.cl_ord_id = doc["cl_ord_id"]
    chain.cl_ord_ids = list(doc["cl_ord_ids"])
    chain.sent = doc["sent"]
    chain.cash_order = doc["cash_order"]
    chain.acknowledged = doc["acknowledged"]
    chain.duplicates = doc["duplicates"]
    chain.day = doc["day"]
    chain.marks = {OrdStatus(each) for each in doc["marks"]}
    chain.requests = dict(_requests_from_json(doc["requests"]))
    chain.waiting = [ExecutionReport.from_json(each) for each in doc["waiting"]]
    chain.synthetic = doc.get("synthetic", False)


def _request_json(cl_ord_id: str, request: Request) -> dict[str, Any]:
    """What only the engine's own requests for signals have is there for those only."""
    own: dict[str, Any] = {
        "signal_id": request.signal_id,
        "delivery": request.delivery.value,
        "asked_at_ns": request.asked_at_ns,
    }
    if request.fx_rate is not None:
        own["fx_rate"] = text(request.fx_rate)
    return (own if request.signal_id else {}) | {
        "cl_ord_id": cl_ord_id,
        "kind": request.kind.value,
        "order_qty": optional_text(request.order_qty),
        "price": optional_text(request.price),
        "pending": request.pending,
        "qty_before": optional_text(request.qty_before),
    }


def _requests_from_json(docs: Iterable[dict[str, Any]]) -> Iterator[tuple[str, Request]]:
    def optional(written: str | None) -> Decimal | None:
        return Decimal(written) if written else None

    for doc in docs:
        yield (
            doc["cl_ord_id"],
            Request(
                kind=RequestKind(doc["kind"]),
                order_qty=optional(doc["order_qty"]),
                price=optional(doc["price"]),
                pending=doc["pending"],
                qty_before=optional(doc["qty_before"]),
                signal_id=doc.get("signal_id", ""),
                delivery=DeliveryState(doc.get("delivery", DeliveryState.SENT)),
                asked_at_ns=doc.get("asked_at_ns", 0),
                fx_rate=optional(doc.get("fx_rate")),
            ),
        )
