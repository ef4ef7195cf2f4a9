"""Says once that a symbol's quotes stopped, when a signal is refused for want of one.

Markets close and feeds are turned off on purpose, so silence alone is no alarm: somebody who wants
to trade and cannot is.
"""

from __future__ import annotations

from trade_engine.domain.decision import Decision, Outcome, Reason
from trade_engine.execution.observer import Alert, Observer, raise_alert

_WANT_OF_A_QUOTE = frozenset({Reason.QUOTE_MISSING, Reason.QUOTE_STALE})


class QuotesAlert:
    """The symbols of one account whose quotes are known to have stopped."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._without: set[str] = set()

    def note(self, decision: Decision) -> None:
        """Alert on the first refusal of a symbol; an approval ends that."""
        symbol = decision.signal.symbol
        if Reason.INSTRUMENT_UNKNOWN in decision.reasons:
            return  # a name that somebody made up; remembering all of those would have no end
        if decision.outcome is Outcome.APPROVED:
            self._without.discard(symbol)
        elif symbol not in self._without and not _WANT_OF_A_QUOTE.isdisjoint(decision.reasons):
            self._without.add(symbol)
            raise_alert(
                self._observer,
                Alert.QUOTES_STOPPED,
                account_id=decision.signal.account_id,
                symbol=symbol,
                why=decision.message,
            )
