"""What a FIX session must not forget, in one SQLite file: sequence numbers, orders, reports.

The library asks for a `MessageStore`; this is one, with two rules of its own.

**A message counts as received once it is booked.** `next_target` on disk is the first inbound
message that the engine has not booked, however far the session has read. So a process that dies
between reading a fill and booking it asks the venue for that message again, and a report and the
number that says it was taken are written in one transaction.

**An order, or a request to replace one, is never sent a second time by a resend.** What
the venue asks for again and is one of these is passed over by a gap fill, and noted as withheld:
the market that it was approved for is gone.
The venue never read it (it asks for the first message that it lacks, and reads nothing past that),
so the engine, which asks, is told that it never arrived, and decides anew. Cancels and questions
are resent.

The file is locked for as long as it is open: two processes can't have one session. Who only looks
(`fix_look`) needs no lock.
"""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
from fixcore.store.base import MessageStore

from trade_engine.brokers import fix_fields as tag
from trade_engine.brokers.fix_fields import (
    NEW_ORDER_SINGLE,
    ORDER_CANCEL_REPLACE_REQUEST,
    ORDER_CANCEL_REQUEST,
    ORDER_STATUS_REQUEST,
    fields_of,
)
from trade_engine.brokers.fix_requests import TABLE, SentRequest, SentRequests
from trade_engine.domain.clock import NS_PER_S, Clock
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.execution import BrokerReport, ExecType, ExecutionReport
from trade_engine.domain.money import optional_text, text
from trade_engine.domain.order import Order, order_id_of
from trade_engine.domain.replacement import Replacement

RESENT = frozenset({ORDER_CANCEL_REQUEST, ORDER_STATUS_REQUEST})
"""What is resent when the venue asks for it."""

