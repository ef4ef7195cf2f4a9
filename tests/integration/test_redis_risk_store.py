"""The risk store against a real server: the fold, quotes and controls."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import redis_values as make
from tests.redis_values import ask, hgetall, is_unknown
from trade_engine.domain.account import AccountState
from trade_engine.domain.market import Quote
from trade_engine.domain.order import Order, OrdStatus
from trade_engine.domain.position import Position
from trade_engine.domain.trading_state import GLOBAL, Scope, ScopeKind, ScopeState, TradingState
from trade_engine.execution.ports import RiskStore
from trade_engine.storage.redis import keys
from trade_engine.storage.redis.connect import RedisLink
from trade_engine.storage.redis.quotes import BATCH_MAX, subscribe_quotes
from trade_engine.storage.redis.risk_store import RedisRiskStore

pytest_plugins = ["tests.redis_fixtures"]
pytestmark = pytest.mark.stores

S = make.S
STATE = keys.state(make.ACCOUNT)


def test_it_is_the_port(risk_store: RedisRiskStore) -> None:
    port: RiskStore = risk_store  # mypy holds every signature
    assert port is risk_store


# ---- snapshot -------------------------------------------------------------------------------


async def test_an_account_that_redis_never_had_is_unknown(risk_store: RedisRiskStore) -> None:
    assert is_unknown(await risk_store.snapshot(ask()))


async def test_an_empty_redis_knows_nothing(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    await risk_store.replace(make.account_state(7))
    await risk_store.put_controls([], complete=True)
    await risk_store.put_quotes([make.quote("AAPL")], LATER)
    await redis_link.run(("FLUSHDB",))
    found = await risk_store.snapshot(ask(known_sequence=7, symbols=["AAPL"]))
    assert is_unknown(found)
    assert found.controls is None
    assert found.quotes == {}


async def test_an_evicted_fold_is_unknown(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    """It is one key, so eviction can only take all of it."""
    await risk_store.replace(make.account_state(7))
    (all_keys,) = await redis_link.run(("KEYS", "*"))
    assert all_keys == [STATE.encode()]
    await redis_link.run(("DEL", STATE))
    assert is_unknown(await risk_store.snapshot(ask(known_sequence=7)))


async def test_the_state_is_sent_only_when_it_is_another(risk_store: RedisRiskStore) -> None:
    state = make.account_state(7)
    await risk_store.replace(state)

    mine = state.head_hash
    same = await risk_store.snapshot(ask(known_sequence=7, known_hash=mine))
    assert (same.epoch, same.sequence, same.state) == (make.EPOCH, 7, None)
    for known_sequence in (-1, 6, 8):
        other = await risk_store.snapshot(ask(known_sequence=known_sequence, known_hash=mine))
        assert (other.epoch, other.sequence, other.state) == (make.EPOCH, 7, state)


@pytest.mark.parametrize("known_hash", [b"", b"\x01" * 32, make.head_hash(7)[:-1]])
async def test_the_state_is_sent_when_its_hash_is_another(
    risk_store: RedisRiskStore, known_hash: bytes
) -> None:
    """At the same sequence: the caller's, or the store's, is of a lost timeline."""
    state = make.account_state(7)
    await risk_store.replace(state)
    found = await risk_store.snapshot(ask(known_sequence=7, known_hash=known_hash))
    assert (found.epoch, found.sequence, found.state) == (make.EPOCH, 7, state)


async def test_a_fold_without_its_hash_is_unknown(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    await risk_store.replace(make.account_state(7))
    await redis_link.run(("HDEL", STATE, "hash"))
    assert is_unknown(
        await risk_store.snapshot(ask(known_sequence=7, known_hash=make.head_hash(7)))
    )


async def test_a_copy_of_another_database_is_seen(risk_store: RedisRiskStore) -> None:
    await risk_store.replace(make.account_state(7, epoch="epoch-0"))
    found = await risk_store.snapshot(
        ask(epoch=make.EPOCH, known_sequence=7, known_hash=make.head_hash(7))
    )
    assert found.epoch == "epoch-0"
    assert found.state is not None
    assert found.state.epoch == "epoch-0"


async def test_an_older_copy_is_seen(risk_store: RedisRiskStore) -> None:
    """As a failover to a lagging replica of Redis leaves it."""
    await risk_store.replace(make.account_state(5))
    found = await risk_store.snapshot(ask(known_sequence=7, known_hash=make.head_hash(7)))
    assert (found.sequence, found.state) == (5, make.account_state(5))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("summary", "{"),
        ("ord:o-1", "{}"),
        ("hash", "no hex"),
        ("seq", "seven"),
        ("seq", ""),
        ("other", "?"),
    ],
)
async def test_a_damaged_fold_is_unknown_until_it_is_laid_anew(
    risk_store: RedisRiskStore, redis_link: RedisLink, field: str, value: str
) -> None:
    state = make.account_state(7)
    await risk_store.replace(state)
    await redis_link.run(("HSET", STATE, field, value))
    found = await risk_store.snapshot(ask())
    assert is_unknown(found) == (field != "other")
    assert await risk_store.replace(state)
    assert (await risk_store.snapshot(ask())).state == state


@pytest.mark.parametrize("sequence", [0, 2**53 + 1, 2**62])
async def test_sequences_of_any_size(risk_store: RedisRiskStore, sequence: int) -> None:
    """Equality is of texts: a double would take 2^53 + 1 for 2^53."""
    await risk_store.replace(make.account_state(sequence))
    known_hash = make.head_hash(sequence)
    same = await risk_store.snapshot(ask(known_sequence=sequence, known_hash=known_hash))
    assert same.state is None
    near = await risk_store.snapshot(ask(known_sequence=sequence - 1, known_hash=known_hash))
    assert near.state is not None
    assert near.sequence == sequence


# ---- apply and replace ----------------------------------------------------------------------


def next_state(state: AccountState) -> AccountState:
    """One order filled, one new, a position changed."""
    after = copy.deepcopy(state)
    after.sequence += 2
    after.head_hash = make.head_hash(after.sequence)
    after.cash -= 15000
    del after.orders["o-1"]
    after.orders["o-3"] = make.order("o-3")
    after.positions["momentum-v1", "AAPL"] = make.position("AAPL", "400")
    return after


CHANGED = {
    "orders": [make.order("o-1", OrdStatus.FILLED), make.order("o-3")],
    "positions": [make.position("AAPL", "400")],
}


async def test_apply_brings_the_fold_forward(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    before = make.account_state(7)
    after = next_state(before)
    await risk_store.replace(before)
    assert await risk_store.apply(make.commit_to(after, before, **CHANGED))
    assert (await risk_store.snapshot(ask())).state == after

    applied = await hgetall(redis_link, STATE)
    await redis_link.run(("DEL", STATE))
    await risk_store.replace(after)
    assert await hgetall(redis_link, STATE) == applied


async def test_apply_twice_changes_nothing(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    before = make.account_state(7)
    commit = make.commit_to(next_state(before), before, **CHANGED)
    await risk_store.replace(before)
    assert await risk_store.apply(commit)
    once = await hgetall(redis_link, STATE)
    assert await risk_store.apply(commit)
    assert await hgetall(redis_link, STATE) == once


@pytest.mark.parametrize("standing_at", [5, 8, 10])
async def test_apply_elsewhere_changes_nothing(
    risk_store: RedisRiskStore, redis_link: RedisLink, standing_at: int
) -> None:
    await risk_store.replace(make.account_state(standing_at))
    there = await hgetall(redis_link, STATE)
    before = make.account_state(7)
    assert not await risk_store.apply(make.commit_to(next_state(before), before, **CHANGED))
    assert await hgetall(redis_link, STATE) == there


async def test_apply_to_another_hash_changes_nothing(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    """At the sequence where the commit begins, but not what its first entry is chained to."""
    await risk_store.replace(make.account_state(7, head_hash=b"\x01" * 32))
    there = await hgetall(redis_link, STATE)
    before = make.account_state(7)
    commit = make.commit_to(next_state(before), before, **CHANGED)
    assert not await risk_store.apply(commit)
    assert await hgetall(redis_link, STATE) == there
    assert await risk_store.replace(before)
    assert await risk_store.apply(commit)


async def test_apply_to_another_epoch_changes_nothing(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    await risk_store.replace(make.account_state(7, epoch="epoch-0"))
    there = await hgetall(redis_link, STATE)
    before = make.account_state(7)
    assert not await risk_store.apply(make.commit_to(next_state(before), before, **CHANGED))
    assert await hgetall(redis_link, STATE) == there


async def test_apply_to_nothing_makes_nothing(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    before = make.account_state(7)
    assert not await risk_store.apply(make.commit_to(next_state(before), before, **CHANGED))
    assert await hgetall(redis_link, STATE) == {}


async def test_another_history_at_the_same_sequence_is_not_ours(risk_store: RedisRiskStore) -> None:
    commit = make.commit_to(make.account_state(9, head_hash=b"\x01" * 32), make.account_state(7))
    await risk_store.replace(make.account_state(9, head_hash=b"\x02" * 32))
    assert not await risk_store.apply(commit)


async def test_replace_gives_way_to_a_later_state_only(risk_store: RedisRiskStore) -> None:
    later, same, earlier = (make.account_state(n, cash=Decimal(n)) for n in (9, 7, 5))
    assert await risk_store.replace(same)
    assert await risk_store.replace(make.account_state(7, cash=Decimal(1)))
    assert (await risk_store.snapshot(ask())).state == make.account_state(7, cash=Decimal(1))
    assert await risk_store.replace(later)
    assert not await risk_store.replace(earlier)
    assert (await risk_store.snapshot(ask())).state == later
    other = make.account_state(3, epoch="epoch-2")
    assert await risk_store.replace(other), (
        "a later sequence of another record is no reason to stay"
    )
    assert (await risk_store.snapshot(ask())).state == other


@pytest.mark.parametrize("lost_sequence", [5, 7, 9, 2**62])
async def test_a_fold_of_a_lost_timeline_is_overwritten_with_force(
    risk_store: RedisRiskStore, redis_link: RedisLink, lost_sequence: int
) -> None:
    """The record lost its tail, the fold did not: nothing of it stays, however late it is."""
    lost = make.account_state(lost_sequence, head_hash=b"\x01" * 32, orders={"x": make.order("x")})
    await risk_store.replace(lost)
    state = make.account_state(7)
    assert await risk_store.replace(state) == (lost_sequence <= 7)
    await risk_store.replace(lost, force=True)
    assert await risk_store.replace(state, force=True)
    assert (await risk_store.snapshot(ask())).state == state
    forced = await hgetall(redis_link, STATE)
    await redis_link.run(("DEL", STATE))
    await risk_store.replace(state)
    assert await hgetall(redis_link, STATE) == forced


async def test_force_lays_a_fold_where_there_is_none(risk_store: RedisRiskStore) -> None:
    state = make.account_state(7)
    assert await risk_store.replace(state, force=True)
    assert (await risk_store.snapshot(ask())).state == state


async def test_force_overwrites_no_other_account(risk_store: RedisRiskStore) -> None:
    other = make.account_state(9, account_id="acct-2")
    await risk_store.replace(other)
    await risk_store.replace(make.account_state(9))
    assert await risk_store.replace(make.account_state(7), force=True)
    found = (await risk_store.snapshot(ask(account_id="acct-2"))).state
    assert found is not None
    assert found.sequence == 9


async def test_replace_leaves_nothing_of_what_was(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    await risk_store.replace(make.account_state(7))
    bare = make.account_state(8, positions={}, orders={})
    await risk_store.replace(bare)
    assert set(await hgetall(redis_link, STATE)) == {b"epoch", b"seq", b"hash", b"summary"}


async def test_a_large_account_in_one_go(risk_store: RedisRiskStore) -> None:
    """More fields than Lua's stack holds at once."""
    many = {f"o-{n}": make.order(f"o-{n}") for n in range(9000)}
    before = make.account_state(7, orders=many)
    await risk_store.replace(before)
    found = (await risk_store.snapshot(ask())).state
    assert found is not None
    assert found.orders == many
    closed = [make.order(name, OrdStatus.CANCELED) for name in many]
    fresh = [make.order(f"n-{n}") for n in range(9000)]
    commit = make.commit_to(make.account_state(8), before, orders=closed + fresh)
    assert await risk_store.apply(commit)
    found = (await risk_store.snapshot(ask())).state
    assert found is not None
    assert set(found.orders) == {each.order_id for each in fresh}


