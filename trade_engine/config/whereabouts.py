"""Where an engine of this machine has its stores, for whoever has to halt past it.

URLs that came as flags are known to the running engine alone. So while it serves they stand in a
file that only its own user can read (they may hold passwords), named after the address that it
listens on. It holds a lock on that file: an end by force leaves the file behind, unlocked.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

_log = logging.getLogger(__name__)

KEPT_NS = 86_400 * 10**9
"""How long the file of an engine that ended by force is kept."""
_NAME_MAX = 200


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """An engine's stores. The URLs may hold passwords: they are for connecting, not for showing."""

    listen: str
    pid: int
    database_url: str
    redis_url: str

    def __repr__(self) -> str:
        return f"Whereabouts({self.listen!r}, {self.pid})"


def usual_folder() -> Path:
    """Where the files of this user's engines are: the same whatever the environment says."""
    if os.geteuid() == 0 and Path("/run").is_dir():
        return Path("/run/trade-engine")
    return Path(f"/tmp/trade-engine-{os.geteuid()}")  # noqa: S108  (checked below)


@contextlib.contextmanager
def noted(
    whereabouts: Whereabouts, clock: Callable[[], int], folder: Path | None = None
) -> Iterator[None]:
    """Leave the file for as long as this lasts; an engine that cannot serves all the same.

    clock is in ns since the epoch, by which old files are told.
    """
    try:
        file, lock = _leave(whereabouts, clock(), folder or usual_folder())
    except OSError as error:
        _log.warning("`halt` will not find the stores by itself: %s", error)
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if os.fstat(lock).st_ino == file.lstat().st_ino:  # no other engine's by now
                file.unlink()
        os.close(lock)


def found(target: str, folder: Path | None = None) -> tuple[Whereabouts, bool] | None:
    """What the engine at an address left, and whether it still runs; None: it left nothing.

    A file in a folder, or of a mode, that others may write to is not believed.
    """
    folder = folder or usual_folder()
    try:
        _require_private(folder)
        with _file_of(target, folder).open("rb") as file:
            told = Whereabouts(**json.load(file))
            return told, not _takes_lock(file.fileno())
    except (OSError, ValueError, TypeError):
        return None


def _leave(whereabouts: Whereabouts, now_ns: int, folder: Path) -> tuple[Path, int]:
    folder.mkdir(mode=0o700, exist_ok=True)
    _require_private(folder)
    _forget_the_dead(folder, now_ns)
    file = _file_of(whereabouts.listen, folder)
    lock, draft = tempfile.mkstemp(dir=folder, prefix=".")  # of mode 0600
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(lock, json.dumps(asdict(whereabouts)).encode())
        Path(draft).rename(file)
    except BaseException:
        os.close(lock)
        Path(draft).unlink(missing_ok=True)
        raise
    return file, lock


def _require_private(folder: Path) -> None:
    there = folder.lstat()
    ours = stat.S_ISDIR(there.st_mode) and there.st_uid == os.geteuid()
    if not ours or stat.S_IMODE(there.st_mode) & 0o077:
        raise PermissionError(
            f"{folder} must be a directory of this user's that no other can enter"
        )


def _forget_the_dead(folder: Path, now_ns: int) -> None:
    for file in folder.iterdir():
        with contextlib.suppress(OSError), file.open("rb") as opened:
            old = now_ns - os.fstat(opened.fileno()).st_mtime_ns > KEPT_NS
            if old and _takes_lock(opened.fileno()):
                file.unlink()


def _takes_lock(descriptor: int) -> bool:
    """Whether nobody holds the lock; it is let go with the descriptor."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _file_of(address: str, folder: Path) -> Path:
    return folder / f"{quote(_plain(address), safe='')[-_NAME_MAX:]}.json"


def _plain(address: str) -> str:
    """One spelling of an address that has several."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        return f"unix:{Path(path).absolute()}"
    host, _, port = address.rpartition(":")
    return f"{'127.0.0.1' if host == 'localhost' else host}:{port}"
