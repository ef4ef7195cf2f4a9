"""Fields under reading: every fault of a request piles up, and all are named together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from trade_engine.domain.errors import InvalidField, InvalidFields
from trade_engine.domain.signal import checked_id, checked_symbol

Given = TypeVar("Given")
Taken = TypeVar("Taken")

REASON_CHARS_MAX = 500


class Reader:
    """Reads the fields of one request, and collects what is wrong with them.

    `prefix` is put before the name of each field ("signal." for instance).
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._faults: list[InvalidField] = []

    def read(self, check: Callable[[Given, str], Taken], given: Given, field: str) -> Taken:
        """Return the checked value; if it is refused, note the fault, and `done` will raise."""
        try:
            return check(given, field)
        except InvalidField as fault:
            self._faults.append(
                InvalidField(self._prefix + fault.field, fault.given, fault.allowed)
            )
            return cast("Taken", None)  # goes nowhere: `done` raises

    def done(self) -> None:
        """Let the fields read so far be used.

        Raises:
            InvalidFields: some field was refused; all of them are named.
        """
        if self._faults:
            raise InvalidFields(self._faults)


def optional_id(given: str, field: str) -> str:
    """Hold an id to its pattern; empty stays empty."""
    return checked_id(given, field) if given else ""


def optional_symbol(given: str, field: str) -> str:
    """Hold a symbol to its pattern; empty stays empty."""
    return checked_symbol(given, field) if given else ""


def optional_reason(given: str, field: str) -> str:
    """Hold a reason in words to its length; empty stays empty."""
    return printable(given, field, REASON_CHARS_MAX)


def after_sequence(given: int, field: str) -> int:
    """Hold a resume point to being 0 or more."""
    if given < 0:
        raise InvalidField(field, str(given), "0 or more")
    return given


def named(words: Mapping[Given, Taken], given: Given, field: str) -> Taken:
    """Translate an enum's number; proto3 lets any number through, so that is checked here."""
    try:
        return words[given]
    except KeyError:
        names = list(dict.fromkeys(str(word) for word in words.values()))
        allowed = ", ".join(names[:-1]) + " or " + names[-1]
        raise InvalidField(field, str(given or ""), allowed) from None


def printable(given: str, field: str, chars_max: int) -> str:
    """Words for people: no control characters, which neither logs nor jsonb take."""
    if len(given) > chars_max or not given.isprintable():
        raise InvalidField(field, given, f"at most {chars_max} printable characters")
    return given
