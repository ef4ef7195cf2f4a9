"""Limits that change under load on several replicas: what it costs, and that it happens at once.

Every decision must be made by the limits that the journal names before it, whatever replica made
it. Beside that: how long an update takes until every journal has it, and whether signals wait.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.support.e2e import ACCOUNT, APPROVED, Client, connected
from tests.support.engine_process import engine_process
from tests.support.wide import wide_toml
from tests.workload.concurrency import journal
from trade_engine.audit.verify import Verification
from trade_engine.domain.journal import EntryKind
from trade_engine.portfolio.ledger import book
from trade_engine.v1 import control_service_pb2

IN_FLIGHT = 24
PRICE = 150
SETTLED_S = 0.25
"""How long the load runs under each version before the next change."""
TARGET = 3_000
"""What each signal wants: within the wide limits, beyond the tight ones."""


def limits_toml(order_notional_max: int) -> str:
    """Limits that let an order through, or do not."""
    return wide_toml(
        1_000_000_000,
        signal_age_ms_max=600_000,
        quote_age_ms_max=3_600_000,
        order_notional_max=order_notional_max,
    )


WIDE, TIGHT = limits_toml(10_000), limits_toml(1_000)


@dataclass
class Measured:
    """What a run saw. Times are in ms; wrong is what the journal does not bear out."""

    changes_ms: list[float] = field(default_factory=list)
    quiet_ms: list[float] = field(default_factory=list)
    changing_ms: list[float] = field(default_factory=list)
    outcomes: Counter[bool] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    is_changing: bool = False


async def run(
    database_url: str, redis_url: str, folder: Path, replicas: int, changes: int
) -> Measured:
    """Change the limits so many times under load, each time on the next replica."""
    found = Measured()
    limits = folder / "limits.toml"
    limits.write_text(WIDE)
    stores = ("--database-url", database_url, "--redis-url", redis_url, "--limits", limits)
    with ExitStack() as processes:
        engines = [
            processes.enter_context(engine_process(*stores, log=folder / f"engine-{number}.log"))
            for number in range(replicas)
        ]
        async with AsyncExitStack() as channels:
            clients = [
                await channels.enter_async_context(connected(engine.target)) for engine in engines
            ]
            await clients[0].publish(PRICE)
            await _changed_under_load(clients, changes, found)
            await clients[0].until_quiet()
    verification = Verification(ACCOUNT, book)
    for entry in await journal(database_url):
        verification.take(entry)
        if entry.kind is EntryKind.DECISION:
            found.versions[orjson.loads(entry.payload)["decision"]["limits_version"]] += 1
    found.wrong += map(str, verification.findings.faults)
    return found


async def _changed_under_load(clients: list[Client], changes: int, found: Measured) -> None:
    ended, numbers = asyncio.Event(), itertools.count()

    async def load(client: Client) -> None:
        while not ended.is_set():
            began = time.perf_counter()
            strategy_id = f"s{next(numbers)}"  # one that holds nothing, so that it wants an order
            decision = await client.submit(strategy_id=strategy_id, target_exposure=TARGET)
            took_ms = (time.perf_counter() - began) * 1000
            (found.changing_ms if found.is_changing else found.quiet_ms).append(took_ms)
            found.outcomes[decision.outcome == APPROVED] += 1

    loads = [asyncio.create_task(load(clients[n % len(clients)])) for n in range(IN_FLIGHT)]
    for turn in range(changes):
        await asyncio.sleep(SETTLED_S)
        client = clients[turn % len(clients)]
        began, found.is_changing = time.perf_counter(), True
        told = await client.control.GetLimits(control_service_pb2.GetLimitsRequest())
        await client.control.UpdateLimits(
            control_service_pb2.UpdateLimitsRequest(
                toml=WIDE if turn % 2 else TIGHT, etag=told.etag, reason="by plan"
            )
        )
        found.changes_ms.append((time.perf_counter() - began) * 1000)
        found.is_changing = False
    await asyncio.sleep(SETTLED_S)
    ended.set()
    await asyncio.gather(*loads)
