"""The requests that callers gave an id, and how each was answered: port `RequestLedger`."""

from __future__ import annotations

from trade_engine.storage.postgres.connection import Connection
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.queries import Query, fetch

# Of two that come at once, the second waits for the first and then sees nothing of it: it asks
# once more.
_BEGIN = """
    WITH first AS (
        INSERT INTO requests (caller, request_id, content) VALUES (%s::text, %s::text, %s::bytea)
        ON CONFLICT DO NOTHING
        RETURNING content, answer)
    SELECT content, answer FROM first
    UNION ALL
    SELECT content, answer FROM requests WHERE caller = %s::text AND request_id = %s::text"""

_ANSWER = """
    UPDATE requests SET answer = %s::bytea
     WHERE caller = %s::text AND request_id = %s::text AND answer IS NULL"""


class PostgresRequests:
    """The requests on one database."""

    def __init__(self, database: Database, *, limit_s: float = 2.0) -> None:
        self._database = database
        self._limit_s = limit_s

    async def begin(
        self, caller: str, request_id: str, content: bytes
    ) -> tuple[bytes, bytes | None]:
        """Remember a content under its id; answers with the first one, and its answer if any."""
        query = Query(_BEGIN, (caller, request_id, content, caller, request_id))

        async def begin(connection: Connection) -> tuple[bytes, bytes | None]:
            found = await fetch(connection, query) or await fetch(connection, query)
            return found[0]["content"], found[0]["answer"]

        return await self._database.call("look up a request", self._limit_s, begin)

    async def answer(self, caller: str, request_id: str, answer: bytes) -> None:
        """Remember the answer to a request that began; the first one stays."""

        async def put(connection: Connection) -> None:
            await connection.execute(_ANSWER, (answer, caller, request_id), prepare=True)

        await self._database.call("keep an answer", self._limit_s, put)
