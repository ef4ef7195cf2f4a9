"""Accounts and batches for tests of the record, and ways to its server."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.proxy import Address
from trade_engine.audit.chain import canonical, seal
from trade_engine.domain.account import GENESIS_HASH, AccountState
from trade_engine.domain.decision import Decision, Outcome
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.order import Order, OrdType, TimeInForce, order_id_for
from trade_engine.domain.signal import Side, Signal, TimeHorizon
from trade_engine.execution.ports import Commit, DecisionRow, RecordStore
from trade_engine.storage.postgres.url import connection_words

ACCOUNT = "main"
START_NS = 1_700_000_000_123_456_789


def address(database_url: str) -> Address:
    """Where the server of a URL listens."""
    words = connection_words(database_url)
    if words["host"].startswith("/"):
        return Path(words["host"]) / f".s.PGSQL.{words.get('port', 5432)}"
    return words["host"], int(words.get("port", 5432))


def through(proxy_port: int, database_url: str) -> str:
    """The URL of the same database by way of a proxy."""
    words = connection_words(database_url)
    user = words.get("user", "postgres")
    return f"postgresql://{user}@127.0.0.1:{proxy_port}/{words['dbname']}"


async def opened(record: RecordStore, account_id: str = ACCOUNT) -> AccountState:
    """Open an account, and read it."""
    state = AccountState(account_id, "USD", "epoch-1", 0, GENESIS_HASH)
    entry = seal(
        account_id, 1, START_NS, EntryKind.ACCOUNT_OPENED, canonical({"currency": "USD"}),
        GENESIS_HASH,
    )  # fmt: skip
    commit = Commit(account_id, "epoch-1", 0, 1, entry.hash, state.summary_json(), [entry])
    assert await record.open_account(commit)
    loaded = await record.load(account_id)
    assert loaded is not None
    return loaded


def signal(number: int, account_id: str = ACCOUNT, **other: Any) -> Signal:
    """The signal of a number, to buy; every field can be chosen."""
    fields: dict[str, Any] = {
        "signal_id": f"signal-{number}",
        "account_id": account_id,
        "strategy_id": "momentum-v1",
        "symbol": "AAPL",
        "side": Side.BUY,
        "confidence": Decimal("0.8"),
        "target_exposure": Decimal(10_000),
        "time_horizon": TimeHorizon.INTRADAY,
        **other,
    }
    return Signal(**fields)


def order(of: Signal, sequence: int, **other: Any) -> Order:
    """The order that a signal got at a journal sequence."""
    fields: dict[str, Any] = {
        "order_id": order_id_for(of.account_id, of.signal_id),
        "account_id": of.account_id,
        "strategy_id": of.strategy_id,
        "symbol": of.symbol,
        "signal_id": of.signal_id,
        "side": of.side,
        "ord_type": OrdType.LIMIT,
        "time_in_force": TimeInForce.DAY,
        "order_qty": Decimal("66.5"),
        "price": Decimal("150.25"),
        "broker": "paper",
        "created_at_ns": START_NS + sequence,
        "leaves_qty": Decimal("66.5"),
        "updated_at_ns": START_NS + sequence,
        "last_sequence": sequence,
        **other,
    }
    return Order(**fields)


def decisions(state: AccountState, *signals: Signal, approve: bool = True) -> Commit:
    """A batch that decides these signals on top of `state`; an approval has its order."""
    commit = Commit(
        state.account_id, state.epoch, state.sequence, state.sequence, state.head_hash,
        state.summary_json(),
    )  # fmt: skip
    for each in signals:
        sequence = commit.sequence + 1
        made = order(each, sequence) if approve else None
        outcome = Outcome.APPROVED if approve else Outcome.REJECTED
        decision = Decision(each, outcome, START_NS + sequence, "v1", "because", order=made)
        add(commit, EntryKind.DECISION, {"decision": decision.to_json(), "context": {}})
        order_id = made.order_id if made else ""
        commit.decisions.append(
            DecisionRow(each.signal_id, sequence, each.strategy_id, each.symbol, outcome, order_id)
        )
        commit.orders += [made] if made else []
    return commit


def add(commit: Commit, kind: EntryKind, payload: dict[str, Any]) -> JournalEntry:
    """Append an entry to a batch."""
    sequence = commit.sequence + 1
    entry = seal(
        commit.account_id, sequence, START_NS + sequence, kind, canonical(payload),
        commit.head_hash,
    )  # fmt: skip
    commit.entries.append(entry)
    commit.sequence, commit.head_hash = sequence, entry.hash
    return entry


def moved(state: AccountState, commit: Commit) -> AccountState:
    """The state with its head after a commit; the rest as it was."""
    state.sequence, state.head_hash = commit.sequence, commit.head_hash
    return state
