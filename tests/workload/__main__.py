"""`python -m tests.workload concurrency|limits|replay`: long workloads, on embedded servers.

python -m tests.workload --signals 10000 --seed 1 concurrency --replicas 3
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.workload import concurrency, golden, limits_change
from tests.workload.elsewhere import audit_elsewhere
from tests.workload.play import Player, WorkloadClock, engines, settle
from tests.workload.refusals import every_refusal
from tests.workload.scenario import Step, scenario
from trade_engine.auditing import AuditKind
from trade_engine.embedded import EmbeddedServers
from trade_engine.storage.postgres.migrate import migrate


@contextmanager
def stores() -> Iterator[tuple[str, str, Path]]:
    """Migrated private servers, and a folder; gone at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="te-w-") as folder,
        EmbeddedServers.start(Path(folder) / "data") as servers,
    ):
        migrate(servers.database_url)
        yield servers.database_url, servers.redis_url, Path(folder)


def run_concurrency(signals: int, replicas: int, seed: int) -> int:
    """Print the outcomes and every limit that was passed; 1 if one was."""
    began = time.monotonic()
    with stores() as (database_url, redis_url, folder):
        outcomes, passed = asyncio.run(
            concurrency.run(database_url, redis_url, folder, replicas, signals, seed)
        )
    took_s = time.monotonic() - began
    print(f"seed {seed}: {signals} signals over {replicas} replicas in {took_s:.0f} s")
    for name, count in outcomes.most_common():
        print(f"  {count:7}  {name}")
    print(f"  {len(passed):7}  limits passed")
    for each in passed[:20]:
        print(f"           {each}")
    return 1 if passed else 0


def run_limits(changes: int, replicas: int) -> int:
    """Print what changes under load cost, and each fault of the journal; 1 if there is one."""
    with stores() as (database_url, redis_url, folder):
        found = asyncio.run(limits_change.run(database_url, redis_url, folder, replicas, changes))
    decided = sum(found.versions.values())
    print(f"{changes} changes on {replicas} replicas under load: {decided} decisions")
    for version, count in found.versions.most_common():
        print(f"  {count:7}  by version {version}")
    for name, times in (
        ("UpdateLimits, until every journal has it", found.changes_ms),
        ("a signal while limits change", found.changing_ms),
        ("a signal otherwise", found.quiet_ms),
    ):
        ranked = sorted(times)
        at = [ranked[int(len(ranked) * part)] for part in (0.5, 0.99)]
        print(f"  {name}: median {at[0]:.0f} ms, p99 {at[1]:.0f} ms, most {ranked[-1]:.0f} ms")
    print(
        f"  {len(found.wrong):7}  faults: decisions by other limits than the journal's, and others"
    )
    for each in found.wrong[:20]:
        print(f"           {each}")
    return 1 if found.wrong else 0


def run_replay(signals: int, seed: int) -> int:
    """Play a scenario, then let another process decide all of it again; 1 for any fault."""
    with stores() as (database_url, redis_url, _):
        steps = scenario(seed, signals)
        counts = asyncio.run(_played(database_url, redis_url, 2, signals, steps, WorkloadClock()))
        audits = [audit_elsewhere(kind, database_url) for kind in AuditKind]
    print(f"seed {seed}: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    for each in audits:
        looked_at = ", ".join(f"{count} {name}" for name, count in each["counts"].items())
        print(f"{each['kind']}: {looked_at}, {len(each['faults'])} faults")
        for fault in each["faults"][:20]:
            print(f"  {fault}")
    return 0 if all(each["clean"] for each in audits) else 1


def keep_golden(signals: int, seed: int) -> int:
    """Bring about every refusal, then play a scenario, and keep the journal in tests/data."""
    with stores() as (database_url, redis_url, _):
        asyncio.run(_played_all(database_url, redis_url, signals, seed))
        entries = asyncio.run(concurrency.journal(database_url))
    golden.write(entries)
    print(f"{len(entries)} entries in {golden.GOLDEN.stat().st_size} bytes")
    return 0


async def _played_all(database_url: str, redis_url: str, signals: int, seed: int) -> None:
    clock = WorkloadClock()
    await every_refusal(database_url, redis_url, clock)
    steps = scenario(seed, signals, mostly_tight=True)
    await _played(database_url, redis_url, 1, signals, steps, clock)


async def _played(
    database_url: str,
    redis_url: str,
    replicas: int,
    signals: int,
    steps: Iterable[Step],
    clock: WorkloadClock,
) -> Counter[str]:
    began = time.monotonic()

    def progress(counts: Counter[str]) -> None:
        took_s = time.monotonic() - began
        print(
            f"\r{counts['signals']} of {signals} signals, {took_s:.0f} s", end="", file=sys.stderr
        )

    async with engines(replicas, database_url, redis_url, clock) as running:
        player = Player(running, clock)
        await player.play(steps, progress)
        await settle(running[0])
    print(file=sys.stderr)
    return player.counts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.workload", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--signals", type=int, default=10_000)
    kinds = parser.add_subparsers(dest="kind", required=True)
    race = kinds.add_parser("concurrency", help="tight limits, several replicas")
    race.add_argument("--replicas", type=int, default=3)
    change = kinds.add_parser("limits", help="limits that change under load, on several replicas")
    change.add_argument("--replicas", type=int, default=3)
    change.add_argument("--changes", type=int, default=40)
    kinds.add_parser("replay", help="everything at once, then decided again by another process")
    kinds.add_parser("golden", help="keep a journal that the suite decides again")
    asked = parser.parse_args()
    match asked.kind:
        case "concurrency":
            return run_concurrency(asked.signals, asked.replicas, asked.seed)
        case "limits":
            return run_limits(asked.changes, asked.replicas)
        case "replay":
            return run_replay(asked.signals, asked.seed)
        case _:
            return keep_golden(asked.signals, asked.seed)


if __name__ == "__main__":
    sys.exit(main())
