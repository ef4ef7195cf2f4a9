"""How data is printed: JSON lines for machines, tables and sentences for people.

Data goes to standard output; everything else, errors among it, to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trade_engine.client import Decision, Outcome, Scope, to_json

OUTCOME_STYLES = {
    "APPROVED": "green",
    "REJECTED": "red",
    "NO_ACTION": "yellow",
}

PIPE_COLUMNS = 200
"""The width of tables that nobody's terminal bounds."""


def console() -> Console:
    """Standard output, for people."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=PIPE_COLUMNS)


def errors() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(data: Message | dict[str, Any]) -> None:
    """Print one JSON line, at once: a reader may be waiting for it."""
    document = to_json(data) if isinstance(data, Message) else data
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def say(text: str, style: str = "") -> None:
    """Print a line for people; `text` is taken as it stands."""
    console().print(text, style=style or None, markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """Print a line to standard error."""
    errors().print(f"trade-engine: {text}", markup=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """Print a table; numbers to the right, and `empty` where there are no rows."""
    found = [list(map(str, row)) for row in rows]
    if not found:
        say(empty)
        return
    made = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numeric = all(_numeric(row[index]) for row in found)
        made.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in found:
        made.add_row(*(_styled(cell) for cell in row))
    console().print(made)


def word(enum: Any, value: int, prefix: str) -> str:
    """The name of an enum's value, without its prefix; the number where it is a later version's."""
    try:
        return str(enum.Name(value)).removeprefix(prefix)
    except ValueError:
        return str(value)


def outcome(decision: Decision) -> str:
    """What was decided, in one word."""
    return word(Outcome, decision.outcome, "OUTCOME_")


def clock(time: Timestamp) -> str:
    """A time of day in UTC, to the millisecond; "" for none."""
    if not time.seconds:
        return ""
    return f"{time.ToDatetime():%Y-%m-%d %H:%M:%S.%f}"[:-3]


def scope_name(scope: Scope) -> str:
    """A scope in words."""
    kind = scope.WhichOneof("kind")
    if kind == "global":
        return "everything"
    return f"{str(kind).removesuffix('_id')} {getattr(scope, str(kind))}" if kind else "nothing"


def _numeric(cell: str) -> bool:
    try:
        Decimal(cell or "0")
    except ArithmeticError:
        return False
    return True


def _styled(cell: str) -> str:
    style = OUTCOME_STYLES.get(cell)
    return f"[{style}]{escape(cell)}[/]" if style else escape(cell)
