"""The rulebooks that this process knows, by the number of the change that brought them.

An account is decided by the rulebook that its own journal names, whatever this process was started
with: so all replicas change at one sequence of the journal.
"""

from __future__ import annotations

from trade_engine.domain.account import AccountState
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.limits_change import LimitsChange
from trade_engine.domain.market import Instrument
from trade_engine.domain.rulebook import Rulebook
from trade_engine.execution.ports import LimitsStore

REMEMBERED = 16
"""Changes kept at hand; older ones are read from the record."""


class Rulebooks:
    """What was learned of the limits' changes; `latest` is the last of them."""

    def __init__(self, store: LimitsStore, latest: LimitsChange) -> None:
        self.latest = latest
        self._store = store
        self._known = {latest.number: latest}

    def learn(self, change: LimitsChange) -> None:
        """Remember a change."""
        self._known[change.number] = change
        while len(self._known) > REMEMBERED:
            del self._known[min(self._known)]
        if change.number > self.latest.number:
            self.latest = change

    def instrument(self, symbol: str) -> Instrument | None:
        """The terms of an instrument by the latest rulebook."""
        return self.latest.rulebook.instruments.get(symbol)

    def known(self, number: int) -> Rulebook:
        """The rulebook of a change, or the latest where that one is not at hand."""
        return self._known.get(number, self.latest).rulebook

    async def of(self, state: AccountState) -> Rulebook:
        """The rulebook that an account is under: that of its journal, else the first that will be.

        Raises:
            StoreUnavailable: it is not known here, and the record does not tell.
        """
        if not state.limits_number:
            return self.latest.rulebook
        found = self._known.get(state.limits_number)
        if found is None:
            found = await self._store.change(state.limits_number)
            if found is None:
                raise StoreUnavailable(
                    f"account {state.account_id} is under change {state.limits_number} of the "
                    "limits, which the record does not have"
                )
            self.learn(found)
        return found.rulebook
