"""Which part gets which: an engine on two stores, put together and taken apart in order."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from trade_engine import __version__
from trade_engine.api.portfolio_client import GrpcPortfolioSource
from trade_engine.brokers.fix import FixBroker
from trade_engine.brokers.fix_config import FixConfig
from trade_engine.brokers.paper import PaperBroker
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.config.calendars import ExchangeCalendars
from trade_engine.config.rulebook_text import TomlRulebooks
from trade_engine.domain.clock import Clock
from trade_engine.domain.rulebook import Rulebook
from trade_engine.execution.engine import Engine
from trade_engine.execution.limits_at_start import LimitsAtStart, OnOtherLimits
from trade_engine.execution.observer import UNOBSERVED, Observer
from trade_engine.execution.parts import EngineParts, GateStores
from trade_engine.execution.ports import Broker, Calendars
from trade_engine.execution.rulebooks import Rulebooks
from trade_engine.portfolio.comparison import TOLERANCE, Tolerance
from trade_engine.storage.postgres.controls import PostgresControls
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.leases import PostgresLeases
from trade_engine.storage.postgres.limits import PostgresLimits
from trade_engine.storage.postgres.migrate import known_version
from trade_engine.storage.postgres.paper_venue import PaperVenueBooks
from trade_engine.storage.postgres.record import PostgresRecord
from trade_engine.storage.postgres.requests import PostgresRequests
from trade_engine.storage.redis import scripts
from trade_engine.storage.redis.connect import RedisLink
from trade_engine.storage.redis.doorbell import RedisDoorbell
from trade_engine.storage.redis.quotes import subscribe_quotes
from trade_engine.storage.redis.replicas import RedisReplicas, Rules
from trade_engine.storage.redis.risk_store import RedisRiskStore

DRAIN_S = 5.0
"""How long a stop waits for what was approved to be sent."""


CONTROL_CONNECTIONS = 2
"""Kept for leases and halts: no list, however slow, may hold up the kill switch."""
STATEMENT_SHARE = 0.9
"""The server gives a statement up a little before we do, so that we hear what became of it."""


def uptime() -> float:
    """Seconds since the machine started, those that it slept through included where it can tell."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def own_rules() -> Rules:
    """By what this version of the engine works."""
    return Rules(scripts.DIGEST, known_version())


@dataclass(slots=True)
class Plan:
    """What an engine is built from. rulebook is the one of its files."""

    database_url: str
    redis_url: str
    rulebook: Rulebook
    replica_id: str
    other_limits: OnOtherLimits = OnOtherLimits.REFUSE
    join_other_versions: bool = False
    rules: Rules = field(default_factory=own_rules)
    paper: PaperConfig = field(default_factory=PaperConfig)
    fix: list[FixConfig] = field(default_factory=list)
    queue_cap: int = 10_000
    database_pool_size: int = 12
    database_limit_s: float = 5.0
    redis_connections: int = 4
    redis_limit_s: float = 1.0
    portfolio_target: str = ""
    portfolio_limit_s: float = 1.0
    portfolio_age_ms_max: int = 10_000
    portfolio_tolerance: Tolerance = TOLERANCE
    observer: Observer = UNOBSERVED
    clock: Clock = time.time_ns
    calendars: Calendars = field(default_factory=ExchangeCalendars)
    uptime: Callable[[], float] = uptime
    new_epoch: Callable[[], str] = lambda: secrets.token_hex(8)


@dataclass(slots=True)
class Running:
    """A running engine, its record, and the doorbell that rings when a journal grows."""

    engine: Engine
    record: PostgresRecord
    doorbell: RedisDoorbell


async def ask_to_join(plan: Plan) -> None:
    """See that no replica by other rules is alive; to be asked before anything is changed.

    Raises:
        OtherRulesAlive: one is.
        StoreUnavailable: Redis does not answer.
    """
    link = RedisLink(plan.redis_url, timeout_s=plan.redis_limit_s, connections=1)
    try:
        await RedisReplicas(link, plan.replica_id, plan.rules).ask()
    finally:
        await link.close()


