"""What becomes of a call to Redis when the reply, the server, or the memory is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

import pytest

from tests import redis_values as make
from tests.private_redis import PrivateRedis
from tests.proxy import Proxy
from tests.redis_values import ACCOUNT, ask, hgetall, is_unknown
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.limits import Rate
from trade_engine.domain.market import Quote
from trade_engine.domain.order import OrdStatus
from trade_engine.execution.ports import ThrottleRequest
from trade_engine.storage.redis import keys, scripts
from trade_engine.storage.redis.connect import RedisLink
from trade_engine.storage.redis.quotes import subscribe_quotes
from trade_engine.storage.redis.risk_store import RedisRiskStore

pytest_plugins = ["tests.redis_fixtures"]
pytestmark = [pytest.mark.stores, pytest.mark.faults]

S = 1_000_000_000
STATE = keys.state(ACCOUNT)
T = TypeVar("T")
THROTTLES = [ThrottleRequest("k", Rate(30, 60 * S, 15, "limits.toml:1"))] * 3


@pytest.fixture
async def proxy(private_redis: PrivateRedis) -> AsyncIterator[Proxy]:
    async with Proxy(private_redis.socket) as opened:
        yield opened


@pytest.fixture
async def far_link(proxy: Proxy) -> AsyncIterator[RedisLink]:
    """A link that leads through the proxy."""
    opened = RedisLink(f"redis://127.0.0.1:{proxy.port}/0", timeout_s=0.5)
    yield opened
    await opened.close()


@pytest.fixture
def far_store(far_link: RedisLink) -> RedisRiskStore:
    return RedisRiskStore(far_link, "replica-1")


@pytest.fixture
async def near_link(private_redis: PrivateRedis) -> AsyncIterator[RedisLink]:
    """A link straight to the server."""
    opened = RedisLink(private_redis.url)
    yield opened
    await opened.close()


async def soon(call: Callable[[], Awaitable[T]]) -> T:
    """What the call answers once the store can answer it, however slow the machine is."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return await call()
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


# ---- a lost reply ---------------------------------------------------------------------------

BEFORE = make.account_state(7)
AFTER = make.account_state(9, orders={"o-2": make.order("o-2")})
COMMIT = make.commit_to(AFTER, BEFORE, orders=[make.order("o-1", OrdStatus.FILLED)])
QUOTES = [make.quote("AAPL", "150", 1), make.quote("AAPL", "151", 2), make.quote("MSFT")]

CALLS: dict[str, Callable[[RedisRiskStore], Awaitable[object]]] = {
    "snapshot": lambda store: store.snapshot(ask(throttles=THROTTLES, symbols=["AAPL"])),
    "apply": lambda store: store.apply(COMMIT),
    "replace": lambda store: store.replace(AFTER),
    "put_controls": lambda store: store.put_controls([make.scope_state()], complete=True),
    "put_quotes": lambda store: store.put_quotes(QUOTES, make.NOW),
}


async def everything(link: RedisLink) -> dict[bytes, object]:
    """All keys and values of the database."""
    (names,) = await link.run(("KEYS", "*"))
    found: dict[bytes, object] = {}
    for name in names:
        (kind,) = await link.run(("TYPE", name))
        if kind == b"hash":
            found[name] = await hgetall(link, name.decode())
        else:
            (found[name],) = await link.run(("GET", name))
    return found


def test_every_script_is_among_the_calls() -> None:
    # join writes the time; test_redis_replicas.py repeats it.
    assert {each.name for each in scripts.ALL} == set(CALLS) | {"join"}


@pytest.mark.parametrize("call", sorted(CALLS))
async def test_a_call_whose_reply_was_lost_is_harmless_to_repeat(
    call: str,
    proxy: Proxy,
    far_store: RedisRiskStore,
    near_link: RedisLink,
) -> None:
    """The caller is told that it does not know; the second time leaves what once leaves."""
    near_store = RedisRiskStore(near_link, "replica-1")
    told: list[Quote] = []
    subscription = subscribe_quotes(near_link, told.extend)
    subscription.start()
    await subscription.listening.wait()

    await near_store.replace(BEFORE)
    expected = await CALLS[call](near_store)
    once = await everything(near_link)
    told_once = 3 if call == "put_quotes" else 0
    await make.until(lambda: len(told) == told_once)
    await near_link.run(("FLUSHDB",))

    await near_store.replace(BEFORE)
    proxy.lose_reply(b"EVALSHA")
    with pytest.raises(StoreUnavailable):
        await CALLS[call](far_store)
    assert proxy.lost_replies == 1
    assert await everything(near_link) == once, "the server did it, and once"
    assert await soon(lambda: CALLS[call](far_store)) == expected
    assert await everything(near_link) == once
    if told_once:
        await make.until(lambda: len(told) == 2 * told_once)
        await asyncio.sleep(0.05)
    assert len(told) == 2 * told_once, "nothing is told a second time"
    await subscription.stop()


