"""QuickFIX's own `executor` and `ordermatch`, as Debian ships them, each in a namespace of its own.

They bind every interface, so each runs in a network namespace that has a loopback and nothing else
(`venue_process`), and is reached through a listener on this side's loopback. What is needed and
not there skips the test, and says so.
"""

from __future__ import annotations

import fcntl
import functools
import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGES = ("libquickfix-doc", "libquickfix17")
EXAMPLES = "./usr/share/doc/libquickfix-doc/examples"
PROGRAMS = {
    "ordermatch": f"{EXAMPLES}/ordermatch/.libs/ordermatch.gz",
    "executor": f"{EXAMPLES}/executor/C++/.libs/executor.gz",
}
DOWNLOAD_S = 90
START_S = 20
VENUE = "VENUE"
PORT = 5001
"""In the venue's own namespace, so nobody else's."""


@dataclass(frozen=True, slots=True)
class Venue:
    """A running venue; port is where it is reached on this side's loopback."""

    process: subprocess.Popen[bytes]
    port: int

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@functools.cache
def programs() -> Path:
    """The folder with both programs and their library, fetched once into the user's cache.

    Skips the test that asks where this is no Debian, or its packages cannot be had.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "trade-engine-tests" / "quickfix"
    missing = [each for each in ("apt-get", "dpkg-deb", "tar") if shutil.which(each) is None]
    if missing and not (folder / "complete").exists():
        pytest.skip(f"NO QUICKFIX VENUES: this machine has no {', '.join(missing)}")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers wait for the first one
        try:
            if not (folder / "complete").exists():
                _fetch(folder)
        except (subprocess.SubprocessError, OSError) as error:
            said = getattr(error, "stderr", b"") or b""
            pytest.skip(f"NO QUICKFIX VENUES: {error}; {said.decode(errors='replace')[-300:]}")
    return folder


def _fetch(folder: Path) -> None:
    for old in folder.glob("*.deb"):
        old.unlink()
    _run(["apt-get", "download", *PACKAGES], folder)
    for package in folder.glob("*.deb"):
        wanted = list(PROGRAMS.values()) if "doc" in package.name else ["./usr/lib"]
        archive = _run(["dpkg-deb", "--fsys-tarfile", str(package)], folder)
        _run(["tar", "-x", *wanted], folder, archive)
        package.unlink()
    for name, packed in PROGRAMS.items():
        program = folder / name
        program.write_bytes(gzip.decompress((folder / packed).read_bytes()))
        program.chmod(0o755)
    [library] = folder.glob("usr/lib/*/libquickfix.so.17")
    link = folder / "libquickfix.so.17"
    link.unlink(missing_ok=True)
    link.symlink_to(library.resolve())
    (folder / "complete").touch()


def _run(command: Sequence[str], folder: Path, given: bytes | None = None) -> bytes:
    done = subprocess.run(
        command, cwd=folder, input=given, capture_output=True, check=True, timeout=DOWNLOAD_S
    )
    return done.stdout


@contextmanager
def running(
    program: str, folder: Path, clients: Sequence[str], version: str = "FIX.4.2"
) -> Iterator[Venue]:
    """A venue that knows these SenderCompIDs; its own files are in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "venue.cfg"
    lines = [
        *("[DEFAULT]", "ConnectionType=acceptor", f"SocketAcceptPort={PORT}"),
        *("SocketReuseAddress=Y", "StartTime=00:00:00", "EndTime=00:00:00"),
        *("UseDataDictionary=N", f"FileStorePath={folder / 'store'}", f"SenderCompID={VENUE}"),
    ]
    for client in clients:
        lines += ["[SESSION]", f"BeginString={version}", f"TargetCompID={client}"]
    config.write_text("\n".join(lines) + "\n")
    helper = Path(__file__).with_name("venue_process.py")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(programs())}
    with (folder / "venue.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(helper), str(PORT), str(programs() / program), str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
        )
    try:
        assert process.stdout is not None
        said = process.stdout.readline().decode().split()
        if not said or said[0] != "ready":
            pytest.skip(f"NO QUICKFIX VENUES: no network namespace can be had: {' '.join(said)}")
        yield Venue(process, int(said[1]))
    finally:
        assert process.stdin is not None
        process.stdin.close()  # the helper then ends, and takes the venue along
        process.wait(START_S)
        assert process.stdout is not None
        process.stdout.close()