changes = st.lists(
    st.tuples(st.lists(make.orders, max_size=4), st.lists(make.positions, max_size=3)),
    min_size=1,
    max_size=4,
)


# The database is emptied of this test's own keys by replace.
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(state=make.states(), steps=changes)
async def test_applying_leaves_the_bytes_that_replacing_does(
    risk_store: RedisRiskStore,
    redis_link: RedisLink,
    state: AccountState,
    steps: list[tuple[list[Order], list[Position]]],
) -> None:
    await redis_link.run(("DEL", STATE))
    await risk_store.replace(state)
    for orders, positions in steps:
        before = replace(state)
        state.head_hash = hashlib.sha256(state.head_hash).digest()
        state.sequence += len(orders) + 1
        state.cash += 1
        latest = {each.order_id: each for each in orders}
        held = {(each.strategy_id, each.symbol): each for each in positions}
        state.orders |= latest
        state.orders = {name: each for name, each in state.orders.items() if each.is_open}
        state.positions |= held
        commit = make.commit_to(
            state, before, orders=list(latest.values()), positions=list(held.values())
        )
        assert await risk_store.apply(commit)
    applied = await hgetall(redis_link, STATE)
    await redis_link.run(("DEL", STATE))
    await risk_store.replace(state)
    assert await hgetall(redis_link, STATE) == applied


