"""The throttles in Redis: redis-cell's vectors, our reference call by call, and idempotency."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.private_redis import PrivateRedis
from tests.redis_values import ACCOUNT, NOW, ask
from trade_engine.domain.errors import InvalidField
from trade_engine.domain.limits import Rate
from trade_engine.execution.ports import SnapshotRequest, ThrottleRequest, ThrottleVerdict
from trade_engine.risk.throttles import HORIZON_NS, gcra
from trade_engine.storage.redis import keys
from trade_engine.storage.redis.connect import RedisLink
from trade_engine.storage.redis.risk_store import RedisRiskStore
from trade_engine.storage.redis.scripts import SNAPSHOT

pytest_plugins = ["tests.redis_fixtures"]
pytestmark = pytest.mark.stores

S = 1_000_000_000
VECTOR = Rate(count=30, period_ns=60 * S, burst=15, source="limits.toml:1")
TIGHT = Rate(count=1, period_ns=S, burst=0, source="limits.toml:2")
KEY = "strategy:momentum-v1"


def of(rate: Rate, count: int = 1, key: str = KEY) -> list[ThrottleRequest]:
    return [ThrottleRequest(key, rate)] * count


async def verdicts(risk_store: RedisRiskStore, request: SnapshotRequest) -> list[ThrottleVerdict]:
    return (await risk_store.snapshot(request)).verdicts


async def test_first_call_as_redis_cell_answers_it(risk_store: RedisRiskStore) -> None:
    found = await verdicts(risk_store, ask(throttles=of(VECTOR)))
    assert found == [ThrottleVerdict(allowed=True, limit=16, remaining=15, retry_after_ns=0)]


async def test_a_batch_counts_each_of_its_requests(risk_store: RedisRiskStore) -> None:
    found = await verdicts(risk_store, ask(throttles=of(VECTOR, 18)))
    assert found[:16] == [ThrottleVerdict(True, 16, left, 0) for left in range(15, -1, -1)]
    assert found[16:] == [ThrottleVerdict(False, 16, 0, 2 * S)] * 2


async def test_throttles_of_a_batch_are_apart_and_answered_in_order(
    risk_store: RedisRiskStore,
) -> None:
    throttles = [*of(TIGHT, key="a"), *of(VECTOR, key="b"), *of(TIGHT, key="a"), *of(VECTOR)]
    found = await verdicts(risk_store, ask(throttles=throttles))
    assert [each.allowed for each in found] == [True, True, False, True]
    assert [each.remaining for each in found] == [0, 15, 0, 15]


async def test_one_throttle_at_two_rates_in_one_batch(risk_store: RedisRiskStore) -> None:
    """As when the limits change between two signals: one clock, each by its own rate."""
    throttles = [*of(VECTOR, 2), *of(TIGHT), *of(VECTOR)]
    found = await verdicts(risk_store, ask(throttles=throttles))
    assert [each.limit for each in found] == [16, 16, 1, 16]
    assert [each.allowed for each in found] == [True, True, False, True]
    assert found[2].retry_after_ns == 4 * S
    assert found[3].remaining == 13


async def test_a_message_takes_from_both_of_its_throttles_or_from_neither(
    risk_store: RedisRiskStore,
) -> None:
    """A strategy that sends too fast takes nothing from the account, and so from the others."""
    fast, calm = (ThrottleRequest(key, TIGHT, with_next=True) for key in ("fast", "calm"))
    account = ThrottleRequest("account", Rate(count=1, period_ns=S, burst=1, source="l"))
    found = await verdicts(risk_store, ask(throttles=[fast, account, *[fast, account] * 9]))
    assert [each.allowed for each in found] == [True, True, *[False, True] * 9]
    (own, shared) = await verdicts(risk_store, ask(batch_id="b-2", throttles=[calm, account]))
    assert (own.allowed, shared.allowed, shared.remaining) == (True, True, 0)
    # And the other way round: what the account refuses, the strategy may send once it can.
    late = ThrottleRequest("late", TIGHT, with_next=True)
    (own, shared) = await verdicts(risk_store, ask(batch_id="b-3", throttles=[late, account]))
    assert (own.allowed, shared.allowed) == (True, False)
    (own,) = await verdicts(risk_store, ask(batch_id="b-4", throttles=of(TIGHT, key="late")))
    assert own.allowed


async def test_accounts_are_apart(risk_store: RedisRiskStore) -> None:
    await verdicts(risk_store, ask(throttles=of(TIGHT)))
    (other,) = await verdicts(risk_store, ask(account_id="acct-2", throttles=of(TIGHT)))
    assert other.allowed


async def test_the_same_batch_again_counts_once(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    request = ask(throttles=of(VECTOR, 16))
    first = await verdicts(risk_store, request)
    kept = await redis_link.run(("GET", keys.throttle(ACCOUNT, KEY)))
    request.now_ns += S
    assert await verdicts(risk_store, request) == first
    assert await redis_link.run(("GET", keys.throttle(ACCOUNT, KEY))) == kept
    (another,) = await verdicts(risk_store, ask(batch_id="batch-2", throttles=of(VECTOR)))
    assert not another.allowed


async def test_the_same_batch_id_with_other_requests_is_another_batch(
    risk_store: RedisRiskStore,
) -> None:
    """A verdict never goes to a signal that it was not asked for."""
    await verdicts(risk_store, ask(throttles=[*of(TIGHT, key="a"), *of(TIGHT, key="b")]))
    (b_alone,) = await verdicts(risk_store, ask(throttles=of(TIGHT, key="b")))
    assert not b_alone.allowed
    (c_alone,) = await verdicts(risk_store, ask(throttles=of(TIGHT, key="c")))
    assert c_alone.allowed
    (looser,) = await verdicts(risk_store, ask(throttles=of(VECTOR, key="c")))
    assert looser.limit == 16


async def test_a_batch_id_that_begins_another_is_another(risk_store: RedisRiskStore) -> None:
    await verdicts(risk_store, ask(batch_id="batch-12", throttles=of(TIGHT)))
    (found,) = await verdicts(risk_store, ask(batch_id="batch-1", throttles=of(TIGHT)))
    assert not found.allowed


async def test_replicas_share_throttles_but_not_batches(redis_link: RedisLink) -> None:
    one, two = RedisRiskStore(redis_link, "replica-1"), RedisRiskStore(redis_link, "replica-2")
    assert (await verdicts(one, ask(throttles=of(TIGHT))))[0].allowed
    assert not (await verdicts(two, ask(throttles=of(TIGHT))))[0].allowed


async def test_peeking_counts_nothing_and_remembers_nothing(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    throttles = of(TIGHT, 3)
    for _ in range(2):
        found = await verdicts(risk_store, ask(throttles=throttles, peek=True))
        assert [each.allowed for each in found] == [True] * 3
    assert await redis_link.run(("DBSIZE",)) == [0]
    counted = await verdicts(risk_store, ask(throttles=throttles))
    assert [each.allowed for each in counted] == [True, False, False]
    found = await verdicts(risk_store, ask(throttles=throttles, peek=True))
    assert [each.allowed for each in found] == [False] * 3


async def test_asking_no_throttle_writes_nothing(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    assert await verdicts(risk_store, ask()) == []
    assert await redis_link.run(("DBSIZE",)) == [0]


async def test_what_is_kept_expires_when_it_has_no_more_to_say(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    await verdicts(risk_store, ask(throttles=of(VECTOR, 2)))
    (throttle_ms, batch_ms) = await redis_link.run(
        ("PTTL", keys.throttle(ACCOUNT, KEY)), ("PTTL", keys.batch(ACCOUNT, "replica-1"))
    )
    assert 7_000 < throttle_ms <= 9_000, "4 s ahead of now, and 5 s for clocks that differ"
    assert 110_000 < batch_ms <= keys.BATCH_MS


async def test_what_a_clock_set_ahead_left_holds_nobody_up_for_long(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    await verdicts(risk_store, ask(now_ns=NOW + 3600 * S, throttles=of(TIGHT)))
    (found,) = await verdicts(risk_store, ask(batch_id="batch-2", throttles=of(TIGHT)))
    assert not found.allowed
    (left_ms,) = await redis_link.run(("PTTL", keys.throttle(ACCOUNT, KEY)))
    assert left_ms <= 6_000, "a refusal must not keep it, and the fault heals by itself"


async def test_a_rate_beyond_the_horizon_is_refused(risk_store: RedisRiskStore) -> None:
    rate = Rate(count=1, period_ns=86_400 * S, burst=60, source="limits.toml:7")
    with pytest.raises(InvalidField, match=r"limits\.toml:7"):
        await risk_store.snapshot(ask(throttles=of(rate)))


async def test_throttles_survive_a_restart(private_redis: PrivateRedis) -> None:
    link = RedisLink(private_redis.url)
    risk_store = RedisRiskStore(link, "replica-1")
    await verdicts(risk_store, ask(throttles=of(VECTOR, 10)))
    await asyncio.to_thread(private_redis.restart)
    (found,) = await verdicts(risk_store, ask(batch_id="batch-2", throttles=of(VECTOR)))
    assert found.remaining == 5
    again = await verdicts(risk_store, ask(batch_id="batch-2", throttles=of(VECTOR)))
    assert again == [found]
    await link.close()


# ---- Lua and the reference agree ------------------------------------------------------------

rates = st.builds(
    Rate,
    st.integers(1, 100_000),
    st.sampled_from([1, 999, S // 1000, S, 60 * S, 3600 * S, 86_400 * S]),
    st.integers(0, 40),
    st.just("limits.toml:1"),
)
jumps = st.one_of(
    st.integers(0, 3 * S),
    st.integers(-5 * S, 5 * S),
    st.integers(0, 10),
    st.integers(-(2**54), 2**54),
)
MESSAGES = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]
"""Which throttles a message takes from."""
batches = st.lists(
    st.tuples(jumps, st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=8)),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    of_keys=st.lists(rates, min_size=3, max_size=3),
    start_ns=st.sampled_from([0, 1, NOW, 2**62]),
    steps=batches,
)
async def test_lua_answers_as_the_reference_does(
    risk_store: RedisRiskStore,
    redis_link: RedisLink,
    of_keys: list[Rate],
    start_ns: int,
    steps: list[tuple[int, list[tuple[int, ...]]]],
) -> None:
    """Whatever the clock does, from 0 on and through every power of two that doubles round at."""
    await redis_link.run(("FLUSHDB",))
    tats: dict[int, int | None] = {}
    now_ns = start_ns
    for number, (jump, asked) in enumerate(steps):
        now_ns = max(now_ns + jump, 0)
        expected = []
        for message in asked:
            answers = [gcra(tats.get(which), now_ns, of_keys[which]) for which in message]
            expected += [
                ThrottleVerdict(each.allowed, each.limit, each.remaining, each.retry_after_ns)
                for each, _ in answers
            ]
            if all(each.allowed for each, _ in answers):
                tats |= {which: tat for which, (_, tat) in zip(message, answers, strict=True)}
        request = ask(
            batch_id=f"batch-{number}",
            now_ns=now_ns,
            throttles=[
                ThrottleRequest(f"k{which}", of_keys[which], with_next=which != message[-1])
                for message in asked
                for which in message
            ],
        )
        assert await verdicts(risk_store, request) == expected
    for which, tat_ns in tats.items():
        (kept,) = await redis_link.run(("GET", keys.throttle(ACCOUNT, f"k{which}")))
        assert (None if kept is None else int(kept)) == tat_ns


async def test_a_tat_at_the_horizon_is_exact(risk_store: RedisRiskStore) -> None:
    """The longest tolerance there may be, to the nanosecond."""
    rate = Rate(count=1, period_ns=HORIZON_NS // 4, burst=3, source="limits.toml:1")
    found = await verdicts(risk_store, ask(throttles=of(rate, 5)))
    assert [each.remaining for each in found] == [3, 2, 1, 0, 0]
    assert found[4].retry_after_ns == HORIZON_NS // 4
    later = ask(batch_id="b", now_ns=NOW + HORIZON_NS // 4 - 1, throttles=of(rate))
    assert (await verdicts(risk_store, later))[0].retry_after_ns == 1


async def test_a_clock_that_was_set_back_refuses(risk_store: RedisRiskStore) -> None:
    await verdicts(risk_store, ask(throttles=of(VECTOR)))
    for back_ns in (60 * S, HORIZON_NS - 2 * S, HORIZON_NS, NOW):
        request = ask(batch_id=str(back_ns), now_ns=NOW - back_ns, throttles=of(VECTOR))
        ahead_ns = min(back_ns + 2 * S, HORIZON_NS)
        expected = ThrottleVerdict(False, 16, 0, ahead_ns + 2 * S - 32 * S)
        assert await verdicts(risk_store, request) == [expected]


def test_the_horizon_is_the_one_in_the_script() -> None:
    assert f"HORIZON_NS = {HORIZON_NS}\n" in SNAPSHOT.text
