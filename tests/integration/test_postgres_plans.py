"""Statements planned while the tables were empty stay quick when they have grown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from tests.support.record import ACCOUNT, add, decisions, moved, opened, signal
from trade_engine.domain.account import AccountState
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.position import Position
from trade_engine.execution.ports import Committed, DecisionFilter, OrderFilter
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.paper_venue import PaperVenueBooks
from trade_engine.storage.postgres.record import PostgresRecord

pytest_plugins = ["tests.support.record_fixtures"]
pytestmark = pytest.mark.stores

ROWS = 50_000
USES_UNTIL_A_PLAN_IS_KEPT = 8
FEW = 500  # rows that a question by key may read, its fifty ids and what is open included

GROW = f"""
    INSERT INTO journal (account_id, sequence, recorded_at_ns, kind, payload, prev_hash, hash)
    SELECT 'main', n, n, kind, payload, '', '' FROM generate_series(1000, {ROWS}) n,
           (SELECT kind, payload FROM journal WHERE kind = 'DECISION' LIMIT 1) decision;
    INSERT INTO decisions
    SELECT 'main', 'old-' || n, n, 's', 'X', 'REJECTED', '' FROM generate_series(1000, {ROWS}) n;
    INSERT INTO orders
    SELECT 'main', 'old-' || n, 's', 'X', 'old-' || n, 'BUY', 'LIMIT', 'DAY', 1, 1, 'paper', n,
           'FILLED', false, 'SENT', 1, 0, 1, '', false, '', n, n
      FROM generate_series(1, {ROWS}) n;
    INSERT INTO fills
    SELECT 'main', 'paper', 'old-' || n, 'old-' || n, n, 's', 'X', 'BUY', 1, 1, 0, n
      FROM generate_series(1, {ROWS}) n;
    INSERT INTO paper.orders
    SELECT 'main', 'old-' || n, n, false, '{{}}' FROM generate_series(1, {ROWS}) n;
    INSERT INTO paper.reports
    SELECT 'main', n, 'old-' || n, 'old-' || n, '{{}}' FROM generate_series(1, {ROWS}) n;
    UPDATE paper.accounts SET acknowledged_seq = {ROWS};
"""


def reads(
    record: PostgresRecord, books: PaperVenueBooks
) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Every question that touches a table which grows."""
    late = ROWS - 100
    # So many that the server finds its generic plan the cheaper one, and keeps it.
    old = [f"old-{n}" for n in range(late, late + 50)]
    return {
        "load": lambda: record.load(ACCOUNT),
        "has_entry": lambda: record.has_entry(ACCOUNT, late, b""),
        "find_decisions": lambda: record.find_decisions(ACCOUNT, ["signal-1", *old]),
        "find_orders": lambda: record.find_orders(ACCOUNT, old),
        "booked": lambda: record.booked(ACCOUNT, "paper", old),
        "list_decisions": lambda: record.list_decisions(ACCOUNT, DecisionFilter(), 5, 3),
        "list_orders": lambda: record.list_orders(ACCOUNT, OrderFilter(), (late, "x"), 3),
        "list_open_orders": lambda: record.list_orders(
            ACCOUNT, OrderFilter(open_only=True), None, 3
        ),
        "entries": lambda: record.entries(ACCOUNT, late, 3),
        "entries of a kind": lambda: record.entries(
            ACCOUNT, late, 3, frozenset({EntryKind.DECISION})
        ),
        "open_orders": lambda: record.open_orders(ACCOUNT),
        "paper find": lambda: books.find(ACCOUNT, old),
        "paper take_over": lambda: books.take_over(ACCOUNT, "venue"),
    }


async def commit_one(record: PostgresRecord, state: AccountState) -> None:
    """A batch that touches every table by key."""
    commit = decisions(state, signal(state.sequence))
    add(commit, EntryKind.EXECUTION, {})
    commit.positions = [Position("s", "X")]
    assert await record.commit(commit) is Committed.DONE
    moved(state, commit)


async def rows_read(
    database: Database,
    side_door: psycopg.AsyncConnection[Any],
    ask: Callable[[], Awaitable[Any]],
) -> int:
    """How many rows the server reads to answer, by its own count."""

    async def so_far() -> int:
        await database.call(
            "count",
            30,
            lambda connection: connection.execute("SELECT pg_stat_force_next_flush()"),
        )
        cursor = await side_door.execute(
            "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))"
            " FROM pg_stat_user_tables"
        )
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

    before = await so_far()
    await ask()
    return await so_far() - before


async def test_plans_of_empty_tables_do_no_harm_later(
    database_url: str, side_door: psycopg.AsyncConnection[Any]
) -> None:
    await side_door.execute("ALTER TABLE journal SET (autovacuum_enabled = off)")
    for table in ("decisions", "orders", "fills", "paper.orders", "paper.reports"):
        await side_door.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())
    database = Database(database_url, pool_size=1)
    record, books = PostgresRecord(database), PaperVenueBooks(database)
    state = await opened(record)
    asked = reads(record, books)
    for _ in range(USES_UNTIL_A_PLAN_IS_KEPT):
        for ask in asked.values():
            await ask()
    for _ in range(USES_UNTIL_A_PLAN_IS_KEPT):
        await commit_one(record, state)
    for statement in GROW.split(";")[:-1]:
        await side_door.execute(statement.encode())

    asked["commit"] = lambda: commit_one(record, state)
    read = {name: await rows_read(database, side_door, ask) for name, ask in asked.items()}
    await database.close()
    assert max(read.values()) > 0, "the server counts"
    assert not {name: rows for name, rows in read.items() if rows > FEW}
