"""A session of a calendar: when an instrument trades, and which trading day an instant is of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trade_engine.domain.clock import NS_PER_S

ALWAYS_OPEN = "24/7"
"""The calendar without a close: a session is a day in UTC."""
DAY_NS = 86_400 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Session:
    """The session that an instant is in, or else the next one. Instants are ns since the epoch.

    name is its date ("2026-11-23"). begins_ns is the close of the session before: the trading day
    runs from there up to closes_ns. A break (0 and 0: none) is a time within when nothing trades.
    """

    calendar: str
    name: str
    begins_ns: int
    opens_ns: int
    closes_ns: int
    break_from_ns: int = 0
    break_until_ns: int = 0

    def is_open(self, now_ns: int) -> bool:
        """Whether there is trading at an instant."""
        if not self.opens_ns <= now_ns < self.closes_ns:
            return False
        return not self.break_from_ns <= now_ns < self.break_until_ns

    def opens_next_ns(self, now_ns: int) -> int:
        """When trading begins, for an instant of this trading day at which there is none."""
        return self.opens_ns if now_ns < self.opens_ns else self.break_until_ns

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the journal."""
        return {
            "calendar": self.calendar,
            "name": self.name,
            "begins_ns": self.begins_ns,
            "opens_ns": self.opens_ns,
            "closes_ns": self.closes_ns,
            "break_from_ns": self.break_from_ns,
            "break_until_ns": self.break_until_ns,
        }

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> Session:
        """Read what `to_json` wrote."""
        return cls(**doc)


def utc_day(now_ns: int) -> Session:
    """The session of `ALWAYS_OPEN` that an instant is in."""
    begins_ns = now_ns - now_ns % DAY_NS
    name = datetime.fromtimestamp(begins_ns // NS_PER_S, UTC).date().isoformat()
    return Session(ALWAYS_OPEN, name, begins_ns, begins_ns, begins_ns + DAY_NS)
