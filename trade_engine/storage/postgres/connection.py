"""How connections to the record are made, and what is demanded of the server behind them."""

from __future__ import annotations

import select
from collections.abc import Mapping
from typing import Any

import orjson
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import set_json_loads

from trade_engine.domain.errors import StoreUnavailable
from trade_engine.storage.postgres.parameters import register

Connection = AsyncConnection[TupleRow]

# Libpq's words. A peer that vanished without a word is noticed within about 10 s.
_NETWORK: Mapping[str, Any] = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# Every statement here finds its rows by a key, in the key's order. A plan made while a table was
# empty would rather read it whole and sort it, and stay in use when it has grown: so the planner
# is not offered that.
_SESSION: Mapping[str, str] = {
    "default_transaction_isolation": r"read\ committed",
    "idle_in_transaction_session_timeout": "10s",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}


async def connect(
    given: Mapping[str, Any], application_name: str, statement_limit_ms: int
) -> Connection:
    """Open a connection in autocommit.

    given is what the database URL says, in libpq's words; it has precedence over ours.
    statement_limit_ms is the server's own limit for a statement.

    Raises:
        StoreUnavailable: the server keeps no promise of durability, or is a standby.
        psycopg.Error: no connection.
    """
    session = {**_SESSION, "statement_timeout": str(statement_limit_ms)}
    options = " ".join(f"-c {name}={value}" for name, value in session.items())
    words = {**_NETWORK, "application_name": application_name, **given}
    words["options"] = f"{options} {given.get('options', '')}".strip()
    connection = await AsyncConnection.connect(autocommit=True, **words)
    try:
        await _demand_durability(connection)
    except BaseException:
        await connection.close()
        raise
    register(connection)
    set_json_loads(orjson.loads, connection)
    return connection


async def _demand_durability(connection: Connection) -> None:
    cursor = await connection.execute(
        "SELECT current_setting('synchronous_commit'), pg_is_in_recovery()"
    )
    row = await cursor.fetchone()
    synchronous_commit, standby = row or ("", True)
    if standby:
        raise StoreUnavailable(
            "the database is a standby: the record is read and written on the primary only; name "
            "the primary in the database URL (or all hosts, with target_session_attrs=read-write)"
        )
    if synchronous_commit in ("off", "local"):
        raise StoreUnavailable(
            f"the database has synchronous_commit = {synchronous_commit}: a commit that was "
            "acknowledged could be lost; set it to on for this role or database"
        )


def went_stale(connection: Connection) -> bool:
    """Say, without asking the server, whether an idle connection is closed or has data to read.

    To an idle connection a server speaks to say farewell. It costs a microsecond.
    """
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))
