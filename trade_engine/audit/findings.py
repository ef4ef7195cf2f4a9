"""What an audit found: faults with the sequence they stand at, and how much it looked at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What reading a payload raises that is not as this engine writes it: a finding, not a crash."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong; sequence is 0 where it has no place in the journal."""

    sequence: int
    what: str


@dataclass(slots=True)
class Findings:
    """An audit's result: clean when there are no faults."""

    faults: list[Fault] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, sequence: int, what: str) -> None:
        """Record a fault."""
        self.faults.append(Fault(sequence, what))

    def count(self, what: str) -> None:
        """Count something that was looked at."""
        self.counts[what] += 1
