"""Replay: every recorded decision made again, from the journal alone, must come out the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from trade_engine.audit.chain import canonical
from trade_engine.audit.findings import UNREADABLE, Findings
from trade_engine.domain.decision import Checks, Decision
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.rulebook import Rulebook

DecideAgain = Callable[[dict[str, Any], int, Rulebook], Decision]
"""Makes a decision once more from its entry's payload, its sequence and its rulebook."""


class Replay:
    """Takes an account's entries in order and compares each decision with the one made again."""

    def __init__(self, decide_again: DecideAgain) -> None:
        self.findings = Findings()
        self._decide_again = decide_again
        self._rulebooks: dict[str, Rulebook] = {}

    def take(self, entry: JournalEntry) -> None:
        """Look at the next entry; only rulebooks and decisions matter. One unread is a finding."""
        try:
            self._take(entry)
        except UNREADABLE as error:
            self.findings.add(entry.sequence, f"the entry cannot be read: {error!r}")

    def _take(self, entry: JournalEntry) -> None:
        if entry.kind is EntryKind.LIMITS_CHANGED:
            rulebook = Rulebook.from_json(orjson.loads(entry.payload))
            self._rulebooks[rulebook.version] = rulebook
        elif entry.kind is EntryKind.DECISION:
            self.findings.count("decisions")
            self._compare(entry)

    def _compare(self, entry: JournalEntry) -> None:
        payload = orjson.loads(entry.payload)
        recorded = payload["decision"]
        # Once every check was written in full.
        recorded["checks"] = Checks.from_json(recorded["checks"]).to_json()
        rulebook = self._rulebooks.get(recorded["limits_version"])
        if rulebook is None:
            version = recorded["limits_version"]
            self.findings.add(entry.sequence, f"the rulebook {version} is not in the journal")
            return
        again = self._decide_again(payload, entry.sequence, rulebook).to_json()
        if canonical(again) != canonical(recorded):
            names = sorted(again.keys() | recorded.keys())
            fields = [name for name in names if again.get(name) != recorded.get(name)]
            self.findings.add(
                entry.sequence,
                f"decided again, signal {recorded['signal']['signal_id']} differs in "
                f"{', '.join(fields)}: {recorded['outcome']} then, {again['outcome']} now",
            )
