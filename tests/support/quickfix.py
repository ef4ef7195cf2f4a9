"""QuickFIX's own `executor` and `ordermatch`, as Debian ships them, each in a namespace of its own.

They bind every interface, so each runs in a network namespace that has a loopback and nothing else
(`venue_process`), and is reached through a listener on this side's loopback. What is needed and
not there skips the test, and says so.
"""

from __future__ import annotations

import functools
import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import venue

PACKAGES = ("libquickfix-doc", "libquickfix17")
EXAMPLES = "./usr/share/doc/libquickfix-doc/examples"
PROGRAMS = {
    "ordermatch": f"{EXAMPLES}/ordermatch/.libs/ordermatch.gz",
    "executor": f"{EXAMPLES}/executor/C++/.libs/executor.gz",
}
VENUE = "VENUE"
PORT = 5001
"""In the venue's own namespace, so nobody else's."""


@functools.cache
def programs() -> Path:
    """The folder with both programs and their library, fetched once into the user's cache.

    Skips the test that asks where this is no Debian, or its packages cannot be had.
    """
    needed = ("apt-get", "dpkg-deb", "tar")
    return venue.fetched_once("quickfix", needed, _fetch)


def _fetch(folder: Path) -> None:
    for old in folder.glob("*.deb"):
        old.unlink()
    venue.run(["apt-get", "download", *PACKAGES], folder)
    for package in folder.glob("*.deb"):
        wanted = list(PROGRAMS.values()) if "doc" in package.name else ["./usr/lib"]
        archive = venue.run(["dpkg-deb", "--fsys-tarfile", str(package)], folder)
        venue.run(["tar", "-x", *wanted], folder, archive)
        package.unlink()
    for name, packed in PROGRAMS.items():
        program = folder / name
        program.write_bytes(gzip.decompress((folder / packed).read_bytes()))
        program.chmod(0o755)
    [library] = folder.glob("usr/lib/*/libquickfix.so.17")
    link = folder / "libquickfix.so.17"
    link.unlink(missing_ok=True)
    link.symlink_to(library.resolve())


@contextmanager
def running(
    program: str, folder: Path, clients: Sequence[str], version: str = "FIX.4.2"
) -> Iterator[venue.Venue]:
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
    command = [programs() / program, config]
    environment = {"LD_LIBRARY_PATH": str(programs())}
    with venue.running("quickfix", PORT, command, folder / "venue.log", environment) as started:
        yield started
