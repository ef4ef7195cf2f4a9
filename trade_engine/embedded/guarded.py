"""The engine's side of a guard: one server process that cannot outlive this process.

See guard.py for how.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from json import dumps
from pathlib import Path

from trade_engine.embedded import guard
from trade_engine.embedded.engine_only import EngineOnlyFd
from trade_engine.embedded.guard import GuardSpec

STOP_GRACE_S = 15.0
STOP_WAIT_S = STOP_GRACE_S + 10.0  # and then killing it, and waiting for what it left

# PostgreSQL's programs read PG* variables, and a server has no business with our secrets.
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class RunAs:
    """The user that a server runs as, seen from this process."""

    uid: int
    gid: int
    user_namespace: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run under a guard."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    log: Path
    stop_signal: signal.Signals
    run_as: RunAs
    lock_fd: int


@dataclass(frozen=True, slots=True)
class Running:
    """The server runs."""

    pid: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The server is gone, with everything that it started; `how` completes "the server …"."""

    how: str
    orderly: bool


class GuardedProcess:
    """A guard, the server under it, and what the guard says of it.

    Not for several threads at once, but for `request_stop` and `kill`, which any may call.
    """

    def __init__(self, command: Command) -> None:
        """Start the guard. Raises OSError when the system has no process left to give."""
        alive_read_fd, alive_write_fd = os.pipe()
        self._alive = EngineOnlyFd(alive_write_fd)
        try:
            self._process = subprocess.Popen(
                _guard_argv(command),
                stdin=alive_read_fd,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(command.lock_fd,),
                env=environment(),
                start_new_session=True,  # the terminal's signals are for the engine
                bufsize=0,
            )
        except OSError:
            self._alive.close()
            raise
        finally:
            os.close(alive_read_fd)
        assert self._process.stdout is not None  # noqa: S101  (it was asked for above)
        self._reports = self._process.stdout
        self._unread = b""
        self._odd_lines: deque[str] = deque(maxlen=5)
        self._server_pid: int | None = None
        self._as_whom = _as_whom(command.run_as)

    def next_report(self, timeout_s: float | None) -> Running | Ended | None:
        """Wait for what the guard says next; None when it said nothing in time."""
        while True:
            line, newline, rest = self._unread.partition(b"\n")
            if newline:
                self._unread = rest
                report = self._understand(line.decode(errors="replace"))
                if report is not None:
                    return report
                continue
            if not _readable(self._reports.fileno(), timeout_s):
                return None
            chunk = self._reports.read(4096)
            if not chunk:
                return self._guard_gone()
            self._unread += chunk

    def request_stop(self) -> None:
        """Ask for an orderly stop; its end is reported. Asking twice does nothing."""
        self._alive.close()

    def close(self) -> None:
        """Let go of the guard, by force if it does not end by itself."""
        self.request_stop()
        try:
            self._process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._reports.close()

    def kill(self) -> None:
        """Kill a guard that does not do its work; its server gets the parent-death signal."""
        self._process.kill()

    def _understand(self, line: str) -> Running | Ended | None:
        word, _, rest = line.partition(" ")
        match word:
            case "pid":
                self._server_pid = int(rest)
                return Running(self._server_pid)
            case "exit":
                return Ended(_how_it_ended(int(rest)), orderly=rest == "0")
            case "refused":
                return Ended(f"could not be run{self._as_whom}: {rest}", orderly=False)
            case _:
                self._odd_lines.append(line)  # an interpreter that does not start says why here
                return None

    def _guard_gone(self) -> Ended:
        if self._server_pid is not None:
            _wait_until_gone(self._server_pid)
        said = "; ".join(self._odd_lines)
        return Ended("lost its guard" + (f": {said}" if said else ""), orderly=False)


def _guard_argv(command: Command) -> list[str]:
    run_as = command.run_as
    spec = GuardSpec(
        argv=list(command.argv),
        cwd=str(command.cwd),
        log=str(command.log),
        stop_signal=int(command.stop_signal),
        grace_s=STOP_GRACE_S,
        lock_fd=command.lock_fd,
        run_as=(run_as.uid, run_as.gid) if run_as.uid != os.geteuid() else None,
        user_namespace=run_as.user_namespace,
    )
    # -I and -S: nothing of the user's environment or of site-packages can get into a guard.
    return [sys.executable, "-I", "-S", guard.__file__, command.name, dumps(spec)]


def _as_whom(run_as: RunAs) -> str:
    if run_as.uid == os.geteuid():
        return " in a user namespace" if run_as.user_namespace else ""
    return f" as uid {run_as.uid}, who must be able to enter every directory on the way"


def environment() -> dict[str, str]:
    """Return the environment of every program that is started here."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed_on, "LC_ALL": "C"}


def _readable(fd: int, timeout_s: float | None) -> bool:
    poll = select.poll()  # select() cannot watch the high descriptors of a busy engine
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))


def _how_it_ended(status: int) -> str:
    if status < 0:
        return f"was ended by signal {-status} ({signal.strsignal(-status)})"
    return f"ended with status {status}"


def _wait_until_gone(pid: int) -> None:
    """Wait for a server whose guard was killed: it has its parent-death signal, and will obey."""
    deadline = time.monotonic() + STOP_GRACE_S
    while time.monotonic() < deadline and _runs(pid):
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        # Where this process is init, as in a container, the orphan has become its child.
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
        # "pid (name) S …": Z is one that has ended, whose parent takes its time to notice.
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (ProcessLookupError, PermissionError):  # gone, or the number is another's by now
        return False
    except OSError:  # no /proc
        return True
    return state != b"Z"
