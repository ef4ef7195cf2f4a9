"""Many runs with faults, each from its seed, each judged: `make faults RUNS=… SEED=…`.

    python -m tests.faults --runs 500 --seed 1 [--jobs 2] [--keep FOLDER]

Ends with exit code 1 when an invariant was violated anywhere; the folder of each such run is kept
and named. At the end every fault and point is listed with how often it happened.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.faults.plan import ALL_FAULTS
from tests.faults.run import Outcome
from tests.faults.sweep import seeds_of, sweep

AT_LEAST = 20
"""How often each fault should have happened in a sweep of 500 runs."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="te-fault-runs-"))
    print(f"{asked.runs} runs from seed {asked.seed}; folders below {folder}", flush=True)
    began = time.monotonic()
    # Spawned: what the parent imported of grpc must not be forked.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(asked.jobs, mp_context=spawn) as pool:
        jobs = [
            pool.submit(sweep, seeds_of(job, asked.jobs, asked.seed, asked.runs), folder)
            for job in range(asked.jobs)
        ]
        outcomes = [outcome for job in jobs for outcome in job.result()]
    _tell(outcomes, time.monotonic() - began)
    violated = [outcome for outcome in outcomes if outcome.violations]
    if not violated:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if violated else 0


def _tell(outcomes: list[Outcome], took_s: float) -> None:
    happened: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        happened += outcome.happened
        counts.update(outcome.counts)
    print("\nHow often each fault happened:")
    for name in ALL_FAULTS:
        print(f"  {happened[name]:5d}  {name}")
    never = [name for name in ALL_FAULTS if not happened[name]]
    rarest = min((happened[name], name) for name in ALL_FAULTS)
    print("clock jumps are of the engine's own clock, in its process; libfaketime is not used")
    print(f"never: {', '.join(never) or 'none'}; rarest: {rarest[1]} ({rarest[0]} times)")
    violated = {each.plan.seed: sorted(each.violations) for each in outcomes if each.violations}
    print(
        f"{len(outcomes)} runs in {took_s:.0f} s: {counts['ack']} answers,"
        f" {counts['broker orders']} broker orders, {counts['fills']} fills,"
        f" {counts['halt']} halts, {counts['update']} stream updates,"
        f" {sum(happened.values())} faults; "
        + (f"VIOLATED in seeds {violated}" if violated else "no invariant violated")
    )


if __name__ == "__main__":
    sys.exit(main())
