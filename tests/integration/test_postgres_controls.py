"""Operators' trading states: what is not ACTIVE is kept."""

from __future__ import annotations

import pytest

from trade_engine.domain.trading_state import (
    GLOBAL,
    Scope,
    ScopeKind,
    ScopeState,
    TradingState,
)
from trade_engine.execution.ports import ControlStore
from trade_engine.storage.postgres.controls import PostgresControls
from trade_engine.storage.postgres.database import Database

pytest_plugins = ["tests.support.record_fixtures"]
pytestmark = pytest.mark.stores

AAPL = Scope(ScopeKind.SYMBOL, "AAPL")


@pytest.fixture
def store(database: Database) -> ControlStore:
    return PostgresControls(database)


NOW = 1_700_000_000_123_456_789


def state(scope: Scope, to: TradingState, reason: str = "why", set_at_ns: int = NOW) -> ScopeState:
    return ScopeState(scope, to, reason, "operator", set_at_ns)


async def test_nothing_is_set_at_first(store: ControlStore) -> None:
    assert await store.controls() == {}
    await store.put_controls([])
    assert await store.controls() == {}


async def test_states_are_kept_changed_and_removed(store: ControlStore) -> None:
    halted = state(GLOBAL, TradingState.HALTED, 'a "reason" é')
    reducing = state(AAPL, TradingState.REDUCE_ONLY)
    await store.put_controls([halted, reducing])
    assert await store.controls() == {GLOBAL: halted, AAPL: reducing}

    stricter = state(AAPL, TradingState.HALTED, "worse")
    await store.put_controls([stricter, state(GLOBAL, TradingState.ACTIVE)])
    assert await store.controls() == {AAPL: stricter}

    await store.put_controls([state(GLOBAL, TradingState.ACTIVE)])
    assert await store.controls() == {AAPL: stricter}


@pytest.mark.parametrize("last", list(TradingState))
async def test_of_one_scope_the_last_state_holds(store: ControlStore, last: TradingState) -> None:
    await store.put_controls([state(AAPL, each) for each in TradingState] + [state(AAPL, last)])
    kept = {} if last is TradingState.ACTIVE else {AAPL: state(AAPL, last)}
    assert await store.controls() == kept


@pytest.mark.parametrize(
    ("there", "then", "kept"),
    [
        # A stricter one takes the place of a looser one, whenever it was set.
        (TradingState.REDUCE_ONLY, (TradingState.HALTED, +1), "then"),
        (TradingState.REDUCE_ONLY, (TradingState.HALTED, -1), "then"),
        # A looser one takes no stricter one's place, whenever it was set.
        (TradingState.HALTED, (TradingState.REDUCE_ONLY, +1), "there"),
        (TradingState.HALTED, (TradingState.REDUCE_ONLY, -1), "there"),
        # A resume frees what was set before it began, to the nanosecond, and nothing else.
        (TradingState.HALTED, (TradingState.ACTIVE, +1), None),
        (TradingState.HALTED, (TradingState.ACTIVE, 0), None),
        (TradingState.HALTED, (TradingState.ACTIVE, -1), "there"),
        (TradingState.REDUCE_ONLY, (TradingState.ACTIVE, +1), None),
        (TradingState.REDUCE_ONLY, (TradingState.ACTIVE, -1), "there"),
        # Of two alike, the later one says what a resume has to come after.
        (TradingState.HALTED, (TradingState.HALTED, +1), "then"),
        (TradingState.HALTED, (TradingState.HALTED, -1), "there"),
        (TradingState.REDUCE_ONLY, (TradingState.REDUCE_ONLY, -1), "there"),
    ],
)
async def test_no_state_takes_the_place_of_a_stricter_one(
    store: ControlStore, there: TradingState, then: tuple[TradingState, int], kept: str | None
) -> None:
    to, after_ns = then
    states = {
        "there": state(GLOBAL, there),
        "then": state(GLOBAL, to, "later", NOW + after_ns),
    }
    other = state(AAPL, TradingState.HALTED)
    await store.put_controls([states["there"], other])
    await store.put_controls([states["then"]])
    assert await store.controls() == {AAPL: other} | ({GLOBAL: states[kept]} if kept else {})


async def test_a_resume_frees_its_own_scope_only(store: ControlStore) -> None:
    before = state(GLOBAL, TradingState.HALTED)
    other = state(AAPL, TradingState.HALTED)
    await store.put_controls([before, other])
    later = state(AAPL, TradingState.ACTIVE, "again", NOW - 1)
    await store.put_controls([state(GLOBAL, TradingState.ACTIVE, "again", NOW + 1), later])
    assert await store.controls() == {AAPL: other}
