"""The record when its server is slow, frozen, gone or lying: answers in time, and true ones."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal as signals
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.proxy import Proxy
from tests.support.record import (
    ACCOUNT,
    address,
    decisions,
    moved,
    opened,
    signal,
    through,
)
from trade_engine.domain.account import AccountState
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.embedded import EmbeddedServers
from trade_engine.execution.ports import Commit, Committed
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.migrate import migrate
from trade_engine.storage.postgres.record import PostgresRecord

pytest_plugins = ["tests.support.record_fixtures"]
pytestmark = [pytest.mark.stores, pytest.mark.faults]

SideDoor = psycopg.AsyncConnection[Any]
LIMIT_S = 0.5
SLACK_S = 0.25


@pytest.fixture
async def state(record: PostgresRecord) -> AccountState:
    return await opened(record)


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(address(database_url)) as opened_proxy:
        yield opened_proxy


@asynccontextmanager
async def connected(
    database_url: str, *, limit_s: float = LIMIT_S, **options: Any
) -> AsyncIterator[PostgresRecord]:
    """A record with short limits, on a pool of its own."""
    database = Database(database_url, **options)
    try:
        yield PostgresRecord(database, commit_limit_s=limit_s, read_limit_s=limit_s)
    finally:
        began = time.monotonic()
        await database.close()
        assert time.monotonic() - began < 2, "closing does not wait for a server"


@pytest.fixture
async def behind(proxy: Proxy, database_url: str) -> AsyncIterator[PostgresRecord]:
    """The record by way of the proxy, with one connection that is open already."""
    async with connected(through(proxy.port, database_url), pool_size=1) as record:
        assert await record.head("nobody") is None
        yield record


@contextmanager
def answered_in_time(limit_s: float = LIMIT_S) -> Iterator[None]:
    began = time.monotonic()
    yield
    took_s = time.monotonic() - began
    assert took_s < limit_s + SLACK_S, f"answered after {took_s:.2f} s"


async def unavailable(asked: Awaitable[object]) -> str:
    """What the caller is told."""
    with pytest.raises(StoreUnavailable) as caught:
        await asked
    return caught.value.message


async def until_there(record: PostgresRecord, commit: Commit) -> None:
    """Wait until the journal holds the batch."""
    for _ in range(100):
        if await record.has_entry(ACCOUNT, commit.sequence, commit.head_hash):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it was never written")


async def until_answering(record: PostgresRecord) -> None:
    """Wait until the server serves again."""
    for _ in range(20):
        with suppress(StoreUnavailable):
            await record.head(ACCOUNT)
            return
    raise AssertionError("it does not answer")


async def until_waiting(side_door: SideDoor) -> int:
    """Wait until a statement waits for a lock; its backend's process."""
    for _ in range(100):
        cursor = await side_door.execute(
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
        )
        if found := await cursor.fetchone():
            return int(found[0])
        await asyncio.sleep(0.02)
    raise AssertionError("nothing waits")


# ---- a lost reply ---------------------------------------------------------------------------


async def test_a_lost_reply_is_unknown_and_the_entry_is_there(
    record: PostgresRecord, behind: PostgresRecord, proxy: Proxy, state: AccountState
) -> None:
    commit = decisions(state, signal(1))
    proxy.lose_reply(b"momentum-v1")
    assert await behind.commit(commit) is Committed.UNKNOWN
    assert proxy.lost_replies == 1
    assert await behind.has_entry(ACCOUNT, commit.sequence, commit.head_hash)
    assert await record.head(ACCOUNT) == 2
    assert await behind.commit(decisions(moved(state, commit), signal(2))) is Committed.DONE


async def test_a_reply_that_never_comes_is_unknown_at_the_limit(
    behind: PostgresRecord, proxy: Proxy, state: AccountState
) -> None:
    commit = decisions(state, signal(1))
    proxy.lose_reply(b"momentum-v1", cut=False)
    with answered_in_time():
        assert await behind.commit(commit) is Committed.UNKNOWN
    # The one connection of the pool was let go, and another took its place.
    assert await behind.has_entry(ACCOUNT, commit.sequence, commit.head_hash)


async def test_a_request_that_never_arrived_is_unknown_and_the_entry_is_not_there(
    behind: PostgresRecord, proxy: Proxy, state: AccountState
) -> None:
    commit = decisions(state, signal(1))
    proxy.black_hole = True
    with answered_in_time():
        assert await behind.commit(commit) is Committed.UNKNOWN
    proxy.black_hole = False
    assert not await behind.has_entry(ACCOUNT, commit.sequence, commit.head_hash)
    assert await behind.commit(commit) is Committed.DONE


