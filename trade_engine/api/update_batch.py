"""Order updates made of journal entries: read once, translated once, serialized once per filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trade_engine.api.journal_updates import update_of
from trade_engine.domain.journal import JournalEntry
from trade_engine.domain.order import Order
from trade_engine.v1 import order_pb2, signal_service_pb2

_VIEWS_MAX = 64
"""Views that a batch remembers: clients choose the filters, and a quiet batch is kept for long."""

_UPDATES_TAG = bytes([signal_service_pb2.StreamOrderUpdatesResponse.UPDATES_FIELD_NUMBER << 3 | 2])


class UpdateFilter(NamedTuple):
    """Whose updates a subscriber wants; empty means any.

    A tuple, since each subscriber's looks up what was serialized for its kind, many times a second.
    """

    strategy_id: str = ""
    symbol: str = ""

    def lets_through(self, order: Order | order_pb2.Order) -> bool:
        """Whether an order is wanted."""
        return (not self.strategy_id or order.strategy_id == self.strategy_id) and (
            not self.symbol or order.symbol == self.symbol
        )


@dataclass(frozen=True, slots=True)
class View:
    """What a filter lets through of a batch.

    body is a serialized OrderUpdates, message the StreamOrderUpdatesResponse of it alone, which is
    what most subscribers get; last is the sequence of the last update in it.
    """

    body: bytes
    message: bytes
    count: int
    last: int


class Batch:
    """The order updates of some entries that follow each other in the journal.

    first and last are the sequences of the first and last entry, whether they became updates or
    not; there is at least one entry, and size of them.
    """

    __slots__ = ("_entries", "_updates", "_views", "first", "last", "size")

    def __init__(self, entries: Sequence[JournalEntry]) -> None:
        self.first = entries[0].sequence
        self.last = entries[-1].sequence
        self.size = len(entries)
        self._entries = entries
        self._updates: list[order_pb2.OrderUpdate] | None = None
        self._views: dict[UpdateFilter, View | None] = {}

    @property
    def updates(self) -> list[order_pb2.OrderUpdate]:
        """What the entries tell of orders; translated when somebody first wants it."""
        if self._updates is None:
            told = map(update_of, self._entries)
            self._updates = [each for each in told if each is not None]
            self._entries = ()
        return self._updates

    def view(self, which: UpdateFilter, after_sequence: int) -> View | None:
        """What a filter lets through after a sequence; None when that is nothing."""
        if after_sequence >= self.first:
            return self._made(which, after_sequence)
        if which in self._views:
            return self._views[which]
        view = self._made(which, after_sequence)
        if len(self._views) < _VIEWS_MAX:
            self._views[which] = view
        return view

    def _made(self, which: UpdateFilter, after_sequence: int) -> View | None:
        wanted = [
            update
            for update in self.updates
            if update.sequence > after_sequence and which.lets_through(update.order)
        ]
        if not wanted:
            return None
        body = signal_service_pb2.OrderUpdates(updates=wanted).SerializeToString()
        return View(body, _response(body), len(wanted), wanted[-1].sequence)


def framed(views: Sequence[View]) -> bytes:
    """Serialize a StreamOrderUpdatesResponse of several views, in order.

    The entries of a repeated field may simply be put one after the other, so what was serialized
    once for many subscribers is joined here, not translated again.
    """
    if len(views) == 1:
        return views[0].message
    return _response(b"".join([view.body for view in views]))


def _response(body: bytes) -> bytes:
    return _UPDATES_TAG + _varint(len(body)) + body


def _varint(number: int) -> bytes:
    written = bytearray()
    while number >> 7:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
