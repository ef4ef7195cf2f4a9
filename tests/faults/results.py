"""What came of each run of a sweep, one JSON object a line: a sweep that was stopped goes on here.

| field | what |
|---|---|
| seed, replicas, took_s | the run |
| after_s | how long it took until each of its stages |
| planned | the faults of its plan |
| happened | how often each fault happened |
| counts | how often each event is in the client's log, and the orders and fills of the broker |
| violations | by invariant, in words; empty is well |
| failed | why the run could not be judged; empty is well |
| folder | what is kept of a run that is not well |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson


@dataclass(frozen=True)
class Result:
    """A run, as its line has it."""

    seed: int
    replicas: int
    took_s: float
    planned: list[str]
    after_s: dict[str, float] = field(default_factory=dict)
    happened: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    violations: dict[str, list[str]] = field(default_factory=dict)
    failed: str = ""
    folder: str = ""

    @property
    def is_well(self) -> bool:
        return not self.violations and not self.failed


def append(file: Path, result: Result) -> None:
    """Add a line, as one write: several processes may."""
    with file.open("ab") as lines:
        lines.write(orjson.dumps(asdict(result), option=orjson.OPT_NON_STR_KEYS) + b"\n")


def read(file: Path, seeds: Iterable[int]) -> list[Result]:
    """The last result of each of these seeds that has one; half a line is none."""
    wanted = frozenset(seeds)
    found: dict[int, Result] = {}
    for line in file.read_bytes().splitlines() if file.exists() else ():
        try:
            result = Result(**orjson.loads(line))
        except orjson.JSONDecodeError:
            continue
        if result.seed in wanted:
            found[result.seed] = result
    return list(found.values())
