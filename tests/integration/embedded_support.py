"""What the tests of the embedded servers share."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis
import sqlalchemy

from trade_engine.embedded import EmbeddedServers

ENGINE = Path(__file__).with_name("embedded_engine.py")
CHECKOUT = ENGINE.parents[2]


_started: list[Engine] = []


class Engine:
    """A running embedded_engine.py."""

    def __init__(
        self,
        data_dir: Path,
        *,
        python: Sequence[str] = (sys.executable,),
        program: Path = ENGINE,
        python_path: Path = CHECKOUT,
        cwd: Path | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [*python, str(program), str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(python_path)},
            cwd=cwd,
            start_new_session=True,  # a foreground process group of its own
        )
        _started.append(self)
        self.processes: list[psutil.Process] = []
        self.facts = self.read()
        if "error" not in self.facts:
            self.processes = psutil.Process(self.pid).children(recursive=True)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def database_url(self) -> str:
        return str(self.facts["database_url"])

    @property
    def redis_url(self) -> str:
        return str(self.facts["redis_url"])

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the engine ended with status {self.process.wait()}"
        facts: dict[str, Any] = json.loads(line)
        return facts

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.close()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.tell("stop")
        return self.close()

    def close(self) -> int:
        if self in _started:
            _started.remove(self)
        status = self.process.wait(30)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        return status


def kill_engines() -> None:
    """End what a failed test left."""
    for engine in tuple(_started):
        engine.kill()
        until(lambda: not any(map(runs, engine.processes)))  # noqa: B023  (called at once)


def used_before(data_dir: Path) -> Path:
    """Make the data directory of a second start, in a fraction of the time of a first one."""
    shutil.copytree(_template(), data_dir)
    return data_dir


@functools.cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="trade-engine-test-"))
    atexit.register(shutil.rmtree, folder)
    EmbeddedServers.start(folder / "data").stop()
    return folder / "data"


def guard_of(pid: int) -> int:
    """The process of the guard over a server."""
    guard = psutil.Process(pid).parent()
    assert guard is not None
    assert "guard.py" in " ".join(guard.cmdline())
    return guard.pid


def connect(database_url: str) -> psycopg.Connection[tuple[Any, ...]]:
    url = sqlalchemy.make_url(database_url).set(drivername="postgresql")
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


def write_row(database_url: str, word: str) -> None:
    with connect(database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (word text)")
        connection.execute("INSERT INTO kept VALUES (%s)", (word,))


def rows(database_url: str) -> list[str]:
    with connect(database_url) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM kept ORDER BY word")]


def write_key(redis_url: str, word: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(word, "kept")


def keys(redis_url: str) -> list[str]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        return sorted(str(key) for key in client.scan_iter())


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until it holds; fails when it does not."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.02)


def runs(process: psutil.Process) -> bool:
    """Whether it does; one that has ended may wait a while for its parent to take notice."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def nobody_left(processes: Sequence[psutil.Process], data_dir: Path) -> bool:
    """Whether all these are gone, and nothing else holds the data directory."""
    if any(runs(process) for process in processes):
        return False
    with (data_dir / "servers.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