# ---- quotes ---------------------------------------------------------------------------------

LATER = 2**63
"""Now, as far as quotes are concerned: none of them is of the future."""


async def test_quotes_are_known_by_symbol(risk_store: RedisRiskStore) -> None:
    quotes = [make.quote("AAPL"), make.quote("MSFT", "99.5")]
    await risk_store.put_quotes(quotes, LATER)
    assert await risk_store.quotes(["AAPL", "NONE", "MSFT"]) == {
        "AAPL": quotes[0],
        "MSFT": quotes[1],
    }
    assert (await risk_store.snapshot(ask(symbols=["MSFT", "NONE"]))).quotes == {"MSFT": quotes[1]}
    assert await risk_store.quotes([]) == {}
    await risk_store.put_quotes([], LATER)


async def test_an_older_quote_is_not_taken(risk_store: RedisRiskStore) -> None:
    newest = make.quote("AAPL", "150", make.NOW)
    await risk_store.put_quotes([newest], LATER)
    await risk_store.put_quotes([make.quote("AAPL", "149", make.NOW - 1)], LATER)
    assert await risk_store.quotes(["AAPL"]) == {"AAPL": newest}
    same_time = make.quote("AAPL", "151", make.NOW)
    await risk_store.put_quotes([same_time], LATER)
    assert await risk_store.quotes(["AAPL"]) == {"AAPL": same_time}


