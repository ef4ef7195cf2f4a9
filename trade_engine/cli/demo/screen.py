"""What the demo shows while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from trade_engine.cli.demo.tally import Tally

ROWS = 14
REFRESHES_PER_S = 8


class Screen(Protocol):
    """Where the demo tells what happens; used as a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...

    def day(self, date: str, tally: Tally) -> None:
        """A day is over."""
        ...

    def event(self, date: str, kind: str, text: str, style: str) -> None:
        """A decision, an order or a fill."""
        ...


class LiveScreen:
    """A table of the latest events under a progress bar; written to from two threads."""

    def __init__(self, console: Console, days: int) -> None:
        self._lock = threading.Lock()
        self._rows: deque[tuple[str, str, str, str]] = deque(maxlen=ROWS)
        self._line = ""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._task = self._progress.add_task("days", total=days)
        self._live = Live(
            get_renderable=self._draw, console=console, refresh_per_second=REFRESHES_PER_S
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._live.__exit__(_type, _error, _traceback)

    def day(self, date: str, tally: Tally) -> None:
        """Move the bar."""
        self._progress.update(self._task, advance=1, description=date)
        self._line = counted(tally)

    def event(self, date: str, kind: str, text: str, style: str) -> None:
        """Add a row."""
        with self._lock:
            self._rows.append((date, kind, text, style))

    def _draw(self) -> Group:
        table = Table(box=None, pad_edge=False, expand=True)
        table.add_column("day", no_wrap=True, width=10)
        table.add_column("what", no_wrap=True, width=10)
        table.add_column("in words", no_wrap=True, overflow="ellipsis", ratio=1)
        with self._lock:
            rows = list(self._rows)
        for date, kind, text, style in rows:
            table.add_row(date, Text(kind, style), Text(text, style))
        return Group(table, Text(self._line, "bold"), self._progress)


class PlainScreen:
    """A line a year, and a line for the first refusal of each kind."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._year = ""
        self._last: tuple[str, Tally] | None = None
        self._kinds: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._last is not None:
            self._print(*self._last)

    def day(self, date: str, tally: Tally) -> None:
        """Print a line when a year has passed."""
        if self._last is not None and date[:4] != self._year:
            self._print(*self._last)
        self._year, self._last = date[:4], (date, tally)

    def event(self, date: str, kind: str, text: str, style: str) -> None:
        """Print the first event of each kind."""
        if kind not in self._kinds:
            self._kinds.add(kind)
            self._console.print(f"{date} {kind}: {text}", style=style, markup=False, soft_wrap=True)

    def _print(self, date: str, tally: Tally) -> None:
        self._console.print(f"{date} {counted(tally)}", markup=False, soft_wrap=True)


class NoScreen:
    """Nothing to look at: the summary is all."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        return

    def day(self, date: str, tally: Tally) -> None:
        """Say nothing."""

    def event(self, date: str, kind: str, text: str, style: str) -> None:
        """Say nothing."""


def counted(tally: Tally) -> str:
    """The counts so far in one line."""
    return (
        f"{tally.quotes} quotes, {tally.signals} signals: {tally.outcomes['APPROVED']} approved, "
        f"{tally.outcomes['REJECTED']} refused, {tally.outcomes['NO_ACTION']} without action; "
        f"{tally.fills} fills"
    )
