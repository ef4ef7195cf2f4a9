"""What strategies did of late: counted, bounded, begun anew by a resume, and verified."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.cases import MS, NOW_NS, RATE, limits, signal
from tests.support.ledgered import ALLOWED, Ledgered, rulebook
from tests.support.wide import each_rate
from trade_engine.audit.verify import Verification
from trade_engine.domain.activity import APPROVALS_MAX, Activity, Approval
from trade_engine.domain.decision import Reason
from trade_engine.domain.limits import Level, Limits
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import GLOBAL, Scope, ScopeKind, ScopeState, TradingState
from trade_engine.execution.decisions import decide_signal
from trade_engine.execution.order_changes import set_trading_state
from trade_engine.portfolio.ledger import book

BUY = Side.BUY
D = Decimal


def limited(**values: int) -> Rulebook:
    rules = rulebook("limited")
    rules.limits = Limits(
        "limited", {(Level.DEFAULT, ""): limits(**values)}, {(Level.DEFAULT, ""): each_rate(RATE)}
    )
    return rules


def resume(scope: Scope) -> ScopeState:
    return ScopeState(scope, TradingState.ACTIVE, "looked at", "olga", NOW_NS)


@pytest.mark.parametrize(
    ("scope", "again"),
    [
        (Scope(ScopeKind.STRATEGY, "momentum"), True),
        (Scope(ScopeKind.ACCOUNT, "main"), True),
        (GLOBAL, True),
        (Scope(ScopeKind.STRATEGY, "value"), False),
        (Scope(ScopeKind.SYMBOL, "AAPL"), False),
    ],
)
def test_a_strategy_is_disabled_until_an_operator_resumes_it(scope: Scope, *, again: bool) -> None:
    account, rules = Ledgered(), limited(repeated_executions_max=2)

    def ask(number: int) -> list[Reason]:
        with account.batch(rules) as batch:
            wish = signal(1000 * number, signal_id=f"s-{number}")
            return decide_signal(batch, wish, ALLOWED).reasons

    assert ask(1) == ask(2) == []
    assert ask(3) == [Reason.REPEATED_EXECUTIONS_LIMIT]
    with account.batch(rules) as batch:
        set_trading_state(batch, resume(scope), "r-1", cancel_open_orders=False)
    assert ask(4) == ([] if again else [Reason.REPEATED_EXECUTIONS_LIMIT])


def test_an_equal_order_is_refused_in_its_batch_and_after_and_passes_in_time() -> None:
    account, rules = Ledgered(), limited(duplicate_interval_ms_min=10)
    with account.batch(rules) as batch:
        assert decide_signal(batch, signal(1000, signal_id="s-1"), ALLOWED).order is not None
        again = decide_signal(batch, signal(2000, signal_id="s-2"), ALLOWED)
        assert again.reasons == [Reason.DUPLICATE_ORDER]
        assert decide_signal(batch, signal(2100, signal_id="s-3"), ALLOWED).order is not None
    with account.batch(rules, now_ns=NOW_NS + 10 * MS - 1) as batch:
        again = decide_signal(batch, signal(3100, signal_id="s-4"), ALLOWED)
        assert again.reasons == [Reason.DUPLICATE_ORDER]
    with account.batch(rules, now_ns=NOW_NS + 10 * MS) as batch:
        assert decide_signal(batch, signal(3100, signal_id="s-5"), ALLOWED).order is not None


def test_an_equal_order_behind_more_than_are_remembered_is_refused_until_its_time_is_over() -> None:
    account, rules = Ledgered(), limited(duplicate_interval_ms_min=10)

    def ask(number: int, name: str, at_ns: int) -> list[Reason]:
        with account.batch(rules, now_ns=at_ns) as batch:
            wish = signal(100 * number, signal_id=f"{name}-{at_ns}", strategy_id=name)
            return decide_signal(batch, wish, ALLOWED).reasons

    for number in range(APPROVALS_MAX):
        assert ask(1, f"s-{number}", NOW_NS + number) == []
    assert ask(1, "one-more", NOW_NS + APPROVALS_MAX) == []  # and the first one is forgotten
    assert ask(2, "s-0", NOW_NS + 5 * MS) == [Reason.DUPLICATES_UNKNOWN]
    assert ask(1, "another", NOW_NS + 10 * MS - 1) == [Reason.DUPLICATES_UNKNOWN]
    assert ask(2, "s-0", NOW_NS + 10 * MS) == []

    verification = Verification("main", book)
    for entry in account.journal:
        verification.take(entry)
    verification.compare(account.state, account.orders.values(), account.executions)
    assert verification.findings.faults == []
    account.state.activity.forgotten_ns = 0
    verification.compare(account.state, account.orders.values(), account.executions)
    assert [fault.what for fault in verification.findings.faults] == [
        "the approvals that are kept are not the last of the journal"
    ]


def test_an_order_of_a_kind_that_is_remembered_lets_nothing_be_forgotten() -> None:
    activity = Activity()
    for number in range(APPROVALS_MAX):
        activity.approve("s", "AAPL", BUY, D(number), NOW_NS + number, 10 * MS)
    activity.approve("s", "AAPL", BUY, D(5), NOW_NS + APPROVALS_MAX, 10 * MS)
    assert activity.forgotten_ns == 0
    assert len(activity.approvals("s", "AAPL")) == APPROVALS_MAX
    activity.approve("s", "AAPL", BUY, D(-1), NOW_NS + APPROVALS_MAX, 10 * MS)
    assert activity.forgotten_ns == NOW_NS


def test_a_count_that_was_tampered_with_is_found() -> None:
    account = Ledgered()
    with account.batch() as batch:
        decide_signal(batch, signal(1000), ALLOWED)

    def faults() -> list[str]:
        verification = Verification("main", book)
        for entry in account.journal:
            verification.take(entry)
        verification.compare(account.state, account.orders.values(), account.executions)
        return [fault.what for fault in verification.findings.faults]

    assert faults() == []
    account.state.activity.executions["momentum"] = 0
    assert faults() == ["the strategies' executions are not the orders since each was last enabled"]


def test_what_is_remembered_is_bounded_in_time_and_number() -> None:
    activity = Activity()
    for number in range(2 * APPROVALS_MAX):
        activity.approve("m", "AAPL", BUY, D(number + 1), number, 10**9)
    found = activity.approvals("m", "AAPL")
    assert len(found) == APPROVALS_MAX
    assert found[-1] == Approval(BUY, D(2 * APPROVALS_MAX), 2 * APPROVALS_MAX - 1)
    activity.approve("m", "AAPL", BUY, D(7), 10**10, 10**9)
    assert activity.approvals("m", "AAPL") == [Approval(BUY, D(7), 10**10)]
    assert Activity.from_json(activity.to_json()) == activity
    activity.approve("m", "AAPL", BUY, D(8), 10**10, 0)
    assert len(activity.approvals("m", "AAPL")) == 1, "nothing asks for it"
    assert activity.executions == {"m": 2 * APPROVALS_MAX + 2}
