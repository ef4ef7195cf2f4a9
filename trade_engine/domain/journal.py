"""The words of the journal: what kinds of entry there are, and one entry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EntryKind(StrEnum):
    """What an entry of the journal records."""

    ACCOUNT_OPENED = "ACCOUNT_OPENED"
    LIMITS_CHANGED = "LIMITS_CHANGED"
    DECISION = "DECISION"
    DELIVERY = "DELIVERY"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    EXECUTION = "EXECUTION"
    CANCEL_REJECTED = "CANCEL_REJECTED"
    REPLACE_REQUESTED = "REPLACE_REQUESTED"
    REPLACE_REJECTED = "REPLACE_REJECTED"
    REPORT_IGNORED = "REPORT_IGNORED"
    REPORT_QUARANTINED = "REPORT_QUARANTINED"
    TRADING_STATE = "TRADING_STATE"
    DAY_ROLL = "DAY_ROLL"
    EQUITY_MARKED = "EQUITY_MARKED"
    RECONCILIATION = "RECONCILIATION"
    DIFFERENCE_ACCEPTED = "DIFFERENCE_ACCEPTED"
    BOOKS_COMPARED = "BOOKS_COMPARED"


ORDER_KINDS = frozenset(
    {
        EntryKind.DECISION,
        EntryKind.DELIVERY,
        EntryKind.CANCEL_REQUESTED,
        EntryKind.CANCEL_REJECTED,
        EntryKind.REPLACE_REQUESTED,
        EntryKind.REPLACE_REJECTED,
        EntryKind.EXECUTION,
    }
)
"""The kinds whose payload carries an order (a DECISION only when it approved one)."""


@dataclass(slots=True)
class JournalEntry:
    """One entry. payload is canonical JSON text, exactly as it was hashed; hashes are 32 bytes."""

    account_id: str
    sequence: int
    recorded_at_ns: int
    kind: EntryKind
    payload: bytes
    prev_hash: bytes
    hash: bytes
