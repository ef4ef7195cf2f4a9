"""Who may send an account's orders to a broker: port `LeaseStore`. Time is the database's."""

from __future__ import annotations

from typing import Any

from trade_engine.execution.ports import Lease
from trade_engine.storage.postgres.connection import Connection
from trade_engine.storage.postgres.database import Database

_ACQUIRE = """
    INSERT INTO sender_leases AS lease (account_id, broker, holder, token, expires_at)
    VALUES (%s::text, %s::text, %s::text, 1, clock_timestamp() + %s::bigint * interval '1 ms')
    ON CONFLICT (account_id, broker) DO UPDATE
       SET holder = excluded.holder, token = lease.token + 1, expires_at = excluded.expires_at
     WHERE lease.holder = excluded.holder OR lease.expires_at <= clock_timestamp()
    RETURNING token"""

_RENEW = """
    UPDATE sender_leases SET expires_at = clock_timestamp() + %s::bigint * interval '1 ms'
     WHERE account_id = %s::text AND broker = %s::text AND holder = %s::text
       AND token = %s::bigint AND expires_at > clock_timestamp()
    RETURNING token"""

# The row stays: the token must never begin again.
_RELEASE = """
    UPDATE sender_leases SET holder = '', expires_at = '-infinity'
     WHERE account_id = %s::text AND broker = %s::text AND holder = %s::text
       AND token = %s::bigint"""

_HOLDER = """
    SELECT holder FROM sender_leases
     WHERE account_id = %s::text AND broker = %s::text AND expires_at > clock_timestamp()"""


class PostgresLeases:
    """The leases on one database."""

    def __init__(self, database: Database, *, limit_s: float = 2.0) -> None:
        self._database = database
        self._limit_s = limit_s

    async def acquire(self, account_id: str, broker: str, holder: str, ttl_ms: int) -> Lease | None:
        """Take the lease if it is free, expired, or already this holder's; the token grows by one.

        None when another holder has it.
        """
        token = await self._value("acquire a lease", _ACQUIRE, account_id, broker, holder, ttl_ms)
        return None if token is None else Lease(account_id, broker, holder, token)

    async def renew(self, lease: Lease, ttl_ms: int) -> bool:
        """Prolong; False when it is not this lease any more."""
        key = (lease.account_id, lease.broker, lease.holder, lease.token)
        return await self._value("renew a lease", _RENEW, ttl_ms, *key) is not None

    async def release(self, lease: Lease) -> None:
        """Give it back; harmless when it is not ours any more."""
        key = (lease.account_id, lease.broker, lease.holder, lease.token)

        async def release(connection: Connection) -> None:
            await connection.execute(_RELEASE, [str(each) for each in key], prepare=True)

        await self._database.call("release a lease", self._limit_s, release)

    async def holder(self, account_id: str, broker: str) -> str:
        """Who holds it now; empty when nobody does."""
        return await self._value("look at a lease", _HOLDER, account_id, broker) or ""

    async def _value(self, doing: str, statement: str, *parameters: str | int) -> Any:
        """The first column of the first row; None without a row."""

        async def fetch(connection: Connection) -> Any:
            cursor = await connection.execute(
                statement, [str(each) for each in parameters], prepare=True
            )
            row = await cursor.fetchone()
            return row[0] if row else None

        return await self._database.call(doing, self._limit_s, fetch)
