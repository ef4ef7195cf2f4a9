"""Which user the servers run as."""

from __future__ import annotations

import os
import pwd
import signal
import sys
from pathlib import Path

from trade_engine.embedded.errors import OWN_SERVERS, DataDirUnusable
from trade_engine.embedded.guard import NOBODY
from trade_engine.embedded.guarded import Command, Ended, GuardedProcess, RunAs


def choose_user(root: Path, program: Path, lock_fd: int) -> RunAs:
    """Choose the user whom the data in `root` belongs to; two of them need a user namespace.

    PostgreSQL refuses to run as root, and cannot be set up by a user without a name (as containers
    have them). In a user namespace of its own it sees itself as nobody, while its files stay its
    user's. Where namespaces are not permitted (many containers again), root's servers run as
    nobody, and the data is handed over: less private, as others may run as nobody too. Whether
    they are permitted is tried with `program`. Raises DataDirUnusable.
    """
    data = root / "postgres"
    uid, gid = _whose(root, data)
    if uid != 0 and (_has_name(uid) or data.exists()):
        return RunAs(uid, gid)
    namespaced = RunAs(uid, gid, user_namespace=True)
    if sys.platform == "linux" and _works(namespaced, root, program, lock_fd):
        return namespaced
    if uid == 0:
        return _nobody()
    raise DataDirUnusable(
        f"PostgreSQL cannot be set up by a user without a name, and uid {uid} has none: add it to "
        f"/etc/passwd, permit user namespaces, start the engine as another user, or {OWN_SERVERS}"
    )


def user_name(uid: int) -> str:
    """Return the name of a user, or its number where it has none."""
    return pwd.getpwuid(uid).pw_name if _has_name(uid) else f"uid {uid}"


def _whose(root: Path, data: Path) -> tuple[int, int]:
    me = os.geteuid()
    owner = (data if data.exists() else root).stat()
    if me == 0:
        return owner.st_uid, owner.st_gid
    if data.exists() and owner.st_uid != me:
        raise DataDirUnusable(
            f"{data} belongs to {user_name(owner.st_uid)}, and you are {user_name(me)}: start the "
            f"engine as {user_name(owner.st_uid)}, or choose another directory with --data-dir"
        )
    return me, os.getegid()


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _nobody() -> RunAs:
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return RunAs(NOBODY, NOBODY)
    return RunAs(nobody.pw_uid, nobody.pw_gid)


def _works(run_as: RunAs, root: Path, program: Path, lock_fd: int) -> bool:
    trial = GuardedProcess(
        Command(
            name="trial",
            argv=(str(program), "--version"),
            cwd=root,
            log=Path(os.devnull),
            stop_signal=signal.SIGTERM,
            run_as=run_as,
            lock_fd=lock_fd,
        )
    )
    try:
        while not isinstance(report := trial.next_report(None), Ended):
            pass
    finally:
        trial.close()
    return report.orderly
