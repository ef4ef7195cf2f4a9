"""The halt race: `make halt-race`, 200 halts against a full load on three replicas.

    python -m tests.faults.halt_race [--halts 200] [--seed 1]

No order may reach the broker after a halt of its scope has returned DRAINED, until the resume; and
every other invariant holds as well. Says how many halts were DRAINED and how long they took.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.faults.checker import report
from tests.faults.evidence import Evidence
from tests.faults.plan import halt_race_of
from tests.faults.run import run
from tests.faults.servers import private_servers


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.halt_race", description=__doc__)
    parser.add_argument("--halts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    os.environ["GRPC_VERBOSITY"] = "NONE"
    folder = Path(tempfile.mkdtemp(prefix="te-halt-race-"))
    with private_servers() as servers:
        outcome = asyncio.run(run(halt_race_of(asked.seed, asked.halts), servers, folder))
    evidence = Evidence.load(folder / "evidence.json")
    halts = evidence.events_of("halt")
    took_ms = sorted((each["at_ns"] - each["asked_ns"]) / 1e6 for each in halts)
    results = Counter(each["result"] for each in halts)
    print(
        f"{len(halts)} halts over {outcome.plan.replicas} replicas: {dict(results)};"
        f" p50 {took_ms[len(took_ms) // 2]:.0f} ms, longest {took_ms[-1]:.0f} ms."
        f" {outcome.counts['ack']} answers, {outcome.counts['broker orders']} orders at the broker"
        f" in {outcome.took_s:.0f} s."
    )
    print(report(outcome.violations))
    raced = results["DRAINED"] > 0 and outcome.counts["broker orders"] > asked.halts
    if not raced:
        print("NO RACE: too few orders reached the broker for the halts to come between them")
    return 0 if raced and not outcome.violations else 1


if __name__ == "__main__":
    sys.exit(main())
