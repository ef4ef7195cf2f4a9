"""The golden journal: what was decided once is decided alike by today's code."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from tests.workload import golden
from tests.workload.refusals import ABSENT
from trade_engine.audit.replay import Replay
from trade_engine.audit.verify import Verification
from trade_engine.domain.decision import Checks, Reason
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.trading_state import ScopeKind
from trade_engine.execution.decisions import decide_again
from trade_engine.portfolio.ledger import book

ENTRIES = golden.read()
DECIDED = [orjson.loads(each.payload) for each in ENTRIES if each.kind is EntryKind.DECISION]


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


def test_it_has_every_refusal_that_can_be_brought_about() -> None:
    """What is not in it is judged by no journal: it is named, with why, or this fails."""
    seen = {reason for each in DECIDED for reason in each["decision"]["reasons"]}
    assert {each for each in Reason if each not in seen} == set(ABSENT)
    assert all(ABSENT.values())


def test_operators_close_in_it_with_and_without_success() -> None:
    closing = [each["decision"] for each in DECIDED if each["context"].get("closing")]
    assert {each["outcome"] for each in closing} == {"APPROVED", "REJECTED"}
    assert len(closing) >= 3


@pytest.mark.parametrize("outcome", ["APPROVED", "REJECTED"])
@pytest.mark.parametrize("kind", [ScopeKind.ACCOUNT, ScopeKind.STRATEGY])
def test_orders_are_let_through_and_refused_while_a_scope_may_only_reduce(
    kind: ScopeKind, outcome: str
) -> None:
    """A check of the trading state names a scope as its source only where one is not ACTIVE."""
    states = [
        Checks.from_json(each["decision"]["checks"])[0]
        for each in DECIDED
        if each["decision"]["outcome"] == outcome
    ]
    assert {each.name for each in states} == {"trading_state"}
    reduced = [each for each in states if each.passed or each.reason is Reason.REDUCE_ONLY]
    assert any(each.source.startswith(f"{kind}:") for each in reduced)


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
    decisions = [each["decision"] for each in DECIDED]
    assert {each["outcome"] for each in decisions} == {"APPROVED", "REJECTED", "NO_ACTION"}
    said = [each.payload for each in ENTRIES]
    assert any(b'"exec_type":"REPLACED"' in each for each in said)
    assert any(b'"fx_rate"' in each for each in said), "an order in euros"
    assert any(b" raise busy" in each for each in said), "a limit raised for a while"
