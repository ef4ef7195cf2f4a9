"""Venues of others' make: fetched once, each run as a process in a network namespace of its own.

What is needed and not there skips the test that asks, and says so.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

FETCH_S = 90
STOP_S = 20


@dataclass(frozen=True, slots=True)
class Venue:
    """A running venue; port is where it is reached on this side's loopback."""

    process: subprocess.Popen[bytes]
    port: int

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def fetched_once(name: str, needed: Sequence[str], fetch: Callable[[Path], None]) -> Path:
    """The folder in the user's cache that `fetch` filled, now or in a run before."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "trade-engine-tests" / name
    complete = folder / "complete"
    missing = [each for each in needed if shutil.which(each) is None]
    if missing and not complete.exists():
        pytest.skip(f"NO VENUE {name.upper()}: this machine has no {', '.join(missing)}")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers wait for the first one
        try:
            if not complete.exists():
                fetch(folder)
                complete.touch()
        except (subprocess.SubprocessError, OSError) as error:
            said = getattr(error, "stderr", b"") or b""
            why = f"{error}; {said.decode(errors='replace')[-300:]}"
            pytest.skip(f"NO VENUE {name.upper()}: {why}")
    return folder


def run(command: Sequence[str], folder: Path, given: bytes | None = None) -> bytes:
    done = subprocess.run(
        command, cwd=folder, input=given, capture_output=True, check=True, timeout=FETCH_S
    )
    return done.stdout


@contextmanager
def running(
    name: str,
    port: int,
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Venue]:
    """The command, serving FIX at `port` in its own namespace; what it says goes to `log`."""
    helper = Path(__file__).with_name("venue_process.py")
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, str(helper), str(port), *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env={**os.environ, **(environment or {})},
        )
    try:
        assert process.stdout is not None
        said = process.stdout.readline().decode().split()
        assert said, f"{name} did not start: {log.read_text()[-2000:]}"
        if said[0] != "ready":
            why = f"no network namespace can be had: {' '.join(said)}"
            pytest.skip(f"NO VENUE {name.upper()}: {why}")
        yield Venue(process, int(said[1]))
    finally:
        assert process.stdin is not None
        process.stdin.close()  # the helper then ends, and takes the venue along
        process.wait(STOP_S)
        assert process.stdout is not None
        process.stdout.close()