async def test_a_quote_of_the_future_keeps_no_other_out(risk_store: RedisRiskStore) -> None:
    """It was taken by a replica whose clock was ahead; nothing else would heal the symbol."""
    ahead = make.quote("AAPL", "300", make.NOW + 3600 * make.S)
    await risk_store.put_quotes([ahead], ahead.time_ns)
    true = make.quote("AAPL", "150", make.NOW)
    await risk_store.put_quotes([true], make.NOW)
    assert await risk_store.quotes(["AAPL"]) == {"AAPL": true}
    asked = ask(symbols=["AAPL"])
    asked.earlier = ["AAPL"]
    assert (await risk_store.snapshot(asked)).earlier == {"AAPL": true}
    in_time = make.quote("AAPL", "151", make.NOW + make.S)
    await risk_store.put_quotes([in_time], make.NOW)
    await risk_store.put_quotes([true], make.NOW)
    assert await risk_store.quotes(["AAPL"]) == {"AAPL": in_time}


async def test_the_newest_of_a_batch_is_kept(risk_store: RedisRiskStore) -> None:
    offered = [make.quote("AAPL", str(100 + n), make.NOW + n) for n in (1, 5, 3)]
    await risk_store.put_quotes(offered, LATER)
    assert await risk_store.quotes(["AAPL"]) == {"AAPL": offered[1]}