async def test_a_backend_killed_in_mid_commit_is_unknown_and_wrote_nothing(
    record: PostgresRecord, state: AccountState, side_door: SideDoor
) -> None:
    commit = decisions(state, signal(1))
    async with side_door.transaction():
        await side_door.execute("SELECT FROM accounts FOR UPDATE")
        committing = asyncio.create_task(record.commit(commit))
        pid = await until_waiting(side_door)
        await side_door.execute("SELECT pg_terminate_backend(%s)", (pid,))
        assert await committing is Committed.UNKNOWN
    assert not await record.has_entry(ACCOUNT, commit.sequence, commit.head_hash)
    assert await record.commit(commit) is Committed.DONE


async def test_a_lost_reply_to_the_commit_of_a_locked_account_is_unknown(
    record: PostgresRecord, behind: PostgresRecord, proxy: Proxy, state: AccountState
) -> None:
    async with behind.locked(ACCOUNT) as account:
        commit = decisions(account.state, signal(1))
        proxy.lose_reply(b"COMMIT")
        assert await account.commit(commit) is Committed.UNKNOWN
    assert proxy.lost_replies == 1
    assert await record.has_entry(ACCOUNT, commit.sequence, commit.head_hash)
    assert await record.commit(decisions(moved(state, commit), signal(2))) is Committed.DONE


async def test_a_late_commit_cannot_follow_the_next_one(
    behind: PostgresRecord, record: PostgresRecord, state: AccountState, side_door: SideDoor
) -> None:
    """Given up by its caller, the statement waits at the server; then it must lose."""
    late, next_one = decisions(state, signal(1)), decisions(state, signal(2))
    async with side_door.transaction():
        await side_door.execute("SELECT FROM accounts FOR UPDATE")
        with answered_in_time():
            assert await behind.commit(late) is Committed.UNKNOWN
        assert not await record.has_entry(ACCOUNT, late.sequence, late.head_hash)
        settling = asyncio.create_task(record.commit(next_one))
        await asyncio.sleep(0.05)
    settled = await settling
    there = await record.has_entry(ACCOUNT, late.sequence, late.head_hash)
    assert (settled is Committed.DONE) is not there
    assert [entry.sequence for entry in await record.entries(ACCOUNT, 0, 10)] == [1, 2]


# ---- a server that is slow or not there -----------------------------------------------------


async def test_a_wait_longer_than_the_servers_limit_is_refused_and_wrote_nothing(
    database_url: str, state: AccountState, side_door: SideDoor
) -> None:
    async with connected(database_url, limit_s=5, statement_limit_s=0.3) as record:
        async with side_door.transaction():
            await side_door.execute("SELECT FROM accounts FOR UPDATE")
            with answered_in_time(0.3):
                said = await unavailable(record.commit(decisions(state, signal(1))))
            assert "SQLSTATE 57014" in said
            with answered_in_time(0.3), pytest.raises(StoreUnavailable):
                async with record.locked(ACCOUNT):
                    pass
        assert await record.commit(decisions(state, signal(2))) is Committed.DONE


async def test_without_a_server_every_call_says_so(database_url: str) -> None:
    async with Proxy(address(database_url)) as proxy:
        url = through(proxy.port, database_url)
        proxy.refuse = True
        async with connected(url) as record:
            state = AccountState(ACCOUNT, "USD", "epoch-1", 1, bytes(32))
            with answered_in_time():
                said = await unavailable(record.commit(decisions(state, signal(1))))
            assert said.startswith("no connection to the record")
            assert "no connection" in await unavailable(record.load(ACCOUNT))
            assert "no connection" in await unavailable(record.has_entry(ACCOUNT, 1, b""))
            proxy.refuse = False
            assert await record.head(ACCOUNT) is None


async def test_a_commit_that_found_no_connection_in_time_is_not_unknown_and_never_sent(
    behind: PostgresRecord, record: PostgresRecord, state: AccountState
) -> None:
    async with behind.locked(ACCOUNT):  # the only connection of its pool
        with answered_in_time():
            said = await unavailable(behind.commit(decisions(state, signal(1))))
        assert said.startswith("no connection to the record was free within 0.5 s")
    await asyncio.sleep(0.1)
    assert await record.head(ACCOUNT) == 1


async def test_who_holds_a_lock_needs_no_other_connection(
    behind: PostgresRecord, record: PostgresRecord, state: AccountState
) -> None:
    await record.commit(first := decisions(state, signal(1)))
    async with behind.locked(ACCOUNT) as account:  # the only connection of its pool
        [order] = first.orders
        assert await account.find_orders(ACCOUNT, [order.order_id]) == {order.order_id: order}
        assert list(await account.find_decisions(ACCOUNT, [order.signal_id])) == [order.signal_id]
        assert await account.find_fills(ACCOUNT, order.strategy_id, order.symbol) == []
        assert await account.commit(decisions(account.state, signal(2))) is Committed.DONE


async def test_callers_that_gave_up_do_not_hold_up_the_next(
    behind: PostgresRecord, proxy: Proxy
) -> None:
    """Each would open a connection, and wait for it, one after the other."""
    proxy.cut()
    proxy.black_hole = True
    for _ in range(3):
        await asyncio.gather(*(unavailable(behind.head(ACCOUNT)) for _ in range(20)))
    proxy.black_hole = False
    with answered_in_time():
        assert await behind.head(ACCOUNT) is None


