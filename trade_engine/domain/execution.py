"""What a broker reports of an order: FIX's execution report, reduced to what the engine believes.

The engine derives the order's state from ExecType and quantities; it never copies an OrdStatus
that a broker claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from trade_engine.domain.money import ZERO, optional_text, text
from trade_engine.domain.order import OrdStatus


class ExecType(StrEnum):
    """FIX 4.4 ExecType(150)."""

    NEW = "NEW"
    DONE_FOR_DAY = "DONE_FOR_DAY"
    CANCELED = "CANCELED"
    REPLACED = "REPLACED"
    PENDING_CANCEL = "PENDING_CANCEL"
    STOPPED = "STOPPED"
    REJECTED = "REJECTED"
    SUSPENDED = "SUSPENDED"
    PENDING_NEW = "PENDING_NEW"
    CALCULATED = "CALCULATED"
    EXPIRED = "EXPIRED"
    RESTATED = "RESTATED"
    PENDING_REPLACE = "PENDING_REPLACE"
    TRADE = "TRADE"
    TRADE_CORRECT = "TRADE_CORRECT"
    TRADE_CANCEL = "TRADE_CANCEL"
    ORDER_STATUS = "ORDER_STATUS"


EXECUTIONS = frozenset({ExecType.TRADE, ExecType.TRADE_CORRECT, ExecType.TRADE_CANCEL})
"""The reports that change what is held: a fill, its correction, its bust."""


SYNTHETIC = "synthetic-"
"""How the ExecID of a fill begins that no broker told: see `execution.synthetic`."""


class ExecRestatementReason(StrEnum):
    """FIX 4.4 ExecRestatementReason(378): why a broker changed an order by itself."""

    GT_CORPORATE_ACTION = "GT_CORPORATE_ACTION"
    GT_RENEWAL = "GT_RENEWAL"
    VERBAL_CHANGE = "VERBAL_CHANGE"
    REPRICING = "REPRICING"
    BROKER_OPTION = "BROKER_OPTION"
    PARTIAL_DECLINE = "PARTIAL_DECLINE"
    CANCEL_ON_TRADING_HALT = "CANCEL_ON_TRADING_HALT"
    CANCEL_ON_SYSTEM_FAILURE = "CANCEL_ON_SYSTEM_FAILURE"
    MARKET_OPTION = "MARKET_OPTION"
    CANCELED_NOT_BEST = "CANCELED_NOT_BEST"
    OTHER = "OTHER"


@dataclass(slots=True)
class ExecutionReport:
    """One report about the order `cl_ord_id`.

    last_qty and last_px are given for TRADE; commission is in commission_currency, which is empty
    where that is the instrument's; commission_kind says what it is where it is no amount of money
    that the adapter can tell (a percentage, bond points), and is empty else; exec_id is unique per
    broker, and is what a fill is deduplicated on. transact_time_ns is the broker's.
    order_qty and price are what the broker says the order now has: they count for REPLACED and
    RESTATED, and are None where it did not say. orig_cl_ord_id is given in the answer to a cancel
    or replace request, whose own id is then cl_ord_id. ord_status is what the broker claims, None
    where it does not say: it is compared with what follows from its reports, never taken over.
    """

    cl_ord_id: str
    exec_id: str
    exec_type: ExecType
    transact_time_ns: int
    last_qty: Decimal = ZERO
    last_px: Decimal | None = None
    commission: Decimal = ZERO
    exec_ref_id: str = ""
    broker_order_id: str = ""
    text: str = ""
    orig_cl_ord_id: str = ""
    order_qty: Decimal | None = None
    price: Decimal | None = None
    exec_restatement_reason: ExecRestatementReason | None = None
    ord_status: OrdStatus | None = None
    commission_currency: str = ""
    commission_kind: str = ""

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the journal; what only some reports say is there when said."""
        doc: dict[str, Any] = {
            "cl_ord_id": self.cl_ord_id,
            "exec_id": self.exec_id,
            "exec_type": str(self.exec_type),
            "transact_time_ns": self.transact_time_ns,
            "last_qty": text(self.last_qty),
            "last_px": optional_text(self.last_px),
            "commission": text(self.commission),
            "exec_ref_id": self.exec_ref_id,
            "broker_order_id": self.broker_order_id,
            "text": self.text,
        }
        if self.orig_cl_ord_id:
            doc["orig_cl_ord_id"] = self.orig_cl_ord_id
        if self.order_qty is not None:
            doc["order_qty"] = text(self.order_qty)
        if self.price is not None:
            doc["price"] = text(self.price)
        if self.exec_restatement_reason is not None:
            doc["exec_restatement_reason"] = str(self.exec_restatement_reason)
        if self.ord_status is not None:
            doc["ord_status"] = str(self.ord_status)
        if self.commission_currency:
            doc["commission_currency"] = self.commission_currency
        if self.commission_kind:
            doc["commission_kind"] = self.commission_kind
        return doc

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> ExecutionReport:
        """Read what `to_json` wrote."""
        return cls(
            cl_ord_id=doc["cl_ord_id"],
            exec_id=doc["exec_id"],
            exec_type=ExecType(doc["exec_type"]),
            transact_time_ns=int(doc["transact_time_ns"]),
            last_qty=Decimal(doc["last_qty"]),
            last_px=Decimal(doc["last_px"]) if doc["last_px"] else None,
            commission=Decimal(doc["commission"]),
            exec_ref_id=doc["exec_ref_id"],
            broker_order_id=doc["broker_order_id"],
            text=doc["text"],
            orig_cl_ord_id=doc.get("orig_cl_ord_id", ""),
            order_qty=_optional(doc.get("order_qty")),
            price=_optional(doc.get("price")),
            exec_restatement_reason=_reason(doc.get("exec_restatement_reason")),
            ord_status=OrdStatus(doc["ord_status"]) if "ord_status" in doc else None,
            commission_currency=doc.get("commission_currency", ""),
            commission_kind=doc.get("commission_kind", ""),
        )


def _optional(written: str | None) -> Decimal | None:
    return Decimal(written) if written else None


def _reason(written: str | None) -> ExecRestatementReason | None:
    return ExecRestatementReason(written) if written else None


@dataclass(slots=True)
class CancelReject:
    """FIX OrderCancelReject: the broker refuses the cancel or replace request `cl_ord_id`.

    unknown_order: it says that it does not know the order at all (CxlRejReason 1), which proves
    neither that the order arrived nor that it did not.
    """

    cl_ord_id: str
    transact_time_ns: int
    orig_cl_ord_id: str = ""
    unknown_order: bool = False
    text: str = ""

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the journal."""
        return {
            "cl_ord_id": self.cl_ord_id,
            "transact_time_ns": self.transact_time_ns,
            "orig_cl_ord_id": self.orig_cl_ord_id,
            "unknown_order": self.unknown_order,
            "text": self.text,
        }

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> CancelReject:
        """Read what `to_json` wrote."""
        return cls(
            cl_ord_id=doc["cl_ord_id"],
            transact_time_ns=int(doc["transact_time_ns"]),
            orig_cl_ord_id=doc["orig_cl_ord_id"],
            unknown_order=doc["unknown_order"],
            text=doc["text"],
        )


BrokerReport = ExecutionReport | CancelReject
"""What a broker tells of an order."""
