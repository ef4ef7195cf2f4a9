"""A batch: what it writes is chained, and each approval changes what the next signal sees."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cases import MS, NOW_NS, RATE, limits, quote, signal, told_to
from tests.support.ledgered import ALLOWED, LEFT, Ledgered, fill, market, report, rulebook
from tests.support.wide import each_rate
from trade_engine.audit.replay import Replay
from trade_engine.audit.verify import Verification
from trade_engine.domain.decision import Decision, Outcome, Reason
from trade_engine.domain.execution import ExecType
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.limits import Level, Limits
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import DeliveryState, OrdStatus
from trade_engine.domain.position import Position
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.signal import ExposureUnit, Side, Signal
from trade_engine.domain.trading_state import GLOBAL, Scope, ScopeKind, TradingState
from trade_engine.execution.batch import Batch
from trade_engine.execution.decisions import (
    decide_again,
    decide_signal,
    evaluate,
    gather,
    inputs_from_context,
)
from trade_engine.execution.fills import book_report
from trade_engine.execution.order_changes import deliver, intend, request_cancel
from trade_engine.execution.ports import Fence, ThrottleVerdict, Verdicts
from trade_engine.portfolio.ledger import book
from trade_engine.risk.exposure import Exposure

BUY, SELL = Side.BUY, Side.SELL
D = Decimal


def limited(**values: Any) -> Rulebook:
    rules = rulebook("limited")
    rules.limits = Limits(
        "limited", {(Level.DEFAULT, ""): limits(**values)}, {(Level.DEFAULT, ""): each_rate(RATE)}
    )
    return rules


def wish(number: int, target: int, **changes: Any) -> Signal:
    return signal(target, signal_id=f"s-{number}", **changes)


def held(account: Ledgered, quantity: int, strategy_id: str = "momentum") -> None:
    position = Position(strategy_id, "AAPL", D(quantity), D(quantity) * 100)
    account.state.positions[strategy_id, "AAPL"] = position


# ---- what a batch writes --------------------------------------------------------------------


def test_entries_are_dense_and_chained_to_the_head() -> None:
    account = Ledgered()
    with account.batch() as batch:
        assert batch.next_sequence == 4  # the rulebook and the day are new to the account
        decide_signal(batch, wish(1, 1000), ALLOWED)
        decide_signal(batch, wish(2, 0), ALLOWED)
    [commit] = account.commits
    assert [each.sequence for each in account.journal] == [1, 2, 3, 4, 5]
    assert [each.kind for each in commit.entries] == [
        EntryKind.LIMITS_CHANGED,
        EntryKind.DAY_ROLL,
        EntryKind.DECISION,
        EntryKind.DECISION,
    ]
    for before, after in zip(account.journal, account.journal[1:], strict=False):
        assert after.prev_hash == before.hash
    assert (commit.expected_sequence, commit.sequence) == (1, 5)
    assert commit.head_hash == account.journal[-1].hash == account.state.head_hash
    assert commit.summary == account.state.summary_json()
    assert commit.summary["limits_version"] == "v1"


def test_a_rulebook_is_journaled_whole_when_it_changes_and_only_then() -> None:
    account = Ledgered()
    for version in ("v1", "v1", "v2", "v1"):
        with account.batch(rulebook(version)):
            pass
    versions = [
        orjson.loads(each.payload)["version"]
        for each in account.journal
        if each.kind is EntryKind.LIMITS_CHANGED
    ]
    assert versions == ["v1", "v2", "v1"]
    assert Rulebook.from_json(orjson.loads(account.journal[1].payload)) == rulebook("v1")


def test_a_batch_that_changes_nothing_commits_nothing() -> None:
    account = Ledgered()
    with account.batch():
        pass
    with account.batch() as batch:
        evaluate(batch, wish(1, 1000), ALLOWED)
        assert batch.commit() is None


def test_the_index_row_of_a_decision() -> None:
    account = Ledgered()
    with account.batch() as batch:
        approved = decide_signal(batch, wish(1, 1000), ALLOWED)
        refused = decide_signal(batch, wish(2, 10**10), ALLOWED)
    [commit] = account.commits
    assert approved.order is not None
    rows = [(each.signal_id, each.sequence, each.order_id) for each in commit.decisions]
    assert rows == [("s-1", 4, approved.order.order_id), ("s-2", 5, "")]
    assert [each.outcome for each in commit.decisions] == [approved.outcome, refused.outcome]
    assert [each.order_id for each in commit.orders] == [approved.order.order_id]
    assert approved.order.last_sequence == approved.sequence == 4


def test_the_decision_keeps_its_order_while_the_state_goes_on() -> None:
    account = Ledgered()
    with account.batch() as batch:
        decision = decide_signal(batch, wish(1, 1000), ALLOWED)
        assert decision.order is not None
        kept = batch.state.orders[decision.order.order_id]
        kept.cum_qty = D(3)
    assert decision.order.cum_qty == 0


@pytest.mark.parametrize("sends", [True, False])
def test_whoever_sends_at_once_writes_the_intent_with_the_approval(*, sends: bool) -> None:
    account, fence = Ledgered(), Fence("paper", "replica-1", 7)
    with account.batch(sender=fence if sends else None) as batch:
        decision = decide_signal(batch, wish(1, 1000), ALLOWED)
    assert decision.order is not None
    delivery = DeliveryState.SENDING if sends else DeliveryState.QUEUED
    assert decision.order.delivery is delivery
    assert account.commits[-1].fence == (fence if sends else None)
    with account.batch(sender=fence) as batch:
        decide_signal(batch, wish(2, 10**10), ALLOWED)
    assert account.commits[-1].fence is None, "a refusal intends to send nothing"


# ---- what the next signal sees --------------------------------------------------------------


def test_an_approval_counts_for_the_next_signal_of_the_batch() -> None:
    account = Ledgered()
    with account.batch(limited(symbol_position_notional_max=1500)) as batch:
        first = decide_signal(batch, wish(1, 1000), ALLOWED)
        again = decide_signal(batch, wish(2, 1000), ALLOWED)
        other = decide_signal(batch, wish(3, 1000, strategy_id="value"), ALLOWED)
        fits = decide_signal(batch, wish(4, 500, strategy_id="value"), ALLOWED)
    assert first.outcome is Outcome.APPROVED
    assert again.reasons == [Reason.AT_TARGET]
    assert other.reasons == [Reason.SYMBOL_POSITION_LIMIT]
    assert fits.outcome is Outcome.APPROVED


def test_a_what_if_leaves_everything_as_it_was() -> None:
    account = Ledgered()
    with account.batch(limited(symbol_position_notional_max=1500)) as batch:
        before = deepcopy(batch.state)
        told = evaluate(batch, wish(1, 1000), ALLOWED)
        assert (told.outcome, told.order, told.sequence) == (Outcome.APPROVED, None, 0)
        assert told.sizing is not None
        assert told.sizing.order_quantity == 10
        assert batch.state == before
        done = decide_signal(batch, wish(1, 1000), ALLOWED)
        assert done.outcome is Outcome.APPROVED


@pytest.mark.parametrize("delivery", DeliveryState)
def test_an_order_counts_however_far_its_sending_has_come(delivery: DeliveryState) -> None:
    account = Ledgered()
    with account.batch() as batch:
        order = decide_signal(batch, wish(1, 1000), ALLOWED).order
        assert order is not None
        if delivery is not DeliveryState.QUEUED:
            intend(batch, [order.order_id])
            deliver(batch, {order.order_id: (delivery, "")})
    assert account.state.orders[order.order_id].delivery is delivery
    with account.batch(limited(symbol_position_notional_max=1500)) as batch:
        own = batch.exposure.own("momentum", "AAPL")
        assert (own.quantity, own.working_buy) == (0, 10)
        other = decide_signal(batch, wish(2, 600, strategy_id="value"), ALLOWED)
    assert other.reasons == [Reason.SYMBOL_POSITION_LIMIT]


def test_fills_move_from_working_to_held_and_cancels_give_back() -> None:
    account = Ledgered()
    with account.batch() as batch:
        order = decide_signal(batch, wish(1, 1000), ALLOWED).order
        assert order is not None
        [sent] = intend(batch, [order.order_id])
        book_report(batch, "paper", fill(sent, "e-1", 4, 100), batch.state.orders[order.order_id])
        assert batch.exposure.of_symbol("AAPL").worst_quantity() == 10
        request_cancel(batch, batch.state.orders[order.order_id], "r", "enough", "olga")
        assert batch.exposure.of_symbol("AAPL").worst_quantity() == 10, "pending is not canceled"
        canceled = report(sent, ExecType.CANCELED, "e-2")
        book_report(batch, "paper", canceled, batch.state.orders[order.order_id])
        assert batch.exposure.of_symbol("AAPL").worst_quantity() == 4
    assert account.state.orders == {}
    assert account.orders[order.order_id].ord_status is OrdStatus.CANCELED


def test_a_report_is_booked_once_however_often_it_says_so() -> None:
    account = Ledgered()
    with account.batch() as batch:
        order = decide_signal(batch, wish(1, 1000), ALLOWED).order
        assert order is not None
        [sent] = intend(batch, [order.order_id])
        new = report(sent, ExecType.NEW, "e-1")
        for _ in range(2):
            book_report(batch, "paper", new, batch.state.orders[order.order_id])
        book_report(batch, "paper", fill(sent, "e-1", 1, 100), None)
    kinds = [each.kind for each in account.journal]
    assert kinds.count(EntryKind.EXECUTION) == 1
    assert kinds.count(EntryKind.REPORT_IGNORED) == 1


def test_a_signal_meets_the_account_as_it_is() -> None:
    account = Ledgered()
    held(account, 10)
    held(account, -4, "value")
    future = Position("momentum", "ES", D(2), D(500_000))
    account.state.positions["momentum", "ES"] = future
    with account.batch(quotes=market(AAPL=100, ES=5000)) as batch:
        view = gather(batch, wish(1, 1000), ALLOWED).view
    assert (view.quantity, view.symbol_quantity) == (10, 6)
    assert view.other_gross == 2 * 50 * 5000
    assert view.equity == 100_000 + 600 + 500_000
    assert (view.missing_marks, view.sequence) == ([], 3)


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"ES": quote(5000, symbol="ES", bid=D(5001))},
        {"ES": quote(5000, symbol="ES", time_ns=NOW_NS - 1001 * MS)},
        {"ES": quote(5000, symbol="ES", time_ns=NOW_NS + 1001 * MS)},
    ],
)
def test_what_is_held_without_a_usable_quote_makes_exposure_and_equity_unknown(
    known: dict[str, Any],
) -> None:
    account = Ledgered()
    account.state.positions["value", "ES"] = Position("value", "ES", D(1), D(250_000))
    rules = limited(quote_age_ms_max=1000)
    with account.batch(rules, market(AAPL=100) | known) as batch:
        assert batch.unit_value("ES") is None
        grows = decide_signal(batch, wish(1, 1000), ALLOWED)
        fraction = decide_signal(
            batch, wish(2, 1, exposure_unit=ExposureUnit.EQUITY_FRACTION), ALLOWED
        )
    assert grows.reasons == [Reason.MARK_MISSING, Reason.EQUITY_UNKNOWN]
    assert fraction.reasons == [Reason.EQUITY_UNKNOWN]


def test_a_unit_is_worth_its_reference_times_its_multiplier() -> None:
    account = Ledgered()
    at = market(AAPL=100, ES=5000, GONE=7) | {
        "AAPL": quote(100, time_ns=NOW_NS - 1000 * MS),
    }
    with account.batch(limited(quote_age_ms_max=1000), at) as batch:
        assert batch.unit_value("AAPL") == 100
        assert batch.unit_value("ES") == 250_000
        assert batch.unit_value("GONE") is None, "its multiplier left the rulebook with it"
        assert batch.unit_value("IBM") is None
        assert batch.multiplier("ES") == 50
    with account.batch(limited(quote_age_ms_max=None), at) as batch:
        assert batch.unit_value("AAPL") is None, "no limit on the age: no quote is fresh"


@pytest.mark.parametrize("verdict", [None, replace(LEFT, allowed=False, retry_after_ns=5)])
def test_without_an_allowing_verdict_a_signal_is_throttled(verdict: ThrottleVerdict | None) -> None:
    account = Ledgered()
    for verdicts, reason in (
        (Verdicts(verdict, LEFT), Reason.STRATEGY_THROTTLED),
        (Verdicts(LEFT, verdict), Reason.ACCOUNT_THROTTLED),
    ):
        with account.batch() as batch:
            decision = decide_signal(batch, wish(len(account.journal), 1000), verdicts)
        assert decision.reasons == [reason]


# ---- trading states -------------------------------------------------------------------------

STRATEGY = Scope(ScopeKind.STRATEGY, "momentum")
ACCOUNT = Scope(ScopeKind.ACCOUNT, "main")
ELSEWHERE = Scope(ScopeKind.SYMBOL, "ES")
REDUCE, HALTED, ACTIVE = TradingState.REDUCE_ONLY, TradingState.HALTED, TradingState.ACTIVE


@pytest.mark.parametrize(
    ("controls", "own", "holds"),
    [
        ([], [], None),
        ([(ACTIVE, GLOBAL)], [(ACTIVE, STRATEGY)], None),
        ([(HALTED, ELSEWHERE)], [], None),
        ([(REDUCE, GLOBAL)], [], (REDUCE, GLOBAL)),
        ([(REDUCE, GLOBAL)], [(HALTED, STRATEGY)], (HALTED, STRATEGY)),
        ([(HALTED, GLOBAL)], [(REDUCE, STRATEGY)], (HALTED, GLOBAL)),
        # of equally strict ones, a strategy's own asks less: it comes last
        ([(REDUCE, STRATEGY)], [(REDUCE, ACCOUNT)], (REDUCE, ACCOUNT)),
        ([(REDUCE, GLOBAL)], [(REDUCE, STRATEGY)], (REDUCE, GLOBAL)),
    ],
)
def test_the_strictest_state_that_covers_holds(
    controls: list[tuple[TradingState, Scope]],
    own: list[tuple[TradingState, Scope]],
    holds: tuple[TradingState, Scope] | None,
) -> None:
    account = Ledgered()
    account.state.trading = {scope: told_to(state, scope) for state, scope in own}
    told = {scope: told_to(state, scope) for state, scope in controls}
    with account.batch(controls=told) as batch:
        found = batch.trading("main", "momentum", "AAPL")
    assert (None if found is None else (found.state, found.scope)) == holds


# ---- whatever comes -------------------------------------------------------------------------

GROSS_MAX = 6000
signals = st.builds(
    wish,
    st.just(0),
    st.integers(-50, 50).map(lambda units: units * 100),
    side=st.sampled_from(Side),
    strategy_id=st.sampled_from(["momentum", "value"]),
    symbol=st.sampled_from(["AAPL", "AAPL", "ES"]),
)
steps = st.tuples(signals, st.sampled_from(["rest", "fill", "part", "cancel"]))


@settings(max_examples=40)
@given(st.lists(steps, max_size=12))
def test_no_order_lets_exposure_past_its_limit_and_the_record_holds(
    steps: list[tuple[Signal, str]],
) -> None:
    account, quotes = Ledgered(), market(AAPL=100, ES=10)
    rules = limited(gross_exposure_max=GROSS_MAX)
    for number, (each, then) in enumerate(steps):
        with account.batch(rules, quotes) as batch:
            order = decide_signal(batch, replace(each, signal_id=f"s-{number}"), ALLOWED).order
            if order is None:
                continue
            [sent] = intend(batch, [order.order_id])
            working = batch.state.orders[sent.order_id]
            if then in {"fill", "part"}:
                units = sent.order_qty if then == "fill" else (sent.order_qty + 1) // 2
                price = quotes[sent.symbol].reference
                assert price is not None
                book_report(batch, "paper", fill(sent, f"e-{number}", units, price), working)
            if then == "cancel":
                book_report(batch, "paper", report(sent, ExecType.CANCELED, f"e-{number}"), working)
        assert gross(account) <= GROSS_MAX
        rebuilt = Exposure(account.state.positions.values(), account.state.orders.values())
        for symbol in ("AAPL", "ES"):
            assert batch.exposure.of_symbol(symbol) == rebuilt.of_symbol(symbol)
            for strategy_id in ("momentum", "value"):
                assert batch.exposure.own(strategy_id, symbol) == rebuilt.own(strategy_id, symbol)
    verification, replay = Verification("main", book), Replay(decide_again)
    for entry in account.journal:
        verification.take(entry)
        replay.take(entry)
    verification.compare(account.state, account.orders.values(), account.executions)
    assert verification.findings.faults == replay.findings.faults == []


def gross(account: Ledgered) -> Decimal:
    """Worst-case value of all that is held and working, counted anew."""
    total = ZERO
    for symbol, unit in (("AAPL", D(100)), ("ES", D(500))):
        positions = account.state.positions.values()
        quantity = sum((each.quantity for each in positions if each.symbol == symbol), ZERO)
        leaves = {
            side: sum(
                (
                    each.leaves_qty
                    for each in account.state.orders.values()
                    if each.symbol == symbol and each.side is side
                ),
                ZERO,
            )
            for side in Side
        }
        total += max(abs(quantity + leaves[BUY]), abs(quantity - leaves[SELL])) * unit
    return total


def test_a_recorded_context_is_the_inputs_again() -> None:
    account = Ledgered()
    held(account, 10)
    told = told_to(REDUCE)
    with account.batch(controls={GLOBAL: told}) as batch:
        inputs = gather(batch, wish(1, 0, side=SELL), ALLOWED)
        decide_signal(batch, inputs.signal, ALLOWED)
    payload = orjson.loads(account.journal[-1].payload)
    assert inputs_from_context(inputs.signal, payload["context"], rulebook()) == inputs
    again = decide_again(payload, account.journal[-1].sequence, rulebook())
    assert again == Decision.from_json(payload["decision"], account.journal[-1].sequence)
    assert again.outcome is Outcome.APPROVED


def test_the_context_names_the_marks_of_what_else_is_held_or_works() -> None:
    account = Ledgered()
    account.state.positions["value", "ES"] = Position("value", "ES", D(1), D(500))
    with account.batch(quotes=market(AAPL=100, ES=10, IBM=5)) as batch:
        decide_signal(batch, wish(1, 1000), ALLOWED)
    context = orjson.loads(account.journal[-1].payload)["context"]
    assert set(context["marks"]) == {"ES"}
    assert context["currency"] == "USD"


def test_a_batch_can_be_computed_anew_from_the_same_state() -> None:
    """A lost race throws a batch away; nothing of it may have leaked into what it started from."""
    account = Ledgered()
    with account.batch() as batch:
        decide_signal(batch, wish(1, 1000), ALLOWED)
    first = Batch(deepcopy(account.state), rulebook(), NOW_NS, market(AAPL=100), {})
    second = Batch(deepcopy(account.state), rulebook(), NOW_NS, market(AAPL=100), {})
    for each in (first, second):
        decide_signal(each, wish(2, 1500), ALLOWED)
    assert first.commit() == second.commit()