async def test_nothing_is_sent_again_by_itself(
    proxy: Proxy, far_link: RedisLink, near_link: RedisLink
) -> None:
    proxy.lose_reply(b"INCR")
    with pytest.raises(StoreUnavailable):
        await far_link.run(("INCR", "counter"))
    await asyncio.sleep(0.1)
    assert await near_link.run(("GET", "counter")) == [b"1"]


# ---- scripts that the server has forgotten --------------------------------------------------


async def test_forgotten_scripts_are_loaded_again(
    private_redis: PrivateRedis, near_link: RedisLink
) -> None:
    near_store = RedisRiskStore(near_link, "replica-1")
    for call in CALLS.values():
        await near_link.run(("SCRIPT", "FLUSH"))
        await call(near_store)
    state = (await near_store.snapshot(ask())).state
    assert state == AFTER
    await asyncio.to_thread(private_redis.restart)
    found = await near_store.snapshot(ask(throttles=THROTTLES))
    assert found.state == AFTER
    assert [each.remaining for each in found.verdicts] == [15, 14, 13], "the same batch"


# ---- Redis empty, frozen, away --------------------------------------------------------------


async def test_after_flushall_the_account_is_unknown(near_link: RedisLink) -> None:
    near_store = RedisRiskStore(near_link, "replica-1")
    await near_store.replace(BEFORE)
    await near_link.run(("FLUSHALL",))
    assert is_unknown(await near_store.snapshot(ask(known_sequence=7)))
    assert not await near_store.apply(COMMIT)
    assert await near_store.replace(AFTER)
    assert (await near_store.snapshot(ask())).state == AFTER


async def test_a_server_restarted_empty_knows_nothing(
    private_redis: PrivateRedis, near_link: RedisLink
) -> None:
    near_store = RedisRiskStore(near_link, "replica-1")
    await near_store.replace(BEFORE)
    await near_store.put_controls([], complete=True)
    await asyncio.to_thread(private_redis.restart, empty=True)
    found = await near_store.snapshot(ask(known_sequence=7))
    assert is_unknown(found)
    assert found.controls is None


async def test_a_frozen_server_is_given_up_in_time(private_redis: PrivateRedis) -> None:
    link = RedisLink(private_redis.url, timeout_s=0.5, connections=2)
    store = RedisRiskStore(link, "replica-1")
    await soon(lambda: store.replace(BEFORE))
    private_redis.freeze()
    started = time.monotonic()
    answers = await asyncio.gather(
        *(store.snapshot(ask()) for _ in range(8)), return_exceptions=True
    )
    took_s = time.monotonic() - started
    assert [type(each) for each in answers] == [StoreUnavailable] * 8
    assert 0.4 < took_s < 10, "also those that waited for a connection"
    private_redis.thaw()
    assert (await soon(lambda: store.snapshot(ask()))).state == BEFORE
    await link.close()


async def test_a_connection_given_up_while_it_opened_is_not_used(
    private_redis: PrivateRedis, near_link: RedisLink
) -> None:
    """Half open, it would speak to database 0."""
    await near_link.run(("SET", "key", "of database 0"))
    link = RedisLink(f"unix://{private_redis.socket}?db=3", timeout_s=0.2)
    private_redis.freeze()
    with pytest.raises(StoreUnavailable):
        await link.run(("GET", "key"))
    private_redis.thaw()
    assert await soon(lambda: link.run(("GET", "key"))) == [None]
    await link.close()


async def test_a_server_that_was_never_there(tmp_path: object) -> None:
    for url in ("redis://127.0.0.1:1/0", f"unix://{tmp_path}/none.sock?db=0"):
        link = RedisLink(url, timeout_s=0.3)
        with pytest.raises(StoreUnavailable, match="Redis"):
            await RedisRiskStore(link, "replica-1").controls()
        await link.close()


