"""The golden journal: what was decided once is decided alike by today's code."""

from __future__ import annotations

from dataclasses import replace

import orjson

from tests.workload import golden
from trade_engine.audit.replay import Replay
from trade_engine.audit.verify import Verification
from trade_engine.domain.decision import Reason
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.execution.decisions import decide_again
from trade_engine.portfolio.ledger import book

ENTRIES = golden.read()


def test_every_decision_comes_out_the_same() -> None:
    replay = Replay(decide_again)
    for entry in ENTRIES:
        replay.take(entry)
    assert replay.findings.faults == []
    assert replay.findings.counts["decisions"] >= 600


def test_the_chain_holds_and_its_orders_fold() -> None:
    verification = Verification(ENTRIES[0].account_id, book)
    for entry in ENTRIES:
        verification.take(entry)
    assert verification.findings.faults == []


def test_a_changed_verdict_is_found() -> None:
    replay = Replay(decide_again)
    for entry in map(with_another_equity, ENTRIES):
        replay.take(entry)
    assert len(replay.findings.faults) > 100


def with_another_equity(entry: JournalEntry) -> JournalEntry:
    """A decision as if it had been made on an account that was worth a tenth."""
    if entry.kind is not EntryKind.DECISION:
        return entry
    payload = orjson.loads(entry.payload)
    payload["context"]["view"]["equity"] = "1000"
    return replace(entry, payload=orjson.dumps(payload))


ABSENT = {
    "a workload has no list of strategies": {
        Reason.STRATEGY_UNKNOWN,
        Reason.STRATEGY_NOT_PERMITTED,
    },
    "its one foreign currency has a pair, whose quotes are sane and come all the time": {
        Reason.CURRENCY_MISMATCH,
        Reason.FX_QUOTE_MISSING,
        Reason.FX_QUOTE_STALE,
        Reason.FX_QUOTE_INVALID,
    },
    "its signals are of the moment": {Reason.SIGNAL_STALE, Reason.SIGNAL_FROM_FUTURE},
    "its markets never close": {Reason.SESSION_UNKNOWN, Reason.SESSION_CLOSED},
    "its firm keeps no books of its own": {Reason.PORTFOLIO_UNKNOWN},
    "its limits let it spend a part of its cash only": {Reason.BUYING_POWER},
    "no store takes a quote that is none, and the first one is its own earlier one": {
        Reason.QUOTE_INVALID,
        Reason.PRICE_BAND_UNKNOWN,
    },
    "its orders are seldom equal, and never so many": {
        Reason.DUPLICATE_ORDER,
        Reason.DUPLICATES_UNKNOWN,
    },
}
"""Why there may be no signal that was refused for it; the tables of cases show these too."""


def test_it_has_something_of_everything() -> None:
    kinds = {entry.kind for entry in ENTRIES}
    assert kinds >= {
        EntryKind.LIMITS_CHANGED,
        EntryKind.DECISION,
        EntryKind.CANCEL_REQUESTED,
        EntryKind.EXECUTION,
        EntryKind.TRADING_STATE,
        EntryKind.DAY_ROLL,
        EntryKind.REPLACE_REQUESTED,
    }
    decisions = [
        orjson.loads(each.payload)["decision"]
        for each in ENTRIES
        if each.kind is EntryKind.DECISION
    ]
    assert {each["outcome"] for each in decisions} == {"APPROVED", "REJECTED", "NO_ACTION"}
    reasons = {Reason(reason) for each in decisions for reason in each["reasons"]}
    assert set(Reason) - reasons <= set().union(*ABSENT.values())
    said = [each.payload for each in ENTRIES]
    assert any(b'"exec_type":"REPLACED"' in each for each in said)
    assert any(b'"fx_rate"' in each for each in said), "an order in euros"
    assert any(b" raise busy" in each for each in said), "a limit raised for a while"
