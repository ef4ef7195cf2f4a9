"""Runs one after the other on servers of their own, told line by line and kept in a file."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.checker import report
from tests.faults.plan import Plan, plan_of
from tests.faults.results import Result, append
from tests.faults.run import Outcome, run
from tests.faults.servers import Servers, private_servers


@dataclass(frozen=True)
class Sweep:
    """Where the runs of a sweep leave what."""

    folder: Path
    results: Path


def sweep(seeds: Sequence[int], where: Sweep) -> None:
    """Run one job's share; servers that a failed run left behind are not used again."""
    os.environ["GRPC_VERBOSITY"] = "NONE"  # it tells of every connection that is lost
    # An end by force must leave no server and no mount either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    began, waiting = time.monotonic(), list(seeds)
    while waiting:
        with private_servers() as servers:
            well = True
            while waiting and well:
                result = _one(plan_of(waiting.pop(0)), servers, where.folder)
                append(where.results, result)
                done = len(seeds) - len(waiting)
                left_s = (time.monotonic() - began) / done * len(waiting)
                print(f"[{done}/{len(seeds)} of this job, {left_s / 60:.0f} min left]", end=" ")
                _tell(result)
                well = not result.failed


def _one(plan: Plan, servers: Servers, folder: Path) -> Result:
    folder = folder / f"run-{plan.seed}"
    planned = [fault.name for fault in plan.faults]
    began = time.monotonic()
    try:
        outcome = asyncio.run(run(plan, servers, folder))
    except Exception:  # noqa: BLE001  the other runs are worth having all the same
        why, took_s = traceback.format_exc(), time.monotonic() - began
        return Result(
            plan.seed, plan.replicas, took_s, planned, failed=why[-2000:], folder=str(folder)
        )
    if outcome.violations:
        print(report(outcome.violations), flush=True)
    else:
        shutil.rmtree(folder)
    return _result(outcome, planned)


def _result(outcome: Outcome, planned: list[str]) -> Result:
    return Result(
        seed=outcome.plan.seed,
        replicas=outcome.plan.replicas,
        took_s=round(outcome.took_s, 1),
        planned=planned,
        after_s=outcome.after_s,
        happened=dict(outcome.happened),
        counts=outcome.counts,
        violations={str(number): said for number, said in outcome.violations.items()},
        folder=str(outcome.folder) if outcome.violations else "",
    )


def _tell(result: Result) -> None:
    counts = result.counts
    found = f"VIOLATED {sorted(result.violations, key=int)}" if result.violations else "ok"
    print(
        f"seed {result.seed}: {result.replicas} replicas, {counts.get('ack', 0)} answers,"
        f" {counts.get('broker orders', 0)} orders,"
        f" {counts.get('replacements', 0)} replacements, {counts.get('halt', 0)} halts,"
        f" {counts.get('limits', 0)} changes of limits, {counts.get('update', 0)} updates,"
        f" {sum(result.happened.values())} faults, {result.took_s:.1f} s: "
        + (f"FAILED {result.failed}" if result.failed else found)
        + ("" if result.is_well else f"\nkept: {result.folder}"),
        flush=True,
    )
