"""The servers under measurement, each in a process of its own, gone when the block ends.

The echo's gRPC core is set up as the engine's is, by the environment that both get: that makes it
quicker, and the floor harder.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trade_engine import grpc_core  # noqa: F401  sets the environment

STOP_WAIT_S = 30
READY = re.compile(r"ready on \S+:(\d+)")
HERE = Path(__file__).parent


@contextmanager
def echo_server() -> Iterator[int]:
    """The bare echo; gives its port."""
    with _process([sys.executable, "-m", "bench.echo_server"]) as process:
        yield int(_line(process))


@contextmanager
def engine(database_url: str, redis_url: str) -> Iterator[tuple[int, int]]:
    """The engine on these stores, with the benchmark's limits; gives its port and its pid."""
    command = [sys.executable, "-m", "trade_engine.main", "--listen", "127.0.0.1:0"]
    command += ["--database-url", database_url, "--redis-url", redis_url]
    command += ["--limits", str(HERE / "limits.toml")]
    with _process(command) as process:
        found = READY.search(_line(process))
        if found is None:
            raise RuntimeError("the engine did not say where it listens")
        yield int(found[1]), process.pid


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a server of the benchmark did not start; its error is above")
    return line
