"""Who may join: replicas by one set of rules, and others only once those are gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.redis_values import hgetall
from trade_engine.storage.redis import keys, replicas, scripts
from trade_engine.storage.redis.connect import RedisLink
from trade_engine.storage.redis.replicas import OtherRulesAlive, RedisReplicas, Rules

pytestmark = pytest.mark.stores
pytest_plugins = ["tests.redis_fixtures"]

OLD, NEW, MIGRATED = Rules("aaa", "0001"), Rules("bbb", "0001"), Rules("aaa", "0002")


@pytest.fixture
async def old(redis_link: RedisLink) -> AsyncIterator[RedisReplicas]:
    """A replica by the old rules, that is alive."""
    alive = RedisReplicas(redis_link, "old", OLD)
    await alive.join(whatever_others=False)
    yield alive
    await alive.leave()


async def test_replicas_by_the_same_rules_join(old: RedisReplicas, redis_link: RedisLink) -> None:
    twin = RedisReplicas(redis_link, "twin", OLD)
    await twin.ask()
    await twin.join(whatever_others=False)
    assert set(await hgetall(redis_link, keys.REPLICAS)) == {b"old", b"twin"}
    await twin.leave()
    assert set(await hgetall(redis_link, keys.REPLICAS)) == {b"old"}


@pytest.mark.parametrize("rules", [NEW, MIGRATED])
async def test_another_is_refused_while_one_lives_and_leaves_no_trace(
    old: RedisReplicas, redis_link: RedisLink, rules: Rules
) -> None:
    new = RedisReplicas(redis_link, "new", rules)
    for attempt in (new.ask(), new.join(whatever_others=False)):
        with pytest.raises(OtherRulesAlive) as caught:
            await attempt
        assert caught.value.metadata == {"replica": "old", "others": str(OLD), "own": str(rules)}
        message = caught.value.message
        assert "replica old is alive with scripts aaa at migration 0001, " in message
        assert f"this engine has scripts {rules.scripts} at migration {rules.step}. " in message
    assert set(await hgetall(redis_link, keys.REPLICAS)) == {b"old"}

    await old.leave()
    await new.ask()
    await new.join(whatever_others=False)
    with pytest.raises(OtherRulesAlive):
        await RedisReplicas(redis_link, "old-2", OLD).join(whatever_others=False)
    await new.leave()


async def test_told_to_it_joins_beside_others(old: RedisReplicas, redis_link: RedisLink) -> None:
    new = RedisReplicas(redis_link, "new", NEW)
    await new.join(whatever_others=True)
    third = RedisReplicas(redis_link, "third", Rules("ccc", "0001"))
    with pytest.raises(OtherRulesAlive, match=r"replica new is alive .* \(1 more differs too\)"):
        await third.ask()
    await new.leave()


async def test_a_replica_takes_its_own_place_again(redis_link: RedisLink) -> None:
    """One that was killed and upgraded, under a name of its own, is not in its own way."""
    killed = RedisReplicas(redis_link, "a", OLD)
    await killed.join(whatever_others=False)
    upgraded = RedisReplicas(redis_link, "a", NEW)
    await upgraded.join(whatever_others=False)
    held = await hgetall(redis_link, keys.REPLICAS)
    assert [value.split(b" ", 1)[1] for value in held.values()] == [str(NEW).encode()]
    await upgraded.leave()
    await killed.leave()


@pytest.mark.parametrize(
    ("value", "alive"),
    [("{now} aaa 0001", {b"killed"}), ("{past} aaa 0001", set()), ("damaged", set())],
)
async def test_who_was_not_heard_of_for_long_counts_as_gone(
    redis_link: RedisLink, value: str, alive: set[bytes]
) -> None:
    (time,) = await redis_link.run(("TIME",))
    now_ms = int(time[0]) * 1000
    written = value.format(now=now_ms, past=now_ms - replicas.ALIVE_MS)
    await redis_link.run(("HSET", keys.REPLICAS, "killed", written))
    new = RedisReplicas(redis_link, "new", NEW)
    if alive:
        with pytest.raises(OtherRulesAlive):
            await new.join(whatever_others=False)
        return
    await new.join(whatever_others=False)
    assert set(await hgetall(redis_link, keys.REPLICAS)) == {b"new"}, "and is forgotten"
    await new.leave()


async def test_nothing_lives_for_ever(old: RedisReplicas, redis_link: RedisLink) -> None:
    (left_ms,) = await redis_link.run(("PTTL", keys.REPLICAS))
    assert 0 < left_ms <= replicas.ALIVE_MS


async def test_a_redis_that_lost_it_hears_it_again(
    redis_link: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "BEAT_S", 0.01)
    old = RedisReplicas(redis_link, "old", OLD)
    await old.join(whatever_others=False)
    await redis_link.run(("FLUSHDB",), ("SCRIPT", "FLUSH"))
    async with asyncio.timeout(10):
        while not await hgetall(redis_link, keys.REPLICAS):  # noqa: ASYNC110 - no event
            await asyncio.sleep(replicas.BEAT_S)
    with pytest.raises(OtherRulesAlive):
        await RedisReplicas(redis_link, "new", NEW).ask()
    await old.leave()


def test_the_digest_is_of_every_script_and_the_fold() -> None:
    digests = {scripts.digest(scripts.ALL, 1), scripts.digest(scripts.ALL, 2)}
    for left_out in scripts.ALL:
        digests.add(scripts.digest([each for each in scripts.ALL if each is not left_out], 1))
    assert len(digests) == 2 + len(scripts.ALL)
    assert scripts.digest(scripts.ALL[::-1], 1) in digests
