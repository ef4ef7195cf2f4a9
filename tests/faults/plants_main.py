"""The checker tested: each planted bug run for real, and found: `make faults-plants`.

    python -m tests.faults.plants_main [--seed N] [NAME…]

A run without faults and without a bug must be clean; a run without faults and with one must
violate the invariant that the bug is against.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from tests.faults.invariants import NOT_JUDGED
from tests.faults.plan import plant_plan_of
from tests.faults.plants import AT_A_HOSTILE_VENUE, OF_REPLACEMENTS, PLANTS
from tests.faults.run import run
from tests.faults.servers import Servers, private_servers

CLEAN = "no bug"


def find(name: str, seed: int, servers: Servers, folder: Path) -> tuple[bool, str]:
    """Whether the bug is found where it should be (nothing where there is none), and what is."""
    planted = "" if name == CLEAN else name
    invariant, _ = PLANTS.get(name, (0, None))
    plan = plant_plan_of(
        seed,
        invariant,
        hostile=name in AT_A_HOSTILE_VENUE,
        replacements=3 if name in OF_REPLACEMENTS else 0,
    )
    outcome = asyncio.run(run(plan, servers, folder / name, planted))
    first = [f"{number}: {said[0]}" for number, said in outcome.violations.items()]
    if name == CLEAN:
        return not outcome.violations, "; ".join(first) or "clean"
    said = [
        each for each in outcome.violations.get(invariant, ()) if not each.startswith(NOT_JUDGED)
    ]
    if said:
        return True, f"{invariant}: {said[0]}"
    return False, f"NOT FOUND by invariant {invariant}; {'; '.join(first) or 'nothing is'} violated"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.plants_main", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args()
    missed = []
    os.environ["GRPC_VERBOSITY"] = "NONE"
    with tempfile.TemporaryDirectory(prefix="te-plants-") as folder, private_servers() as servers:
        for name in asked.names or [CLEAN, *PLANTS]:
            found, said = find(name, asked.seed, servers, Path(folder))
            print(f"{'found ' if found else 'MISSED'} {name:32} {said[:160]}", flush=True)
            if not found:
                missed.append(name)
    print(f"{len(missed)} missed: {', '.join(missed)}" if missed else "every one found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
