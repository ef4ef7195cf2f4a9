"""The data directory: what is where in it, and whom it belongs to."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trade_engine.embedded.engine_only import EngineOnlyFd
from trade_engine.embedded.errors import DataDirUnusable
from trade_engine.embedded.guarded import RunAs
from trade_engine.embedded.locks import ENGINE_LOCK, SERVERS_LOCK, lock_engine, lock_servers
from trade_engine.embedded.user import choose_user, user_name

_SOCKET_PATH_BYTES_MAX = 107 if sys.platform == "linux" else 103  # sun_path, less its final zero
_LONGEST_SOCKET_NAME = ".s.PGSQL.5432"
# libpq takes a comma for the next host, and the servers unquote what they are given.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+@-]+")
_FOLDERS = ("postgres", "valkey", "log", "run")


@dataclass(frozen=True, slots=True)
class DataDir:
    """A data directory that this process holds."""

    root: Path  # absolute, without symbolic links
    run: Path  # the sockets are here
    run_as: RunAs
    engine_lock: EngineOnlyFd
    servers_lock: EngineOnlyFd

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data."""
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        """Valkey's append-only file."""
        return self.root / "valkey"

    @property
    def log(self) -> Path:
        """What the servers write to their standard outputs."""
        return self.root / "log"

    def release(self) -> None:
        """Let another engine have it. The servers must have ended. Twice does nothing more."""
        if self.run.parent != self.root:
            with contextlib.suppress(OSError):  # gone, or a socket was left by force
                self.run.rmdir()
        self.servers_lock.close()
        self.engine_lock.close()


def claim(path: Path, program: Path, say: Callable[[str], None]) -> DataDir:
    """Create the data directory if need be, and hold it; `program` is what is to run on it.

    Raises DataDirBusy when another engine holds it, DataDirUnusable when it cannot be used.
    """
    with _explained(path), contextlib.ExitStack() as undo:
        root = path.expanduser().resolve()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        engine_lock = lock_engine(root)
        undo.callback(engine_lock.close)
        servers_lock = lock_servers(root, say)
        undo.callback(servers_lock.close)
        run_as = choose_user(root, program, servers_lock.fd)
        run = run_dir(root)
        claimed = DataDir(root, run, run_as, engine_lock, servers_lock)
        for folder in (claimed.valkey, claimed.log, run):
            folder.mkdir(mode=0o700, exist_ok=True)
        _require_private(run, run_as)
        if run_as.uid != os.geteuid():
            _hand_over(claimed)
        undo.pop_all()
        return claimed


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataDirUnusable(
            f"the data directory {path} cannot be used ({error}): mend that, or choose another "
            "directory with --data-dir"
        ) from error


def run_dir(root: Path) -> Path:
    """Return the directory of the sockets: in the data directory where the path is short enough.

    root is absolute and without symbolic links.
    """
    run = root / "run"
    longest = str(run / _LONGEST_SOCKET_NAME)
    if len(os.fsencode(longest)) <= _SOCKET_PATH_BYTES_MAX and _PLAIN_PATH.fullmatch(longest):
        return run
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    return Path("/tmp") / f"trade-engine-{os.geteuid()}-{digest}"  # noqa: S108  (checked below)


def _require_private(run: Path, run_as: RunAs) -> None:
    """Refuse a directory that somebody else made in our place. Raises DataDirUnusable."""
    found = run.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid in (os.geteuid(), run_as.uid)
    if not ours or stat.S_IMODE(found.st_mode) & 0o077:
        raise DataDirUnusable(
            f"{run}, where the servers' sockets go, must be a directory of {user_name(run_as.uid)}"
            " that no other user can enter: remove it, or `chmod 700` it"
        )


def _hand_over(claimed: DataDir) -> None:
    """Give what is ours in the data directory to the servers' user."""
    uid, gid = claimed.run_as.uid, claimed.run_as.gid
    ours = {*_FOLDERS, "postgres.new", ENGINE_LOCK, SERVERS_LOCK}
    if {entry.name for entry in claimed.root.iterdir()} <= ours:
        os.chown(claimed.root, uid, gid)
    for lock in (claimed.engine_lock, claimed.servers_lock):
        os.chown(lock.fd, uid, gid)
    for top in (claimed.postgres, claimed.valkey, claimed.log, claimed.run):
        if not top.exists() or top.stat().st_uid == uid:
            continue
        for folder, _, files in os.walk(top, topdown=False):
            for name in files:
                os.chown(Path(folder, name), uid, gid, follow_symlinks=False)
            os.chown(folder, uid, gid)  # last, so that a broken-off run is done again
