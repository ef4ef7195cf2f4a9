"""Where the files that travel with the package are, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def migrations_dir() -> Path:
    """Return the folder of Alembic's env.py and versions.

    A wheel carries it inside the package; a checkout has it beside the package. Raises
    FileNotFoundError when it is in neither place.
    """
    places = (_PACKAGE / "migrations", _PACKAGE.parent / "migrations")
    for place in places:
        if (place / "env.py").is_file():
            return place
    raise FileNotFoundError(
        f"no migrations in {places[0]} or {places[1]}: the installation is incomplete, "
        "install trade-engine again"
    )


def examples_dir() -> Path:
    """Return the folder of the strategy that the demo runs; else as `migrations_dir`."""
    places = (_PACKAGE / "examples", _PACKAGE.parent / "examples")
    for place in places:
        if (place / "moving_average.py").is_file():
            return place
    raise FileNotFoundError(
        f"no moving_average.py in {places[0]} or {places[1]}: the installation is incomplete, "
        "install trade-engine again"
    )
