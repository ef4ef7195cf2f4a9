"""The second path of a halt: past an engine that does not answer, straight into both stores.

Every replica asks for the operators' trading states with each batch, so what is written there stops
what is decided from then on, and what is approved and not sent yet. It is in no journal, so what
was on its way to a broker is not known: this path never says DRAINED.

Whatever is asked here may hang for ever (a frozen server takes connections), so each question runs
in a thread of its own that the process does not wait for.
"""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from trade_engine.cli.background import in_background
from trade_engine.config.loading import load_settings
from trade_engine.config.whereabouts import found
from trade_engine.domain.order import DeliveryState
from trade_engine.domain.trading_state import Scope, ScopeKind, ScopeState, TradingState
from trade_engine.embedded import urls_of
from trade_engine.storage.postgres.controls import PostgresControls
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.record import PostgresRecord
from trade_engine.storage.redis.connect import RedisLink
from trade_engine.storage.redis.risk_store import RedisRiskStore

T = TypeVar("T")

SILENT = "it did not answer in time"


@dataclass(slots=True)
class Reached:
    """What became of a halt in the stores: for each, "" when it took it, else why it did not.

    named_by says who named the stores. unsent_order_ids are the orders in scope that may be on
    their way, by the record.
    """

    named_by: str = ""
    stores: dict[str, str] = field(default_factory=dict)
    unsent_order_ids: list[str] = field(default_factory=list)

    @property
    def somewhere(self) -> bool:
        """Whether a store took it."""
        return not all(self.stores.values())


def state_of(kind: str, scope_id: str, mode: str, reason: str) -> ScopeState:
    """The trading state that an operator of this machine sets, now."""
    scope = Scope(ScopeKind(kind), scope_id)
    return ScopeState(scope, TradingState(mode), reason, f"{getpass.getuser()}@cli", time.time_ns())


@dataclass(frozen=True, slots=True)
class Stores:
    """The URLs of both stores, which may hold passwords, and in words who named them."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    named_by: str


def stores_of(target: str, data_dir: Path | None) -> Stores:
    """Where the engine at an address of this machine has its stores.

    A data directory that is given comes first, then what the engine itself left, then variables,
    then the usual data directory.
    """
    left = found(target) if data_dir is None else None
    if left is not None:
        whereabouts, runs = left
        ended = "" if runs else ", which ended by force"
        by = f"the engine at {target}, process {whereabouts.pid}{ended}"
        return Stores(whereabouts.database_url, whereabouts.redis_url, by)
    settings = load_settings(data_dir=data_dir)
    if data_dir is None and settings.database_url and settings.redis_url:
        return Stores(settings.database_url, settings.redis_url, "variables of this shell")
    return Stores(*urls_of(settings.data_dir), f"the data directory {settings.data_dir}")


def halt_in_stores(stores: Stores, state: ScopeState, limit_s: float) -> Reached:
    """Write a trading state to both stores at once; answers within limit_s, whatever they do."""
    deadline = time.monotonic() + limit_s
    database_url, redis_url = stores.database_url, stores.redis_url
    asked = {
        "PostgreSQL": _asked(_to_postgres(database_url, state, limit_s)),
        "Redis": _asked(_to_redis(redis_url, state, limit_s)),
    }
    unsent = _asked(_unsent(database_url, state, limit_s))
    reached = Reached(stores.named_by)
    for name, future in asked.items():
        reached.stores[name] = _why_not(future, deadline)
    if not _why_not(unsent, deadline):
        reached.unsent_order_ids = unsent.result()
    return reached


def _asked(question: Coroutine[Any, Any, T]) -> Future[T]:
    return in_background(lambda: asyncio.run(question))


def _why_not(future: Future[Any], deadline: float) -> str:
    try:
        error = future.exception(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        return SILENT
    return "" if error is None else str(error) or type(error).__name__


async def _to_redis(url: str, state: ScopeState, limit_s: float) -> None:
    link = RedisLink(url, timeout_s=limit_s, connections=1)
    await RedisRiskStore(link, "halt").put_controls([state], complete=False)
    await link.close()


async def _to_postgres(url: str, state: ScopeState, limit_s: float) -> None:
    database = _database(url, limit_s)
    await PostgresControls(database, limit_s=limit_s).put_controls([state])
    await database.close()


async def _unsent(url: str, state: ScopeState, limit_s: float) -> list[str]:
    database = _database(url, limit_s)
    record = PostgresRecord(database, read_limit_s=limit_s)
    unsent = []
    for account_id in await record.account_ids():
        _, orders = await record.open_orders(account_id)
        unsent += [
            order.order_id
            for order in orders
            if order.delivery is not DeliveryState.SENT
            and state.scope.covers(account_id, order.strategy_id, order.symbol)
        ]
    await database.close()
    return unsent


def _database(url: str, limit_s: float) -> Database:
    return Database(
        url, pool_size=1, statement_limit_s=limit_s, application_name="trade-engine halt"
    )
