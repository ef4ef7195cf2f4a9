"""Everything that a run left behind, as plain values: what the checker judges, and nothing else.

Taken from the client's log, the engines' logs and metrics, PostgreSQL (the record, and the paper
venue's own log) and Redis; kept as one JSON file, so that it can be judged again without them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, LiteralString

import orjson
import psycopg
import redis
from psycopg.rows import dict_row

from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.storage.postgres.url import connection_words

Row = dict[str, Any]
Violations = Iterator[str]
GONE = -2
"""What Redis says of the time that a key has which it does not have."""

_TABLES: dict[str, LiteralString] = {
    "accounts": "SELECT *, encode(head_hash, 'hex') AS head_hash_hex FROM accounts",
    "journal": """
        SELECT account_id, sequence, recorded_at_ns, kind, payload::text AS payload,
               encode(prev_hash, 'hex') AS prev_hash, encode(hash, 'hex') AS hash
          FROM journal ORDER BY account_id, sequence""",
    "decisions": "SELECT * FROM decisions",
    "orders": "SELECT * FROM orders",
    "fills": "SELECT * FROM fills ORDER BY sequence",
    "positions": "SELECT * FROM positions",
    "controls": "SELECT * FROM trading_controls",
    "leases": "SELECT account_id, holder, token, expires_at > now() AS stuck FROM sender_leases",
    "messages": """
        SELECT account_id, seq, cl_ord_id, message,
               (extract(epoch FROM arrived_at) * 1e9)::bigint AS arrived_at_ns
          FROM paper.messages ORDER BY account_id, seq""",
    "reports": "SELECT account_id, seq, cl_ord_id, exec_id, report FROM paper.reports"
    " ORDER BY account_id, seq",
}


@dataclass
class Evidence:
    """One run. Rows are as the tables have them, bytes in hex, times in ns.

    redis: by key, its type, ttl_ms (-1: none) and value (a hash as a mapping).
    sessions: what stood open in PostgreSQL when the run was quiet; sessions_left: after the stop.
    exit_codes: how each engine ended when it was asked to. taken_at_ns: by the server's clock.
    price: the mid of every quote. quiet_limit_s: how long all may take after the last fault.
    """

    secret: str = ""
    price: str = "0"
    quiet_limit_s: float = 10.0
    taken_at_ns: int = 0
    events: list[Row] = field(default_factory=list)
    accounts: list[Row] = field(default_factory=list)
    journal: list[Row] = field(default_factory=list)
    decisions: list[Row] = field(default_factory=list)
    orders: list[Row] = field(default_factory=list)
    fills: list[Row] = field(default_factory=list)
    positions: list[Row] = field(default_factory=list)
    controls: list[Row] = field(default_factory=list)
    leases: list[Row] = field(default_factory=list)
    messages: list[Row] = field(default_factory=list)
    reports: list[Row] = field(default_factory=list)
    redis: dict[str, Row] = field(default_factory=dict)
    sessions: list[Row] = field(default_factory=list)
    sessions_left: list[Row] = field(default_factory=list)
    exit_codes: dict[str, int] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)

    def save(self, file: Path) -> None:
        file.write_bytes(orjson.dumps(asdict(self)))

    @classmethod
    def load(cls, file: Path) -> Evidence:
        return cls(**orjson.loads(file.read_bytes()))

    def events_of(self, what: str) -> list[Row]:
        return [event for event in self.events if event["what"] == what]

    def payloads(self, account_id: str) -> list[tuple[Row, Row]]:
        """An account's journal entries, each with its payload."""
        return [
            (entry, orjson.loads(entry["payload"]))
            for entry in self.journal
            if entry["account_id"] == account_id
        ]

    def entries(self, account_id: str) -> list[JournalEntry]:
        """An account's journal entries, as the engine reads them."""
        return [as_entry(each) for each in self.journal if each["account_id"] == account_id]

    @property
    def prices(self) -> dict[str, Decimal]:
        """The mid of each symbol that an order was about."""
        return {each["symbol"]: Decimal(self.price) for each in self.orders}

    @property
    def account_ids(self) -> list[str]:
        return sorted({entry["account_id"] for entry in self.journal})


def as_entry(row: Row) -> JournalEntry:
    """A row of the journal as the engine reads it."""
    return JournalEntry(
        row["account_id"],
        row["sequence"],
        row["recorded_at_ns"],
        EntryKind(row["kind"]),
        row["payload"].encode(),
        bytes.fromhex(row["prev_hash"]),
        bytes.fromhex(row["hash"]),
    )


def take(evidence: Evidence, database_url: str, redis_url: str) -> None:
    """Add what the stores hold."""
    words = connection_words(database_url)
    with psycopg.connect(**words, autocommit=True, row_factory=dict_row) as connection:
        for name, statement in _TABLES.items():
            rows = connection.execute(statement).fetchall()
            setattr(evidence, name, [_plain(row) for row in rows])
    evidence.taken_at_ns = time.time_ns()
    with redis.Redis.from_url(redis_url, decode_responses=True, protocol=2) as client:
        held = {key: _redis_value(client, key) for key in sorted(client.keys("*"))}
        # What ran out while it was looked at is no more there.
        evidence.redis = {key: each for key, each in held.items() if each["ttl_ms"] != GONE}


def sessions(database_url: str) -> list[Row]:
    """Who is connected to the database but this, and what stands open there."""
    statement = """
        SELECT application_name, state, wait_event_type,
               coalesce(extract(epoch FROM now() - xact_start), 0)::float AS open_s
          FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()
           AND backend_type = 'client backend'"""
    words = connection_words(database_url)
    with psycopg.connect(**words, autocommit=True, row_factory=dict_row) as connection:
        return [_plain(row) for row in connection.execute(statement).fetchall()]


def _redis_value(client: redis.Redis, key: str) -> Row:
    kind = str(client.type(key))
    value: Any = client.hgetall(key) if kind == "hash" else client.get(key)
    return {"type": kind, "ttl_ms": client.pttl(key), "value": value}


def _plain(row: Row) -> Row:
    return {
        name: value
        if isinstance(value, str | int | float | bool | dict | list | None)
        else str(value)
        for name, value in row.items()
        if not isinstance(value, bytes)
    }
