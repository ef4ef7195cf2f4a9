"""Keep one server from outliving the engine that started it.

Run as a program, one process per server: ``python -I -S guard.py NAME SPEC``.

Theory of operation. There are four ways to leave a server behind; each has its own answer.

1. The engine ends, in whatever way (a kill -9 included). Standard input is the read end of a pipe
   whose only write end the engine holds, so the guard reads end of file, and stops the server:
   orderly first, by force after `grace_s`. To ask for a stop, the engine just closes its end.
2. The guard itself is killed. The server has a parent-death signal (PR_SET_PDEATHSIG), which is
   its own signal for an orderly stop. It is set after the change of user, which would clear it,
   and by a process with one thread, since it fires when the *thread* that forked ends.
3. The server is killed and its own children live on for a moment. The guard is their subreaper,
   and reports the end of the server only when they are gone too.
4. All of that at once. The server holds a lock on the data directory (an inherited descriptor), so
   the next start waits until the last process is gone.

The guard ignores the terminal's signals: Ctrl-C reaches the whole foreground group, and the
servers have to outlive the engine's drain.

It speaks to the engine in lines on standard output: `pid N` once the server runs, `refused TEXT`
when it could not be started, `exit STATUS` when it ended (negative: by that signal).

Only Linux has PR_SET_PDEATHSIG and subreapers. Elsewhere the pipe alone guards.

Everything is imported at the top: the user that a guard changes to may not be able to read the
interpreter's library. For the same reason no codec but UTF-8 is used, since others are loaded late.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TypedDict

NOBODY = 65534  # as the kernel names it: the id that stands for "no user of this namespace"

_TERMINAL_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
_LOG_BYTES_MAX = 16 * 1024 * 1024
_LOG_CHECK_S = 10.0
_ORPHANS_S = 2.0  # PostgreSQL's processes notice a dead postmaster within milliseconds
_KILL_S = 5.0

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36


class GuardSpec(TypedDict):
    """What to run and how; travels as JSON."""

    argv: list[str]
    cwd: str
    log: str  # standard output and standard error of the server go here
    stop_signal: int  # asks this server for an orderly stop
    grace_s: float  # how long an orderly stop may take
    lock_fd: int  # an inherited descriptor that holds the lock on the data directory
    run_as: tuple[int, int] | None  # uid and gid to change to, if any
    user_namespace: bool  # and to be nobody inside one, where it is still the same user outside


def main() -> int:
    """Guard one server until it has ended."""
    spec: GuardSpec = json.loads(sys.argv[2])
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in _TERMINAL_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o077)
    wake_fd = _wake_on_child_exit()
    try:
        _change_user(spec)
        if sys.platform == "linux":
            _libc_call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        server = _start(spec)
    except (OSError, subprocess.SubprocessError) as error:
        _report(f"refused {error}")
        return 1
    _report(f"pid {server.pid}")
    log = Path(spec["log"])
    while server.poll() is None:
        if _engine_gone(wake_fd, _LOG_CHECK_S):
            _stop(server, spec, wake_fd)
            break
        with contextlib.suppress(OSError):  # a full disk is the server's to report
            limit_log(log, _LOG_BYTES_MAX)
    _end_orphans()
    _report(f"exit {server.returncode}")
    return 0


def _wake_on_child_exit() -> int:
    """Return a descriptor that becomes readable when a child ends."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    os.set_blocking(write_fd, False)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _ignore)
    return read_fd


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Take the signal, so that the wake-up descriptor is written."""


def _change_user(spec: GuardSpec) -> None:
    """Become the server's user. Raises OSError when that is not permitted."""
    if spec["run_as"] is not None:
        uid, gid = spec["run_as"]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if spec["user_namespace"]:
        uid, gid = os.geteuid(), os.getegid()
        _libc_call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self is root's
        _libc_call("unshare", _CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny", encoding="utf-8")
        Path("/proc/self/uid_map").write_text(f"{NOBODY} {uid} 1", encoding="utf-8")
        Path("/proc/self/gid_map").write_text(f"{NOBODY} {gid} 1", encoding="utf-8")


def _start(spec: GuardSpec) -> subprocess.Popen[bytes]:
    guard_pid = os.getpid()

    def before_exec() -> None:
        for number in _TERMINAL_SIGNALS:  # what is ignored stays ignored across exec
            signal.signal(number, signal.SIG_DFL)
        if sys.platform == "linux":
            _libc_call("prctl", _PR_SET_PDEATHSIG, spec["stop_signal"], 0, 0, 0)
            if os.getppid() != guard_pid:  # the guard was killed before the line above
                os._exit(1)

    with Path(spec["log"]).open("ab") as log:
        return subprocess.Popen(
            spec["argv"],
            cwd=spec["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(spec["lock_fd"],),
            preexec_fn=before_exec,  # noqa: PLW1509  (this process has one thread)
        )


def _engine_gone(wake_fd: int, timeout_s: float) -> bool:
    """Wait for a child's end, the engine's end or the timeout; say whether the engine ended."""
    readable = _wait([0, wake_fd], wake_fd, timeout_s)
    return 0 in readable and not os.read(0, 512)


def _wait(fds: list[int], wake_fd: int, timeout_s: float) -> list[int]:
    """Wait until one of `fds` is readable; a wake-up is taken, so that the next wait waits."""
    readable, _, _ = select.select(fds, [], [], timeout_s)
    if wake_fd in readable:
        with contextlib.suppress(BlockingIOError):
            os.read(wake_fd, 512)
    return readable


def _stop(server: subprocess.Popen[bytes], spec: GuardSpec, wake_fd: int) -> None:
    """Stop the server: orderly, then by force. A frozen server is woken, so that it can obey."""
    server.send_signal(spec["stop_signal"])
    server.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + spec["grace_s"]
    while server.poll() is None and (left_s := deadline - time.monotonic()) > 0:
        _wait([wake_fd], wake_fd, left_s)
    if server.poll() is None:
        server.kill()
        server.wait()


def _end_orphans() -> None:
    """Wait for what the server left behind, then kill it. Children come here by the subreaper."""
    began = time.monotonic()
    while (waited_s := time.monotonic() - began) < _ORPHANS_S + _KILL_S:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if waited_s > _ORPHANS_S:
                _kill_children()
            time.sleep(0.01)


def _kill_children() -> None:
    me = os.getpid()
    with contextlib.suppress(OSError):
        for pid in Path(f"/proc/{me}/task/{me}/children").read_text(encoding="utf-8").split():
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)


def limit_log(log: Path, bytes_max: int) -> None:
    """Move a log that has grown past `bytes_max` to `NAME.1`, of which there is one.

    The server keeps its descriptor, which appends; so the file is copied and cut to nothing, and
    what the server writes between the two is lost.
    """
    if log.stat().st_size <= bytes_max:
        return
    older = log.with_name(log.name + ".1")
    older.unlink(missing_ok=True)  # it may belong to the user of an earlier start
    shutil.copyfile(log, older)
    os.truncate(log, 0)


def _libc_call(name: str, *args: int) -> None:
    """Call a function of the C library; raises OSError when it returns an error."""
    arguments = [ctypes.c_int(args[0]), *(ctypes.c_ulong(value) for value in args[1:])]
    if getattr(_LIBC, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _report(line: str) -> None:
    with contextlib.suppress(OSError):  # the engine may be gone
        os.write(1, (line.replace("\n", " ") + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
