"""The checker: judges what a run left behind, without the engines.

    python -m tests.faults.checker FOLDER
    python -m tests.faults.checker FOLDER --database-url URL --redis-url URL

FOLDER is a run's: its evidence.json is judged. With the stores' URLs the record, the venue's log
and Redis are read anew and take the place of what the file has of them. Exit code 1: violations.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.faults.evidence import Evidence, take
from tests.faults.invariants import CHECKS, check

SHOWN = 5


def report(violations: dict[int, list[str]]) -> str:
    """One line per invariant, and the first violations of each."""
    lines = []
    for number, judge in CHECKS.items():
        title = (judge.__doc__ or "").splitlines()[0].partition(": ")[2].rstrip(".")
        said = violations.get(number, [])
        lines.append(f"{'VIOLATED' if said else 'ok      '} {number:2d}  {title}")
        lines += [f"             {each}" for each in said[:SHOWN]]
        if len(said) > SHOWN:
            lines.append(f"             and {len(said) - SHOWN} more")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.checker", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--database-url")
    parser.add_argument("--redis-url")
    asked = parser.parse_args()
    evidence = Evidence.load(asked.folder / "evidence.json")
    if asked.database_url and asked.redis_url:
        take(evidence, asked.database_url, asked.redis_url)
    violations = check(evidence)
    print(report(violations))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
