"""A change of the rulebook: which one is in force from when on, who set it, and why.

Changes are numbered over all accounts. The journal of each account takes every one that reaches it
in one entry, LIMITS_CHANGED, and from that entry on its decisions are made by the new rulebook.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trade_engine.domain.rulebook import Rulebook


@dataclass(frozen=True, slots=True)
class FileText:
    """A file's content, and what it is called in faults and sources."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class LimitsChange:
    """One change. number is 1 for the first rulebook ever, and grows by one.

    request_id is the client's idempotency key, empty when none was given.
    """

    number: int
    rulebook: Rulebook
    operator: str
    reason: str
    request_id: str
    changed_at_ns: int

    @property
    def etag(self) -> str:
        """Names this change and no other, also when an earlier content comes back."""
        return f"{self.number}-{self.rulebook.version}"

    def journaled(self) -> dict[str, Any]:
        """The payload of LIMITS_CHANGED: the whole rulebook, and who set it."""
        return self.rulebook.to_json() | {
            "change": {
                "number": self.number,
                "operator": self.operator,
                "reason": self.reason,
                "request_id": self.request_id,
                "changed_at_ns": self.changed_at_ns,
            }
        }
