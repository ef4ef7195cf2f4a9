"""A look into a FIX session's file, beside a running engine too: it only reads."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from trade_engine.brokers.fix_fields import shown
from trade_engine.brokers.fix_requests import ANSWERED
from trade_engine.domain.errors import StoreUnavailable


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that could not be used: when it came, why it could not, and what it was."""

    at_ns: int
    why: str
    message: str


@dataclass(frozen=True, slots=True)
class FixLook:
    """How a session stands. next_target is the first message that the engine has not booked.

    era counts the resets of sequence numbers. unanswered are orders that nothing was reported of,
    and requests to replace that were neither taken nor refused.
    """

    next_sender: int
    next_target: int
    era: int
    orders: int
    reports: int
    unanswered: list[str]
    withheld: list[str]
    quarantined: list[Quarantined]


def look_into(path: Path) -> FixLook:
    """Read a session's file.

    Raises:
        StoreUnavailable: there is none, or it cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            values = dict(db.execute("SELECT name, value FROM session").fetchall())
            return FixLook(
                next_sender=values.get("next_sender", 1),
                next_target=values.get("next_target", 1),
                era=values.get("era", 0),
                orders=db.execute("SELECT count(*) FROM orders").fetchone()[0],
                reports=db.execute("SELECT count(*) FROM reports").fetchone()[0],
                unanswered=_names(
                    db,
                    "SELECT cl_ord_id, era, seq FROM orders WHERE NOT withheld AND NOT EXISTS"
                    " (SELECT 1 FROM reports WHERE order_id = cl_ord_id)"
                    " UNION ALL SELECT cl_ord_id, era, seq FROM requests"
                    " WHERE NOT withheld AND heard < ?",
                    ANSWERED,
                ),
                withheld=_names(
                    db,
                    "SELECT cl_ord_id, era, seq FROM orders WHERE withheld"
                    " UNION ALL SELECT cl_ord_id, era, seq FROM requests WHERE withheld",
                ),
                quarantined=[
                    Quarantined(at_ns, why, _shown(message))
                    for at_ns, why, message in db.execute(
                        "SELECT at_ns, why, message FROM quarantine ORDER BY number"
                    )
                ],
            )
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the FIX store {path} cannot be read: {error}") from error


def _names(db: sqlite3.Connection, query: str, *given: int) -> list[str]:
    """In the order of their sending."""
    return [name for name, _era, _seq in db.execute(f"{query} ORDER BY era, seq", given)]


def _shown(message: bytes) -> str:
    return shown(message.decode("latin-1").replace("\x01", "|"))
