"""The day on an account's state: which session it is of, and where the account stood at its start.

It is a fold of the journal: a DAY_ROLL entry begins a day, an EQUITY_MARKED entry says what the
account was found to be worth where the roll could not tell, or since it was worth more than ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from trade_engine.domain.money import ZERO, optional_text, text


@dataclass(slots=True)
class Day:
    """An account's trading day, in the account's currency.

    session is its name, empty before the first roll; the day is over at ends_ns. start_equity is
    None where something held had no price at the roll, and peak_equity (over the account's life)
    before equity was ever known. realized_before and fees_before are the account's sums at the
    start: what they grew by since is the day's. excused names the causes in spite of which an
    operator let the account go on, by an override; they act again when the day rolls.
    traded is the value of the day's fills, at their prices; a bust gives nothing of it back.
    """

    session: str = ""
    ends_ns: int = 0
    start_equity: Decimal | None = None
    peak_equity: Decimal | None = None
    realized_before: Decimal = ZERO
    fees_before: Decimal = ZERO
    excused: list[str] = field(default_factory=list)
    traded: Decimal = ZERO

    def mark(self, equity: Decimal) -> None:
        """Take note of a known equity: it is the day's start where that is open, and may peak."""
        if self.start_equity is None:
            self.start_equity = equity
        if self.peak_equity is None or equity > self.peak_equity:
            self.peak_equity = equity

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the summary and in the journal."""
        doc: dict[str, Any] = {
            "session": self.session,
            "ends_ns": self.ends_ns,
            "start_equity": optional_text(self.start_equity),
            "peak_equity": optional_text(self.peak_equity),
            "realized_before": text(self.realized_before),
            "fees_before": text(self.fees_before),
        }
        if self.excused:
            doc["excused"] = self.excused
        if self.traded:
            doc["traded"] = text(self.traded)
        return doc

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> Day:
        """Read what `to_json` wrote."""
        return cls(
            session=doc["session"],
            ends_ns=int(doc["ends_ns"]),
            start_equity=Decimal(doc["start_equity"]) if doc["start_equity"] else None,
            peak_equity=Decimal(doc["peak_equity"]) if doc["peak_equity"] else None,
            realized_before=Decimal(doc["realized_before"]),
            fees_before=Decimal(doc["fees_before"]),
            excused=list(doc.get("excused", ())),
            traded=Decimal(doc.get("traded", "0")),
        )


def day_after(before: Day, session: str, ends_ns: int, realized: Decimal, fees: Decimal) -> Day:
    """The day that follows: its start is open until `mark`, the peak stays."""
    return Day(session, ends_ns, None, before.peak_equity, realized, fees)
