"""Faults of a configuration: where each is, what stands there, and what may stand there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trade_engine.domain.errors import ConfigError

GIVEN_MAX = 80
LIKENESS = 0.7
"""From 0 to 1: a name that is less like another is no misspelling of it (UDS is not UZS)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong. file is "" for a setting, line 0 where no line is to blame.

    key is dotted (`limits.symbol.AAPL.slippage_bps_max`), a flag or a variable; given is what was
    written, with passwords struck out.
    """

    key: str
    given: str
    allowed: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        """One line: where, what came, what is allowed."""
        where = [self.file] if self.file else []
        where += [str(self.line)] if self.line else []
        place = ":".join(where)
        named = [each for each in (place, self.key) if each]
        return f"{': '.join(named)}: got {self.given}, allowed is {self.allowed}"


class ConfigFaults(ConfigError):
    """A configuration cannot be used; the message has one line per fault."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)), faults=str(len(faults)))
        self.faults = list(faults)


def shortened(given: str) -> str:
    """Fit what was written into a message: one line of at most `GIVEN_MAX` printable characters."""
    first, *more = given.splitlines() or [""]
    if more or len(first) > GIVEN_MAX:
        first = first[: GIVEN_MAX - 3] + "..."
    return "".join(each if each.isprintable() else "?" for each in first)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where a known name is near, else nothing."""
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like this one, whatever the case; "" when none is like it."""
    folded = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=LIKENESS)
    return folded[near[0]] if near else ""