async def test_times_are_compared_to_the_nanosecond(risk_store: RedisRiskStore) -> None:
    """Two instants that one double stands for are two."""
    early, late = make.quote("AAPL", "1", 2**62), make.quote("AAPL", "2", 2**62 + 1)
    await risk_store.put_quotes([late], LATER)
    await risk_store.put_quotes([early], LATER)
    assert await risk_store.quotes(["AAPL"]) == {"AAPL": late}


async def earlier(risk_store: RedisRiskStore, *prices: int, every_s: float = 20) -> list[int]:
    """What orders are held against after each of these quotes."""
    asked, found = ask(symbols=["AAPL"]), []
    asked.earlier = ["AAPL"]
    for number, price in enumerate(prices):
        at_ns = make.NOW + int(number * every_s * make.S)
        await risk_store.put_quotes([make.quote("AAPL", str(price), at_ns)], LATER)
        kept = (await risk_store.snapshot(asked)).earlier["AAPL"].reference
        assert kept is not None
        found.append(int(kept))
    return found


async def test_one_bad_tick_is_never_what_orders_are_held_against(
    risk_store: RedisRiskStore,
) -> None:
    assert await earlier(risk_store, 100, 100, 100, 300, 100, 100, 100, 100) == [100] * 8


async def test_a_move_is_followed_when_two_samples_of_three_have_made_it(
    risk_store: RedisRiskStore,
) -> None:
    found = await earlier(risk_store, 100, 101, 102, 200, 201, 202, 203)
    assert found == [100, 100, 100, 101, 102, 200, 201]


async def test_quotes_in_a_row_are_one_sample(risk_store: RedisRiskStore) -> None:
    assert await earlier(risk_store, 100, *[300] * 15, every_s=1) == [100] * 16


async def test_after_a_pause_one_quote_is_no_measure(risk_store: RedisRiskStore) -> None:
    assert await earlier(risk_store, 100, 100, 100, 300, 100, every_s=3600) == [100] * 5


@pytest.mark.parametrize(("short_ns", "held_against"), [(0, 200), (1, 100)])
async def test_samples_are_apart_to_the_nanosecond(
    risk_store: RedisRiskStore, short_ns: int, held_against: int
) -> None:
    """1 ns too soon a quote is no sample, though the second that it lies in is the 20th."""
    every_s = 20 - short_ns / make.S
    found = await earlier(risk_store, 100, 200, 200, 200, every_s=every_s)
    assert found == [100, 100, 100, held_against]


async def test_samples_of_the_future_take_no_others_along(risk_store: RedisRiskStore) -> None:
    """A replica whose clock is ahead took them; the first quote after them is no measure alone."""
    assert await earlier(risk_store, *[100] * 5) == [100] * 5
    ahead_ns = make.NOW + 3600 * make.S
    ahead = [make.quote("AAPL", "300", ahead_ns + n * 20 * make.S) for n in range(3)]
    await risk_store.put_quotes(ahead, LATER)
    now_ns = make.NOW + 100 * make.S
    await risk_store.put_quotes([make.quote("AAPL", "300", now_ns)], now_ns)
    asked = ask(symbols=["AAPL"])
    asked.earlier = ["AAPL"]
    assert (await risk_store.snapshot(asked)).earlier["AAPL"].bid == 100


@pytest.mark.parametrize("damaged", ["", "!", "nonsense", "0" * 20, "\n\n"])
async def test_a_quote_is_taken_in_the_place_of_what_is_damaged(
    risk_store: RedisRiskStore, redis_link: RedisLink, damaged: str
) -> None:
    for key in (keys.quote("AAPL"), keys.earlier_quote("AAPL")):
        await redis_link.run(("SET", key, damaged))
    assert await earlier(risk_store, 100, 101, 102) == [100] * 3