@asynccontextmanager
async def running(plan: Plan) -> AsyncIterator[Running]:
    """Start an engine on migrated stores; drain and stop it at the end.

    Raises:
        StoreUnavailable: a store does not answer.
        ConfigError: Redis evicts keys (its maxmemory-policy is not noeviction), other limits are in
            force than the plan's, or replicas by other rules are alive.
    """
    async with AsyncExitStack() as stack:
        limit_s = plan.database_limit_s

        def pool(size: int) -> Database:
            database = Database(
                plan.database_url, pool_size=size, statement_limit_s=limit_s * STATEMENT_SHARE
            )
            stack.push_async_callback(database.close)
            return database

        reading_size = plan.database_pool_size // 3
        controlling = pool(CONTROL_CONNECTIONS)
        reading = pool(reading_size)
        writing = pool(plan.database_pool_size - reading_size - CONTROL_CONNECTIONS)
        link = RedisLink(
            plan.redis_url, timeout_s=plan.redis_limit_s, connections=plan.redis_connections
        )
        stack.push_async_callback(link.close)
        await link.check_policy()
        replicas = RedisReplicas(link, plan.replica_id, plan.rules)
        stack.push_async_callback(replicas.leave)
        await replicas.join(whatever_others=plan.join_other_versions)

        record = PostgresRecord(writing, commit_limit_s=limit_s, read_limit_s=limit_s)
        queries = PostgresRecord(reading, commit_limit_s=limit_s, read_limit_s=limit_s)
        risk = RedisRiskStore(link, plan.replica_id)
        doorbell = RedisDoorbell(link, plan.replica_id)
        limits = PostgresLimits(controlling)
        starting = LimitsAtStart(limits, queries, plan.clock, plan.replica_id)
        rulebooks = Rulebooks(limits, await starting.agree(plan.rulebook, plan.other_limits))
        paper = PaperBroker(
            plan.paper,
            books=PaperVenueBooks(writing),
            find_instrument=rulebooks.instrument,
            clock=plan.clock,
            holder=plan.replica_id,
        )
        engine = Engine(
            EngineParts(
                stores=GateStores(record, risk, PostgresControls(controlling), plan.calendars),
                leases=PostgresLeases(controlling),
                queries=queries,
                ledger=PostgresRequests(writing),
                doorbell=doorbell,
                brokers={paper.name: paper, **_fix_brokers(plan)},
                rulebooks=rulebooks,
                limits=limits,
                rulebook_text=TomlRulebooks([each.name for each in plan.fix]),
                clock=plan.clock,
                uptime=plan.uptime,
                new_epoch=plan.new_epoch,
                replica_id=plan.replica_id,
                version=__version__,
                queue_cap=plan.queue_cap,
                observer=plan.observer,
                portfolio=_portfolio(plan, stack),
                portfolio_age_ms_max=plan.portfolio_age_ms_max,
                portfolio_tolerance=plan.portfolio_tolerance,
            )
        )
        doorbell.subscribe(engine.on_ring)
        doorbell.start()
        stack.push_async_callback(doorbell.stop)
        heard = subscribe_quotes(link, paper.on_quotes)
        heard.start()
        stack.push_async_callback(heard.stop)
        paper.on_quotes(list((await risk.quotes(sorted(engine.rulebook.instruments))).values()))
        await engine.start()
        try:
            yield Running(engine, queries, doorbell)
        finally:
            await engine.stop(DRAIN_S)


def _fix_brokers(plan: Plan) -> dict[str, Broker]:
    """A broker for each FIX session; it connects once this process is an account's sender."""
    return {
        config.name: FixBroker(config, clock=plan.clock, observer=plan.observer)
        for config in plan.fix
    }


def _portfolio(plan: Plan, stack: AsyncExitStack) -> GrpcPortfolioSource | None:
    """The firm's own portfolio service, if one is named."""
    if not plan.portfolio_target:
        return None
    source = GrpcPortfolioSource(plan.portfolio_target, plan.portfolio_limit_s)
    stack.push_async_callback(source.close)
    return source
