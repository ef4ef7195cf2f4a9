# ruff: noqa: S608 - SQL is put together from this file's own words; values are parameters
"""The write: one batch's whole effect as one statement, which is one transaction.

The statement begins with the head row: it moves to the batch's last sequence if it stands where
the batch expects it, under the very hash that the batch is chained to. Everything else is written
only if that row moved, so a lost race writes nothing. The journal travels as arrays in binary
(inside JSON its payloads would be read three times more, half of the server's work); the rows of
the other tables, many columns and few bytes, as one JSON document per table.

A statement names only the tables that the batch touches, so that an idle path pays for no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from typing import Any

import orjson
from psycopg.errors import UniqueViolation

from trade_engine.domain.order import Order
from trade_engine.domain.position import Position
from trade_engine.execution.ports import Commit, Committed, DecisionRow, Fence, Fill
from trade_engine.storage.postgres.connection import Connection
from trade_engine.storage.postgres.parameters import (
    BigintArray,
    ByteaArray,
    JsonArray,
    JsonText,
    Parameter,
    TextArray,
)
from trade_engine.storage.postgres.prepared import run

_MOVE_HEAD = """
    UPDATE accounts SET sequence = %(sequence)s::bigint, head_hash = %(head_hash)s::bytea,
           summary = %(summary)s::json
     WHERE account_id = %(account_id)s::text AND epoch = %(epoch)s::text
       AND sequence = %(expected_sequence)s::bigint AND head_hash = %(prev_hash)s::bytea
       {fenced}
    RETURNING 1"""

_OPEN_HEAD = """
    INSERT INTO accounts (account_id, epoch, sequence, head_hash, summary, opened_at)
    VALUES (%(account_id)s::text, %(epoch)s::text, %(sequence)s::bigint, %(head_hash)s::bytea,
            %(summary)s::json, to_timestamp(%(opened_at_ns)s::bigint / 1e9))
    ON CONFLICT DO NOTHING
    RETURNING 1"""

# FOR SHARE: as long as this commit is under way, nobody else can take the lease.
_FENCE = """fence AS (
    SELECT 1 FROM sender_leases
     WHERE account_id = %(account_id)s::text AND broker = %(broker)s::text
       AND holder = %(holder)s::text AND token = %(token)s::bigint
       AND expires_at > clock_timestamp()
       FOR SHARE), """

_JOURNAL = """
    INSERT INTO journal
           (account_id, sequence, recorded_at_ns, kind, payload, prev_hash, hash)
    SELECT %(account_id)s::text, r.* FROM unnest(%(sequences)s, %(recorded_at_ns)s, %(kinds)s,
           %(payloads)s, %(prev_hashes)s, %(hashes)s) AS r
     WHERE EXISTS (SELECT FROM head)"""

# What each other table takes, as (column, type in the document).
_COLUMNS: dict[str, tuple[tuple[str, str], ...]] = {
    "decisions": (
        ("signal_id", "text"),
        ("sequence", "bigint"),
        ("strategy_id", "text"),
        ("symbol", "text"),
        ("outcome", "text"),
        ("order_id", "text"),
    ),
    "orders": (
        ("order_id", "text"),
        ("strategy_id", "text"),
        ("symbol", "text"),
        ("signal_id", "text"),
        ("side", "text"),
        ("ord_type", "text"),
        ("time_in_force", "text"),
        ("order_qty", "numeric"),
        ("price", "numeric"),
        ("broker", "text"),
        ("created_at_ns", "bigint"),
        ("ord_status", "text"),
        ("is_open", "boolean"),
        ("delivery", "text"),
        ("cum_qty", "numeric"),
        ("leaves_qty", "numeric"),
        ("cum_value", "numeric"),
        ("broker_order_id", "text"),
        ("cancel_requested", "boolean"),
        ("text", "text"),
        ("updated_at_ns", "bigint"),
        ("last_sequence", "bigint"),
        ("chain", "json"),
        ("fx_rate", "numeric"),
    ),
    "positions": (
        ("strategy_id", "text"),
        ("symbol", "text"),
        ("quantity", "numeric"),
        ("cost", "numeric"),
        ("realized_pnl", "numeric"),
        ("fees", "numeric"),
        ("local_cost", "numeric"),
    ),
    "fills": (
        ("broker", "text"),
        ("exec_id", "text"),
        ("order_id", "text"),
        ("sequence", "bigint"),
        ("strategy_id", "text"),
        ("symbol", "text"),
        ("side", "text"),
        ("last_qty", "numeric"),
        ("last_px", "numeric"),
        ("commission", "numeric"),
        ("transact_time_ns", "bigint"),
        ("amended_by", "json"),
        ("fx_rate", "numeric"),
    ),
}
_AMEND = """
    UPDATE fills AS f SET last_qty = r.last_qty, last_px = r.last_px, commission = r.commission,
           amended_by = r.amended_by
      FROM json_to_recordset(%(amended)s::json) AS r (broker text, exec_id text, last_qty numeric,
           last_px numeric, commission numeric, amended_by json)
     WHERE f.account_id = %(account_id)s::text AND f.broker = r.broker AND f.exec_id = r.exec_id
       AND EXISTS (SELECT FROM head)"""
_ORDER_CHANGES = (
    "order_qty", "price", "ord_status", "is_open", "delivery", "cum_qty", "leaves_qty", "cum_value",
    "broker_order_id", "cancel_requested", "text", "updated_at_ns", "last_sequence",
    "chain",
)  # fmt: skip
_POSITION_CHANGES = ("quantity", "cost", "realized_pnl", "fees", "local_cost")
# A row that is there already is brought up to date; in other tables it is a duplicate.
_UPSERTS = {
    "orders": ("order_id", _ORDER_CHANGES),
    "positions": ("strategy_id, symbol", _POSITION_CHANGES),
}
TRUE = b"t"
_DUPLICATES = frozenset({"decisions_pkey", "fills_pkey"})


async def write(connection: Connection, commit: Commit) -> Committed:
    """Write the batch; in autocommit that is the transaction. UNKNOWN is not for us to say.

    Raises:
        ValueError: the entries do not lead from the expected sequence to the new one.
        psycopg.Error: as it came.
    """
    try:
        result = await run(connection, *statement(commit))
    except UniqueViolation as error:
        if error.diag.constraint_name in _DUPLICATES:
            return Committed.DUPLICATE
        raise
    if result.get_value(0, 1) == TRUE:
        return Committed.FENCED
    return Committed.DONE if result.get_value(0, 0) == TRUE else Committed.LOST_RACE


def statement(commit: Commit, *, opening: bool = False) -> tuple[str, dict[str, Parameter]]:
    """The SQL of a commit and its parameters; opening makes the head row instead of moving it."""
    entries = commit.entries
    gained = commit.sequence - commit.expected_sequence
    if not entries or len(entries) != gained or entries[-1].sequence != commit.sequence:
        raise ValueError(
            f"{len(entries)} journal entries do not lead account {commit.account_id} from "
            f"sequence {commit.expected_sequence} to {commit.sequence}"
        )
    parameters: dict[str, Parameter] = {
        "account_id": commit.account_id,
        "epoch": commit.epoch,
        "sequence": str(commit.sequence),
        "head_hash": commit.head_hash,
        "summary": JsonText(orjson.dumps(commit.summary)),
        "sequences": BigintArray.of(entry.sequence for entry in entries),
        "recorded_at_ns": BigintArray.of(entry.recorded_at_ns for entry in entries),
        "kinds": TextArray(entry.kind.encode() for entry in entries),
        "payloads": JsonArray(entry.payload for entry in entries),
        "prev_hashes": ByteaArray(entry.prev_hash for entry in entries),
        "hashes": ByteaArray(entry.hash for entry in entries),
    }
    if opening:
        parameters["opened_at_ns"] = str(entries[0].recorded_at_ns)
    else:
        parameters["expected_sequence"] = str(commit.expected_sequence)
        parameters["prev_hash"] = entries[0].prev_hash
    if commit.decisions:
        parameters["decisions"] = _document(map(_decision, commit.decisions))
    if commit.orders:
        parameters["orders"] = _document(map(_order, commit.orders))
    if commit.positions:
        parameters["positions"] = _document(map(_position, commit.positions))
    if commit.fills:
        parameters["fills"] = _document(map(_fill, commit.fills))
    if commit.amended:
        parameters["amended"] = _document(map(_fill, commit.amended))
    if commit.fence:
        parameters |= _fence(commit.fence)
    tables = tuple(name for name in (*_COLUMNS, "amended") if name in parameters)
    return _sql(tables, fenced=commit.fence is not None, opening=opening), parameters


@cache
def _sql(tables: tuple[str, ...], *, fenced: bool, opening: bool) -> str:
    """The statement for a batch that touches these tables."""
    move = _MOVE_HEAD.format(fenced="AND EXISTS (SELECT FROM fence)" if fenced else "")
    parts = [f"head AS ({_OPEN_HEAD if opening else move})", f"to_journal AS ({_JOURNAL})"]
    parts += [f"to_{table} AS ({_insert(table)})" for table in tables]
    lost = "NOT EXISTS (SELECT FROM fence)" if fenced else "false"
    return (
        f"WITH {_FENCE if fenced else ''}"
        + ",\n".join(parts)
        + f"\nSELECT EXISTS (SELECT FROM head), {lost}"
    )


def _insert(table: str) -> str:
    if table == "amended":
        return _AMEND
    names = ", ".join(name for name, _ in _COLUMNS[table])
    types = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS[table])
    insert = (
        f"INSERT INTO {table} (account_id, {names}) SELECT %(account_id)s::text, {names} "
        f"FROM json_to_recordset(%({table})s::json) AS r ({types}) WHERE EXISTS (SELECT FROM head)"
    )
    if table not in _UPSERTS:
        return insert
    key, changes = _UPSERTS[table]
    sets = ", ".join(f"{name} = excluded.{name}" for name in changes)
    return f"{insert} ON CONFLICT (account_id, {key}) DO UPDATE SET {sets}"


def _document(rows: Iterable[dict[str, Any]]) -> JsonText:
    return JsonText(orjson.dumps(list(rows)))


# Rows are written out by hand: `dataclasses.asdict` costs ten times as much. Numbers go as
# strings, so that no reader of JSON can take them for doubles. What is left out is null.


def _decision(row: DecisionRow) -> dict[str, Any]:
    return {
        "signal_id": row.signal_id,
        "sequence": row.sequence,
        "strategy_id": row.strategy_id,
        "symbol": row.symbol,
        "outcome": row.outcome,
        "order_id": row.order_id,
    }


def _order(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "strategy_id": order.strategy_id,
        "symbol": order.symbol,
        "signal_id": order.signal_id,
        "side": order.side,
        "ord_type": order.ord_type,
        "time_in_force": order.time_in_force,
        "order_qty": str(order.order_qty),
        "price": None if order.price is None else str(order.price),
        "broker": order.broker,
        "created_at_ns": order.created_at_ns,
        "ord_status": order.ord_status,
        "is_open": order.is_open,
        "delivery": order.delivery,
        "cum_qty": str(order.cum_qty),
        "leaves_qty": str(order.leaves_qty),
        "cum_value": str(order.cum_value),
        "broker_order_id": order.broker_order_id,
        "cancel_requested": order.cancel_requested,
        "text": order.text,
        "updated_at_ns": order.updated_at_ns,
        "last_sequence": order.last_sequence,
        "chain": order.chain or None,
    } | _optional("fx_rate", order.fx_rate)


def _position(position: Position) -> dict[str, Any]:
    return {
        "strategy_id": position.strategy_id,
        "symbol": position.symbol,
        "quantity": str(position.quantity),
        "cost": str(position.cost),
        "realized_pnl": str(position.realized_pnl),
        "fees": str(position.fees),
    } | _optional("local_cost", position.local_cost)


def _fill(fill: Fill) -> dict[str, Any]:
    return {
        "broker": fill.broker,
        "exec_id": fill.exec_id,
        "order_id": fill.order_id,
        "sequence": fill.sequence,
        "strategy_id": fill.strategy_id,
        "symbol": fill.symbol,
        "side": fill.side,
        "last_qty": str(fill.last_qty),
        "last_px": str(fill.last_px),
        "commission": str(fill.commission),
        "transact_time_ns": fill.transact_time_ns,
        "amended_by": fill.amended_by or None,
    } | _optional("fx_rate", fill.fx_rate)


def _optional(name: str, value: Decimal | None) -> dict[str, str]:
    return {} if value is None else {name: str(value)}


def _fence(fence: Fence) -> dict[str, Parameter]:
    return {"broker": fence.broker, "holder": fence.holder, "token": str(fence.token)}
