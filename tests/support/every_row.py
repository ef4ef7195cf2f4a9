"""Everything that both stores hold, to be compared whole: that something wrote nothing anywhere.

What a running engine writes by itself is left out: when its leases run out, when its replicas were
last heard of, and up to which report the paper venue was acknowledged, which it may write long
after. That these rows and fields are there is kept.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import psycopg
import redis
import sqlalchemy
from psycopg import sql

REPLICAS = b"te:{_replicas}"
BEATS = {
    ("public", "sender_leases"): ("expires_at",),
    ("paper", "accounts"): ("acknowledged_seq",),
}
"""What a table's row says anew while nothing happens."""
STILL_S = 0.3

_TABLES = """
    SELECT nspname, relname, relkind FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
     WHERE relkind IN ('r', 'S', 'm') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
     ORDER BY 1, 2"""


@dataclass(frozen=True, slots=True)
class Everything:
    """Rows by schema and table (a sequence's row is where it stands), and keys of Redis.

    A key has its type, its value, and whether it expires.
    """

    rows: dict[tuple[str, str], list[str]]
    keys: dict[bytes, tuple[bytes, Any, bool]]


def read_everything(database_url: str, redis_url: str) -> Everything:
    """Every row of every table, and every key, as they stand now."""
    return Everything(_rows(database_url), _keys(redis_url))


async def when_still(database_url: str, redis_url: str, within_s: float = 20.0) -> Everything:
    """Everything, once nothing writes any more: read twice, a moment apart, it says the same."""
    async with asyncio.timeout(within_s):
        seen = await asyncio.to_thread(read_everything, database_url, redis_url)
        while True:
            await asyncio.sleep(STILL_S)
            before, seen = seen, await asyncio.to_thread(read_everything, database_url, redis_url)
            if before == seen:
                return seen


def _rows(database_url: str) -> dict[tuple[str, str], list[str]]:
    url = sqlalchemy.make_url(database_url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
        tables = connection.execute(_TABLES).fetchall()
        return {(schema, table): _rows_of(connection, schema, table) for schema, table, _ in tables}


def _rows_of(connection: psycopg.Connection[Any], schema: str, table: str) -> list[str]:
    query = sql.SQL("SELECT (to_jsonb(t) - %s::text[])::text FROM {} t ORDER BY 1").format(
        sql.Identifier(schema, table)
    )
    return [row for (row,) in connection.execute(query, [list(BEATS.get((schema, table), ()))])]


def _keys(redis_url: str) -> dict[bytes, tuple[bytes, Any, bool]]:
    with redis.Redis.from_url(redis_url) as client:
        return {
            key: (client.type(key), _value(client, key), client.ttl(key) >= 0)
            for key in client.scan_iter()
        }


def _value(client: redis.Redis, key: bytes) -> Any:
    """A key's whole value, of either type that the engine uses."""
    if key == REPLICAS:
        return sorted(client.hkeys(key))
    match client.type(key):
        case b"string":
            return client.get(key)
        case b"hash":
            return client.hgetall(key)
        case other:
            raise AssertionError(f"{key!r} is of a type that nobody reads here: {other!r}")
