"""A TOML file under reading: its tables come out checked, and its faults pile up with their lines.

Nothing stops at the first fault: the reader of a file goes on to its end, and then asks whether
there were any.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from trade_engine.config.faults import Fault, did_you_mean, shortened
from trade_engine.config.kinds import Kind
from trade_engine.config.toml_places import KeyPath, Place, places_of
from trade_engine.domain.limits_change import FileText

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table: what its value may be, and what it means, in a few words."""

    kind: Kind
    meaning: str
    required: bool = False


@dataclass(slots=True)
class TomlFile:
    """name is how faults call the file. A text that is no TOML has one fault and no content."""

    name: str
    text: str
    faults: list[Fault] = field(default_factory=list)
    _content: dict[str, Any] = field(default_factory=dict)
    _places: dict[KeyPath, Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        text = self.text.removeprefix("\ufeff").replace("\r\n", "\n")
        try:
            self._content = tomllib.loads(text, parse_float=_exact_float)
            self._places = places_of(text)
        except tomllib.TOMLDecodeError as error:
            self.faults.append(_syntax_fault(self.name, text, str(error)))
        except (ValueError, RecursionError) as error:  # thousands of digits, or of brackets
            self._content = {}
            self.faults.append(Fault("", str(error), "a file of tables and numbers", self.name))

    @property
    def base_name(self) -> str:
        """The file's name without its folders, fit for any store."""
        base = Path(self.name).name
        return "".join(each if each.isprintable() else "?" for each in base)

    def names(self, path: KeyPath) -> list[str]:
        """The keys of a table, in the file's order; none where there is no such table."""
        table: Any = self._content
        for name in path:
            table = table.get(name) if isinstance(table, dict) else None
        return list(table) if isinstance(table, dict) else []

    def tables(self, path: KeyPath, at_least_one: str = "") -> list[str]:
        """The keys of a table that holds tables only, to be read one by one.

        at_least_one names what to put there, where it is a fault that there is none.
        """
        table = self._table(path)
        if table == {} and at_least_one:
            self.fault(path, f"at least one {at_least_one} table")
        return list(table or ())

    def read(
        self, path: KeyPath, keys: Mapping[str, Key], tables: Collection[str] = ()
    ) -> dict[str, Any] | None:
        """Read a table: the values of the keys that it has; None where anything in it is wrong.

        tables are further names in it, of tables that the caller reads on its own. A table that
        is not there is empty.
        """
        table = self._table(path)
        if table is None:
            return None
        before, values = len(self.faults), {}
        known = [*keys, *tables]
        for name in table:
            if name not in known:
                self._unknown((*path, name), known, is_table=isinstance(table[name], dict))
        for name, key in keys.items():
            if name in table:
                try:
                    values[name] = key.kind.read(table[name])
                except ValueError as better:
                    self.fault((*path, name), str(better) or key.kind.allowed)
            elif key.required:
                self.fault((*path, name), key.kind.allowed, given="nothing")
        return values if len(self.faults) == before else None

    def fault(self, path: KeyPath, allowed: str, given: str | None = None) -> None:
        """Note a fault at a key, or at the nearest table around it; given: what the file says."""
        place = self._places.get(path)
        around = path
        while place is None and around:
            around = around[:-1]
            place = self._places.get(around)
        line, written = (place.line, shortened(place.written)) if place else (0, "nothing")
        self.faults.append(Fault(dotted(path), given or written, allowed, self.name, line))

    def _table(self, path: KeyPath) -> dict[str, Any] | None:
        table: Any = self._content
        for depth, name in enumerate(path, 1):
            table = table.get(name, {})
            if not isinstance(table, dict):
                self.fault(path[:depth], "a table")
                return None
        return dict(table)

    def _unknown(self, path: KeyPath, known: Collection[str], *, is_table: bool) -> None:
        hint = did_you_mean(path[-1], known)
        written = shortened(self._places[path].written)
        is_dotted = is_table and not written.startswith("{")
        if is_dotted and not hint and len(path) > len(("limits", "symbol")):
            quoted = dotted((*path[:-2], f"{path[-2]}.{path[-1]}"))
            hint = f"; a name with a dot is written in quotes: [{quoted}]"
        given = f"an unknown key (it is {written}{hint})"
        self.fault(path, f"one of {', '.join(known)}", given)


def open_toml(given: Path, kind: str, faults: list[Fault]) -> TomlFile | None:
    """Open a file; None when it cannot be read or is no TOML, and then `faults` has the fault.

    kind is what its flag and its variable are called for.
    """
    text = file_text(given, kind, faults)
    return None if text is None else parsed_toml(text, faults)


def file_text(given: Path, kind: str, faults: list[Fault]) -> FileText | None:
    """Read a file; None when it cannot be read, and then `faults` has the fault."""
    try:
        return FileText(str(given), given.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        allowed = (
            f"a file that can be read, given with --{kind} or TRADE_ENGINE_{kind.upper()}_FILE"
        )
        faults.append(Fault("", why or str(error), allowed, str(given)))
        return None


def parsed_toml(given: FileText, faults: list[Fault]) -> TomlFile | None:
    """Parse a text; None when it is no TOML, and then `faults` has the fault."""
    file = TomlFile(given.name, given.text)
    faults += file.faults
    return None if file.faults else file


def dotted(path: KeyPath) -> str:
    """Write a path as TOML does, with quotes where a name needs them."""
    return ".".join(
        name if _BARE_KEY.fullmatch(name) else '"' + name.replace('"', '\\"') + '"' for name in path
    )


def _exact_float(written: str) -> Decimal:
    try:
        return Decimal(written)
    except InvalidOperation:  # an exponent of twenty digits
        return Decimal("NaN")


def _syntax_fault(file: str, text: str, message: str) -> Fault:
    lines = text.split("\n")
    found = _LINE.search(message)
    if found:
        line = int(found.group(1))
        written, message = shortened(lines[line - 1].strip()), message[: found.start()]
    else:
        line, written = len(lines), "the end of the file"
    return Fault("", written, f"TOML: {message}", file, line)