async def test_silence_in_the_network_is_given_up_in_time(
    proxy: Proxy, far_store: RedisRiskStore
) -> None:
    await soon(lambda: far_store.replace(BEFORE))
    proxy.black_hole = True
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"0\.5 s"):
        await far_store.snapshot(ask())
    assert time.monotonic() - started < 10
    proxy.black_hole = False
    assert (await soon(lambda: far_store.snapshot(ask()))).state == BEFORE


async def test_after_a_cut_the_next_call_works(proxy: Proxy, far_store: RedisRiskStore) -> None:
    await asyncio.gather(*(soon(far_store.controls) for _ in range(8)))
    proxy.cut()
    await asyncio.sleep(0.05)
    assert await soon(far_store.controls) is None


async def test_a_canceled_call_leaves_no_reply_to_the_next(
    proxy: Proxy, far_link: RedisLink, near_link: RedisLink
) -> None:
    """A connection whose reply was never read must not serve again."""
    await near_link.run(*(("SET", f"k{n}", f"v{n}") for n in range(8)))
    proxy.delay_s = 0.01

    async def get(n: int) -> bytes:
        (value,) = await far_link.run(("GET", f"k{n % 8}"))
        return bytes(value)

    for round_number in range(30):
        calls = [asyncio.create_task(get(n)) for n in range(6)]
        await asyncio.sleep(0.003 * (round_number % 12))
        for call in calls[::2]:
            call.cancel()
        found = await asyncio.gather(*calls, return_exceptions=True)
        for n, value in enumerate(found):
            # On a slow machine a reply may come too late, and then it is nobody's.
            none = isinstance(value, asyncio.CancelledError | StoreUnavailable)
            assert none or value == f"v{n}".encode()
    proxy.delay_s = 0
    assert await get(3) == b"v3"


async def test_an_error_reply_leaves_the_replies_behind_it_to_nobody(
    near_link: RedisLink,
) -> None:
    await near_link.run(("SET", "text", "a"), ("SET", "b", "1"))
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        # The third reply comes long after the second, which is the error.
        await near_link.run(("GET", "b"), ("HGETALL", "text"), ("BLPOP", "none", "0.1"))
    for _ in range(8):
        assert await near_link.run(("GET", "b")) == [b"1"]


async def test_closing_leaves_no_connection(
    private_redis: PrivateRedis, near_link: RedisLink
) -> None:
    link = RedisLink(private_redis.url)
    waiting = asyncio.create_task(link.run(("BLPOP", "none", "0.2")))
    await link.run(("PING",))
    (before,) = await near_link.run(("CLIENT", "LIST"))
    await link.close()
    assert await waiting == [None]
    await asyncio.sleep(0.05)
    (after,) = await near_link.run(("CLIENT", "LIST"))
    assert (before.count(b"\n"), after.count(b"\n")) == (3, 1)


# ---- memory ---------------------------------------------------------------------------------


async def test_only_noeviction_is_accepted(
    private_redis: PrivateRedis, near_link: RedisLink
) -> None:
    await near_link.check_policy()
    for policy in ("allkeys-lru", "volatile-ttl"):
        private_redis.client().config_set("maxmemory-policy", policy)
        with pytest.raises(StoreUnavailable, match=rf"(?s){policy}.*noeviction") as caught:
            await near_link.check_policy()
        assert caught.value.metadata["maxmemory_policy"] == policy
    private_redis.client().config_set("maxmemory-policy", "noeviction")
    await near_link.check_policy()


async def test_a_full_server_refuses_and_keeps_what_it_has(
    private_redis: PrivateRedis, near_link: RedisLink
) -> None:
    near_store = RedisRiskStore(near_link, "replica-1")
    await near_store.replace(BEFORE)
    private_redis.client().config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="maxmemory"):
        await near_store.apply(COMMIT)
    with pytest.raises(StoreUnavailable, match="maxmemory"):
        await near_store.snapshot(ask(throttles=THROTTLES))
    private_redis.client().config_set("maxmemory", 0)
    assert (await near_store.snapshot(ask())).state == BEFORE
    assert await near_store.apply(COMMIT)


# ---- addresses ------------------------------------------------------------------------------


def test_the_database_is_read_from_every_form_of_address() -> None:
    for url, database in {
        "redis://127.0.0.1:6379": 0,
        "redis://127.0.0.1:6379/15": 15,
        "unix:///run/redis.sock?db=3": 3,
        "rediss://user:secret@127.0.0.1/2": 2,
    }.items():
        assert RedisLink(url).database == database, urlsplit(url).scheme