async def test_an_unreadable_quote_is_unknown(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    await redis_link.run(("SET", keys.quote("AAPL"), "nonsense"))
    await redis_link.run(("LPUSH", keys.quote("MSFT"), "nonsense"))
    assert await risk_store.quotes(["AAPL", "MSFT"]) == {}
    assert (await risk_store.snapshot(ask(symbols=["AAPL", "MSFT"]))).quotes == {}


async def test_every_quote_taken_is_told_once_in_order(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    heard: list[Quote] = []
    batches: list[int] = []

    def listen(quotes: list[Quote]) -> None:
        heard.extend(quotes)
        batches.append(len(quotes))

    subscription = subscribe_quotes(redis_link, listen)
    subscription.start()
    await subscription.listening.wait()
    offered = [make.quote(f"S{n % 7}", str(n + 1), make.NOW + n) for n in range(BATCH_MAX + 20)]
    await risk_store.put_quotes(offered, LATER)
    await risk_store.put_quotes([make.quote("S1", "5", 1)], LATER)  # old: not told
    await risk_store.put_quotes(offered[-1:], LATER)  # known already: not told
    last = make.quote("S1", "6", 2 * make.NOW)
    await risk_store.put_quotes([last], LATER)
    await make.until(lambda: len(heard) > len(offered))
    await subscription.stop()
    assert heard == [*offered, last]
    assert batches == [BATCH_MAX, 20, 1]


# ---- controls -------------------------------------------------------------------------------

HALTED, REDUCE_ONLY = TradingState.HALTED, TradingState.REDUCE_ONLY
AAPL = Scope(ScopeKind.SYMBOL, "AAPL")
HALT = make.scope_state()
SYMBOL_HALT = make.scope_state(AAPL)
ACTIVE = make.scope_state(AAPL, TradingState.ACTIVE)


async def test_controls_are_unknown_until_they_are_complete(risk_store: RedisRiskStore) -> None:
    assert await risk_store.controls() is None
    await risk_store.put_controls([HALT], complete=False)
    assert await risk_store.controls() is None
    assert (await risk_store.snapshot(ask())).controls is None
    await risk_store.put_controls([], complete=True)
    assert await risk_store.controls() == {GLOBAL: HALT}
    assert (await risk_store.snapshot(ask())).controls == {GLOBAL: HALT}


async def test_that_there_are_no_controls_is_known_too(risk_store: RedisRiskStore) -> None:
    await risk_store.put_controls([], complete=False)
    assert await risk_store.controls() is None
    await risk_store.put_controls([], complete=True)
    assert await risk_store.controls() == {}
    assert (await risk_store.snapshot(ask())).controls == {}


async def test_controls_keep_active_states_as_rows(risk_store: RedisRiskStore) -> None:
    await risk_store.put_controls([HALT, ACTIVE], complete=True)
    expected = {GLOBAL: HALT, ACTIVE.scope: ACTIVE}
    assert await risk_store.controls() == expected
    assert (await risk_store.snapshot(ask())).controls == expected
    resumed = make.scope_state(GLOBAL, TradingState.ACTIVE)
    await risk_store.put_controls([resumed], complete=False)
    assert await risk_store.controls() == {GLOBAL: resumed, ACTIVE.scope: ACTIVE}


@pytest.mark.parametrize("from_record", [[], [ACTIVE]])
async def test_a_halt_that_the_record_does_not_know_is_kept(
    risk_store: RedisRiskStore, from_record: list[ScopeState]
) -> None:
    """The record may have been away when it was set; that all is known by now frees nothing."""
    known = {each.scope: each for each in from_record}
    await risk_store.put_controls([HALT], complete=False)
    await risk_store.put_controls(from_record, complete=True)
    assert await risk_store.controls() == {GLOBAL: HALT} | known
    assert (await risk_store.snapshot(ask())).controls == {GLOBAL: HALT} | known
    await risk_store.put_controls(from_record, complete=True)
    assert await risk_store.controls() == {GLOBAL: HALT} | known


async def test_what_the_record_knows_does_not_loosen_what_is_there(
    risk_store: RedisRiskStore,
) -> None:
    reducing = make.scope_state(GLOBAL, REDUCE_ONLY, make.NOW + S)
    await risk_store.put_controls([HALT], complete=False)
    await risk_store.put_controls([reducing], complete=True)
    assert await risk_store.controls() == {GLOBAL: HALT}


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize(
    ("there", "then", "kept"),
    [
        # A stricter one takes the place of a looser one, whenever it was set.
        (REDUCE_ONLY, (HALTED, +1), "then"),
        (REDUCE_ONLY, (HALTED, -1), "then"),
        (TradingState.ACTIVE, (REDUCE_ONLY, -1), "then"),
        (TradingState.ACTIVE, (HALTED, -1), "then"),
        # A looser one takes no stricter one's place, whenever it was set.
        (HALTED, (REDUCE_ONLY, +1), "there"),
        (HALTED, (REDUCE_ONLY, -1), "there"),
        # A resume frees what was set before it began, to the nanosecond, and nothing else.
        (HALTED, (TradingState.ACTIVE, +1), "then"),
        (HALTED, (TradingState.ACTIVE, 0), "then"),
        (HALTED, (TradingState.ACTIVE, -1), "there"),
        (HALTED, (TradingState.ACTIVE, -S), "there"),
        (REDUCE_ONLY, (TradingState.ACTIVE, +1), "then"),
        (REDUCE_ONLY, (TradingState.ACTIVE, -1), "there"),
        # Of two alike, the later one says what a resume has to come after.
        (HALTED, (HALTED, +1), "then"),
        (HALTED, (HALTED, -1), "there"),
    ],
)
async def test_no_state_takes_the_place_of_a_stricter_one(
    risk_store: RedisRiskStore,
    there: TradingState,
    then: tuple[TradingState, int],
    kept: str,
    *,
    complete: bool,
) -> None:
    to, after_ns = then
    states = {
        "there": make.scope_state(GLOBAL, there, make.NOW),
        "then": make.scope_state(GLOBAL, to, make.NOW + after_ns),
    }
    await risk_store.put_controls([states["there"], SYMBOL_HALT], complete=True)
    await risk_store.put_controls([states["then"]], complete=complete)
    assert await risk_store.controls() == {GLOBAL: states[kept], AAPL: SYMBOL_HALT}


async def test_a_time_in_a_reason_is_no_time(risk_store: RedisRiskStore) -> None:
    halt = replace(HALT, reason='"set_at_ns":0,"state":"ACTIVE"')
    resume = make.scope_state(GLOBAL, TradingState.ACTIVE, HALT.set_at_ns - 1)
    await risk_store.put_controls([halt], complete=True)
    await risk_store.put_controls([resume], complete=False)
    assert await risk_store.controls() == {GLOBAL: halt}


async def test_a_control_that_cannot_be_read_makes_all_unknown(
    risk_store: RedisRiskStore, redis_link: RedisLink
) -> None:
    await risk_store.put_controls([HALT, ACTIVE], complete=True)
    await redis_link.run(("HSET", keys.CONTROLS, "GLOBAL", '{"scope":"GLOBAL","state":"?"}'))
    assert await risk_store.controls() is None
    assert (await risk_store.snapshot(ask())).controls is None


@pytest.mark.parametrize(
    "damaged",
    ["{", "[]", "7", "{}", '{"state":"?"}', '{"state":7}', '{"state":"HALTED","set_at_ns":"x"}'],
)
@pytest.mark.parametrize("to", list(TradingState))
async def test_a_control_that_cannot_be_read_gives_way(
    risk_store: RedisRiskStore, redis_link: RedisLink, damaged: str, to: TradingState
) -> None:
    """To a resume as well: an operator can always mend it. That all is known mends nothing."""
    await redis_link.run(("HSET", keys.CONTROLS, "GLOBAL", damaged))
    await risk_store.put_controls([], complete=True)
    assert await risk_store.controls() is None
    resume = make.scope_state(GLOBAL, TradingState.ACTIVE)
    state = make.scope_state(GLOBAL, to)
    await risk_store.put_controls([resume, state], complete=False)
    assert await risk_store.controls() == {GLOBAL: state}
