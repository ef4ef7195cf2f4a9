"""The record of the limits' changes: port `LimitsStore`."""

from __future__ import annotations

from typing import Any

import orjson
from psycopg.errors import UniqueViolation

from trade_engine.domain.limits_change import LimitsChange
from trade_engine.domain.rulebook import Rulebook
from trade_engine.storage.postgres.connection import Connection
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.parameters import JsonText
from trade_engine.storage.postgres.queries import Query, fetch

_COLUMNS = """
    SELECT number, rulebook, operator, reason, request_id, changed_at_ns FROM limits_changes"""
_LAST = Query(f"{_COLUMNS} ORDER BY number DESC LIMIT 1", ())
_LAST_NUMBER = Query("SELECT coalesce(max(number), 0) AS number FROM limits_changes", ())

# Numbers are dense: who is not the next has read what is not the last any more.
_APPEND = """
    INSERT INTO limits_changes (number, rulebook, operator, reason, request_id, changed_at_ns)
    SELECT %(number)s::bigint, %(rulebook)s::json, %(operator)s::text, %(reason)s::text,
           %(request_id)s::text, %(changed_at_ns)s::bigint
     WHERE %(number)s::bigint = (SELECT coalesce(max(number), 0) + 1 FROM limits_changes)
    RETURNING number"""


class PostgresLimits:
    """The changes of the limits on one database."""

    def __init__(self, database: Database, *, limit_s: float = 2.0) -> None:
        self._database = database
        self._limit_s = limit_s

    async def last(self) -> LimitsChange | None:
        """The change in force; None before the first."""
        return await self._change(_LAST)

    async def last_number(self) -> int:
        """The number of the change in force; 0 before the first."""
        [row] = await self._rows(_LAST_NUMBER)
        return int(row["number"])

    async def change(self, number: int) -> LimitsChange | None:
        """The change of a number; None when there is none."""
        return await self._change(Query(f"{_COLUMNS} WHERE number = %s::bigint", (str(number),)))

    async def requested(self, request_id: str) -> LimitsChange | None:
        """The change that came of a request; None when none did."""
        query = Query(f"{_COLUMNS} WHERE request_id = %s::text AND request_id <> ''", (request_id,))
        return await self._change(query)

    async def append(self, change: LimitsChange) -> bool:
        """Put a change into force; False, and nothing changed, when another one came first."""
        parameters = {
            "number": str(change.number),
            "rulebook": JsonText(orjson.dumps(change.rulebook.to_json())),
            "operator": change.operator,
            "reason": change.reason,
            "request_id": change.request_id,
            "changed_at_ns": str(change.changed_at_ns),
        }

        async def insert(connection: Connection) -> bool:
            try:
                cursor = await connection.execute(_APPEND, parameters)
            except UniqueViolation:
                return False
            return cursor.rowcount == 1

        return await self._database.call("change the limits", self._limit_s, insert)

    async def _change(self, query: Query) -> LimitsChange | None:
        rows = await self._rows(query)
        return _of(rows[0]) if rows else None

    async def _rows(self, query: Query) -> list[dict[str, Any]]:
        return await self._database.call(
            "read the limits", self._limit_s, lambda connection: fetch(connection, query)
        )


def _of(row: dict[str, Any]) -> LimitsChange:
    return LimitsChange(
        number=row["number"],
        rulebook=Rulebook.from_json(row["rulebook"]),
        operator=row["operator"],
        reason=row["reason"],
        request_id=row["request_id"],
        changed_at_ns=row["changed_at_ns"],
    )
