"""Reading an account's whole state from its tables, as of one head."""

from __future__ import annotations

from trade_engine.domain.account import AccountState
from trade_engine.domain.order import Order
from trade_engine.domain.position import Position
from trade_engine.storage.postgres import queries
from trade_engine.storage.postgres.connection import Connection


async def load(connection: Connection, account_id: str) -> AccountState | None:
    """Read the account in one snapshot; None when it was never opened.

    positions are all of the account's, orders the open ones.
    """
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    state = await _read(connection, queries.account(account_id))
    await connection.execute("COMMIT")
    return state


async def lock_and_load(connection: Connection, account_id: str) -> AccountState | None:
    """Begin a transaction, lock the head row, then read; None when it was never opened.

    Whoever writes to the account holds that lock, so that what is read after it is of one head.
    """
    await connection.execute("BEGIN")
    return await _read(connection, queries.account(account_id, lock=True))


async def _read(connection: Connection, account: queries.Query) -> AccountState | None:
    (account_id,) = account.parameters
    found = await queries.fetch(connection, account)
    if not found:
        return None
    state = AccountState(
        account_id=account_id,
        currency="",  # the summary says
        epoch=found[0]["epoch"],
        sequence=found[0]["sequence"],
        head_hash=found[0]["head_hash"],
    )
    state.read_summary(found[0]["summary"])
    for row in await queries.fetch(connection, queries.positions(account_id)):
        position = Position.from_json(row)
        state.positions[position.strategy_id, position.symbol] = position
    for row in await queries.fetch(connection, queries.open_orders(account_id)):
        state.orders[row["order_id"]] = Order.from_json(row)
    return state
