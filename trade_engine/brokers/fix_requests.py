"""Requests to replace in a session's file: written before they are sent, and never sent again.

They have the rules of orders (see `fix_store`): one that the venue asks for again is passed over by
a gap fill and noted as withheld, unless the venue has answered it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from trade_engine.domain.execution import BrokerReport, ExecType, ExecutionReport
from trade_engine.domain.money import text
from trade_engine.domain.replacement import Replacement, is_replacement

TABLE = """
CREATE TABLE IF NOT EXISTS requests (
    cl_ord_id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    order_qty TEXT NOT NULL,
    price TEXT NOT NULL,
    era INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    withheld INTEGER NOT NULL DEFAULT 0,
    heard INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS requests_by_number ON requests (era, seq);
"""
_READ, ANSWERED = 1, 2
"""heard: the venue has certainly read it (PENDING_REPLACE); it has taken or refused it."""


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request to replace that was handed to the session, and the terms that it asked for.

    Withheld: the venue lacked it, and it was passed over. Answered: the engine has booked the
    REPLACED or the refusal. era counts the resets of the session's sequence numbers.
    """

    cl_ord_id: str
    order_id: str
    account_id: str
    order_qty: Decimal
    price: Decimal
    era: int
    seq: int
    withheld: bool = False
    answered: bool = False

    def asks_for(self, asked: Replacement) -> bool:
        """Whether this is the same request."""
        terms = asked.terms
        return (self.order_id, self.order_qty, self.price) == (
            terms.order_id,
            terms.order_qty,
            terms.price,
        )


class SentRequests:
    """The table's statements; the file's owner holds its lock and its transaction around them."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def keep(self, asked: Replacement, era: int, seq: int) -> None:
        """Note what is about to be sent, under the number that it takes."""
        terms = asked.terms
        self._db.execute(
            "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0)",
            (
                terms.cl_ord_id,
                terms.order_id,
                asked.order.account_id,
                text(terms.order_qty),
                text(terms.price),
                era,
                seq,
            ),
        )

    def withhold(self, era: int, begin_seq: int, end_seq: int) -> None:
        """The venue lacks these numbers: what it never said a word of, it never read."""
        self._db.execute(
            "UPDATE requests SET withheld = 1 WHERE era = ? AND seq BETWEEN ? AND ? AND heard = 0",
            (era, begin_seq, end_seq),
        )

    def answer(self, reports: Sequence[BrokerReport]) -> None:
        """Note which of them these reports answer, or show to have been read."""
        self._db.executemany(
            "UPDATE requests SET heard = max(heard, ?), withheld = 0 WHERE cl_ord_id = ?",
            [
                (_READ if _is_pending(each) else ANSWERED, each.cl_ord_id)
                for each in reports
                if is_replacement(each.cl_ord_id)
            ],
        )

    def find(self, account_id: str, cl_ord_ids: Iterable[str]) -> dict[str, SentRequest]:
        """Which of these were handed to the session for an account."""
        rows = [
            self._db.execute(
                "SELECT * FROM requests WHERE cl_ord_id = ? AND account_id = ?", (each, account_id)
            ).fetchone()
            for each in cl_ord_ids
        ]
        return {row[0]: _sent(row) for row in rows if row}

    def unanswered(self) -> list[SentRequest]:
        """All that are still to be answered."""
        rows = self._db.execute("SELECT * FROM requests WHERE heard < ?", (ANSWERED,))
        return [_sent(row) for row in rows]


def _is_pending(report: BrokerReport) -> bool:
    return isinstance(report, ExecutionReport) and report.exec_type is ExecType.PENDING_REPLACE


def _sent(row: tuple[str, str, str, str, str, int, int, int, int]) -> SentRequest:
    cl_ord_id, order_id, account_id, order_qty, price, era, seq, withheld, heard = row
    return SentRequest(
        cl_ord_id, order_id, account_id, Decimal(order_qty), Decimal(price), era, seq,
        bool(withheld), heard == ANSWERED,
    )  # fmt: skip
