"""The private PostgreSQL: how it is made, what it is told, and when it serves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from trade_engine.embedded.binaries import POSTGRES_MAJOR, Binaries
from trade_engine.embedded.data_dir import DataDir
from trade_engine.embedded.errors import OWN_SERVERS, ServerDidNotStart, WrongServerVersion
from trade_engine.embedded.guarded import Command, Ended, GuardedProcess, environment
from trade_engine.embedded.logs import LogTail

DATABASE = "trade_engine"

_USER = "postgres"
_PORT = 5432  # names the socket; nothing listens on a network
_PSQL_TIMEOUT_S = 60.0

# They hold against whatever postgresql.conf and ALTER SYSTEM say; all else may be set there.
_SETTINGS = {
    # The sockets' directory is the whole of access control: it is its user's alone.
    "listen_addresses": "",
    "port": str(_PORT),
    "unix_socket_permissions": "0700",
    "cluster_name": "trade-engine",
    # The record of what was decided: a commit that was answered is on the disk.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # A small machine that it shares with the engine: at most about 300 MB.
    "max_connections": "100",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "io_method": "sync",  # no I/O workers: what is read is in memory
    "max_worker_processes": "4",
    "max_parallel_workers_per_gather": "0",  # short statements
    "jit": "off",
    "random_page_cost": "1.1",  # solid-state disks
    # The journal only grows: few checkpoints, and a recovery of seconds.
    "min_wal_size": "128MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "10min",
    # Small hot tables (heads, leases, open orders) go stale within seconds, not within 20 %.
    "autovacuum": "on",
    "autovacuum_naptime": "10s",
    "autovacuum_vacuum_threshold": "200",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_threshold": "50",
    "autovacuum_analyze_scale_factor": "0.05",
    # The guard keeps the log, and its size.
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] %q%d %a ",
    "log_timezone": "UTC",
    "timezone": "UTC",
}

_CREATE_DATABASE = r"""
SELECT format('CREATE DATABASE %I', :'database')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
"""

_PID_FILE_STATUS_LINE = 7  # of postmaster.pid, from 0


def url_at(run: Path) -> str:
    """SQLAlchemy's URL of the engine's database on the server whose socket is in `run`."""
    host = quote(str(run), safe="")
    return f"postgresql+psycopg://{_USER}@/{DATABASE}?host={host}&port={_PORT}"


class Postgres:
    """The private PostgreSQL of one data directory."""

    name = "PostgreSQL"

    def __init__(self, place: DataDir, binaries: Binaries) -> None:
        """`place` is held by this process."""
        self._place = place
        self._binaries = binaries
        self.log = place.log / "postgres.log"

    @property
    def url(self) -> str:
        """SQLAlchemy's URL of the engine's database."""
        return url_at(self._place.run)

    def prepare(self, say: Callable[[str], None]) -> None:
        """Make the data directory, unless it is there.

        Raises WrongServerVersion for one of another major version, ServerDidNotStart when it
        cannot be made.
        """
        data = self._place.postgres
        if data.exists():
            self._require_version(data)
            return
        say(f"first start: making a PostgreSQL {POSTGRES_MAJOR} data directory in {data}")
        unfinished = data.with_name("postgres.new")  # a broken-off initdb leaves no half database
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        os.chown(unfinished, self._place.run_as.uid, self._place.run_as.gid)
        self._initdb(unfinished)
        unfinished.rename(data)

    def command(self) -> Command:
        """Return the server to run."""
        self._clear_stale_pid_file()
        settings = {"unix_socket_directories": str(self._place.run), **_SETTINGS}
        flags = (f"--{name.replace('_', '-')}={value}" for name, value in settings.items())
        return self._guarded(self._binaries.postgres, "-D", self._place.postgres.name, *flags)

    def is_ready(self, pid: int) -> bool:
        """Say whether the server takes connections, as pg_ctl finds it out."""
        lines = self._pid_file_lines()
        return lines[:1] == [str(pid)] and "ready" in "".join(lines[_PID_FILE_STATUS_LINE:])

    def create_database(self) -> None:
        """Create the engine's database, unless it is there. Raises ServerDidNotStart."""
        words = ["--no-psqlrc", "--no-password", "--quiet", "--set", "ON_ERROR_STOP=1"]
        words += ["--set", f"database={DATABASE}"]
        words += ["-h", str(self._place.run), "-p", str(_PORT), "-U", _USER, "-d", "postgres"]
        try:
            subprocess.run(
                [str(self._binaries.psql), *words],
                input=_CREATE_DATABASE,
                env=environment(),
                check=True,
                capture_output=True,
                text=True,
                timeout=_PSQL_TIMEOUT_S,
            )
        except subprocess.CalledProcessError as error:
            raise ServerDidNotStart(
                f"PostgreSQL serves, but its database {DATABASE} cannot be created: "
                f"{error.stderr.strip()}; see {self.log}"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ServerDidNotStart(
                f"PostgreSQL serves, but did not answer within {_PSQL_TIMEOUT_S:.0f} s; "
                f"see {self.log}"
            ) from error

    def _initdb(self, data: Path) -> None:
        tail = LogTail(self.log)
        process = GuardedProcess(
            self._guarded(
                self._binaries.initdb,
                f"--pgdata={data.name}",
                f"--username={_USER}",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--no-instructions",
            )
        )
        try:
            while not isinstance(report := process.next_report(None), Ended):
                pass
        finally:
            process.close()
        if not report.orderly:
            raise ServerDidNotStart(
                f"PostgreSQL's data directory could not be made: initdb {report.how}.{tail.read()}"
            )

    def _guarded(self, program: Path, *arguments: str) -> Command:
        return Command(
            name=program.name,
            argv=(str(program), *arguments),
            cwd=self._place.root,
            log=self.log,
            stop_signal=signal.SIGINT,  # "fast": ends the sessions, writes a checkpoint
            run_as=self._place.run_as,
            lock_fd=self._place.servers_lock.fd,
        )

    def _require_version(self, data: Path) -> None:
        try:
            found = (data / "PG_VERSION").read_text(encoding="ascii").strip()
        except OSError as error:
            raise WrongServerVersion(
                f"{data} is not a PostgreSQL data directory ({error.strerror}): choose another "
                "directory with --data-dir, or move this one away"
            ) from error
        if found != str(POSTGRES_MAJOR):
            raise WrongServerVersion(
                f"{data} was written by PostgreSQL {found}, and this engine brings PostgreSQL "
                f"{POSTGRES_MAJOR}, which cannot read it: dump it with the engine that wrote it "
                "and restore it into a new --data-dir, or run pg_upgrade, or "
                f"{OWN_SERVERS}"
            )

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self._place.postgres / "postmaster.pid").read_text("utf-8").splitlines()
        except OSError:
            return []

    def _clear_stale_pid_file(self) -> None:
        """Remove the pid file of a killed server if its number is another process's by now.

        PostgreSQL would take that process for a living server and refuse to start: in a container
        the numbers are small and come again at every start. That none of ours lives, the lock
        says; a server started by hand on this directory would have it as its working directory.
        """
        lines = self._pid_file_lines()
        if sys.platform != "linux" or not lines or not lines[0].isdecimal():
            return
        try:
            working_dir = Path(f"/proc/{lines[0]}/cwd").readlink()
        except OSError:
            return  # gone, which PostgreSQL sees too; or not ours to look at
        if working_dir != self._place.postgres:
            (self._place.postgres / "postmaster.pid").unlink(missing_ok=True)
