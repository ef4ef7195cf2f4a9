"""Executions as the journal tells them: made, corrected, busted, in whatever order that came.

Written apart from the code that books them, so that one mistake is not in both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.money import ZERO
from trade_engine.domain.signal import Side


@dataclass(slots=True)
class Counted:
    """An execution, and what it counts for now: nothing (0) when it was busted."""

    side: Side
    last_qty: Decimal
    last_px: Decimal
    commission: Decimal
    fx_rate: Decimal | None = None
    """At what its money was booked; a correction is booked at the same."""

    def amend(self, report: ExecutionReport) -> None:
        """Bust it, or take over the numbers that a correction states."""
        if report.exec_type is ExecType.TRADE_CANCEL:
            self.last_qty = self.last_px = self.commission = ZERO
            return
        self.last_qty = report.last_qty or self.last_qty
        self.last_px = self.last_px if report.last_px is None else report.last_px
        self.commission = report.commission or self.commission


class Executions:
    """All of an account's, by position, in the order in which they were first told."""

    def __init__(self) -> None:
        self._of: defaultdict[tuple[str, str], list[Counted]] = defaultdict(list)
        self._named: dict[tuple[str, str, str], Counted] = {}
        self._waiting: defaultdict[tuple[str, str, str], list[ExecutionReport]] = defaultdict(list)

    def surviving(self, position: tuple[str, str]) -> Iterator[Counted]:
        """Those of a position that count."""
        return (each for each in self._of[position] if each.last_qty)

    def take(
        self,
        broker: str,
        order_id: str,
        position: tuple[str, str],
        side: Side,
        report: ExecutionReport,
        fx_rate: Decimal | None,
    ) -> Counted:
        """An execution is told; busts and corrections that came before it apply at once."""
        made = Counted(side, report.last_qty, report.last_px or ZERO, report.commission, fx_rate)
        self._of[position].append(made)
        self._settle(broker, order_id, report.exec_id, made)
        return made

    def find(self, broker: str, order_id: str, report: ExecutionReport) -> Counted | None:
        """The execution that a bust or correction is about; without one, it waits for it."""
        found = self._named.get((broker, order_id, report.exec_ref_id))
        if found is None:
            self._waiting[broker, order_id, report.exec_ref_id].append(report)
        return found

    def amend(self, broker: str, order_id: str, amended: Counted, report: ExecutionReport) -> None:
        """Apply a bust or correction, and those that waited for it by its own name."""
        if amended.last_qty:
            amended.amend(report)
        self._settle(broker, order_id, report.exec_id, amended)

    def _settle(self, broker: str, order_id: str, exec_id: str, counted: Counted) -> None:
        self._named[broker, order_id, exec_id] = counted
        for report in self._waiting.pop((broker, order_id, exec_id), ()):
            self.amend(broker, order_id, counted, report)