async def test_connections_that_died_while_idle_are_not_used(
    database: Database, state: AccountState, side_door: SideDoor
) -> None:
    record = PostgresRecord(database)
    await asyncio.gather(*(record.head(ACCOUNT) for _ in range(8)))
    await side_door.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await asyncio.sleep(0.1)
    assert await record.commit(decisions(state, signal(1))) is Committed.DONE


async def test_a_caller_that_goes_away_does_not_stop_its_commit(
    record: PostgresRecord, state: AccountState, side_door: SideDoor
) -> None:
    commit = decisions(state, signal(1))
    async with side_door.transaction():
        await side_door.execute("SELECT FROM accounts FOR UPDATE")
        committing = asyncio.create_task(record.commit(commit))
        pid = await until_waiting(side_door)
        committing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await committing
    await until_there(record, commit)
    cursor = await side_door.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (pid,))
    assert await cursor.fetchone() is not None, "its connection serves on"


async def test_an_account_left_locked_is_free_again(
    behind: PostgresRecord, record: PostgresRecord, state: AccountState, proxy: Proxy
) -> None:
    async with behind.locked(ACCOUNT) as account:
        proxy.black_hole = True
        commit = decisions(account.state, signal(1))
        with answered_in_time():
            assert await account.commit(commit) is Committed.UNKNOWN
    proxy.black_hole = False
    with answered_in_time(1):
        assert await record.commit(decisions(state, signal(2))) is Committed.DONE


@pytest.mark.parametrize("weak", ["off", "local"])
async def test_a_server_that_may_lose_commits_is_refused(
    database_url: str, side_door: SideDoor, weak: str
) -> None:
    name = side_door.info.dbname
    await side_door.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = {weak}'.encode())
    async with connected(database_url) as record:
        said = await unavailable(record.head(ACCOUNT))
    assert f"synchronous_commit = {weak}" in said


# ---- a frozen server ------------------------------------------------------------------------


@pytest.fixture
def private_server() -> Iterator[EmbeddedServers]:
    """Servers of this test's own, migrated."""
    folder = Path(tempfile.mkdtemp(prefix="trade-engine-frozen-"))
    try:
        with EmbeddedServers.start(folder / "data") as servers:
            migrate(servers.database_url)
            yield servers
    finally:
        shutil.rmtree(folder)


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """Stop processes, and let them go on at the end, whatever happened.

    One that was about to end (a worker of autovacuum's) may be gone by then.
    """

    def tell(pid: int, number: signals.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    for pid in pids:
        tell(pid, signals.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            tell(pid, signals.SIGCONT)


def processes(postmaster: int) -> list[int]:
    """The postmaster and its children."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text(encoding="ascii")
    return [postmaster, *map(int, children.split())]


async def test_a_frozen_server_is_answered_for_within_the_limit(
    private_server: EmbeddedServers,
) -> None:
    async with connected(private_server.database_url) as record:
        state = await opened(record)
        await asyncio.gather(record.head(ACCOUNT), record.head(ACCOUNT))  # two connections
        commit = decisions(state, signal(1))
        pid = private_server.postgres_pid
        assert pid is not None
        with frozen(processes(pid)):
            with answered_in_time():
                assert await record.commit(commit) is Committed.UNKNOWN
            for _ in range(3):  # also with no connection left in the pool
                with answered_in_time():
                    await unavailable(record.load(ACCOUNT))
            with answered_in_time(), pytest.raises(StoreUnavailable):
                async with record.locked(ACCOUNT):
                    pass
            with answered_in_time():
                many = [unavailable(record.head(ACCOUNT)) for _ in range(50)]
                await asyncio.gather(*many)
        # Thawed, it finds the statement in its socket: late, it is written once or never.
        await until_answering(record)
        outcome = await record.commit(commit)
        assert outcome in (Committed.DONE, Committed.LOST_RACE)
        assert await record.has_entry(ACCOUNT, commit.sequence, commit.head_hash)
        assert await record.head(ACCOUNT) == 2


async def test_closing_does_not_wait_for_a_frozen_server(private_server: EmbeddedServers) -> None:
    pid = private_server.postgres_pid
    assert pid is not None
    database = Database(private_server.database_url, pool_size=4)
    record = PostgresRecord(database)
    state = await opened(record)
    with frozen(processes(pid)):
        committing = asyncio.create_task(record.commit(decisions(state, signal(1))))
        reading = [asyncio.create_task(unavailable(record.head(ACCOUNT))) for _ in range(8)]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await database.close()
        assert time.monotonic() - began < 2
        assert await committing is Committed.UNKNOWN
        await asyncio.gather(*reading)
    assert "closed" in await unavailable(record.head(ACCOUNT))
