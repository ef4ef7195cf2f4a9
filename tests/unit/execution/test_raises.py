"""A raise begins and ends by the clock of the decision, and so it does when decided again."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import orjson
import pytest

from tests.support.cases import NOW_NS, RATE, limits, signal
from tests.support.ledgered import ALLOWED, Ledgered, rulebook
from tests.support.wide import each_rate
from trade_engine.audit.replay import Replay
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.limits import Level, Limits, Raise
from trade_engine.domain.rulebook import Rulebook
from trade_engine.execution.decisions import decide_again, decide_signal
from trade_engine.execution.raises import raises_of

FROM_NS, UNTIL_NS = NOW_NS + 1_000, NOW_NS + 2_000


def raised(value: int = 5_000) -> Rulebook:
    """Orders of at most 1,000, and of 5,000 for a thousand nanoseconds."""
    rules = rulebook("raised")
    quarter_end = Raise(
        "quarter-end",
        "order_notional_max",
        Level.DEFAULT,
        "",
        Decimal(value),
        FROM_NS,
        UNTIL_NS,
        "rebalancing",
        "ann",
    )
    numbers = {(Level.DEFAULT, ""): limits(order_notional_max=1_000)}
    rates = {(Level.DEFAULT, ""): each_rate(RATE)}
    rules.limits = Limits("raised", numbers, rates, (quarter_end,))
    return rules


@pytest.mark.parametrize(
    ("now_ns", "holds"),
    [(FROM_NS - 1, False), (FROM_NS, True), (UNTIL_NS - 1, True), (UNTIL_NS, False)],
)
def test_it_ends_at_the_very_nanosecond_also_when_decided_again(
    now_ns: int, *, holds: bool
) -> None:
    account = Ledgered()
    with account.batch(raised(), now_ns=now_ns) as batch:
        decision = decide_signal(batch, signal(4_000), ALLOWED)
    assert decision.outcome is (Outcome.APPROVED if holds else Outcome.REJECTED)
    assert decision.reasons == ([] if holds else [Reason.ORDER_NOTIONAL_LIMIT])
    [check] = [each for each in decision.checks if each.name == "order_notional"]
    assert check.limit == (5_000 if holds else 1_000)
    assert check.source.endswith(" raise quarter-end") is holds
    assert decision.limits_version == "raised"
    assert faults_of(account.journal) == 0


def test_a_decision_dated_into_or_out_of_a_raise_does_not_replay() -> None:
    account = Ledgered()
    for now_ns in (UNTIL_NS - 1, UNTIL_NS):
        with account.batch(raised(), now_ns=now_ns) as batch:
            decide_signal(batch, signal(4_000, signal_id=f"s-{now_ns}"), ALLOWED)
    assert faults_of(account.journal) == 0
    for now_ns, other_ns in ((UNTIL_NS - 1, UNTIL_NS), (UNTIL_NS, UNTIL_NS - 1)):
        assert faults_of(dated(each, now_ns, other_ns) for each in account.journal) == 1


def dated(entry: JournalEntry, now_ns: int, other_ns: int) -> JournalEntry:
    """The entry with another time, if it is the decision of now_ns."""
    if entry.kind is not EntryKind.DECISION or entry.recorded_at_ns != now_ns:
        return entry
    payload = orjson.loads(entry.payload)
    payload["context"]["now_ns"] = other_ns
    payload["decision"]["decided_at_ns"] = other_ns
    if payload["decision"]["order"]:
        for name in ("created_at_ns", "updated_at_ns"):
            payload["decision"]["order"][name] = other_ns
    return replace(entry, payload=orjson.dumps(payload))


def faults_of(entries: object) -> int:
    replay = Replay(decide_again)
    for entry in entries:  # type: ignore[attr-defined]
        replay.take(entry)
    return len(replay.findings.faults)


def test_what_is_told_of_a_raise() -> None:
    told = [raises_of(raised().limits, "main", at) for at in (FROM_NS - 1, FROM_NS, UNTIL_NS)]
    assert [[each.active for each in found] for found in told] == [[False], [True], [False]]
    assert told[0][0].regular == 1_000
    of_other = replace(raised().limits.raises[0], level=Level.ACCOUNT, scope_id="other")
    assert raises_of(Limits("v", {}, {}, (of_other,)), "main", FROM_NS) == []
