"""What one symbol's last quote offers, and the orders that wait for more."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from decimal import Decimal

from trade_engine.brokers.paper_order import PaperOrder
from trade_engine.domain.market import Quote
from trade_engine.domain.money import round_down
from trade_engine.domain.signal import Side


@dataclass(slots=True)
class Touch:
    """What the orders of one side trade with, and those of them that rest, by rank.

    price None: nothing is offered. left is what remains of the quoted size; None: without limit.
    """

    price: Decimal | None = None
    left: Decimal | None = None
    resting: list[PaperOrder] = field(default_factory=list)

    def room_for(self, order: PaperOrder) -> Decimal:
        """How much of the order can be filled now: all of it, or whole lots."""
        if self.left is None or self.left >= order.leaves_qty:
            return order.leaves_qty
        return round_down(self.left, order.lot)

    def rest(self, order: PaperOrder) -> None:
        """Put an order in its place among the resting ones."""
        insort(self.resting, order, key=_rank)

    def leave(self, order: PaperOrder) -> None:
        """Take an order out of the resting ones, if it is there."""
        place = bisect_left(self.resting, _rank(order), key=_rank)
        if place < len(self.resting) and self.resting[place] is order:
            del self.resting[place]


@dataclass(slots=True)
class Market:
    """One symbol: its last quote, the ask for buyers, the bid for sellers.

    coming counts the orders that are on their way here.
    """

    quote: Quote | None = None
    buys: Touch = field(default_factory=Touch)
    sells: Touch = field(default_factory=Touch)
    coming: int = 0

    def touch(self, side: Side) -> Touch:
        """What orders of a side trade with."""
        return self.buys if side is Side.BUY else self.sells

    @property
    def is_awaited(self) -> bool:
        """Whether a quote could change anything here."""
        return bool(self.buys.resting or self.sells.resting or self.coming)

    def take(self, quote: Quote) -> bool:
        """Let a quote replace the last one, with what was left of it.

        False, and nothing changed, when it is older than the last one, or the same.
        """
        known = self.quote
        if known is not None and (quote.time_ns < known.time_ns or quote == known):
            return False
        self.quote = quote
        bid, ask = quote.bid, quote.ask
        if bid is None and ask is None:
            bid = ask = quote.last
        if bid is not None and ask is not None and bid > ask:
            bid = ask = None
        self.buys.price = ask if ask is not None and ask > 0 else None
        self.buys.left = quote.ask_size
        self.sells.price = bid if bid is not None and bid > 0 else None
        self.sells.left = quote.bid_size
        return True


def _rank(order: PaperOrder) -> tuple[int, Decimal, int]:
    return order.rank
