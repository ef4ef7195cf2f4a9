"""Leases: one holder at a time, by the database's clock, with a token that only grows."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from trade_engine.execution.ports import Lease, LeaseStore
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.leases import PostgresLeases

pytest_plugins = ["tests.support.record_fixtures"]
pytestmark = pytest.mark.stores

LONG_MS = 60_000


@pytest.fixture
def leases(database: Database) -> LeaseStore:
    return PostgresLeases(database)


async def taken(leases: LeaseStore, holder: str = "replica-1", ttl_ms: int = LONG_MS) -> Lease:
    lease = await leases.acquire("main", "paper", holder, ttl_ms)
    assert lease is not None
    return lease


async def test_a_free_lease_is_taken_and_others_are_refused(leases: LeaseStore) -> None:
    assert await leases.holder("main", "paper") == ""
    assert await taken(leases) == Lease("main", "paper", "replica-1", 1)
    assert await leases.acquire("main", "paper", "replica-2", LONG_MS) is None
    assert await leases.holder("main", "paper") == "replica-1"


async def test_each_account_and_broker_has_its_own(leases: LeaseStore) -> None:
    await taken(leases)
    assert await leases.acquire("main", "ibkr", "replica-2", LONG_MS)
    assert await leases.acquire("other", "paper", "replica-3", LONG_MS)
    assert await leases.holder("main", "ibkr") == "replica-2"
    assert await leases.holder("other", "ibkr") == ""


async def test_its_holder_takes_it_anew_with_a_higher_token(leases: LeaseStore) -> None:
    first = await taken(leases)
    second = await taken(leases)
    assert second.token == first.token + 1
    assert not await leases.renew(first, LONG_MS)
    assert await leases.renew(second, LONG_MS)


async def test_it_expires_unless_renewed(leases: LeaseStore) -> None:
    lease = await taken(leases, ttl_ms=200)
    assert await leases.renew(lease, 400)
    await asyncio.sleep(0.25)
    assert await leases.holder("main", "paper") == "replica-1"
    await asyncio.sleep(0.25)
    assert await leases.holder("main", "paper") == ""
    assert not await leases.renew(lease, LONG_MS), "an expired lease may be another's by now"
    assert (await taken(leases, "replica-2")).token == lease.token + 1


async def test_released_it_is_free_at_once_and_its_token_goes_on(leases: LeaseStore) -> None:
    lease = await taken(leases)
    await leases.release(lease)
    assert await leases.holder("main", "paper") == ""
    assert not await leases.renew(lease, LONG_MS)
    assert (await taken(leases, "replica-2")).token == lease.token + 1


@pytest.mark.parametrize("stale", [{"token": 99}, {"holder": "replica-2"}], ids=str)
async def test_only_the_very_lease_is_released(
    leases: LeaseStore, stale: dict[str, object]
) -> None:
    lease = await taken(leases)
    await leases.release(replace(lease, **stale))  # type: ignore[arg-type]
    assert await leases.holder("main", "paper") == "replica-1"


async def test_of_many_that_ask_at_once_one_gets_it(leases: LeaseStore) -> None:
    asking = (leases.acquire("main", "paper", f"replica-{n}", LONG_MS) for n in range(20))
    got = [lease for lease in await asyncio.gather(*asking) if lease]
    assert [lease.token for lease in got] == [1]
