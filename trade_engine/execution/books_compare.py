"""What a firm's own books say other than the ledger is journaled and alerted on, when it changes.

It informs, and holds nothing back: the broker is who holds the account's assets, and what differs
from the broker halts (`differences`). Decisions are the ledger's. Only the account's sender
compares, so replicas do not tell each other's findings again.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from trade_engine.domain.difference import Difference, DifferenceKind
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.money import ZERO
from trade_engine.execution.batch import Batch
from trade_engine.execution.observer import Alert
from trade_engine.portfolio.comparison import Ledgered, Tolerance, differing, is_same
from trade_engine.portfolio.view import Portfolio


class BooksComparison:
    """The findings of one account that may only be a fill on its way: each since when."""

    def __init__(self, tolerance: Tolerance) -> None:
        self.tolerance = tolerance
        self._since: dict[str, tuple[Difference, int]] = {}

    def confirmed(
        self, found: Iterable[Difference], as_of_ns: int, now_ns: int
    ) -> list[Difference]:
        """Those that a picture tells which is by `for_ns` younger than their first finding.

        So an old picture told again and again proves nothing, and the books have had that time to
        book what was filled before.
        """
        since, proven = {}, []
        for each in found:
            first, first_ns = self._since.get(each.difference_id, (each, now_ns))
            if not is_same(first, each, self.tolerance):
                first, first_ns = each, now_ns
            since[each.difference_id] = first, first_ns
            if min(as_of_ns, now_ns) - first_ns >= self.tolerance.for_ns:
                proven.append(each)
        self._since = since
        return proven


def compare_books(batch: Batch, told: Portfolio, comparison: BooksComparison) -> None:
    """Hold what the books told against the ledger; journal the differences if they changed.

    One that is known stays as it was found until the books say something else for good, or agree.
    Without a price for all that is held nothing new is known of the equity.
    """
    if batch.sender is None:
        return
    state = batch.state
    ours = _ledgered(batch)
    found = differing(ours, told, comparison.tolerance, batch.now_ns)
    names = {each.difference_id for each in found}
    known = state.books_differences
    now = {
        name: each
        for name, each in known.items()
        if name in names or (each.kind is DifferenceKind.EQUITY and ours.equity is None)
    }
    news = [
        each
        for each in comparison.confirmed(found, told.as_of_ns, batch.now_ns)
        if each.difference_id not in known
        or not is_same(known[each.difference_id], each, comparison.tolerance)
    ]
    now |= {each.difference_id: each for each in news}
    if now == known:
        return
    state.books_differences = now
    batch.write(
        EntryKind.BOOKS_COMPARED,
        {
            "as_of_ns": told.as_of_ns,
            "differences": [each.to_json() for each in now.values()],
            "settled": sorted(known.keys() - now.keys()),
        },
    )
    for each in news:
        batch.alert(
            Alert.BOOKS_DIFFER,
            account_id=state.account_id,
            difference_id=each.difference_id,
            why=each.message,
        )


def _ledgered(batch: Batch) -> Ledgered:
    state = batch.state
    quantities: dict[str, Decimal] = {}
    for (_, symbol), position in state.positions.items():
        quantities[symbol] = quantities.get(symbol, ZERO) + position.quantity
    return Ledgered(state.currency, state.cash, batch.equity(), quantities)
