"""Interleavings on demand: a call held up, a store that fails, a lease held elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

from tests.support.trading import ACCOUNT, eventually
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.execution.parts import GateStores
from trade_engine.execution.ports import Broker
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.leases import PostgresLeases
from trade_engine.wiring import Running

BROKER = "paper"


class Hold:
    """Stands before an async method of an object: calls wait there until `let_go`.

    Only those for which `when` says so, given the call's arguments; the others pass.
    """

    def __init__(self, owner: object, name: str, when: Callable[..., bool] | None = None) -> None:
        self.reached = asyncio.Event()
        self._free = asyncio.Event()
        self._call = getattr(owner, name)
        self._when = when
        setattr(owner, name, self._wait)

    def let_go(self) -> None:
        """What waits goes on, and whatever comes passes."""
        self._free.set()

    async def _wait(self, *args: Any, **kwargs: Any) -> Any:
        if self._when is None or self._when(*args):
            self.reached.set()
            await self._free.wait()
        return await self._call(*args, **kwargs)


async def unavailable(*_args: Any, **_kwargs: Any) -> NoReturn:
    """Put in the place of a store's method: the store is away."""
    raise StoreUnavailable("away")


def broker(run: Running) -> Broker:
    return run.engine._parts.brokers[BROKER]


def stores(run: Running) -> GateStores:
    return run.engine._parts.stores


def sends(run: Running) -> bool:
    """Whether this replica believes that it is the account's sender."""
    return run.engine._routers[ACCOUNT].claim is not None


async def sender_first(runs: list[Running]) -> list[Running]:
    """The replicas, the one that sends before the others; waits until there is one."""
    await eventually(lambda: any(map(sends, runs)))
    return sorted(runs, key=sends, reverse=True)


@asynccontextmanager
async def lease_elsewhere(database_url: str) -> AsyncIterator[asyncio.Event]:
    """Another process holds the account's lease, until the event is set."""
    database = Database(database_url)
    leases, given_up = PostgresLeases(database), asyncio.Event()
    lease = await leases.acquire(ACCOUNT, BROKER, "elsewhere", 60_000)
    assert lease is not None

    async def give_up() -> None:
        await given_up.wait()
        await leases.release(lease)

    giving_up = asyncio.create_task(give_up())
    yield given_up
    given_up.set()
    await giving_up
    await database.close()
