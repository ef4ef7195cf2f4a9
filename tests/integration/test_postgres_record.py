"""The record: what is committed comes back exactly, and what must not be written is not."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.support.record import ACCOUNT, START_NS, add, decisions, moved, opened, signal
from trade_engine.audit.chain import entry_hash
from trade_engine.domain.account import AccountState
from trade_engine.domain.errors import NotFound, StoreUnavailable
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import DeliveryState, OrdStatus, OrdType
from trade_engine.domain.position import Position
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import GLOBAL, ScopeState, TradingState
from trade_engine.execution.ports import (
    Commit,
    Committed,
    Fence,
    Fill,
    LeaseStore,
    RecordQueries,
    RecordStore,
)
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.leases import PostgresLeases
from trade_engine.storage.postgres.record import PostgresRecord

pytest_plugins = ["tests.support.record_fixtures"]
pytestmark = pytest.mark.stores

SideDoor = psycopg.AsyncConnection[Any]
TABLES = ("accounts", "journal", "decisions", "orders", "fills", "positions")


@pytest.fixture
async def state(record: PostgresRecord) -> AccountState:
    return await opened(record)


def fill(number: int, sequence: int, **other: Any) -> Fill:
    fields: dict[str, Any] = {
        "broker": "paper",
        "exec_id": f"exec-{number}",
        "order_id": "order-1",
        "sequence": sequence,
        "strategy_id": "momentum-v1",
        "symbol": "AAPL",
        "side": Side.BUY,
        "last_qty": Decimal("0.000000000001"),
        "last_px": Decimal(999999999999999),
        "commission": Decimal("-0.35"),
        "transact_time_ns": START_NS,
        **other,
    }
    return Fill(**fields)


def fills(state: AccountState, *numbers: int) -> Commit:
    """A batch that books executions."""
    commit = decisions(state)
    for number in numbers:
        entry = add(commit, EntryKind.EXECUTION, {"number": number})
        commit.fills.append(fill(number, entry.sequence))
    return commit


async def everything(side_door: SideDoor) -> dict[str, list[Any]]:
    """Every row of every table, with its place in the file: nothing at all may differ."""
    found = {}
    for table in TABLES:
        cursor = await side_door.execute(f"SELECT t::text, ctid FROM {table} t ORDER BY 1")
        found[table] = await cursor.fetchall()
    return found


def texts(found: dict[str, list[Any]]) -> dict[str, list[str]]:
    """The rows without their places, which a write that was rolled back leaves different."""
    return {table: [row for row, _ in rows] for table, rows in found.items()}


def test_the_adapter_fits_its_ports(record: PostgresRecord, database: Database) -> None:
    """What counts is that this passes mypy."""
    store: RecordStore = record
    queries: RecordQueries = record
    leases: LeaseStore = PostgresLeases(database)
    assert all((store, queries, leases))


# ---- opening and loading --------------------------------------------------------------------


async def test_an_account_opens_once(record: PostgresRecord, state: AccountState) -> None:
    again = replace(decisions(state), expected_sequence=0, sequence=1)
    add(again, EntryKind.ACCOUNT_OPENED, {})
    assert not await record.open_account(replace(again, expected_sequence=1))
    assert await record.load(ACCOUNT) == state
    assert await record.account_ids() == [ACCOUNT]


async def test_an_account_never_opened_is_none(record: PostgresRecord) -> None:
    assert await record.load("nobody") is None
    assert await record.head("nobody") is None
    assert await record.open_orders("nobody") == (0, [])
    with pytest.raises(NotFound, match="account_id='nobody'"):
        async with record.locked("nobody"):
            pass


async def test_what_was_committed_is_loaded_exactly(
    record: PostgresRecord, state: AccountState
) -> None:
    state.cash = Decimal("-123456789012345.123456789012")
    state.realized_pnl = Decimal("0.000000000001")
    state.fees = Decimal("1E+3")
    state.limits_version = "v7"
    halted = ScopeState(GLOBAL, TradingState.HALTED, 'for "reasons" \\ é', "operator", START_NS)
    state.trading = {GLOBAL: halted}
    commit = decisions(state, *map(signal, range(5)))
    commit.summary = state.summary_json()
    market = replace(
        commit.orders[1],
        ord_type=OrdType.MARKET,
        price=None,
        side=Side.SELL,
        ord_status=OrdStatus.PARTIALLY_FILLED,
        delivery=DeliveryState.IN_DOUBT,
        cum_qty=Decimal("0.000000000001"),
        cum_value=Decimal("1.50"),
        broker_order_id="b-1",
        cancel_requested=True,
        text='a "text" with \\ and é and \u2028',
        chain={"requests": [{"id": "c-1", "qty": "1.5"}]},
    )
    closed = replace(commit.orders[2], ord_status=OrdStatus.FILLED, leaves_qty=ZERO)
    commit.orders[1:3] = [market, closed]
    commit.positions = [
        Position("s-1", "AAPL", Decimal("-1.5"), Decimal("-225.375"), Decimal(3), Decimal("0.1")),
        Position("s-2", "BTC/USD"),
    ]
    assert await record.commit(commit) is Committed.DONE

    loaded = await record.load(ACCOUNT)
    assert loaded is not None
    assert loaded.summary_json() == state.summary_json()
    assert loaded.trading == state.trading
    assert (loaded.epoch, loaded.sequence, loaded.head_hash) == ("epoch-1", 6, commit.head_hash)
    assert list(loaded.positions.values()) == commit.positions
    assert loaded.orders == {o.order_id: o for o in commit.orders if o.is_open}
    assert loaded.orders[market.order_id].text == market.text
    assert await record.open_orders(ACCOUNT) == (6, list(loaded.orders.values()))
    found = await record.find_orders(ACCOUNT, [each.order_id for each in commit.orders])
    assert found == {each.order_id: each for each in commit.orders}


async def test_a_second_commit_brings_rows_up_to_date(
    record: PostgresRecord, state: AccountState
) -> None:
    first = decisions(state, signal(1), signal(2))
    first.positions = [Position("s", "AAPL", Decimal(1), Decimal(100))]
    assert await record.commit(first) is Committed.DONE
    second = decisions(moved(state, first))
    add(second, EntryKind.EXECUTION, {})
    filled = replace(
        first.orders[0],
        ord_status=OrdStatus.FILLED,
        delivery=DeliveryState.SENT,
        cum_qty=Decimal("66.5"),
        leaves_qty=ZERO,
        cum_value=Decimal("9991.625"),
        broker_order_id="b-1",
        cancel_requested=True,
        text="done",
        order_qty=Decimal(67),
        price=Decimal(151),
        updated_at_ns=START_NS + 99,
        last_sequence=second.sequence,
        chain={"marks": [], "requests": [], "a": 1},
    )
    second.orders = [filled]
    second.positions = [Position("s", "AAPL", Decimal(2), Decimal(200), Decimal(3), Decimal(4))]
    assert await record.commit(second) is Committed.DONE
    loaded = await record.load(ACCOUNT)
    assert loaded is not None
    assert list(loaded.positions.values()) == second.positions
    assert list(loaded.orders.values()) == [first.orders[1]]
    assert await record.find_orders(ACCOUNT, [filled.order_id]) == {filled.order_id: filled}


# ---- the journal ----------------------------------------------------------------------------

AWKWARD = [
    b'{"b":1,"a":[ 1.50, 1e400, -0 ],  "b":2}',
    b'{"nul":"\\u0000","lone":"\\ud800","line":"\xe2\x80\xa8","slash":"\\/"}',
    b"  null ",
    b'"' + b"x" * 100_000 + b'"',
    b'"' + bytes(range(97, 123)) * 500_000 + b'"',
]


@pytest.mark.parametrize("payload", AWKWARD, ids=["numbers", "escapes", "spaces", "long", "13 MB"])
async def test_a_payload_comes_back_byte_for_byte(
    record: PostgresRecord, state: AccountState, payload: bytes
) -> None:
    commit = decisions(state)
    entry = add(commit, EntryKind.LIMITS_CHANGED, {})
    entry.payload = payload
    assert await record.commit(commit) is Committed.DONE
    assert await record.entries(ACCOUNT, 1, 10) == [entry]


async def test_the_journal_is_dense_and_chained(
    record: PostgresRecord, state: AccountState
) -> None:
    for size in (1, 3, 64, 2):
        first = state.sequence * 1000
        commit = decisions(state, *(signal(first + number) for number in range(size)))
        assert await record.commit(commit) is Committed.DONE
        moved(state, commit)
    entries = await record.entries(ACCOUNT, 0, 1000)
    assert [entry.sequence for entry in entries] == list(range(1, 72))
    previous = bytes(32)
    for entry in entries:
        assert entry.prev_hash == previous
        assert entry.hash == entry_hash(
            entry.account_id, entry.sequence, entry.recorded_at_ns, entry.kind, entry.payload,
            entry.prev_hash,
        )  # fmt: skip
        previous = entry.hash
    assert previous == state.head_hash


async def test_entries_are_read_in_pages_and_by_kind(
    record: PostgresRecord, state: AccountState
) -> None:
    commit = decisions(state, signal(1), signal(2))
    add(commit, EntryKind.TRADING_STATE, {})
    await record.commit(commit)

    async def sequences(*which: Any) -> list[int]:
        return [entry.sequence for entry in await record.entries(ACCOUNT, *which)]

    assert await sequences(0, 2) == [1, 2]
    assert await sequences(2, 100) == [3, 4]
    assert await sequences(4, 100) == []
    assert await sequences(0, 100, frozenset({EntryKind.DECISION})) == [2, 3]
    kinds = frozenset({EntryKind.ACCOUNT_OPENED, EntryKind.TRADING_STATE})
    assert await sequences(0, 100, kinds) == [1, 4]


@pytest.mark.parametrize(
    ("sequence", "expected"), [(2, 1), (4, 1), (3, 2), (3, 0)], ids=["short", "long", "late", "gap"]
)
async def test_entries_that_do_not_lead_to_the_head_are_a_defect(
    record: PostgresRecord, state: AccountState, sequence: int, expected: int
) -> None:
    commit = decisions(state, signal(1), signal(2))
    commit.sequence, commit.expected_sequence = sequence, expected
    with pytest.raises(ValueError, match="2 journal entries do not lead account main from"):
        await record.commit(commit)


# ---- what must not be written ---------------------------------------------------------------


async def test_of_two_commits_on_one_head_one_wins(
    record: PostgresRecord, state: AccountState
) -> None:
    for turn in range(20):
        rivals = [
            decisions(state, *(signal(100 * turn + 10 * rival + n) for n in range(3)))
            for rival in range(2)
        ]
        outcomes = await asyncio.gather(*map(record.commit, rivals))
        assert sorted(outcomes) == [Committed.DONE, Committed.LOST_RACE]
        winner = rivals[outcomes.index(Committed.DONE)]
        loser = rivals[outcomes.index(Committed.LOST_RACE)]
        assert await record.find_orders(ACCOUNT, [o.order_id for o in loser.orders]) == {}
        moved(state, winner)
    entries = await record.entries(ACCOUNT, 0, 1000)
    assert [entry.sequence for entry in entries] == list(range(1, 62))


@pytest.mark.parametrize("wrong", ["sequence", "epoch", "head_hash", "account_id"])
async def test_a_commit_on_another_head_writes_nothing(
    record: PostgresRecord, state: AccountState, side_door: SideDoor, wrong: str
) -> None:
    ahead = decisions(state, signal(1))
    await record.commit(ahead)
    now = moved(state, ahead)
    other = {"sequence": now.sequence - 1, "epoch": "epoch-2", "head_hash": bytes(32),
             "account_id": "other"}  # fmt: skip
    setattr(now, wrong, other[wrong])
    before = await everything(side_door)
    assert await record.commit(decisions(now, signal(2))) is Committed.LOST_RACE
    assert await everything(side_door) == before


async def test_a_signal_decided_before_is_a_duplicate_and_nothing_is_written(
    record: PostgresRecord, state: AccountState, side_door: SideDoor
) -> None:
    first = decisions(state, signal(1))
    await record.commit(first)
    before = await everything(side_door)
    batch = decisions(moved(state, first), signal(2), signal(1), signal(3))
    batch.positions = [Position("s", "AAPL", Decimal(5))]
    assert await record.commit(batch) is Committed.DUPLICATE
    assert texts(await everything(side_door)) == texts(before)
    assert await record.commit(decisions(state, signal(2))) is Committed.DONE


async def test_an_execution_booked_before_is_a_duplicate_and_nothing_is_written(
    record: PostgresRecord, state: AccountState
) -> None:
    first = fills(state, 1, 2)
    assert await record.commit(first) is Committed.DONE
    moved(state, first)
    assert await record.commit(fills(state, 3, 2)) is Committed.DUPLICATE
    assert await record.head(ACCOUNT) == state.sequence
    assert await record.booked(ACCOUNT, "paper", ["exec-1", "exec-2", "exec-3"]) == {
        "exec-1",
        "exec-2",
    }
    assert await record.booked(ACCOUNT, "ibkr", ["exec-1"]) == set()
    assert await record.booked("other", "paper", ["exec-1"]) == set()
    assert await record.booked(ACCOUNT, "paper", []) == set()


async def test_an_amended_fill_takes_its_new_numbers_and_keeps_its_place(
    record: PostgresRecord, state: AccountState
) -> None:
    first = fills(state, 1, 2)
    await record.commit(first)
    moved(state, first)
    [one, two] = await record.find_fills(ACCOUNT, "momentum-v1", "AAPL")
    assert [each.amended_by for each in (one, two)] == [[], []]
    one.last_qty, one.last_px, one.commission = Decimal("7.5"), Decimal(3), Decimal(0)
    one.amended_by = ["c-1", "c-2"]
    amending = decisions(state, signal(1))
    amending.amended = [one]
    assert await record.commit(amending) is Committed.DONE
    assert await record.find_fills(ACCOUNT, "momentum-v1", "AAPL") == [one, two]
    assert await record.find_fills(ACCOUNT, "momentum-v1", "IBM") == []
    lost = decisions(state, signal(2))
    lost.amended = [two]
    two.last_qty = Decimal(1)
    assert await record.commit(lost) is Committed.LOST_RACE
    assert await record.find_fills(ACCOUNT, "momentum-v1", "AAPL") != [one, two]


async def test_a_fill_is_written_exactly(
    record: PostgresRecord, state: AccountState, side_door: SideDoor
) -> None:
    await record.commit(fills(state, 7))
    cursor = await side_door.execute("SELECT * FROM fills")
    assert await cursor.fetchall() == [
        (ACCOUNT, "paper", "exec-7", "order-1", 2, "momentum-v1", "AAPL", "BUY",
         Decimal("0.000000000001"), Decimal(999999999999999), Decimal("-0.35"), START_NS, None,
             None)
    ]  # fmt: skip


async def test_a_commit_holds_only_under_its_lease(
    database: Database, record: PostgresRecord, state: AccountState, side_door: SideDoor
) -> None:
    leases = PostgresLeases(database)
    lease = await leases.acquire(ACCOUNT, "paper", "replica-1", 60_000)
    assert lease is not None
    ours = Fence("paper", "replica-1", lease.token)
    commit = replace(decisions(state, signal(1)), fence=ours)
    assert await record.commit(commit) is Committed.DONE
    moved(state, commit)

    async def refused(fence: Fence) -> None:
        before = await everything(side_door)
        fenced = replace(decisions(state, signal(2)), fence=fence)
        assert await record.commit(fenced) is Committed.FENCED
        assert await everything(side_door) == before

    await refused(replace(ours, token=lease.token + 1))
    await refused(replace(ours, holder="replica-2"))
    await refused(replace(ours, broker="ibkr"))
    await side_door.execute("UPDATE sender_leases SET expires_at = clock_timestamp()")
    await refused(ours)
    assert await leases.acquire(ACCOUNT, "paper", "replica-2", 60_000) is not None
    await refused(ours)


async def test_a_lease_cannot_change_hands_while_a_commit_under_it_is_on_its_way(
    database: Database, record: PostgresRecord, state: AccountState, side_door: SideDoor
) -> None:
    leases = PostgresLeases(database)
    lease = await leases.acquire(ACCOUNT, "paper", "replica-1", 300)
    assert lease is not None
    commit = replace(decisions(state, signal(1)), fence=Fence("paper", "replica-1", lease.token))
    async with side_door.transaction():
        await side_door.execute("SELECT FROM accounts FOR UPDATE")
        committing = asyncio.create_task(record.commit(commit))
        await asyncio.sleep(0.4)  # expired, and the commit holds its share of the lease's row
        taking = asyncio.create_task(leases.acquire(ACCOUNT, "paper", "replica-2", 300))
        await asyncio.sleep(0.1)
        assert not committing.done()
        assert not taking.done()
    assert await committing is Committed.DONE
    taken = await taking
    assert taken is not None
    assert taken.token == lease.token + 1


# ---- under the lock -------------------------------------------------------------------------


async def test_the_lock_shows_the_latest_state_and_keeps_others_out(
    record: PostgresRecord, state: AccountState
) -> None:
    rival = decisions(state, signal(1))
    async with record.locked(ACCOUNT) as first:
        assert first.state == state
        racing = asyncio.create_task(record.commit(rival))
        waiting = asyncio.create_task(_lock_and_read(record))
        await asyncio.sleep(0.1)
        assert not racing.done()
        mine = decisions(first.state, signal(2))
        assert await first.commit(mine) is Committed.DONE
    assert await racing is Committed.LOST_RACE
    seen = await waiting
    assert (seen.sequence, seen.head_hash) == (2, mine.head_hash)
    assert list(seen.orders.values()) == mine.orders


async def _lock_and_read(record: PostgresRecord) -> AccountState:
    async with record.locked(ACCOUNT) as account:
        return account.state


@pytest.mark.parametrize("how", ["nothing", "raise", "duplicate"])
async def test_a_lock_without_a_commit_leaves_no_trace(
    record: PostgresRecord, state: AccountState, side_door: SideDoor, how: str
) -> None:
    await record.commit(first := decisions(state, signal(1)))
    before = await everything(side_door)
    with pytest.raises(RuntimeError) if how == "raise" else nullcontext():
        async with record.locked(ACCOUNT) as account:
            if how == "raise":
                raise RuntimeError
            if how == "duplicate":
                again = decisions(account.state, signal(1))
                assert await account.commit(again) is Committed.DUPLICATE
    assert texts(await everything(side_door)) == texts(before)
    # And the lock is gone.
    assert await record.commit(decisions(moved(state, first), signal(2))) is Committed.DONE


async def test_many_writers_that_lock_get_their_turns(
    record: PostgresRecord, state: AccountState
) -> None:
    async def write(number: int) -> Committed:
        async with record.locked(ACCOUNT) as account:
            return await account.commit(decisions(account.state, signal(number)))

    outcomes = await asyncio.gather(*map(write, range(30)))
    assert outcomes == [Committed.DONE] * 30
    assert await record.head(ACCOUNT) == state.sequence + 30


async def test_what_the_server_refuses_is_told_in_our_words(
    record: PostgresRecord, state: AccountState
) -> None:
    commit = decisions(state, signal(1))
    commit.orders[0].text = "\x00"
    with pytest.raises(StoreUnavailable, match=r"refused .*SQLSTATE 22P05"):
        await record.commit(commit)
    assert await record.commit(decisions(state, signal(1))) is Committed.DONE
