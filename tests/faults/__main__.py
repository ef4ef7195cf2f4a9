"""Many runs with faults, each from its seed, each judged: `make faults RUNS=… SEED=…`.

    python -m tests.faults --runs 500 --seed 1 [--jobs 2] [--results FILE] [--resume] [--dry]

Ends with exit code 1 when an invariant was violated anywhere; the folder of each such run is kept
and named. Each run is a line of the results file; with --resume the seeds that it has are not run
again. At the end every fault and point is listed with how often it happened; --dry says only how
often each is planned.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.faults import machine_clock
from tests.faults.plan import ALL_FAULTS, faults_of
from tests.faults.results import Result, read
from tests.faults.sweep import Sweep, sweep

AT_LEAST = 20
"""How often each fault should have happened in a sweep of 500 runs."""
A_FEW = 20
"""So many runs say nothing about what is seldom."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="the folder of the runs; else a new one")
    parser.add_argument("--results", type=Path, default=Path("build/faults.jsonl"))
    parser.add_argument("--resume", action="store_true", help="leave out what the file has")
    parser.add_argument("--dry", action="store_true", help="only count what is planned")
    asked = parser.parse_args()
    seeds = range(asked.seed, asked.seed + asked.runs)
    if asked.dry:
        planned = Counter(name for seed in seeds for name in faults_of(seed))
        _list("planned", planned, asked.runs)
        return 0
    asked.results.parent.mkdir(parents=True, exist_ok=True)
    if not asked.resume:
        asked.results.unlink(missing_ok=True)
    have = {result.seed for result in read(asked.results, seeds)}
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="te-fault-runs-"))
    where = Sweep(folder, asked.results)
    print(
        f"{asked.runs} runs from seed {asked.seed}, {len(have)} of them done already;"
        f" folders below {folder}, results in {asked.results}",
        flush=True,
    )
    _run([seed for seed in seeds if seed not in have], asked.jobs, where)
    results = read(asked.results, seeds)
    _tell(results)
    if all(result.is_well for result in results):
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    return 1


def _run(seeds: list[int], jobs: int, where: Sweep) -> None:
    # Spawned: what the parent imported of grpc must not be forked.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        shares = [seeds[job::jobs] for job in range(jobs)]
        for job in [pool.submit(sweep, share, where) for share in shares if share]:
            job.result()


def _tell(results: list[Result]) -> None:
    happened: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for result in results:
        happened.update(result.happened)
        counts.update(result.counts)
    _list("happened", happened, len(results))
    fake = machine_clock.library()
    print(f"clocks jumped by {fake or 'the hand of the process: there is no libfaketime here'}")
    bad = {each.seed: sorted(each.violations) or "FAILED" for each in results if not each.is_well}
    print(
        f"{len(results)} runs of {sum(each.took_s for each in results):.0f} s in all:"
        f" {counts['ack']} answers, {counts['broker orders']} broker orders,"
        f" {counts['replacements']} replacements,"
        f" {counts['fills']} fills, {counts['halt']} halts, {counts['limits']} changes of limits,"
        f" {counts['update']} stream updates, {happened.total()} faults; "
        + (f"VIOLATED in seeds {bad}" if bad else "no invariant violated")
    )


def _list(how: str, times: Counter[str], runs: int) -> None:
    print(f"\nHow often each fault {how}:")
    for name in ALL_FAULTS if runs > A_FEW else times:
        print(f"  {times[name]:5d}  {name}")
    if runs <= A_FEW:
        return
    seldom = [name for name in ALL_FAULTS if times[name] * 500 < AT_LEAST * runs]
    print(f"less than {AT_LEAST} in 500 runs: {', '.join(seldom) or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
