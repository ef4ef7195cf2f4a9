r"""How values are written in Redis: pure, and the same bytes for the same value.

The fold of an account is one hash. Its fields:

| field | value |
|---|---|
| `epoch` | the record that the fold belongs to |
| `seq` | the sequence of the last journal entry in it, decimal |
| `hash` | that entry's hash, hex |
| `summary` | `AccountState.summary_json()` |
| `pos:<strategy>\|<symbol>` | `Position.to_json()`; one that never held anything has no field |
| `ord:<order_id>` | `Order.to_json()` of an open order; a closed one has no field |

JSON is canonical: sorted keys, no spaces. A quote is the time of its source in 20 digits, so that
texts compare as times do, followed by its JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import DecimalException
from functools import lru_cache
from typing import Any

import orjson

from trade_engine.domain.account import (
    AccountState,
    scope_state_from_json,
    scope_state_json,
)
from trade_engine.domain.market import Quote
from trade_engine.domain.order import Order
from trade_engine.domain.position import Position
from trade_engine.domain.trading_state import Scope, ScopeState
from trade_engine.execution.ports import Commit

FOLD_VERSION = 1
"""To be raised with every change of what is written here that an older engine cannot read."""

COMPLETE_FIELD = b"complete"
"""The field that says that the operators' trading states are all there."""

TIME_DIGITS = 20

UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, DecimalException)
"""What reading raises when something else than this module wrote the value."""

Argument = str | bytes
"""A part of a Redis command."""


def canonical(doc: Any) -> bytes:
    """Write JSON the one canonical way."""
    return orjson.dumps(doc, option=orjson.OPT_SORT_KEYS)


# ---- the fold of an account -----------------------------------------------------------------


def fold_fields(state: AccountState) -> list[Argument]:
    """The whole fold as field, value, field, value, …: what a commit's changes add up to."""
    fields: list[Argument] = _head_fields(
        state.epoch, state.sequence, state.head_hash, state.summary_json()
    )
    kept, _ = _details(state.positions.values(), state.orders.values())
    fields += kept
    return fields


def commit_fields(commit: Commit) -> tuple[list[Argument], list[Argument]]:
    """What a commit sets (field, value, …), and the fields that it removes."""
    fields = _head_fields(commit.epoch, commit.sequence, commit.head_hash, commit.summary)
    kept, gone = _details(commit.positions, commit.orders)
    fields += kept
    return fields, gone


def _head_fields(
    epoch: str, sequence: int, head_hash: bytes, summary: dict[str, Any]
) -> list[Argument]:
    return [
        "epoch",
        epoch,
        "seq",
        str(sequence),
        "hash",
        head_hash.hex(),
        "summary",
        canonical(summary),
    ]


def _details(
    positions: Iterable[Position], orders: Iterable[Order]
) -> tuple[list[Argument], list[Argument]]:
    kept: list[Argument] = []
    gone: list[Argument] = []
    for position in positions:
        field = f"pos:{position.strategy_id}|{position.symbol}"
        if _ever_held(position):
            kept += (field, canonical(position.to_json()))
        else:
            gone.append(field)
    for order in orders:
        field = f"ord:{order.order_id}"
        if order.is_open:
            kept += (field, canonical(order.to_json()))
        else:
            gone.append(field)
    return kept, gone


def _ever_held(position: Position) -> bool:
    """Whether it differs from the flat one that `AccountState.position` makes when asked."""
    return bool(position.quantity or position.cost or position.realized_pnl or position.fees)


def read_fold(account_id: str, flat: Sequence[bytes]) -> AccountState:
    """Read the whole fold from HGETALL's field, value, ….

    Raises:
        UNREADABLE: any of these, when the hash is not one of this module's.
    """
    pairs = iter(flat)
    head: dict[bytes, bytes] = {}
    positions: list[Position] = []
    orders: list[Order] = []
    for name, value in zip(pairs, pairs, strict=True):
        if name.startswith(b"ord:"):
            orders.append(Order.from_json(orjson.loads(value)))
        elif name.startswith(b"pos:"):
            positions.append(Position.from_json(orjson.loads(value)))
        else:
            head[name] = value
    summary = orjson.loads(head[b"summary"])
    state = AccountState(
        account_id=account_id,
        currency=summary["currency"],
        epoch=head[b"epoch"].decode(),
        sequence=int(head[b"seq"]),
        head_hash=bytes.fromhex(head[b"hash"].decode()),
        positions={(each.strategy_id, each.symbol): each for each in positions},
        orders={each.order_id: each for each in orders},
    )
    state.read_summary(summary)
    return state


# ---- quotes and controls --------------------------------------------------------------------


def quote_value(quote: Quote) -> bytes:
    """A quote as it is kept."""
    return time_digits(quote.time_ns) + canonical(quote.to_json())


def time_digits(instant_ns: int) -> bytes:
    """An instant as it stands before a quote: of one length, so that bytes sort as times do."""
    return b"%0*d" % (TIME_DIGITS, instant_ns)


@lru_cache(maxsize=4096)
def read_quote(value: bytes) -> Quote:
    """Read what `quote_value` wrote. Equal bytes give one quote, shared by all who read it."""
    return Quote.from_json(orjson.loads(value[TIME_DIGITS:]))


def read_quote_batch(message: bytes) -> list[Quote]:
    """Read a message of the quotes channel."""
    return [Quote.from_json(doc) for doc in orjson.loads(message)]


def control_fields(states: Iterable[ScopeState]) -> list[Argument]:
    """Trading states as field, value, …."""
    fields: list[Argument] = []
    for state in states:
        fields += (str(state.scope), canonical(scope_state_json(state)))
    return fields


def read_controls(flat: Sequence[bytes]) -> dict[Scope, ScopeState] | None:
    """Read HGETALL of the controls; None when they are not all there, or not to be read."""
    pairs = iter(flat)
    rows = dict(zip(pairs, pairs, strict=True))
    if rows.pop(COMPLETE_FIELD, None) is None:
        return None
    try:
        states = [_read_control(value) for value in rows.values()]
    except UNREADABLE:
        return None
    return {each.scope: each for each in states}


def damaged_controls(flat: Sequence[bytes]) -> list[str]:
    """The fields of HGETALL of the controls whose values cannot be read."""
    pairs = iter(flat)
    return [
        field.decode(errors="surrogateescape")
        for field, value in zip(pairs, pairs, strict=True)
        if field != COMPLETE_FIELD and not _is_control(value)
    ]


def field_bytes(field: str) -> bytes:
    """A field as `damaged_controls` told it, as it stands in Redis."""
    return field.encode(errors="surrogateescape")


def _is_control(value: bytes) -> bool:
    try:
        _read_control(value)
    except UNREADABLE:
        return False
    return True


@lru_cache(maxsize=1024)
def _read_control(value: bytes) -> ScopeState:
    return scope_state_from_json(orjson.loads(value))
