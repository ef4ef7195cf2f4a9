"""The faults of docs/fail-closed.md: how each is made, how it ends, what is promised meanwhile."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.fail_closed.stage import DATABASE, PAPER, STREET, Stage
from tests.private_redis import PrivateRedis
from trade_engine.embedded.binaries import locate
from trade_engine.execution.observer import Alert
from trade_engine.storage.postgres.url import connection_words
from trade_engine.storage.redis import keys

Step = Callable[[Stage], Awaitable[None]]

GATE_CLOSED, STORE_UNAVAILABLE = "GATE_CLOSED", "STORE_UNAVAILABLE"
LATE = "DEADLINE_EXCEEDED"
APPROVED = "APPROVED"


async def _nothing(_: Stage) -> None:
    """The fault is over in a moment."""


@dataclass(frozen=True)
class Row:
    """A fault and its promise.

    answers: what a signal may be told meanwhile. notices: the engine needs a moment to see it, and
    approves until then. told: the name of an alert.
    """

    fault: str
    breaks: Step
    mends: Step
    answers: frozenset[str]
    told: str
    notices: bool = False
    account_id: str = PAPER
    needs_tmpfs: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


def _row(fault: str, breaks: Step, mends: Step, answers: set[str], told: str, **more: Any) -> Row:
    return Row(fault, breaks, mends, frozenset(answers), told, **more)


# ---- Redis ----------------------------------------------------------------------------------


async def _redis_away(stage: Stage) -> None:
    stage.redis.refuse = True
    stage.redis.cut()


async def _redis_heals(stage: Stage) -> None:
    stage.redis.heal()


async def _redis_frozen(stage: Stage) -> None:
    stage.servers.freeze_redis()


async def _servers_wake(stage: Stage) -> None:
    stage.servers.wake()


async def _redis_flushed(stage: Stage) -> None:
    with stage.servers.redis() as client:
        client.flushall()


async def _redis_state_evicted(stage: Stage) -> None:
    with stage.servers.redis() as client:
        client.delete(keys.state(PAPER))


def _redis_setting(name: str, value: str) -> Step:
    async def configure(stage: Stage) -> None:
        with stage.servers.redis() as client:
            client.config_set(name, value)

    return configure


class Failover:
    """A standby that stopped following a while ago becomes the primary, and later no more."""

    def __init__(self) -> None:
        self._standby: PrivateRedis | None = None

    async def breaks(self, stage: Stage) -> None:
        folder = stage.folder / "standby"
        folder.mkdir()
        self._standby = standby = PrivateRedis(str(locate().valkey_server), folder)
        await asyncio.to_thread(standby.start)
        with standby.client() as client:
            await asyncio.to_thread(self._follow, client, stage.redis.port)
            client.replicaof("NO", "ONE")
        for _ in range(5):  # what the standby does not hear of any more
            assert (await stage.ask()).word == APPROVED
        stage.redis.lead_to(standby.socket)

    @staticmethod
    def _follow(client: Any, port: int) -> None:
        client.replicaof("127.0.0.1", port)
        while client.info("replication")["master_link_status"] != "up":
            time.sleep(0.02)

    async def mends(self, _: Stage) -> None:
        """Nothing mends it: the standby stays, and the engine has to live with it."""

    async def cleared(self, stage: Stage) -> None:
        stage.redis.lead_to(stage.servers.redis_socket)
        if self._standby is not None:
            await asyncio.to_thread(self._standby.stop)


# ---- PostgreSQL -----------------------------------------------------------------------------


async def _postgres_away(stage: Stage) -> None:
    stage.postgres.refuse = True
    stage.postgres.cut()


async def _postgres_heals(stage: Stage) -> None:
    stage.postgres.heal()


async def _postgres_frozen(stage: Stage) -> None:
    stage.servers.freeze_postgres()


def _read_only(value: str) -> Step:
    async def alter(stage: Stage) -> None:
        with stage.servers.administrator("postgres") as connection:
            connection.execute(
                f"ALTER DATABASE {DATABASE} SET default_transaction_read_only = {value}".encode()
            )
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (DATABASE,),
            )

    return alter


async def _disk_full(stage: Stage) -> None:
    """Of PostgreSQL: Redis, whose file lies beside, is told to write none meanwhile."""
    await _redis_setting("appendonly", "no")(stage)
    await asyncio.to_thread(stage.servers.fill_disk)


async def _disk_freed(stage: Stage) -> None:
    stage.servers.free_disk()
    await _redis_setting("appendonly", "yes")(stage)


class SideDoor:
    """A session beside the engine's, whose locks are in its way."""

    def __init__(self) -> None:
        self._connection: psycopg.AsyncConnection | None = None

    async def _open(self, stage: Stage) -> psycopg.AsyncConnection:
        words = connection_words(stage.servers.database_url(DATABASE))
        self._connection = await psycopg.AsyncConnection.connect(**words, autocommit=True)
        await self._connection.execute("SET deadlock_timeout = '60s'")
        await self._connection.execute("BEGIN")
        return self._connection

    async def _blocks_a_signal(self, stage: Stage, connection: Any) -> int:
        """Ask, and wait until the engine's commit waits for our lock; answers with its backend."""
        stage.ask_meanwhile()
        while True:
            cursor = await connection.execute(
                "SELECT pid FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid() LIMIT 1"
            )
            row = await cursor.fetchone()
            if row:
                return int(row[0])
            await asyncio.sleep(0.01)

    async def deadlocks(self, stage: Stage) -> None:
        """Two locks, taken the other way round; the engine's session finds it, and is the one."""
        connection = await self._open(stage)
        await connection.execute("LOCK TABLE journal IN SHARE MODE")
        await self._blocks_a_signal(stage, connection)
        await connection.execute("LOCK TABLE accounts IN EXCLUSIVE MODE")
        cursor = await connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        # The counter follows within a second; that we got the second lock says it already.
        await cursor.fetchone()

    async def kills_a_commit(self, stage: Stage) -> None:
        """Kill -9 the backend in the middle of a commit: PostgreSQL ends all, and recovers."""
        connection = await self._open(stage)
        await connection.execute("SELECT FROM accounts FOR UPDATE")
        pid = await self._blocks_a_signal(stage, connection)
        stage.servers.kill_process(pid)

    async def closes(self, _: Stage) -> None:
        if self._connection is not None:
            await self._connection.close()


