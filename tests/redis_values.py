"""Values for the tests of the Redis adapters: by hand, and for hypothesis."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from trade_engine.domain.account import AccountState
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.market import Quote
from trade_engine.domain.order import (
    CLOSED,
    DeliveryState,
    Order,
    OrdStatus,
    OrdType,
    TimeInForce,
)
from trade_engine.domain.position import Position
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import GLOBAL, Scope, ScopeKind, ScopeState, TradingState
from trade_engine.execution.ports import Commit, Snapshot, SnapshotRequest, ThrottleRequest
from trade_engine.storage.redis.connect import RedisLink

S = 1_000_000_000
NOW = 1_700_000_000 * S + 123_456_789
EPOCH = "epoch-1"
ACCOUNT = "acct-1"


async def hgetall(link: RedisLink, key: str) -> dict[bytes, bytes]:
    (flat,) = await link.run(("HGETALL", key))
    pairs = iter(flat)
    return dict(zip(pairs, pairs, strict=True))


async def until(said: Callable[[], bool], limit_s: float = 5.0) -> None:
    """Wait until `said()` holds; fail after `limit_s`."""
    async with asyncio.timeout(limit_s):
        while not said():  # noqa: ASYNC110 - there is no event: another process is watched
            await asyncio.sleep(0.01)


def ask(
    *,
    account_id: str = ACCOUNT,
    batch_id: str = "batch-1",
    now_ns: int = NOW,
    epoch: str = EPOCH,
    known_sequence: int = -1,
    known_hash: bytes = b"",
    throttles: list[ThrottleRequest] | None = None,
    symbols: list[str] | None = None,
    peek: bool = False,
) -> SnapshotRequest:
    return SnapshotRequest(
        account_id=account_id,
        batch_id=batch_id,
        now_ns=now_ns,
        epoch=epoch,
        known_sequence=known_sequence,
        known_hash=known_hash,
        throttles=throttles or [],
        symbols=symbols or [],
        peek=peek,
    )


def is_unknown(snapshot: Snapshot) -> bool:
    """Whether the store knew nothing of the account: the gate is closed."""
    return snapshot.epoch is None and snapshot.sequence is None and snapshot.state is None


# ---- values ---------------------------------------------------------------------------------


def order(order_id: str, status: OrdStatus = OrdStatus.NEW, **changes: Any) -> Order:
    values: dict[str, Any] = {
        "order_id": order_id,
        "account_id": ACCOUNT,
        "strategy_id": "momentum-v1",
        "symbol": "AAPL",
        "signal_id": f"signal-{order_id}",
        "side": Side.BUY,
        "ord_type": OrdType.LIMIT,
        "time_in_force": TimeInForce.DAY,
        "order_qty": Decimal(100),
        "price": Decimal("150.25"),
        "broker": "paper",
        "created_at_ns": NOW,
        "ord_status": status,
        "leaves_qty": Decimal(0 if status in CLOSED else 100),
    }
    return Order(**(values | changes))


def position(symbol: str, quantity: str, strategy_id: str = "momentum-v1") -> Position:
    held = Decimal(quantity)
    return Position(strategy_id, symbol, held, held * 150, Decimal("-3.5"), Decimal("1.25"))


def account_state(sequence: int = 7, **changes: Any) -> AccountState:
    values: dict[str, Any] = {
        "account_id": ACCOUNT,
        "currency": "USD",
        "epoch": EPOCH,
        "sequence": sequence,
        "head_hash": head_hash(sequence),
        "cash": Decimal("100000.5"),
        "realized_pnl": Decimal("-12.75"),
        "limits_version": "v1",
        "positions": {("momentum-v1", "AAPL"): position("AAPL", "300")},
        "orders": {"o-1": order("o-1"), "o-2": order("o-2")},
    }
    return AccountState(**(values | changes))


def head_hash(sequence: int) -> bytes:
    """The hash that `account_state` stands at, unless another is given."""
    return bytes([sequence % 256]) * 32


def commit_to(state: AccountState, before: AccountState, **changed: Any) -> Commit:
    """A commit that brings the fold from `before` to `state`, its entries chained to `before`.

    changed names its orders and positions.
    """
    return Commit(
        account_id=state.account_id,
        epoch=state.epoch,
        expected_sequence=before.sequence,
        sequence=state.sequence,
        head_hash=state.head_hash,
        summary=state.summary_json(),
        entries=_entries(state, before),
        **changed,
    )


def _entries(state: AccountState, before: AccountState) -> list[JournalEntry]:
    sequences = range(before.sequence + 1, state.sequence + 1)
    between = [hashlib.sha256(b"%d" % sequence).digest() for sequence in sequences[:-1]]
    hashes = [before.head_hash, *between, state.head_hash]
    return [
        JournalEntry(state.account_id, sequence, NOW, EntryKind.EXECUTION, b"{}", previous, own)
        for sequence, (previous, own) in zip(sequences, pairwise(hashes), strict=True)
    ]


def quote(symbol: str, bid: str = "150.1", time_ns: int = NOW) -> Quote:
    price = Decimal(bid)
    return Quote(symbol, price, price + 1, Decimal(100), None, None, time_ns, "feed-1")


def scope_state(
    scope: Scope = GLOBAL, state: TradingState = TradingState.HALTED, set_at_ns: int = NOW
) -> ScopeState:
    return ScopeState(scope, state, 'a "reason", ünïcode', "operator-1", set_at_ns)


# ---- values for hypothesis ------------------------------------------------------------------

_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,10}", fullmatch=True)
_symbols = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._\-/]{0,10}", fullmatch=True)
_money = st.decimals(-(10**15), 10**15, allow_nan=False, allow_infinity=False, places=12) | (
    st.sampled_from([Decimal(0), Decimal("0.00"), Decimal("-0"), Decimal("1E+3")])
)
_instants = st.integers(0, 2**63 - 1)
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)

scopes = st.just(GLOBAL) | st.builds(
    Scope, st.sampled_from([k for k in ScopeKind if k is not ScopeKind.GLOBAL]), _ids
)
scope_states = st.builds(
    ScopeState, scopes, st.sampled_from(TradingState), _texts, _texts, _instants
)
positions = st.builds(Position, _ids, _symbols, _money, _money, _money, _money) | st.builds(
    Position, _ids, _symbols
)
orders = st.builds(
    Order,
    order_id=_ids,
    account_id=st.just(ACCOUNT),
    strategy_id=_ids,
    symbol=_symbols,
    signal_id=_ids,
    side=st.sampled_from(Side),
    ord_type=st.sampled_from(OrdType),
    time_in_force=st.sampled_from(TimeInForce),
    order_qty=_money,
    price=st.none() | _money,
    broker=_ids,
    created_at_ns=_instants,
    ord_status=st.sampled_from(OrdStatus),
    delivery=st.sampled_from(DeliveryState),
    cum_qty=_money,
    leaves_qty=_money,
    cum_value=_money,
    broker_order_id=_texts,
    cancel_requested=st.booleans(),
    text=_texts,
    updated_at_ns=_instants,
    last_sequence=st.integers(0, 10**12),
)
quotes = st.builds(
    Quote,
    _symbols,
    st.none() | _money,
    st.none() | _money,
    st.none() | _money,
    st.none() | _money,
    st.none() | _money,
    _instants,
    _texts,
)


@st.composite
def states(draw: st.DrawFn) -> AccountState:
    trading = draw(st.lists(scope_states, max_size=3))
    held = draw(st.lists(positions, max_size=4))
    working = [each for each in draw(st.lists(orders, max_size=4)) if each.is_open]
    return AccountState(
        account_id=ACCOUNT,
        currency=draw(st.sampled_from(["USD", "EUR"])),
        epoch=EPOCH,
        sequence=draw(st.integers(0, 10**12)),
        head_hash=draw(st.binary(min_size=32, max_size=32)),
        cash=draw(_money),
        realized_pnl=draw(_money),
        fees=draw(_money),
        limits_version=draw(_texts),
        trading={each.scope: each for each in trading},
        positions={(each.strategy_id, each.symbol): each for each in held},
        orders={each.order_id: each for each in working},
    )
