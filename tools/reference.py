"""What the runners share: reading a file of reference cases, and telling how each went."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Case = dict[str, Any]


@dataclass(slots=True)
class Outcome:
    """How one case went: faults is empty when it passed; notes say what was not compared."""

    compared: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: str = ""


def main(name: str, key: str, check: Callable[[Case], Outcome]) -> int:
    """Check every case of the file named on the command line; 0 when none failed, else 1 or 2."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its one argument
        sys.stderr.write(f"usage: {name} FILE\n")
        return 2
    try:
        cases = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"{name}: {sys.argv[1]} holds no list {key!r}: {error!r}\n")
        return 2
    return run(cases, check)


def run(cases: Iterable[Case], check: Callable[[Case], Outcome]) -> int:
    """Check the cases and print a line for each; 0 when none failed, else 1."""
    passed = failed = skipped = 0
    for case in cases:
        outcome = _checked(case, check)
        title = f"{case.get('id', '?'):<28} {case.get('title', '')}"
        if outcome.skipped:
            skipped += 1
            sys.stdout.write(f"SKIP {title} ({outcome.skipped})\n")
        elif outcome.faults:
            failed += 1
            sys.stdout.write(f"FAIL {title}\n")
        else:
            passed += 1
            sys.stdout.write(f"PASS {title} ({outcome.compared} values)\n")
        for line in (*outcome.faults, *outcome.notes):
            sys.stdout.write(f"       {line}\n")
    tail = f", {skipped} skipped" if skipped else ""
    sys.stdout.write(f"{passed} passed, {failed} failed{tail}\n")
    return 1 if failed else 0


def _checked(case: Case, check: Callable[[Case], Outcome]) -> Outcome:
    """A case that cannot be read is a failure of that case, not the end of the run."""
    try:
        return check(case)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        return Outcome(faults=[f"cannot be read: {error!r}"])
