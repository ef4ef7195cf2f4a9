"""One run: engines on fresh stores, a load, faults, quiet, and the evidence of it all."""

from __future__ import annotations

import asyncio
import os
import time
import urllib.request
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.faults.client_log import ClientLog
from tests.faults.clients import HALTED, Clients
from tests.faults.evidence import Evidence, sessions, take
from tests.faults.hostile_venue import AMENDS_AFTER_S
from tests.faults.injector import Injector, Wires
from tests.faults.invariants import check
from tests.faults.limits import limits_toml
from tests.faults.market import PRICE, instruments_toml
from tests.faults.patience import patience
from tests.faults.plan import ACCOUNTS, CLOCK_FAULTS, Plan
from tests.faults.replica import START_S, Replica
from tests.faults.servers import SECRET, Servers
from tests.proxy import Proxy
from trade_engine.domain.journal import ORDER_KINDS
from trade_engine.storage.postgres.url import connection_words

QUIET_S = 10.0
"""How long all may take after the last fault, on a machine of its own: see `patience`."""
LOOK_EVERY_S = 0.05
STAGES = ("opened", "loaded", "healed", "settled", "stopped")


@dataclass(frozen=True)
class Outcome:
    """What came of a run: the violations by invariant, and the faults that happened.

    took_s is how long it took in all, after_s how long until it had come to each of its stages.
    """

    plan: Plan
    folder: Path
    violations: dict[int, list[str]]
    happened: Counter[str]
    counts: dict[str, int]
    took_s: float
    after_s: dict[str, float]


async def run(plan: Plan, servers: Servers, folder: Path, planted: str = "") -> Outcome:
    """Do a run; its folder holds the logs, the client's log and evidence.json afterward."""
    began, began_ns = time.monotonic(), time.time_ns()
    _prepare(plan, folder)
    database = f"run_{plan.seed}_{os.getpid()}"
    await asyncio.to_thread(servers.create, database)
    evidence = Evidence(secret=SECRET, price=str(PRICE), quiet_limit_s=QUIET_S)
    log = ClientLog(folder / "client.jsonl")
    try:
        happened = await _live(plan, servers, database, folder, planted, log, evidence)
        await asyncio.to_thread(take, evidence, servers.database_url(database), servers.redis_url())
    finally:
        log.close()
        await asyncio.to_thread(servers.wait_ready)
        await asyncio.to_thread(servers.drop, database)
    evidence.events = log.events
    evidence.save(folder / "evidence.json")
    violations = await asyncio.to_thread(check, evidence)
    counts = Counter(event["what"] for event in log.events)
    counts["broker orders"] = sum(m["message"]["kind"] == "ORDER" for m in evidence.messages)
    counts["replacements"] = sum(m["message"]["kind"] == "REPLACE" for m in evidence.messages)
    counts["fills"] = len(evidence.fills)
    after_s = {
        event["what"]: round((event["at_ns"] - began_ns) / 1e9, 1)
        for event in log.events
        if event["what"] in STAGES
    }
    took_s = time.monotonic() - began
    return Outcome(plan, folder, violations, happened, dict(counts), took_s, after_s)


def _prepare(plan: Plan, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "limits.toml").write_text(limits_toml(plan.limits))
    (folder / "instruments.toml").write_text(instruments_toml())


async def _live(
    plan: Plan,
    servers: Servers,
    database: str,
    folder: Path,
    planted: str,
    log: ClientLog,
    evidence: Evidence,
) -> Counter[str]:
    async with AsyncExitStack() as stack:
        wires = [
            Wires(
                await stack.enter_async_context(Proxy(servers.postgres_socket)),
                await stack.enter_async_context(Proxy(servers.redis_socket)),
            )
            for _ in range(plan.replicas)
        ]
        injector = Injector(plan, database, servers, wires, log)
        for number, wire in enumerate(wires):
            replica = Replica(
                f"engine-{number}",
                _arguments(plan, servers, database, wire, planted),
                # Later ones take what is in force, which may be others by then.
                [
                    *("--limits", str(folder / "limits.toml")),
                    *("--instruments", str(folder / "instruments.toml")),
                ],
                _environment(plan),
                folder / f"engine-{number}.log",
                injector.on_start,
                injector.on_point,
                clock_jumps=any(fault.name in CLOCK_FAULTS for fault in plan.faults),
            )
            injector.replicas.append(replica)
            replica.start()
            stack.push_async_callback(replica.end)
        replicas = injector.replicas
        for replica in replicas:
            await _ready(replica)
        clients = Clients(plan, replicas, log)
        stack.push_async_callback(clients.close)
        await clients.open()
        log.write("opened")
        loading = asyncio.create_task(clients.load())
        await asyncio.gather(
            asyncio.sleep(plan.load_s), clients.operate(), clients.replaced(), injector.run()
        )
        clients.end_load()
        await loading
        log.write("loaded")
        await injector.heal()
        await _settle(plan, clients, servers.database_url(database), log, evidence)
        for replica in replicas:
            evidence.metrics[replica.name] = await asyncio.to_thread(_metrics, replica)
        codes = await asyncio.gather(*(replica.stop() for replica in replicas))
        log.write("stopped")
        evidence.exit_codes = {each.name: code for each, code in zip(replicas, codes, strict=True)}
        evidence.logs = {each.name: each.log.read_text(errors="replace") for each in replicas}
    evidence.sessions_left = await asyncio.to_thread(sessions, servers.database_url(database))
    return injector.happened


