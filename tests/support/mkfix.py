"""mkfix, a venue that plays a macro to every order: corrections, busts, and what is not allowed.

It is run as a process of its own, in an environment of its own, and is never imported: its licence
is the GPL. `mkfix.lock` pins all of it by hash.
"""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import venue

LOCK = Path(__file__).with_name("mkfix.lock")
PORT = 9876
"""In the venue's own namespace, so nobody else's."""


@functools.cache
def python() -> Path:
    """The interpreter that has mkfix, installed once into the user's cache."""
    return venue.fetched_once(f"mkfix-{_pinned()}", (), _fetch) / "venv" / "bin" / "python"


def _pinned() -> str:
    [version] = [each for each in LOCK.read_text().splitlines() if each.startswith("mkfix==")]
    return f"{version.split()[0].removeprefix('mkfix==')}-py3.{sys.version_info.minor}"


def _fetch(folder: Path) -> None:
    environment = folder / "venv"
    shutil.rmtree(environment, ignore_errors=True)
    venue.run([sys.executable, "-m", "venv", str(environment)], folder)
    install = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    pinned = ["--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)]
    venue.run([str(environment / "bin" / "python"), *install, *pinned], folder)


@contextmanager
def running(macro: str, folder: Path, version: str = "FIX.4.4") -> Iterator[venue.Venue]:
    """A venue that knows ENGINE and answers each of its orders by `macro`."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "venue.macro"
    source.write_text(macro)
    set_up = Path(__file__).with_name("mkfix_venue.py")
    command: list[str | Path] = [python(), set_up, version, str(PORT), source]
    with venue.running("mkfix", PORT, command, folder / "venue.log") as started:
        yield started
