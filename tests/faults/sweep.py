"""Runs one after the other on servers of their own, told line by line."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

from tests.faults.checker import report
from tests.faults.plan import plan_of
from tests.faults.run import Outcome, run
from tests.faults.servers import Servers, private_servers


def seeds_of(job: int, jobs: int, seed: int, runs: int) -> range:
    return range(seed + job, seed + runs, jobs)


def sweep(seeds: range, folder: Path) -> list[Outcome]:
    """Run these seeds one after the other, on servers of their own."""
    os.environ["GRPC_VERBOSITY"] = "NONE"  # it tells of every connection that is lost
    # An end by force must leave no server and no mount either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with private_servers() as servers:
        return [_told(asyncio.run(_one(seed, servers, folder))) for seed in seeds]


async def _one(seed: int, servers: Servers, folder: Path) -> Outcome:
    return await run(plan_of(seed), servers, folder / f"run-{seed}")


def _told(outcome: Outcome) -> Outcome:
    plan, counts = outcome.plan, outcome.counts
    print(
        f"seed {plan.seed}: {plan.replicas} replicas, {counts.get('ack', 0)} answers,"
        f" {counts['broker orders']} orders, {counts.get('halt', 0)} halts,"
        f" {counts.get('update', 0)} updates, {sum(outcome.happened.values())} faults,"
        f" {outcome.took_s:.1f} s: "
        + (f"VIOLATED {sorted(outcome.violations)}" if outcome.violations else "ok"),
        flush=True,
    )
    if outcome.violations:
        print(report(outcome.violations), f"\nkept: {outcome.folder}", flush=True)
    else:
        shutil.rmtree(outcome.folder)
    return outcome
