# ruff: noqa: S608 - SQL is put together from this file's own words; values are parameters
"""The record's questions as SQL, and its rows as the engine's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson
from psycopg.rows import dict_row

from trade_engine.domain.decision import Decision
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.signal import Side
from trade_engine.execution.ports import DecisionFilter, Fill, OrderFilter
from trade_engine.storage.postgres.connection import Connection
from trade_engine.storage.postgres.parameters import TextArray

Row = dict[str, Any]
"""A row by column name."""

ORDER = """order_id, account_id, strategy_id, symbol, signal_id, side, ord_type, time_in_force,
    order_qty, price, broker, created_at_ns, ord_status, delivery, cum_qty, leaves_qty, cum_value,
    broker_order_id, cancel_requested, text, updated_at_ns, last_sequence, chain,
    fx_rate"""
"""The columns that `Order.from_json` reads."""

POSITION = "strategy_id, symbol, quantity, cost, realized_pnl, fees, local_cost"
"""The columns that `Position.from_json` reads."""


class Query(NamedTuple):
    """A statement and its parameters.

    Where several indexes begin with the account, a plan made while a table was empty may have
    taken the wrong one: planned_anew makes it each time.
    """

    statement: str
    parameters: tuple[Any, ...]
    planned_anew: bool = False


# Integers go as strings: psycopg picks a type by size, and each would be prepared by itself.
# LIMIT 1 in a lateral part makes it a lookup by key, whatever the tables' sizes seem to be (see
# connection.py); `= ANY` would not.

_JOURNAL_OF_D = """CROSS JOIN LATERAL (SELECT payload FROM journal
    WHERE account_id = d.account_id AND sequence = d.sequence LIMIT 1) j"""


def has_entry(account_id: str, sequence: int, entry_hash: bytes) -> Query:
    """One row if the journal holds exactly this entry."""
    return Query(
        "SELECT 1 FROM journal WHERE account_id = %s::text AND sequence = %s::bigint AND hash = %s",
        (account_id, str(sequence), entry_hash),
    )


def account(account_id: str, *, lock: bool = False) -> Query:
    """The account's head and summary; lock keeps every writer out until the transaction ends."""
    return Query(
        f"""SELECT epoch, sequence, head_hash, summary FROM accounts
             WHERE account_id = %s::text {"FOR NO KEY UPDATE" if lock else ""}""",
        (account_id,),
    )


def head(account_id: str) -> Query:
    """The account's head sequence."""
    return Query("SELECT sequence FROM accounts WHERE account_id = %s::text", (account_id,))


def account_ids() -> Query:
    """Every account, sorted."""
    return Query("SELECT account_id FROM accounts ORDER BY account_id", ())


def decisions_on(account_id: str, signal_ids: Iterable[str]) -> Query:
    """The decisions on these signals."""
    return Query(
        f"""SELECT d.sequence, j.payload::text AS payload
              FROM unnest(%s) AS wanted (signal_id)
              CROSS JOIN LATERAL (SELECT account_id, sequence FROM decisions
                  WHERE account_id = %s::text AND signal_id = wanted.signal_id LIMIT 1) d
              {_JOURNAL_OF_D}""",
        (_ids(signal_ids), account_id),
        planned_anew=True,
    )


def open_orders(account_id: str) -> Query:
    """The open orders, oldest first."""
    return Query(
        f"""SELECT {ORDER} FROM orders WHERE account_id = %s::text AND is_open
             ORDER BY created_at_ns, order_id""",
        (account_id,),
        planned_anew=True,
    )


def orders_with(account_id: str, order_ids: Iterable[str]) -> Query:
    """These orders."""
    return Query(
        f"""SELECT o.* FROM unnest(%s) AS wanted (order_id)
              CROSS JOIN LATERAL (SELECT {ORDER} FROM orders
                  WHERE account_id = %s::text AND order_id = wanted.order_id LIMIT 1) o""",
        (_ids(order_ids), account_id),
        planned_anew=True,
    )


def booked(account_id: str, broker: str, exec_ids: Iterable[str]) -> Query:
    """Those of these executions that are in fills."""
    return Query(
        """SELECT f.exec_id FROM unnest(%s) AS wanted (exec_id)
             CROSS JOIN LATERAL (SELECT exec_id FROM fills
                 WHERE account_id = %s::text AND broker = %s::text AND exec_id = wanted.exec_id
                 LIMIT 1) f""",
        (_ids(exec_ids), account_id, broker),
        planned_anew=True,
    )


def fills_of(account_id: str, strategy_id: str, symbol: str) -> Query:
    """A position's executions, in the order in which they were booked."""
    return Query(
        """SELECT broker, exec_id, order_id, sequence, strategy_id, symbol, side, last_qty, last_px,
                  commission, transact_time_ns, amended_by, fx_rate
             FROM fills
            WHERE account_id = %s::text AND strategy_id = %s::text AND symbol = %s::text
            ORDER BY sequence""",
        (account_id, strategy_id, symbol),
        planned_anew=True,
    )


