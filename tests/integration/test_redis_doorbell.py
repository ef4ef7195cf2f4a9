"""The doorbell between replicas, through losses of the connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests import redis_values as make
from tests.private_redis import PrivateRedis
from tests.proxy import Proxy
from trade_engine.execution.ports import Doorbell
from trade_engine.storage.redis import doorbell as doorbell_module
from trade_engine.storage.redis import keys, subscription
from trade_engine.storage.redis.connect import RedisLink
from trade_engine.storage.redis.doorbell import RedisDoorbell
from trade_engine.storage.redis.quotes import subscribe_quotes
from trade_engine.storage.redis.risk_store import RedisRiskStore

pytest_plugins = ["tests.redis_fixtures"]
pytestmark = pytest.mark.stores


class Ears:
    """What a subscriber heard."""

    def __init__(self, doorbell: RedisDoorbell) -> None:
        self.rings: list[tuple[str, int]] = []
        self.stop = doorbell.subscribe(lambda *ring: self.rings.append(ring))


@pytest.fixture
async def pair(redis_link: RedisLink) -> AsyncIterator[tuple[RedisDoorbell, RedisDoorbell]]:
    """The doorbells of two replicas, each hearing the other."""
    both = RedisDoorbell(redis_link, "replica-1"), RedisDoorbell(redis_link, "replica-2")
    for each in both:
        each.start()
        await asyncio.wait_for(each.listening.wait(), 5)
    yield both
    for each in both:
        await each.stop()


def test_it_is_the_port(redis_link: RedisLink) -> None:
    port: Doorbell = RedisDoorbell(redis_link, "replica-1")  # mypy holds the signature
    port.ring("acct-1", 1)


async def test_it_rings_here_at_once_and_elsewhere_soon(
    pair: tuple[RedisDoorbell, RedisDoorbell],
) -> None:
    here, there = Ears(pair[0]), Ears(pair[1])
    pair[0].ring("acct-1", 7)
    assert here.rings == [("acct-1", 7)]
    await make.until(lambda: bool(there.rings))
    assert there.rings == [("acct-1", 7)]
    await asyncio.sleep(0.05)
    assert here.rings == [("acct-1", 7)], "one's own ring does not come back"


async def test_rings_are_coalesced_to_the_highest_of_each_account(
    pair: tuple[RedisDoorbell, RedisDoorbell],
) -> None:
    there = Ears(pair[1])
    for sequence in (*range(1, 1000), 5):
        pair[0].ring("acct-1", sequence)
        pair[0].ring("acct-2", sequence + 1)
    await make.until(lambda: len(there.rings) >= 2)
    await asyncio.sleep(0.05)
    assert sorted(there.rings) == [("acct-1", 999), ("acct-2", 1000)]


async def test_steady_ringing_is_told_at_a_bounded_pace(
    pair: tuple[RedisDoorbell, RedisDoorbell],
) -> None:
    there = Ears(pair[1])
    ends = time.monotonic() + 0.3
    sequence = 0
    while time.monotonic() < ends:
        sequence += 1
        pair[0].ring("acct-1", sequence)
        await asyncio.sleep(0)
    await make.until(lambda: there.rings[-1:] == [("acct-1", sequence)])
    assert 1 < len(there.rings) <= 0.3 / doorbell_module.SPACING_S + 2
    assert there.rings == sorted(there.rings)


async def test_who_unsubscribed_is_not_called(pair: tuple[RedisDoorbell, RedisDoorbell]) -> None:
    ears = Ears(pair[0])
    ears.stop()
    ears.stop()
    pair[0].ring("acct-1", 7)
    assert ears.rings == []


async def test_a_listener_that_fails_disturbs_nobody(
    pair: tuple[RedisDoorbell, RedisDoorbell],
) -> None:
    def fail(_account_id: str, _sequence: int) -> None:
        raise RuntimeError("a listener's own fault")

    for each in pair:
        each.subscribe(fail)
    here, there = Ears(pair[0]), Ears(pair[1])
    pair[0].ring("acct-1", 7)
    await make.until(lambda: bool(there.rings))
    pair[0].ring("acct-1", 8)
    await make.until(lambda: len(there.rings) == 2)
    assert here.rings == there.rings == [("acct-1", 7), ("acct-1", 8)]


async def test_what_somebody_else_published_is_passed_over(
    pair: tuple[RedisDoorbell, RedisDoorbell], redis_link: RedisLink
) -> None:
    there = Ears(pair[1])
    channel = keys.doorbell_channel(redis_link.database)
    await redis_link.run(("PUBLISH", channel, "nonsense"), ("PUBLISH", channel, b"\xff a x"))
    pair[0].ring("acct-1", 7)
    await make.until(lambda: there.rings == [("acct-1", 7)])


async def test_databases_of_one_server_do_not_hear_each_other(private_redis: PrivateRedis) -> None:
    """Redis itself does not keep channels apart."""
    links = [RedisLink(f"unix://{private_redis.socket}?db={n}") for n in (0, 1)]
    doorbells = [RedisDoorbell(link, f"replica-{n}") for n, link in enumerate(links)]
    ears = [Ears(each) for each in doorbells]
    quotes: list[object] = []
    feed = subscribe_quotes(links[1], quotes.extend)
    feed.start()
    for each in doorbells:
        each.start()
        await each.listening.wait()
    await feed.listening.wait()
    doorbells[0].ring("acct-1", 7)
    await RedisRiskStore(links[0], "replica-0").put_quotes([make.quote("AAPL")], make.NOW)
    await asyncio.sleep(0.1)
    assert ears[0].rings
    assert ears[1].rings == []
    assert quotes == []
    await feed.stop()
    for doorbell, link in zip(doorbells, links, strict=True):
        await doorbell.stop()
        await link.close()


@pytest.mark.faults
async def test_it_never_blocks_nor_raises_and_comes_back(private_redis: PrivateRedis) -> None:
    link_timeout_s = 0.3
    link = RedisLink(private_redis.url, timeout_s=link_timeout_s)
    ringing, hearing = RedisDoorbell(link, "replica-1"), RedisDoorbell(link, "replica-2")
    here, there = Ears(ringing), Ears(hearing)
    for each in (ringing, hearing):
        each.start()
        await each.listening.wait()

    await asyncio.to_thread(private_redis.stop)
    started = time.monotonic()
    for sequence in range(1000):
        ringing.ring("acct-1", sequence)
    assert time.monotonic() - started < link_timeout_s
    assert len(here.rings) == 1000, "this process is still rung"
    await make.until(lambda: not hearing.listening.is_set())

    await asyncio.to_thread(private_redis.start)
    await asyncio.wait_for(hearing.listening.wait(), 5)
    ringing.ring("acct-1", 2000)
    await make.until(lambda: there.rings[-1:] == [("acct-1", 2000)])
    for each in (ringing, hearing):
        await each.stop()
    await link.close()


@pytest.mark.faults
async def test_it_starts_before_the_server_does(private_redis: PrivateRedis) -> None:
    await asyncio.to_thread(private_redis.stop)
    link = RedisLink(private_redis.url, timeout_s=0.3)
    doorbell = RedisDoorbell(link, "replica-1")
    doorbell.start()
    doorbell.ring("acct-1", 1)
    await asyncio.sleep(0.2)
    await asyncio.to_thread(private_redis.start)
    await asyncio.wait_for(doorbell.listening.wait(), 5)
    await doorbell.stop()
    await link.close()


@pytest.mark.faults
async def test_a_connection_that_fell_silent_is_made_anew(
    private_redis: PrivateRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody says when a network swallows everything: only asking tells."""
    monkeypatch.setattr(subscription, "SILENCE_S", 0.1)
    async with Proxy(private_redis.socket) as proxy:
        far, near = RedisLink(f"redis://127.0.0.1:{proxy.port}"), RedisLink(private_redis.url)
        hearing, ringing = RedisDoorbell(far, "replica-2"), RedisDoorbell(near, "replica-1")
        there = Ears(hearing)
        for each in (ringing, hearing):
            each.start()
            await each.listening.wait()
        await asyncio.sleep(0.5)
        assert hearing.listening.is_set(), "silence alone is no fault"
        proxy.black_hole = True
        await make.until(lambda: not hearing.listening.is_set())
        proxy.black_hole = False
        await asyncio.wait_for(hearing.listening.wait(), 5)
        ringing.ring("acct-1", 7)
        await make.until(lambda: there.rings == [("acct-1", 7)])
        for each in (ringing, hearing):
            await each.stop()
        await far.close()
        await near.close()
