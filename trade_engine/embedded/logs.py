"""The end of a server's log, for the message that says why it did not start."""

from __future__ import annotations

from pathlib import Path

_BYTES_MAX = 8192
_LINES_MAX = 12


class LogTail:
    """What a server writes to its log from now on."""

    def __init__(self, log: Path) -> None:
        """`log` need not exist yet."""
        self._log = log
        try:
            self._from = log.stat().st_size
        except OSError:
            self._from = 0

    def read(self) -> str:
        """Return the last lines, each after a line break; a hint at the file if there are none."""
        try:
            with self._log.open("rb") as log:
                size = log.seek(0, 2)
                log.seek(max(self._from, size - _BYTES_MAX))
                lines = log.read().decode("utf-8", "replace").splitlines()[-_LINES_MAX:]
        except OSError:
            lines = []
        if not lines:
            return f" Its log, {self._log}, has nothing to say."
        return f" The end of {self._log}:" + "".join(f"\n  {line}" for line in lines)
