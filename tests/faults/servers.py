"""The stores of a session of runs: private, real, and to be frozen, killed, starved and emptied.

Their data lie on a tmpfs of their own where this process may mount one, so that the disk can be
full for them alone.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import redis
from psycopg import sql

from trade_engine.embedded import EmbeddedServers
from trade_engine.storage.postgres.migrate import migrate
from trade_engine.storage.postgres.url import connection_words

SECRET = "hunter2-not-to-be-seen"
"""The password in every URL that an engine gets; no log, error or metric may have it."""
TEMPLATE = "trade_engine"
TMPFS_MB = 1024
ANSWER_S = 30
"""How long a server that runs may take to answer the harness."""


class Servers:
    """The session's PostgreSQL and Valkey; `start` blocks, and so do most of these."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: EmbeddedServers | None = None
        self.on_tmpfs = False

    def start(self) -> None:
        logging.getLogger("trade_engine.embedded").setLevel(logging.ERROR)
        self.on_tmpfs = _mount(self._folder)
        self._servers = EmbeddedServers.start(self._folder / "data", say=lambda _: None)
        migrate(self._servers.database_url)
        with self.administrator() as connection:
            # When a message reached the venue's log, by the server's clock: one that no engine,
            # frozen or off in its clock, has a part in.
            connection.execute(
                "ALTER TABLE paper.messages"
                " ADD COLUMN arrived_at timestamptz NOT NULL DEFAULT clock_timestamp()"
            )

    def stop(self) -> None:
        if self._servers is not None:
            self.wake()
            self.free_disk()
            self._servers.stop()
        if self._folder.is_mount():  # whatever was begun
            subprocess.run(["umount", "-l", str(self._folder)], check=False)

    # ---- where they are ---------------------------------------------------------------------

    @property
    def postgres_socket(self) -> Path:
        words = connection_words(self._running.database_url)
        return Path(words["host"]) / ".s.PGSQL.5432"

    @property
    def redis_socket(self) -> Path:
        return Path(urlsplit(self._running.redis_url).path)

    def database_url(self, database: str, port: int | None = None) -> str:
        """The URL of a database: through a proxy's port with the secret in it, or straight."""
        if port is not None:
            return f"postgresql://postgres:{SECRET}@127.0.0.1:{port}/{database}"
        return f"postgresql://postgres@/{database}?host={self.postgres_socket.parent}"

    def redis_url(self, port: int | None = None) -> str:
        if port is not None:
            return f"redis://default:{SECRET}@127.0.0.1:{port}/0"
        return f"unix://{self.redis_socket}?db=0"

    @property
    def _running(self) -> EmbeddedServers:
        assert self._servers is not None
        return self._servers

    # ---- a run's own database ---------------------------------------------------------------

    @contextmanager
    def administrator(self, database: str = TEMPLATE) -> Iterator[psycopg.Connection]:
        words = connection_words(self.database_url(database))
        with psycopg.connect(**words, autocommit=True, connect_timeout=ANSWER_S) as connection:
            yield connection

    def create(self, database: str) -> None:
        with self.administrator("postgres") as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(database), sql.Identifier(TEMPLATE)
                )
            )
        with self.redis() as client:
            client.flushall()

    def drop(self, database: str) -> None:
        with self.administrator("postgres") as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
            )

    def redis(self) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=str(self.redis_socket), socket_timeout=ANSWER_S, protocol=2
        )

    def wait_ready(self, within_s: float = 120.0) -> None:
        """Wait until both answer again."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                with self.administrator("postgres") as connection:
                    connection.execute("SELECT 1")
                with self.redis() as client:
                    client.ping()
            except (psycopg.Error, redis.RedisError, OSError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    # ---- faults -----------------------------------------------------------------------------

    # Each raises an OSError, or a driver's error, where there is nothing to do it to just now.

    def freeze_postgres(self) -> None:
        """The postmaster and every backend."""
        processes = self._postgres_processes()
        if not processes:
            raise ProcessLookupError("PostgreSQL does not run")
        for process in processes:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGSTOP)

    def freeze_redis(self) -> None:
        self._strike(self._running.valkey_pid, signal.SIGSTOP)

    def wake(self) -> None:
        for process in self._postgres_processes():
            with suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
        with suppress(ProcessLookupError):
            self._strike(self._running.valkey_pid, signal.SIGCONT)

    def kill_postgres(self) -> None:
        self._strike(self._running.postgres_pid, signal.SIGKILL)

    def stop_postgres_at_once(self) -> None:
        """An immediate shutdown: no checkpoint, recovery at the next start."""
        self._strike(self._running.postgres_pid, signal.SIGQUIT)

    def kill_redis(self) -> None:
        self._strike(self._running.valkey_pid, signal.SIGKILL)

    def kill_backend(self, database: str) -> None:
        """Kill -9 one of the engines' backends: PostgreSQL ends all of them, and recovers."""
        self._strike(self._backends(database)[0], signal.SIGKILL)

    def kill_process(self, pid: int) -> None:
        """Kill -9 this backend: PostgreSQL ends all of them, and recovers."""
        self._strike(pid, signal.SIGKILL)

    def terminate_sessions(self, database: str) -> None:
        for pid in self._backends(database):
            self._strike(pid, signal.SIGTERM)

    def fill_disk(self) -> None:
        """Take all that is left of the tmpfs."""
        assert self.on_tmpfs
        left = shutil.disk_usage(self._folder).free
        with self._filler.open("wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, left)
            except OSError:  # somebody took some meanwhile: then it is full, nearly
                os.posix_fallocate(file.fileno(), 0, max(1, left - (4 << 20)))

    def free_disk(self) -> None:
        self._filler.unlink(missing_ok=True)

    @property
    def _filler(self) -> Path:
        return self._folder / "filler"

    def _backends(self, database: str) -> list[int]:
        with self.administrator("postgres") as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = %s ORDER BY pid", (database,)
            ).fetchall()
        if not rows:
            raise ProcessLookupError("no engine is connected")
        return [pid for (pid,) in rows]

    def _postgres_processes(self) -> list[psutil.Process]:
        pid = self._running.postgres_pid
        if pid is None:
            return []
        try:
            postmaster = psutil.Process(pid)
            return [postmaster, *postmaster.children(recursive=True)]
        except psutil.Error:
            return []

    @staticmethod
    def _strike(pid: int | None, number: signal.Signals) -> None:
        if pid is None:
            raise ProcessLookupError("it does not run")
        os.kill(pid, number)


def _mount(folder: Path) -> bool:
    """Mount a tmpfs on the folder; False (said aloud) where this process may not."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MB}m,mode=0755", "none", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"NOT INJECTED: postgres disk full (no tmpfs may be mounted: {done.stderr.strip()})")
    return done.returncode == 0


@contextmanager
def private_servers() -> Iterator[Servers]:
    """Servers of this session's own; nothing of them is left at the end."""
    folder = Path(tempfile.mkdtemp(prefix="te-faults-"))
    folder.chmod(0o755)
    servers = Servers(folder)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()
        shutil.rmtree(folder, ignore_errors=True)
