"""The engine as its users run it: a process of its own, that can be killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

READY = re.compile(r"ready on (\S+:\d+)")
START_S = 60
STOP_S = 30
PROGRAM = ("-m", "trade_engine.main")


@dataclass(slots=True)
class EngineProcess:
    """A running engine; target is where it listens."""

    process: subprocess.Popen[str]
    target: str

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait(STOP_S)

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Ask it to stop; answers with its exit code."""
        self.process.send_signal(how)
        return self.process.wait(STOP_S)


@contextmanager
def engine_process(
    *arguments: str | Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    program: Sequence[str] = PROGRAM,
) -> Iterator[EngineProcess]:
    """Start an engine on a free port, with its log in a file; it is gone at the end.

    environment is beside what this process has; program is what Python is told to run.
    """
    command = [sys.executable, *program, "--listen", "127.0.0.1:0"]
    with log.open("a") as errors:
        process = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield EngineProcess(process, _target(process, log))
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()


def refused_start(*arguments: str | Path, program: Sequence[str] = PROGRAM) -> str:
    """The one line that an engine says when it does not start for what its user can mend."""
    command = [sys.executable, *program, "--listen", "127.0.0.1:0"]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    [line] = [each for each in done.stderr.splitlines() if each.startswith("trade-engine: ")]
    return line


def _target(process: subprocess.Popen[str], log: Path) -> str:
    deadline = time.monotonic() + START_S
    assert process.stdout is not None
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        found = READY.search(line)
        if found:
            return found[1]
        if not line:
            break
    raise AssertionError(f"the engine did not start: {log.read_text()[-2000:]}")
