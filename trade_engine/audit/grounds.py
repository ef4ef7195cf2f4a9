"""What a decision's grounds must have been: the limits in force, and what its strategy had done.

Folded from the journal, entry by entry: each decision names the limits of the last change before
it, and holds the approvals and executions of its strategy as the entries before it make them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from trade_engine.audit.findings import Findings
from trade_engine.domain.account import AccountState
from trade_engine.domain.activity import Activity
from trade_engine.domain.journal import JournalEntry
from trade_engine.domain.money import text
from trade_engine.domain.order import Order
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import Scope


class Grounds:
    """Takes what the journal says of limits and approvals; faults go to the findings."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._version = ""
        self._number = 0
        self._sequence = 0
        self._kept_ns = 0
        self._activity = Activity()

    def take_limits(self, entry: JournalEntry, payload: dict[str, Any], rulebook: Rulebook) -> None:
        """A change of the limits; those from before changes had numbers say none."""
        self._version = rulebook.version
        self._kept_ns = rulebook.limits.approvals_kept_ns
        if "change" not in payload:
            return
        number = int(payload["change"]["number"])
        if number <= self._number:
            self._findings.add(
                entry.sequence, f"change {number} of the limits comes after change {self._number}"
            )
        self._number, self._sequence = number, entry.sequence

    def enable(self, scope: Scope) -> None:
        """An operator lets a scope trade again: its executions are counted anew."""
        self._activity.enable(scope)

    def take_decision(self, entry: JournalEntry, payload: dict[str, Any]) -> None:
        """Hold a decision to its grounds, and count its approval.

        What closes a position for an operator looks at no approvals, and a decision from before
        there were any has none.
        """
        decision, context = payload["decision"], payload["context"]
        version = decision["limits_version"]
        if version != self._version:
            self._findings.add(
                entry.sequence, f"decided by limits {version}, and {self._version} was in force"
            )
        standing = context["view"].get("standing")
        if standing is None:
            return
        if not context.get("closing"):
            self._check(entry, decision["signal"], standing)
        if decision["order"] is not None:
            order = Order.from_json(decision["order"])
            self._activity.approve(
                order.strategy_id,
                order.symbol,
                order.side,
                order.order_qty,
                order.created_at_ns,
                self._kept_ns,
            )
        elif "replacement" in decision and not decision["replacement"]["cancels"]:
            signal, quantity = decision["signal"], Decimal(decision["replacement"]["order_qty"])
            self._activity.approve(
                signal["strategy_id"],
                signal["symbol"],
                Side(signal["side"]),
                quantity,
                decision["decided_at_ns"],
                self._kept_ns,
            )

    def _check(self, entry: JournalEntry, signal: dict[str, Any], standing: dict[str, Any]) -> None:
        strategy_id = signal["strategy_id"]
        approvals = [
            [each.side.value, text(each.quantity), each.at_ns]
            for each in self._activity.approvals(strategy_id, signal["symbol"])
        ]
        forgotten_ns = standing.get("forgotten_ns", 0)
        if standing["approvals"] != approvals or forgotten_ns != self._activity.forgotten_ns:
            what = f"the approvals of {strategy_id} that it looked at are not the journal's"
            self._findings.add(entry.sequence, what)
        if standing["executions"] != self._activity.executions.get(strategy_id, 0):
            what = f"the executions of {strategy_id} that it looked at are not the journal's"
            self._findings.add(entry.sequence, what)

    def compare(self, state: AccountState) -> None:
        """Hold the account's table against the fold."""
        for name, tabled, folded in (
            ("limits_version", state.limits_version, self._version),
            ("limits_number", state.limits_number, self._number),
            ("limits_sequence", state.limits_sequence, self._sequence),
        ):
            if tabled != folded:
                self._findings.add(0, f"{name} is {tabled}, not {folded}")
        if state.activity.executions != self._activity.executions:
            what = "the strategies' executions are not the orders since each was last enabled"
            self._findings.add(0, what)
        kept, ours = state.activity.to_json(), self._activity.to_json()
        if any(kept.get(name) != ours.get(name) for name in ("approved", "forgotten_ns")):
            self._findings.add(0, "the approvals that are kept are not the last of the journal")
