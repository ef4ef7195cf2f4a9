"""`make hostile RUNS=1000 SEED=1`: seeded runs against a hostile broker, on private servers.

Prints a line for each run that found a difference (`SEED=…` repeats it), and the totals. Exit code
1 when there was any.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

import structlog

from tests.support.hostile_runs import Alerts, run_all
from trade_engine.embedded import EmbeddedServers
from trade_engine.storage.postgres.migrate import migrate


def main() -> int:
    """Run; answers with the exit code."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=1000)
    options.add_argument("--seed", type=int, default=1, help="of the first run")
    chosen = options.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[])
    with (
        tempfile.TemporaryDirectory(prefix="trade-engine-hostile-") as folder,
        EmbeddedServers.start(Path(folder) / "data") as servers,
    ):
        migrate(servers.database_url)
        return asyncio.run(_run(servers.database_url, servers.redis_url, chosen))


async def _run(database_url: str, redis_url: str, chosen: argparse.Namespace) -> int:
    totals: Counter[str] = Counter()
    misdeeds: Counter[str] = Counter()
    alerts = Alerts()
    seeds = list(range(chosen.seed, chosen.seed + chosen.runs))
    async for outcome in run_all(database_url, redis_url, seeds, alerts):
        totals.update(runs=1, orders=outcome.orders, fills=outcome.fills, replaced=outcome.replaced)
        misdeeds.update({name: done for name, done in outcome.misdeeds.items() if ":" not in name})
        if outcome.faults:
            totals["faulty"] += 1
            print(
                f"run {outcome.seed}: {len(outcome.faults)} differences: {outcome.faults}",
                flush=True,
            )
    print(
        f"{totals['runs']} runs, {totals['orders']} orders, {totals['replaced']} replacements, "
        f"{totals['fills']} fills; "
        f"{totals['faulty']} runs with a difference"
    )
    print("misdeeds: " + ", ".join(f"{name} {done}" for name, done in sorted(misdeeds.items())))
    print("alerts: " + ", ".join(f"{name} {count}" for name, count in sorted(alerts.seen.items())))
    return 1 if totals["faulty"] else 0


if __name__ == "__main__":
    sys.exit(main())