def fill(row: Row) -> Fill:
    """Read an execution."""
    return Fill(**{**row, "side": Side(row["side"]), "amended_by": row["amended_by"] or []})


def decisions_before(
    account_id: str, which: DecisionFilter, before_sequence: int | None, limit: int
) -> Query:
    """Decisions that pass the filter, newest first."""
    conditions, parameters = ["d.account_id = %s::text"], [account_id]
    if before_sequence is not None:
        conditions.append("d.sequence < %s::bigint")
        parameters.append(str(before_sequence))
    if which.strategy_id:
        conditions.append("d.strategy_id = %s::text")
        parameters.append(which.strategy_id)
    if which.symbol:
        conditions.append("d.symbol = %s::text")
        parameters.append(which.symbol)
    if which.outcome:
        conditions.append("d.outcome = %s::text")
        parameters.append(which.outcome.value)
    return Query(
        f"""SELECT d.sequence, j.payload::text AS payload FROM decisions d {_JOURNAL_OF_D}
             WHERE {" AND ".join(conditions)} ORDER BY d.sequence DESC LIMIT %s::bigint""",
        (*parameters, str(limit)),
    )


def orders_before(
    account_id: str, which: OrderFilter, before: tuple[int, str] | None, limit: int
) -> Query:
    """Orders that pass the filter, newest first."""
    conditions, parameters = ["account_id = %s::text"], [account_id]
    if before is not None:
        conditions.append("(created_at_ns, order_id) < (%s::bigint, %s::text)")
        parameters += [str(before[0]), before[1]]
    if which.strategy_id:
        conditions.append("strategy_id = %s::text")
        parameters.append(which.strategy_id)
    if which.symbol:
        conditions.append("symbol = %s::text")
        parameters.append(which.symbol)
    if which.open_only:
        conditions.append("is_open")
    return Query(
        f"""SELECT {ORDER} FROM orders WHERE {" AND ".join(conditions)}
             ORDER BY created_at_ns DESC, order_id DESC LIMIT %s::bigint""",
        (*parameters, str(limit)),
    )


def positions(account_id: str) -> Query:
    """All positions."""
    return Query(f"SELECT {POSITION} FROM positions WHERE account_id = %s::text", (account_id,))


def positions_after(
    account_id: str, strategy_id: str, symbol: str, after: tuple[str, str] | None, limit: int
) -> Query:
    """Positions in the order of their key."""
    conditions, parameters = ["account_id = %s::text"], [account_id]
    if after is not None:
        conditions.append("(strategy_id, symbol) > (%s::text, %s::text)")
        parameters += after
    if strategy_id:
        conditions.append("strategy_id = %s::text")
        parameters.append(strategy_id)
    if symbol:
        conditions.append("symbol = %s::text")
        parameters.append(symbol)
    return Query(
        f"""SELECT {POSITION} FROM positions WHERE {" AND ".join(conditions)}
             ORDER BY strategy_id, symbol LIMIT %s::bigint""",
        (*parameters, str(limit)),
    )


def entries_after(
    account_id: str, after_sequence: int, limit: int, kinds: frozenset[EntryKind] | None
) -> Query:
    """Journal entries, oldest first."""
    of_kinds = ""
    parameters: list[Any] = [account_id, str(after_sequence)]
    if kinds is not None:
        of_kinds = "AND kind = ANY (%s)"
        parameters.append(_ids(sorted(kinds)))
    return Query(
        f"""SELECT account_id, sequence, recorded_at_ns, kind, payload::text AS payload, prev_hash,
                   hash
              FROM journal WHERE account_id = %s::text AND sequence > %s::bigint {of_kinds}
             ORDER BY sequence LIMIT %s::bigint""",
        (*parameters, str(limit)),
    )


async def fetch(connection: Connection, query: Query) -> list[Row]:
    """Run a query and fetch every row."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query.statement, query.parameters, prepare=not query.planned_anew)
        return await cursor.fetchall()


def decision(row: Row) -> Decision:
    """Read a decision from its journal entry."""
    return Decision.from_json(orjson.loads(row["payload"])["decision"], row["sequence"])


def entry(row: Row) -> JournalEntry:
    """Read a journal entry; the payload is the very text that was hashed."""
    return JournalEntry(
        account_id=row["account_id"],
        sequence=row["sequence"],
        recorded_at_ns=row["recorded_at_ns"],
        kind=EntryKind(row["kind"]),
        payload=row["payload"].encode(),
        prev_hash=row["prev_hash"],
        hash=row["hash"],
    )


def _ids(ids: Iterable[str]) -> TextArray:
    return TextArray(each.encode() for each in ids)
