"""Reading all that the tables hold of an account, as an audit compares it with the journal."""

from __future__ import annotations

from dataclasses import dataclass

from trade_engine.domain.account import AccountState
from trade_engine.domain.order import Order
from trade_engine.domain.position import Position
from trade_engine.storage.postgres.connection import Connection
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.queries import ORDER, POSITION, Query, account, fetch

_ORDERS = f"SELECT {ORDER} FROM orders WHERE account_id = %s::text"  # noqa: S608  our own words
_POSITIONS = f"SELECT {POSITION} FROM positions WHERE account_id = %s::text"  # noqa: S608
_EXECUTIONS = "SELECT broker, exec_id FROM fills WHERE account_id = %s::text"


@dataclass(frozen=True, slots=True)
class WholeAccount:
    """An account as of one head: every order, open or not, and every (broker, exec_id) booked."""

    state: AccountState
    orders: list[Order]
    executions: set[tuple[str, str]]


async def read_whole(
    database: Database, account_id: str, read_limit_s: float
) -> WholeAccount | None:
    """Read it in one snapshot, which blocks no writer; None when it was never opened.

    Raises:
        StoreUnavailable: the database does not answer within read_limit_s.
    """
    return await database.call(
        "read a whole account", read_limit_s, lambda connection: _read(connection, account_id)
    )


async def _read(connection: Connection, account_id: str) -> WholeAccount | None:
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    heads = await fetch(connection, account(account_id))
    orders, positions, executions = [
        await fetch(connection, Query(statement, (account_id,)))
        for statement in (_ORDERS, _POSITIONS, _EXECUTIONS)
    ]
    await connection.execute("COMMIT")
    if not heads:
        return None
    state = AccountState(
        account_id=account_id,
        currency="",  # the summary says
        epoch=heads[0]["epoch"],
        sequence=heads[0]["sequence"],
        head_hash=heads[0]["head_hash"],
    )
    state.read_summary(heads[0]["summary"])
    for position in map(Position.from_json, positions):
        state.positions[position.strategy_id, position.symbol] = position
    booked = {(row["broker"], row["exec_id"]) for row in executions}
    return WholeAccount(state, [Order.from_json(row) for row in orders], booked)
