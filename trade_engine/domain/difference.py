"""A difference between the record and what a broker, or the firm's own books, say is held.

An account that differs from its broker in what nobody accepted is HALTED: what it holds is not
known. What the firm's books say other than the record is told, and holds nothing back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class DifferenceKind(StrEnum):
    """What does not agree; the subject that each is about stands in brackets."""

    UNRECONCILED = "UNRECONCILED"
    """The broker could not be asked, so nothing is known of what it holds []."""
    ORDER_UNKNOWN_HERE = "ORDER_UNKNOWN_HERE"
    """The broker works an order that no decision of this account approved [its ClOrdID]."""
    ORDER_UNKNOWN_THERE = "ORDER_UNKNOWN_THERE"
    """The broker had this open order, and does not know it any more [order_id]."""
    ORDER_CLOSED_HERE = "ORDER_CLOSED_HERE"
    """The broker works an order that is closed in the record [order_id]."""
    ORDER_CLOSED_THERE = "ORDER_CLOSED_THERE"
    """The broker closed an order, and told nothing that closes it in the record [order_id]."""
    CUM_QTY = "CUM_QTY"
    """CumQty differs although every execution that the broker told is booked [order_id]."""
    EXECUTION = "EXECUTION"
    """The broker told an execution that cannot be booked on any order [its ExecID]."""
    POSITION = "POSITION"
    """The net quantity of a symbol differs [the symbol]."""
    MORE = "MORE"
    """More symbols differ from the firm's books than are named; their number is the gap []."""
    CASH = "CASH"
    """The cash differs from the firm's books [], as EQUITY and CURRENCY do."""
    EQUITY = "EQUITY"
    CURRENCY = "CURRENCY"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. ours and theirs are the two sides, in words or as decimal strings.

    gap is how far apart they are, as a decimal string (theirs less ours), empty where there is no
    such number: an acceptance holds for exactly this gap, whatever is traded afterward. Times are
    in ns; accepted_at_ns is 0 until somebody accepted it. broker is who differs, where that is not
    the account's own one.
    """

    kind: DifferenceKind
    subject: str
    ours: str
    theirs: str
    gap: str
    message: str
    found_at_ns: int
    accepted_at_ns: int = 0
    accepted_by: str = ""
    accepted_because: str = ""
    broker: str = ""

    @property
    def difference_id(self) -> str:
        """Its name within the account: the same as long as the same thing differs."""
        name = f"{self.kind}:{self.subject}" if self.subject else str(self.kind)
        return f"{name}@{self.broker}" if self.broker else name

    @property
    def stands(self) -> bool:
        """Whether it holds the account back: nobody accepted it."""
        return not self.accepted_at_ns

    def is_as(self, other: Difference) -> bool:
        """Whether the other one says the same: then what was decided about it still holds."""
        return (self.kind, self.subject, self.gap) == (other.kind, other.subject, other.gap)

    def accepted(self, now_ns: int, operator: str, reason: str) -> Difference:
        """The difference, accepted."""
        return replace(self, accepted_at_ns=now_ns, accepted_by=operator, accepted_because=reason)

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the journal and in the account's summary."""
        doc: dict[str, Any] = {
            "kind": self.kind.value,
            "subject": self.subject,
            "ours": self.ours,
            "theirs": self.theirs,
            "gap": self.gap,
            "message": self.message,
            "found_at_ns": self.found_at_ns,
        }
        if self.accepted_at_ns:
            doc |= {
                "accepted_at_ns": self.accepted_at_ns,
                "accepted_by": self.accepted_by,
                "accepted_because": self.accepted_because,
            }
        if self.broker:
            doc["broker"] = self.broker
        return doc

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> Difference:
        """Read what `to_json` wrote."""
        return cls(**{**doc, "kind": DifferenceKind(doc["kind"])})
