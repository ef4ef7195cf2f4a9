"""Orders that nobody knows to have arrived: since when, and how often the broker did not find them.

"Not found" right after an unclear send is no evidence: the order may still be on its way. It counts
as never arrived only when the broker said so often enough, over long enough, and once more to a
question about this order alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trade_engine.domain.order import Order

ALERT_AFTER_S = 30.0
"""An order in doubt for so long is alerted on; it is asked about all the while."""
NOT_FOUND_TIMES = 5
NOT_FOUND_S = 60.0
"""So often, and for so long, a broker must not have found an order."""


@dataclass(slots=True)
class _Doubt:
    since_s: float
    not_found: int = 0
    alerted: bool = False


class Doubts:
    """The doubts of one sender, by order_id. Times are of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._doubts: dict[str, _Doubt] = {}

    def note(self, unclear: Iterable[Order], now_s: float) -> list[tuple[Order, float]]:
        """These are unclear now, and no others; answers with those to alert on, each once."""
        before, self._doubts = self._doubts, {}
        overdue = []
        for order in unclear:
            doubt = before.get(order.order_id) or _Doubt(now_s)
            self._doubts[order.order_id] = doubt
            if not doubt.alerted and now_s - doubt.since_s >= ALERT_AFTER_S:
                doubt.alerted = True
                overdue.append((order, now_s - doubt.since_s))
        return overdue

    def not_found(self, order: Order, now_s: float) -> bool:
        """The broker did not find it; says whether that is often enough to ask a last time."""
        doubt = self._doubts.setdefault(order.order_id, _Doubt(now_s))
        doubt.not_found += 1
        long_enough = now_s - doubt.since_s >= NOT_FOUND_S
        return long_enough and doubt.not_found >= NOT_FOUND_TIMES

    def forget(self) -> None:
        """The lease is gone."""
        self._doubts.clear()
