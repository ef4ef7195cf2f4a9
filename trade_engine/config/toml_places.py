"""Where in a TOML text each key stands: what `tomllib` knows while it reads, and doesn't tell.

Only texts that `tomllib` has accepted come here, so nothing is checked again: it is enough to tell
keys from values. One regular expression cuts the text into tokens; a string or a comment is one
token, so no bracket, sign or line end inside one can mislead.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

KeyPath = tuple[str, ...]
"""A key with those of the tables around it: `[limits.symbol.AAPL]` is ("limits", "symbol", "AAPL").

Elements of an array have no key; the keys of tables in an array count as the array's.
"""

_TOKEN = re.compile(
    r"""
      (?P<blank>  [ \t]+ | \#[^\n]* )
    | (?P<line>   \n )
    | (?P<text>   \"{3} (?: \\. | [^\\] )*? \"{3,5}      # a closing \"\"\" may follow up to two "
                | '{3} .*? '{3,5}
                | " (?: \\. | [^"\\] )* "
                | ' [^']* ' )
    | (?P<mark>   [\[\]{}=,.] )
    | (?P<bare>   [^\s"'\[\]{}=,.\#]+ )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key was first seen: its line, from 1 on, and what is written there.

    written is the value's own text, `[limits]` for a table with a header, and the dotted key for a
    table that came to be through one.
    """

    line: int
    written: str


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    start: int
    end: int
    line: int
    text: str


def places_of(text: str) -> dict[KeyPath, Place]:
    """Find every key of a valid TOML text that ends its lines as Unix does."""
    return _Scanner(text).places


class _Scanner:
    """Walks over the tokens once; each method begins at its first token and ends past its last."""

    def __init__(self, text: str) -> None:
        self.places: dict[KeyPath, Place] = {}
        self._text = text
        self._tokens = [*_tokens(text), _Token("end", len(text), len(text), 0, "")]
        self._index = 0
        self._document()

    @property
    def _token(self) -> _Token:
        return self._tokens[self._index]

    def _at(self, *marks: str) -> bool:
        return self._token.kind in ("mark", "line", "end") and self._token.text in marks

    def _written_since(self, first: _Token) -> str:
        return self._text[first.start : self._tokens[self._index - 1].end]

    def _document(self) -> None:
        table: KeyPath = ()
        while self._token.kind != "end":
            if self._at("\n"):
                self._index += 1
            elif self._at("["):
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        first = self._token
        while self._at("["):
            self._index += 1
        path = self._key()
        while self._at("]"):
            self._index += 1
        self._note((), path, Place(first.line, self._written_since(first)))
        return path

    def _pair(self, table: KeyPath) -> None:
        first = self._token
        key = self._key()
        dotted = self._written_since(first)
        self._index += 1  # the equals sign
        path = table + key
        value = self._token
        self._value(path)
        self.places.setdefault(path, Place(first.line, self._written_since(value)))
        self._note(table, key[:-1], Place(first.line, dotted))

    def _note(self, table: KeyPath, key: KeyPath, place: Place) -> None:
        for length in range(1, len(key) + 1):
            self.places.setdefault(table + key[:length], place)

    def _key(self) -> KeyPath:
        names: list[str] = []
        while True:
            token = self._token
            self._index += 1
            names.append(_unquoted(token.text) if token.kind == "text" else token.text)
            if not self._at("."):
                return tuple(names)
            self._index += 1

    def _value(self, path: KeyPath) -> None:
        if self._at("["):
            self._inside("]", lambda: self._value(path))
        elif self._at("{"):
            self._inside("}", lambda: self._pair(path))
        else:
            while not self._at("\n", ",", "]", "}", ""):
                self._index += 1

    def _inside(self, closing: str, item: Callable[[], None]) -> None:
        self._index += 1
        while not self._at(closing):
            if self._at("\n", ","):
                self._index += 1
            else:
                item()
        self._index += 1


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup or ""
        if kind != "blank":
            yield _Token(kind, found.start(), found.end(), line, found.group())
        line += found.group().count("\n")


def _unquoted(key: str) -> str:
    name: str = tomllib.loads(f"key = {key}")["key"]
    return name
