"""No way of ending leaves a server behind or loses what was kept; what dies alone comes back."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis

from tests.integration.embedded_support import (
    Engine,
    connect,
    guard_of,
    keys,
    kill_engines,
    nobody_left,
    rows,
    runs,
    until,
    used_before,
    write_key,
    write_row,
)
from trade_engine.embedded import EmbeddedServers, guard, supervisor
from trade_engine.embedded.guarded import GuardedProcess

pytestmark = pytest.mark.faults

FEW_SECONDS = 5.0


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    yield used_before(tmp_path / "data")
    kill_engines()
    shutil.rmtree(tmp_path, ignore_errors=True)


def of(engine: Engine, name: str) -> int:
    """The process of a part of the engine."""
    processes: dict[str, int] = {
        "engine": engine.pid,
        "postgres": engine.facts["postgres_pid"],
        "valkey": engine.facts["valkey_pid"],
        "guard of postgres": guard_of(engine.facts["postgres_pid"]),
        "guard of valkey": guard_of(engine.facts["valkey_pid"]),
    }
    return processes[name]


@pytest.mark.parametrize(
    "killed",
    [
        ["engine"],
        ["guard of valkey", "guard of postgres", "engine"],
        ["engine", "guard of postgres", "guard of valkey"],
        ["engine", "postgres", "valkey"],
    ],
    ids=", ".join,
)
def test_kill_9_leaves_no_process_and_loses_nothing(data_dir: Path, killed: list[str]) -> None:
    engine = Engine(data_dir)
    write_row(engine.database_url, "row")
    write_key(engine.redis_url, "key")
    for pid in [of(engine, name) for name in killed]:
        with suppress(ProcessLookupError):  # its guard was quicker
            os.kill(pid, signal.SIGKILL)
    engine.close()
    until(lambda: nobody_left(engine.processes, data_dir), FEW_SECONDS)

    with EmbeddedServers.start(data_dir) as servers:
        assert rows(servers.database_url) == ["row"]
        assert keys(servers.redis_url) == ["key"]


def test_the_next_engine_need_not_wait_for_a_killed_one_to_be_gone(data_dir: Path) -> None:
    engine = Engine(data_dir)
    write_row(engine.database_url, "row")
    with connect(engine.database_url) as busy:
        busy.execute("BEGIN")  # its session has to be ended first
        engine.kill()
        with EmbeddedServers.start(data_dir) as servers:
            assert rows(servers.database_url) == ["row"]
        with pytest.raises(psycopg.OperationalError):
            busy.execute("SELECT 1")


def test_a_server_that_outlives_everybody_holds_the_directory(data_dir: Path) -> None:
    engine = Engine(data_dir)
    frozen = psutil.Process(of(engine, "valkey"))
    guards = [of(engine, "guard of valkey"), of(engine, "guard of postgres")]
    frozen.suspend()
    for pid in (*guards, engine.pid):
        os.kill(pid, signal.SIGKILL)
    engine.close()
    until(lambda: not any(runs(one) for one in engine.processes if one != frozen), FEW_SECONDS)
    assert runs(frozen)
    assert not nobody_left([], data_dir)
    frozen.resume()
    until(lambda: nobody_left(engine.processes, data_dir), FEW_SECONDS)


def test_a_worker_forked_without_exec_does_not_keep_the_servers(data_dir: Path) -> None:
    engine = Engine(data_dir)
    engine.tell("fork")
    until(lambda: engine.pid in [child.ppid() for child in forks_of(engine)])
    (fork,) = forks_of(engine)
    engine.kill()
    try:
        until(lambda: nobody_left(engine.processes, data_dir), FEW_SECONDS)
        assert fork.is_running()
        EmbeddedServers.start(data_dir).stop()
    finally:
        fork.kill()


def forks_of(engine: Engine) -> list[psutil.Process]:
    children = psutil.Process(engine.pid).children()
    return [child for child in children if child not in engine.processes]


def test_ctrl_c_lets_the_engine_drain_first(data_dir: Path) -> None:
    engine = Engine(data_dir)
    os.killpg(engine.pid, signal.SIGINT)  # what a terminal does
    assert engine.read() == {"served_while_draining": True}
    assert engine.close() == 0
    assert nobody_left(engine.processes, data_dir)


def test_guards_ignore_what_is_not_for_them(data_dir: Path) -> None:
    with EmbeddedServers.start(data_dir) as servers:
        before = (servers.postgres_pid, servers.valkey_pid)
        for pid in before:
            assert pid is not None
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(guard_of(pid), number)
        time.sleep(0.3)
        assert (servers.postgres_pid, servers.valkey_pid) == before


@pytest.mark.parametrize("killed", ["server", "guard"])
def test_what_dies_alone_comes_back(
    data_dir: Path, killed: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with EmbeddedServers.start(data_dir) as servers:
        write_row(servers.database_url, "row")
        write_key(servers.redis_url, "key")
        old_postgres, old_valkey = servers.postgres_pid, servers.valkey_pid
        assert old_postgres is not None
        assert old_valkey is not None
        old = [psutil.Process(pid) for pid in (old_postgres, old_valkey)]
        for pid in (old_postgres, old_valkey):
            os.kill(pid if killed == "server" else guard_of(pid), signal.SIGKILL)

        until(lambda: servers.postgres_pid not in (None, old_postgres))
        until(lambda: servers.valkey_pid not in (None, old_valkey))
        assert not any(runs(process) for process in old)
        assert rows(servers.database_url) == ["row"]
        assert keys(servers.redis_url) == ["key"]

    told = [record.getMessage() for record in caplog.records]
    reason = "was ended by signal 9 (Killed)" if killed == "server" else "lost its guard"
    for name in ("PostgreSQL", "Valkey"):
        assert any(line.startswith(f"{name} {reason}; starting it again") for line in told), told
        assert any(line.startswith(f"{name} serves again") for line in told), told


def test_whatever_a_restart_meets_the_next_one_is_tried(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [RuntimeError("nobody thought of this")]

    def once_not(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return GuardedProcess(*arguments)

    with EmbeddedServers.start(data_dir) as servers:
        before = servers.valkey_pid
        assert before is not None
        monkeypatch.setattr(supervisor, "GuardedProcess", once_not)
        os.kill(before, signal.SIGKILL)
        until(lambda: servers.valkey_pid not in (None, before))
        assert not failures


def test_a_server_that_cannot_come_back_is_tried_ever_more_slowly(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with EmbeddedServers.start(data_dir) as servers:
        write_key(servers.redis_url, "key")
        manifest = data_dir / "valkey" / "appendonlydir" / "appendonly.aof.manifest"
        good = manifest.read_text()
        manifest.write_text("%%% spoiled\n")
        assert servers.valkey_pid is not None
        os.kill(servers.valkey_pid, signal.SIGKILL)
        until(lambda: len(caplog.records) >= 3)
        pauses = [line.getMessage().partition("again in ")[2][:5] for line in caplog.records[:3]]
        assert pauses == ["0.1 s", "0.2 s", "0.4 s"]
        manifest.write_text(good)
        until(lambda: servers.valkey_pid is not None)
        assert keys(servers.redis_url) == ["key"]


def test_frozen_servers_are_left_alone_and_stop_in_order(data_dir: Path) -> None:
    with EmbeddedServers.start(data_dir) as servers:
        write_row(servers.database_url, "row")
        before = (servers.postgres_pid, servers.valkey_pid)
        for pid in before:
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(redis.TimeoutError), timing_out(servers) as client:
            client.ping()
        time.sleep(0.5)
        assert (servers.postgres_pid, servers.valkey_pid) == before
        for pid in before:
            assert pid is not None
            assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
        began = time.monotonic()
    assert time.monotonic() - began < FEW_SECONDS
    log = (data_dir / "log" / "postgres.log").read_text()
    assert log.rstrip().endswith("database system is shut down")


def timing_out(servers: EmbeddedServers) -> redis.Redis:
    return redis.Redis.from_url(
        servers.redis_url, socket_timeout=0.2, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    )


def guarded(folder: Path, *argv: str) -> subprocess.Popen[bytes]:
    """A guard over a program that is no server."""
    spec = guard.GuardSpec(
        argv=list(argv),
        cwd=str(folder),
        log=str(folder / "log"),
        stop_signal=signal.SIGINT,
        grace_s=0.3,
        lock_fd=0,
        run_as=None,
        user_namespace=False,
    )
    return subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, "test", json.dumps(spec)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_a_guard_ends_by_force_what_does_not_obey(tmp_path: Path) -> None:
    """A server that ignores its stop signal, and a child of it that outlives it."""
    stubborn = "trap '' INT; sleep 60 & echo $! > child; while :; do sleep 0.1; done"
    with guarded(tmp_path, "/bin/sh", "-c", stubborn) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        server = psutil.Process(int(process.stdout.readline().split()[1]))
        until(lambda: (tmp_path / "child").exists() and len(server.children()) == 2)
        child = psutil.Process(int((tmp_path / "child").read_text()))
        process.stdin.close()
        assert process.stdout.read() == b"exit -9\n"
        assert not runs(server)
        assert not runs(child)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGPIPE])
def test_a_guards_server_does_not_ignore_what_the_guard_ignores(
    tmp_path: Path, number: signal.Signals
) -> None:
    with guarded(tmp_path, "/bin/sh", "-c", f"kill -{int(number)} $$; exit 3") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"pid ")
        assert process.stdout.read() == f"exit -{int(number)}\n".encode()


def test_a_guard_says_what_cannot_be_run(tmp_path: Path) -> None:
    with guarded(tmp_path, str(tmp_path / "missing")) as process:
        assert process.stdout is not None
        assert process.stdout.read().startswith(b"refused [Errno 2] No such file or directory")
    assert process.returncode == 1
