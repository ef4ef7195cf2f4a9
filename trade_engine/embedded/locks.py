"""Who holds a data directory: two locks, and how to tell a living engine from a dying one.

`engine.lock` is held by the engine's process alone, so it is free the moment the engine is gone:
found held, another engine lives, and there is nothing to wait for. `servers.lock` is inherited by
the guards and by every process of the servers: found held while `engine.lock` is free, the servers
of an engine that is gone are still stopping, which is worth waiting for. Two servers on one
directory would destroy it (Valkey starts happily on another's files).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from trade_engine.embedded.engine_only import EngineOnlyFd
from trade_engine.embedded.errors import DataDirBusy

ENGINE_LOCK = "engine.lock"
SERVERS_LOCK = "servers.lock"

_ENGINE_WAIT_S = 1.0  # a killed engine's lock outlives it by milliseconds
_SERVERS_WAIT_S = 20.0  # more than the guards' grace for an orderly stop
_SAY_AFTER_S = 0.5
_POLL_S = 0.02


def lock_engine(root: Path) -> EngineOnlyFd:
    """Say that this engine holds `root`. Raises DataDirBusy when another one lives."""
    lock = _open(root / ENGINE_LOCK)
    if not _wait_for(lock, _ENGINE_WAIT_S):
        holder = os.pread(lock.fd, 32, 0).decode("ascii", "replace").strip()
        lock.close()
        raise DataDirBusy(
            f"the data directory {root} is in use by another engine"
            f"{f' (process {holder})' if holder else ''}: stop that one, or choose another "
            "directory with --data-dir"
        )
    os.ftruncate(lock.fd, 0)
    os.pwrite(lock.fd, f"{os.getpid()}\n".encode("ascii"), 0)
    return lock


def lock_servers(root: Path, say: Callable[[str], None]) -> EngineOnlyFd:
    """Take the lock that the servers will inherit. Raises DataDirBusy when old ones stay."""
    lock = _open(root / SERVERS_LOCK)
    if _wait_for(lock, _SAY_AFTER_S):
        return lock
    say("waiting for the servers of an earlier engine to stop")
    if _wait_for(lock, _SERVERS_WAIT_S - _SAY_AFTER_S):
        return lock
    lock.close()
    raise DataDirBusy(
        f"servers of an earlier engine still run on the data directory {root} after "
        f"{_SERVERS_WAIT_S:.0f} s: see who has {root / SERVERS_LOCK} open (`fuser -v`), end those "
        "processes, and start again"
    )


def _open(path: Path) -> EngineOnlyFd:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return EngineOnlyFd(os.open(path, flags, 0o600))


def _wait_for(lock: EngineOnlyFd, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
