"""The machine's clock as one process sees it, off by what a file says: libfaketime, where it is.

Then every part of the process reads the wrong time, gRPC's core and libpq among them. The monotonic
clock goes on, as a real machine's does. Where it is not installed (Debian's package `libfaketime`)
the process's own clock is moved, which is all that Python reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LIBRARY = "faketime/libfaketimeMT.so.1"


def library() -> Path | None:
    """The library, where a package has put it."""
    folders = (Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib"))
    places = (place for folder in folders for place in (folder, *sorted(folder.glob("*-linux-*"))))
    return next((place / LIBRARY for place in places if (place / LIBRARY).is_file()), None)


@dataclass(frozen=True)
class MachineClock:
    """What a process's clock is off by; the file says it to whoever runs in the environment."""

    library: Path
    file: Path

    @property
    def environment(self) -> dict[str, str]:
        """Read anew with each look at the clock: a jump is there at once."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """Be off by so much from now on."""
        written = self.file.with_suffix(".new")
        written.write_text(f"{seconds:+d}\n")
        written.replace(self.file)
