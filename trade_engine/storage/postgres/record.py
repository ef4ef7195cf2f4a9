"""The record as the path to capital uses it: ports `RecordStore` and `RecordQueries`."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence

from trade_engine.domain.account import AccountState
from trade_engine.domain.decision import Decision
from trade_engine.domain.errors import NotFound
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.order import Order
from trade_engine.domain.position import Position
from trade_engine.execution.ports import (
    Commit,
    Committed,
    DecisionFilter,
    Fill,
    LockedAccount,
    OrderFilter,
)
from trade_engine.storage.postgres import queries
from trade_engine.storage.postgres.commit import TRUE, statement, write
from trade_engine.storage.postgres.connection import Connection
from trade_engine.storage.postgres.database import Database, ReplyLost, Session
from trade_engine.storage.postgres.load import load, lock_and_load
from trade_engine.storage.postgres.prepared import run


class _Lookups(ABC):
    """What both the record and a locked account look up, each on a connection of its own."""

    @abstractmethod
    async def _rows(self, doing: str, query: queries.Query) -> list[queries.Row]:
        """Run a query; `doing` says what for, in an error."""

    async def find_decisions(
        self, account_id: str, signal_ids: Sequence[str]
    ) -> dict[str, Decision]:
        """The first decisions on these signals; missing ids are absent."""
        query = queries.decisions_on(account_id, signal_ids)
        found = map(queries.decision, await self._rows("find decisions", query))
        return {each.signal.signal_id: each for each in found}

    async def find_orders(self, account_id: str, order_ids: Sequence[str]) -> dict[str, Order]:
        """These orders, open or closed; missing ids are absent."""
        query = queries.orders_with(account_id, order_ids)
        found = map(Order.from_json, await self._rows("find orders", query))
        return {each.order_id: each for each in found}

    async def find_fills(self, account_id: str, strategy_id: str, symbol: str) -> list[Fill]:
        """Every execution that a position is made of, in the order in which they were booked."""
        query = queries.fills_of(account_id, strategy_id, symbol)
        return [queries.fill(row) for row in await self._rows("find fills", query)]


class PostgresRecord(_Lookups):
    """The record on one database. commit_limit_s bounds a write, read_limit_s any reading."""

    def __init__(
        self, database: Database, *, commit_limit_s: float = 5.0, read_limit_s: float = 5.0
    ) -> None:
        self._database = database
        self._commit_limit_s = commit_limit_s
        self._read_limit_s = read_limit_s

    # ---- writing ----------------------------------------------------------------------------

    async def open_account(self, commit: Commit) -> bool:
        """Create the account with its genesis entry; False when it exists already."""

        async def insert(connection: Connection) -> bool:
            result = await run(connection, *statement(commit, opening=True))
            return result.get_value(0, 0) == TRUE

        return await self._database.call("open an account", self._commit_limit_s, insert)

    async def commit(self, commit: Commit) -> Committed:
        """Write the batch in one transaction, if the head is at the expected sequence.

        Raises:
            StoreUnavailable: certainly nothing was written.
        """
        try:
            return await self._database.call(
                "commit", self._commit_limit_s, lambda connection: write(connection, commit)
            )
        except ReplyLost:
            return Committed.UNKNOWN

    @contextlib.asynccontextmanager
    async def locked(self, account_id: str) -> AsyncIterator[LockedAccount]:
        """Lock the head row first, then read; without a commit, nothing happens at the end.

        Raises:
            NotFound: the account was never opened.
            StoreUnavailable: no lock within the read limit.
        """
        async with self._database.session(
            "lock an account",
            self._read_limit_s,
            lambda connection: lock_and_load(connection, account_id),
        ) as (session, state):
            if state is None:
                raise NotFound("account", account_id=account_id)
            yield _Locked(session, state, self._commit_limit_s, self._read_limit_s)

    # ---- reading ----------------------------------------------------------------------------

    async def load(self, account_id: str) -> AccountState | None:
        """Read the account as of its head, consistently; None when it was never opened."""
        return await self._database.call(
            "load an account",
            self._read_limit_s,
            lambda connection: load(connection, account_id),
        )

    async def has_entry(self, account_id: str, sequence: int, entry_hash: bytes) -> bool:
        """Say whether the journal holds exactly this entry now.

        False is of the moment: a statement whose reply was lost may still be on its way. It can
        take effect only while the head stands where it expects it, so the next commit from there
        settles the matter: it is DONE, or lost to the late one.
        """
        query = queries.has_entry(account_id, sequence, entry_hash)
        return bool(await self._rows("look for a journal entry", query))

    async def booked(self, account_id: str, broker: str, exec_ids: Sequence[str]) -> set[str]:
        """Which of these executions are booked already."""
        query = queries.booked(account_id, broker, exec_ids)
        return {row["exec_id"] for row in await self._rows("find fills", query)}

    async def list_decisions(
        self, account_id: str, which: DecisionFilter, before_sequence: int | None, limit: int
    ) -> list[Decision]:
        """Newest first, those with sequence < before_sequence."""
        query = queries.decisions_before(account_id, which, before_sequence, limit)
        return [queries.decision(row) for row in await self._rows("list decisions", query)]

    async def list_orders(
        self, account_id: str, which: OrderFilter, before: tuple[int, str] | None, limit: int
    ) -> list[Order]:
        """Newest first by (created_at_ns, order_id), those before `before`."""
        query = queries.orders_before(account_id, which, before, limit)
        return [Order.from_json(row) for row in await self._rows("list orders", query)]

    async def list_positions(
        self,
        account_id: str,
        strategy_id: str,
        symbol: str,
        after: tuple[str, str] | None,
        limit: int,
    ) -> list[Position]:
        """By (strategy_id, symbol), those after `after`; empty ids mean any."""
        query = queries.positions_after(account_id, strategy_id, symbol, after, limit)
        return [Position.from_json(row) for row in await self._rows("list positions", query)]

    async def entries(
        self,
        account_id: str,
        after_sequence: int,
        limit: int,
        kinds: frozenset[EntryKind] | None = None,
    ) -> list[JournalEntry]:
        """Journal entries in order, those with sequence > after_sequence."""
        query = queries.entries_after(account_id, after_sequence, limit, kinds)
        return [queries.entry(row) for row in await self._rows("read the journal", query)]

    async def head(self, account_id: str) -> int | None:
        """The account's head sequence; None when it was never opened."""
        found = await self._rows("read a head", queries.head(account_id))
        return found[0]["sequence"] if found else None

    async def open_orders(self, account_id: str) -> tuple[int, list[Order]]:
        """The open orders and the head sequence as of which they are, read consistently.

        The head is 0 when the account was never opened.
        """

        async def read(connection: Connection) -> tuple[int, list[Order]]:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            heads = await queries.fetch(connection, queries.head(account_id))
            orders = await queries.fetch(connection, queries.open_orders(account_id))
            await connection.execute("COMMIT")
            return heads[0]["sequence"] if heads else 0, [Order.from_json(row) for row in orders]

        return await self._database.call("read open orders", self._read_limit_s, read)

    async def account_ids(self) -> list[str]:
        """Every account ever opened, sorted."""
        found = await self._rows("list accounts", queries.account_ids())
        return [row["account_id"] for row in found]

    async def _rows(self, doing: str, query: queries.Query) -> list[queries.Row]:
        return await self._database.call(
            doing, self._read_limit_s, lambda connection: queries.fetch(connection, query)
        )


class _Locked(_Lookups):
    """An account whose head row this session has locked."""

    def __init__(
        self, session: Session, state: AccountState, commit_limit_s: float, read_limit_s: float
    ) -> None:
        self.state = state
        self._session = session
        self._commit_limit_s = commit_limit_s
        self._read_limit_s = read_limit_s

    async def commit(self, commit: Commit) -> Committed:
        """Write and commit; afterward the lock is gone. LOST_RACE cannot happen here."""

        async def write_and_commit(connection: Connection) -> Committed:
            outcome = await write(connection, commit)
            if outcome is Committed.DONE:
                await connection.execute("COMMIT")
            else:
                await run(connection, "ROLLBACK", {})
            return outcome

        try:
            return await self._session.call("commit", self._commit_limit_s, write_and_commit)
        except ReplyLost:
            return Committed.UNKNOWN

    async def _rows(self, doing: str, query: queries.Query) -> list[queries.Row]:
        return await self._session.call(
            doing, self._read_limit_s, lambda connection: queries.fetch(connection, query)
        )