_TABLES = """
CREATE TABLE IF NOT EXISTS session (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS outgoing (
    seq INTEGER PRIMARY KEY,
    message BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS orders (
    cl_ord_id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL,
    terms TEXT NOT NULL,
    era INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    withheld INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS orders_by_number ON orders (era, seq);
CREATE TABLE IF NOT EXISTS reports (
    number INTEGER PRIMARY KEY,
    order_id TEXT NOT NULL,
    exec_id TEXT NOT NULL,
    exec_type TEXT NOT NULL,
    report TEXT NOT NULL,
    UNIQUE (order_id, exec_id, exec_type)
);
CREATE TABLE IF NOT EXISTS quarantine (
    number INTEGER PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    why TEXT NOT NULL,
    message BLOB NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class SentOrder:
    """An order that was handed to the session. era counts the resets of its sequence numbers.

    Withheld: the venue lacked it, and it was passed over instead of being sent again.
    """

    cl_ord_id: str
    account_id: str
    terms: dict[str, str]
    era: int
    seq: int
    withheld: bool


class FixStore(MessageStore):
    """One session's file, open. Numbers are those of the next message, as in FIX."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the file, or make it.

        Raises:
            StoreUnavailable: another process has it open, or it cannot be read or written.
        """
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = False
        self._due: dict[str, Order] = {}
        self._due_requests: dict[str, Replacement] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_file = path.with_name(path.name + ".lock").open("w")
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._db = sqlite3.connect(path, check_same_thread=False)
            self._db.isolation_level = None
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_TABLES + TABLE)
            self._requests = SentRequests(self._db)
            # Beside the lock: what the event loop looks up must not wait for another's commit.
            self._looks = sqlite3.connect(path, check_same_thread=False)
            self._load()
        except BlockingIOError:
            self._lock_file.close()
            raise StoreUnavailable(
                f"the FIX store {path} is in use by another process: only one may have the session"
            ) from None
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable(f"the FIX store {path} cannot be used: {error}") from error

    def _load(self) -> None:
        rows = self._db.execute("SELECT name, value FROM session").fetchall()
        values = dict(rows)
        self.era = int(values.get("era", 0))
        self.announces_reset = bool(values.get("announces_reset", 0))
        self._sender = int(values.get("next_sender", 1))
        self._target = int(values.get("next_target", 1))
        self._created_ns = int(values.get("created_ns", self._clock()))
        self.booked_target = self._target

    # ---- what the library asks for ----------------------------------------------------------

    def get(self, begin_seq: int, end_seq: int) -> list[bytes]:
        """What is resent of a range; an order or a replacement in it is withheld from now on."""
        with self._lock, self._db:
            self._db.execute(
                "UPDATE orders SET withheld = 1 WHERE era = ? AND seq BETWEEN ? AND ?"
                " AND NOT EXISTS (SELECT 1 FROM reports WHERE order_id = cl_ord_id)",
                (self.era, begin_seq, end_seq),
            )
            self._requests.withhold(self.era, begin_seq, end_seq)
            rows = self._db.execute(
                "SELECT message FROM outgoing WHERE seq BETWEEN ? AND ? ORDER BY seq",
                (begin_seq, end_seq),
            )
            return [bytes(message) for (message,) in rows]

    def set(self, seq_num: int, message: bytes) -> None:
        """Make a message durable before it is sent, together with the number that it takes."""
        fields = fields_of(message)
        with self._lock, self._db:
            self._db.execute("BEGIN")
            if fields.get(tag.MSG_TYPE) == NEW_ORDER_SINGLE:
                self._keep_order(self._due.pop(fields[tag.CL_ORD_ID]), seq_num)
            elif fields.get(tag.MSG_TYPE) == ORDER_CANCEL_REPLACE_REQUEST:
                asked = self._due_requests.pop(fields[tag.CL_ORD_ID])
                self._requests.keep(asked, self.era, seq_num)
            elif fields.get(tag.MSG_TYPE) in RESENT:
                self._db.execute(
                    "INSERT OR REPLACE INTO outgoing VALUES (?, ?)", (seq_num, message)
                )
            self._put("next_sender", seq_num + 1)

    async def aset(self, seq_num: int, message: bytes) -> None:
        """Do as `set` does, in a thread: it waits for the disk."""
        await asyncio.to_thread(self.set, seq_num, message)

    def next_sender_msg_seq_num(self) -> int:
        """The number of the next message that goes out."""
        return self._sender

    def next_target_msg_seq_num(self) -> int:
        """The number of the next message to read, booked or not."""
        return self._target

    def incr_next_sender_msg_seq_num(self) -> None:
        """Go on to the next number; `set` has written it."""
        self._sender += 1

    def incr_next_target_msg_seq_num(self) -> None:
        """Go on reading; what is on disk follows once it is booked."""
        self._target += 1

    def set_next_sender_msg_seq_num(self, seq_num: int) -> None:
        """Set the number of the next message that goes out."""
        with self._lock, self._db:
            self._put("next_sender", seq_num)
        self._sender = seq_num

    def set_next_target_msg_seq_num(self, seq_num: int) -> None:
        """Go on reading from a number; what is on disk follows once what was read is booked."""
        self._target = seq_num

    def get_creation_time(self) -> datetime:
        """When the sequence numbers last began at 1."""
        return datetime.fromtimestamp(self._created_ns / NS_PER_S, UTC)

    def set_creation_time(self, when: datetime) -> None:
        """Say when the sequence numbers last began at 1."""
        self._created_ns = int(when.timestamp()) * NS_PER_S
        with self._lock, self._db:
            self._put("created_ns", self._created_ns)

    def reset(self) -> None:
        """Begin at 1 again; asked for by the library only when the Logon says so by our wish."""
        self.restart(next_sender=1, next_target=1, announced=self.announces_reset)

    def refresh(self) -> None:
        """Read the numbers from the file again."""
        with self._lock:
            self._load()

    def close(self) -> None:
        """Let the file go; harmless when it is closed already."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._looks.close()
                self._db.close()
                self._lock_file.close()

    # ---- what the adapter asks for ----------------------------------------------------------

    def restart(self, *, next_sender: int, next_target: int, announced: bool) -> None:
        """Begin a new era of sequence numbers, by the operator's wish.

        Orders and reports stay. announced: the next Logon asks the venue to begin at 1 too.
        """
        with self._lock, self._db:
            self._db.execute("BEGIN")
            self._db.execute("DELETE FROM outgoing")
            self._put("era", self.era + 1)
            self._put("next_sender", next_sender)
            self._put("next_target", next_target)
            self._put("announces_reset", int(announced))
            self._put("created_ns", self._clock())
        self._load()

    def reset_is_agreed(self) -> None:
        """The venue began at 1 with us: the next Logon asks for it no more."""
        with self._lock, self._db:
            self._put("announces_reset", 0)
        self.announces_reset = False

    def expect(self, order: Order) -> None:
        """Say of which order the next NewOrderSingle with its ClOrdID is."""
        self._due[order.cl_ord_id] = order

    def expect_request(self, asked: Replacement) -> None:
        """Say which replacement the next OrderCancelReplaceRequest with its ClOrdID asks for."""
        self._due_requests[asked.terms.cl_ord_id] = asked

    def _keep_order(self, order: Order, seq: int) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?, 0)",
            (order.cl_ord_id, order.account_id, _written(terms_of(order)), self.era, seq),
        )

    def find_orders(self, account_id: str, cl_ord_ids: Iterable[str]) -> dict[str, SentOrder]:
        """Which of these orders of an account were handed to the session."""
        found: dict[str, SentOrder] = {}
        with self._lock:
            for cl_ord_id in cl_ord_ids:
                row = self._db.execute(
                    "SELECT * FROM orders WHERE cl_ord_id = ? AND account_id = ?",
                    (cl_ord_id, account_id),
                ).fetchone()
                if row:
                    found[cl_ord_id] = _sent(row)
        return found

    def find_requests(self, account_id: str, cl_ord_ids: Iterable[str]) -> dict[str, SentRequest]:
        """Which of these requests to replace were handed to the session for an account."""
        with self._lock:
            return self._requests.find(account_id, cl_ord_ids)

    def unanswered_requests(self) -> list[SentRequest]:
        """The requests to replace that the venue has not answered, as far as is booked."""
        with self._lock:
            return self._requests.unanswered()

    def book(self, told: Sequence[BrokerReport], next_target: int) -> None:
        """Write reports that the engine has booked, and what is now to be read first."""
        reports = [each for each in told if isinstance(each, ExecutionReport)]
        with self._lock, self._db:
            self._db.execute("BEGIN")
            self._db.executemany(
                "INSERT OR IGNORE INTO reports (order_id, exec_id, exec_type, report)"
                " VALUES (?, ?, ?, ?)",
                [
                    (
                        order_id_of(each.cl_ord_id),
                        each.exec_id,
                        each.exec_type.value,
                        _written(each.to_json()),
                    )
                    for each in reports
                ],
            )
            self._db.executemany(
                "UPDATE orders SET withheld = 0 WHERE cl_ord_id = ? AND withheld = 1",
                [(order_id_of(each.cl_ord_id),) for each in reports],
            )
            self._requests.answer(told)
            self._put("next_target", next_target)
        self.booked_target = next_target

    def reports_of(self, cl_ord_id: str) -> list[ExecutionReport]:
        """What was reported of an order and booked, in the venue's order."""
        with self._lock:
            rows = self._db.execute(
                "SELECT report FROM reports WHERE order_id = ? ORDER BY number", (cl_ord_id,)
            ).fetchall()
        return [ExecutionReport.from_json(orjson.loads(report)) for (report,) in rows]

    def last_reports(self, limit: int) -> list[ExecutionReport]:
        """The last reports that were booked, in their order."""
        with self._lock:
            rows = self._db.execute(
                "SELECT report FROM reports ORDER BY number DESC LIMIT ?", (limit,)
            ).fetchall()
        return [ExecutionReport.from_json(orjson.loads(report)) for (report,) in reversed(rows)]

    def quarantine(self, message: bytes, why: str) -> None:
        """Keep a message that could not be understood, for a person to look at."""
        with self._lock, self._db:
            self._db.execute(
                "INSERT INTO quarantine (at_ns, why, message) VALUES (?, ?, ?)",
                (self._clock(), why, message),
            )

    # ---- what the event loop looks up: by key, and without waiting for a commit ---------------

    def look_up(self, cl_ord_id: str) -> tuple[SentOrder, list[ExecutionReport]] | None:
        """One order by its first ClOrdID, and what was booked of new terms, in order."""
        row = self._looks.execute(
            "SELECT * FROM orders WHERE cl_ord_id = ?", (cl_ord_id,)
        ).fetchone()
        if row is None:
            return None
        reports = self._looks.execute(
            "SELECT report FROM reports WHERE order_id = ? AND exec_type IN (?, ?) ORDER BY number",
            (cl_ord_id, ExecType.REPLACED.value, ExecType.RESTATED.value),
        ).fetchall()
        return _sent(row), [ExecutionReport.from_json(orjson.loads(each)) for (each,) in reports]

    def order_sent_as(self, seq: int) -> str:
        """The ClOrdID of the order that took this number in this era; empty if none did."""
        return self._sent_as("orders", seq)

    def replacement_sent_as(self, seq: int) -> str:
        """The ClOrdID of the request to replace that took this number in this era, or nothing."""
        return self._sent_as("requests", seq)

    def _sent_as(self, table: str, seq: int) -> str:
        row = self._looks.execute(
            f"SELECT cl_ord_id FROM {table} WHERE era = ? AND seq = ?",  # noqa: S608  ours
            (self.era, seq),
        ).fetchone()
        return str(row[0]) if row else ""

    def request_sent_as(self, seq: int) -> dict[int, str]:
        """The fields of the cancel or the question that took this number; empty if none did."""
        row = self._looks.execute("SELECT message FROM outgoing WHERE seq = ?", (seq,)).fetchone()
        return fields_of(bytes(row[0])) if row else {}

    def _put(self, name: str, value: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO session VALUES (?, ?)", (name, value))


def terms_of(order: Order) -> dict[str, str]:
    """What makes two orders of one ClOrdID the same order."""
    return {
        "symbol": order.symbol,
        "side": order.side.value,
        "ord_type": order.ord_type.value,
        "time_in_force": order.time_in_force.value,
        "order_qty": text(order.order_qty),
        "price": optional_text(order.price) or "",
    }


def _sent(row: tuple[str, str, str, int, int, int]) -> SentOrder:
    cl_ord_id, account_id, terms, era, seq, withheld = row
    return SentOrder(cl_ord_id, account_id, orjson.loads(terms), era, seq, bool(withheld))


def _written(doc: Mapping[str, object]) -> str:
    return orjson.dumps(doc).decode()