async def _reply_lost(stage: Stage) -> None:
    stage.postgres.lose_reply(b"probe-")
    stage.ask_meanwhile()


def _lease(holder: str, hours: int) -> Step:
    async def take(stage: Stage) -> None:
        with stage.servers.administrator(DATABASE) as connection:
            connection.execute(
                "UPDATE sender_leases SET holder = %s, token = token + 1,"
                " expires_at = clock_timestamp() + %s * interval '1 hour' WHERE account_id = %s",
                (holder, hours, PAPER),
            )

    return take


# ---- neighbours -----------------------------------------------------------------------------


async def _quotes_stop(stage: Stage) -> None:
    stage.feeding.clear()


async def _quotes_come(stage: Stage) -> None:
    stage.feeding.set()


async def _books_down(stage: Stage) -> None:
    stage.books.end()


async def _books_back(stage: Stage) -> None:
    stage.books.start()


def _clock(seconds: int) -> Step:
    async def move(stage: Stage) -> None:
        stage.engine.jump(seconds)

    return move


async def _street_silent(stage: Stage) -> None:
    """The line stays open, and nothing comes over it any more."""
    stage.street.black_hole = True


async def _street_speaks(stage: Stage) -> None:
    stage.street.heal()


def limits_missing(stage: Stage) -> tuple[int, str]:
    """Start another engine on limits that are not there: its exit code and its one line."""
    missing = stage.folder / "no-limits.toml"
    command = [sys.executable, "-m", "trade_engine.main", "--listen", "127.0.0.1:0"]
    done = subprocess.run(
        [*command, "--data-dir", str(stage.folder / "other"), "--limits", str(missing)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr.strip()


def rows() -> list[Row]:
    """Every fault, in the order of the document."""
    failover, deadlock, killed = Failover(), SideDoor(), SideDoor()
    closed, unavailable = {GATE_CLOSED}, {STORE_UNAVAILABLE}
    passing = {APPROVED, GATE_CLOSED, STORE_UNAVAILABLE, LATE}
    gate, record = Alert.GATE_CLOSED.value, Alert.RECORD_UNAVAILABLE.value
    one_hour = 3600
    return [
        _row("Redis unreachable", _redis_away, _redis_heals, closed, gate),
        _row("Redis frozen", _redis_frozen, _servers_wake, closed | {LATE}, gate),
        _row("Redis flushed", _redis_flushed, _nothing, {APPROVED, *closed}, gate, notices=True),
        _row(
            "Redis may evict: another policy than noeviction",
            _redis_setting("maxmemory-policy", "allkeys-lru"),
            _redis_setting("maxmemory-policy", "noeviction"),
            closed,
            gate,
            notices=True,
        ),
        _row(
            "Redis evicted the state of an account",
            _redis_state_evicted,
            _nothing,
            {APPROVED, *closed},
            gate,
            notices=True,
        ),
        _row(
            "Redis out of memory",
            _redis_setting("maxmemory", "1"),
            _redis_setting("maxmemory", "0"),
            closed,
            gate,
        ),
        _row(
            "Redis failed over to an older copy",
            failover.breaks,
            failover.mends,
            {APPROVED, *closed},
            gate,
            notices=True,
            settings={"clear": failover.cleared},
        ),
        _row("PostgreSQL unreachable", _postgres_away, _postgres_heals, unavailable, record),
        _row("PostgreSQL frozen", _postgres_frozen, _servers_wake, unavailable | {LATE}, record),
        _row("PostgreSQL read-only", _read_only("on"), _read_only("off"), unavailable, record),
        _row(
            "PostgreSQL's disk full",
            _disk_full,
            _disk_freed,
            unavailable,
            record,
            notices=True,
            needs_tmpfs=True,
        ),
        _row(
            "PostgreSQL breaks a deadlock",
            deadlock.deadlocks,
            deadlock.closes,
            unavailable | {LATE},
            record,
        ),
        _row(
            "PostgreSQL killed in mid-commit",
            killed.kills_a_commit,
            killed.closes,
            passing,
            Alert.COMMIT_UNKNOWN.value,
            notices=True,
        ),
        _row(
            "the reply to a commit lost",
            _reply_lost,
            _postgres_heals,
            passing,
            Alert.COMMIT_UNKNOWN.value,
        ),
        _row(
            "quotes stopped",
            _quotes_stop,
            _quotes_come,
            {"QUOTE_STALE"},
            Alert.QUOTES_STOPPED.value,
            notices=True,
        ),
        _row(
            "portfolio service down",
            _books_down,
            _books_back,
            {"PORTFOLIO_UNKNOWN"},
            Alert.BOOKS_UNKNOWN.value,
            notices=True,
        ),
        *(
            _row(
                f"the clock jumps an hour {way}",
                _clock(by_s),
                _clock(0),
                {"QUOTE_STALE"},
                Alert.CLOCK_JUMPED.value,
                notices=True,
            )
            for way, by_s in (("ahead", one_hour), ("back", -one_hour))
        ),
        _row(
            "lease lost",
            _lease("somebody-else", 1),
            _lease("", -1),
            {APPROVED},
            Alert.LEASE_LOST.value,
        ),
        _row(
            "broker silent",
            _street_silent,
            _street_speaks,
            {APPROVED},
            Alert.BROKER_AWAY.value,
            account_id=STREET,
        ),
    ]