async def _settle(
    plan: Plan, clients: Clients, database_url: str, log: ClientLog, evidence: Evidence
) -> None:
    """Wait until nothing is left to do, at most QUIET_S after the last fault; try once more.

    The probes are new work, and have as long for it.
    """

    async def standing() -> list[str]:
        left = await clients.left()
        if any(HALTED in each for each in left):
            await clients.resume_again()
        return left

    async def unfinished() -> list[str]:
        left = await _unfinished(clients, database_url)
        if not left and plan.hostile:  # the venue amends what it filled a moment later
            await asyncio.sleep(10 * AMENDS_AFTER_S)
            left = await _unfinished(clients, database_url)
        return left

    for what, begin, look in (
        ("the clients' questions", clients.make_up, standing),
        ("the probes", clients.probe, unfinished),
    ):
        began, left = time.monotonic(), [what]
        with suppress(TimeoutError):
            async with patience(QUIET_S):
                await begin()
                while left := await look():  # noqa: ASYNC110  asked of the engines
                    await asyncio.sleep(LOOK_EVERY_S)
        took_s = round(time.monotonic() - began, 3)
        log.write("settled", of=what, quiet=not left, left=left, took_s=took_s)
        if left:
            break
    evidence.sessions = await asyncio.to_thread(sessions, database_url)


async def _unfinished(clients: Clients, database_url: str) -> list[str]:
    left = await clients.left()
    newest = await asyncio.to_thread(_newest, database_url)
    return left + [
        f"{name} of {account_id} has not got update {newest[account_id]}"
        for account_id in ACCOUNTS
        if account_id in newest
        for name in clients.behind(account_id, newest[account_id])
    ]


def _newest(database_url: str) -> dict[str, int]:
    """The sequence of each account's last entry that is about an order."""
    kinds = sorted(each.value for each in ORDER_KINDS)
    with psycopg.connect(**connection_words(database_url)) as connection:
        rows = connection.execute(
            "SELECT account_id, max(sequence) FROM journal WHERE kind = ANY (%s)"
            " AND (kind <> 'DECISION' OR payload->'decision'->>'outcome' = 'APPROVED')"
            " GROUP BY 1",
            (kinds,),
        ).fetchall()
    return dict(rows)


def _arguments(plan: Plan, servers: Servers, database: str, wire: Wires, planted: str) -> list[str]:
    return [
        *("--lease-ttl-ms", str(plan.lease_ttl_ms)),
        *(("--plant", planted) if planted else ()),
        *(("--hostile", str(plan.hostile), str(plan.seed)) if plan.hostile else ()),
        *("--database-url", servers.database_url(database, wire.postgres.port)),
        *("--redis-url", servers.redis_url(wire.redis.port)),
    ]


def _environment(plan: Plan) -> dict[str, str]:
    mine = {f"TRADE_ENGINE_{name}": value for name, value in plan.paper.items()}
    # Engines start often: what one has compiled the next need not.
    clean = {
        name: value
        for name, value in os.environ.items()
        if "TRADE_ENGINE" not in name and name != "PYTHONDONTWRITEBYTECODE"
    }
    return (
        clean
        | mine
        | {
            "TRADE_ENGINE_DATABASE_TIME_LIMIT_MS": "1500",
            "TRADE_ENGINE_REDIS_TIME_LIMIT_MS": "500",
        }
    )


async def _ready(replica: Replica) -> None:
    try:
        async with patience(START_S):
            await replica.ready.wait()
    except TimeoutError:
        raise AssertionError(
            f"{replica.name} did not start: {replica.log.read_text()[-2000:]}"
        ) from None


def _metrics(replica: Replica) -> str:
    url = f"http://127.0.0.1:{replica.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=60) as answer:
        text: str = answer.read().decode()
        return text
