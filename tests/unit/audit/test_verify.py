"""A record that holds is clean; every fault that is planted in it is found, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from tests.support.cases import NOW_NS, limits, signal, told_to
from tests.support.ledgered import ALLOWED, Ledgered, fill, market, report, rulebook
from trade_engine.audit.chain import canonical, entry_hash, seal
from trade_engine.audit.findings import Fault, Findings
from trade_engine.audit.replay import Replay
from trade_engine.audit.verify import Verification
from trade_engine.domain.account import GENESIS_HASH
from trade_engine.domain.activity import Activity
from trade_engine.domain.decision import Outcome
from trade_engine.domain.difference import Difference, DifferenceKind
from trade_engine.domain.execution import ExecType
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.limits import Level, Limits
from trade_engine.domain.position import Position
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import GLOBAL, Scope, ScopeKind, TradingState
from trade_engine.execution.commands import AcceptDifferenceCommand
from trade_engine.execution.decisions import decide_again, decide_signal
from trade_engine.execution.differences import accept_difference, note_differences
from trade_engine.execution.fills import book_report
from trade_engine.execution.order_changes import intend, request_cancel, set_trading_state
from trade_engine.portfolio.ledger import book

D = Decimal
DIFFERENCE = Difference(
    DifferenceKind.POSITION, "AAPL", "-5", "15", "20", "5 more are held there", NOW_NS
)
ACCEPTANCE = AcceptDifferenceCommand("main", "POSITION:AAPL", "bought by hand", "olga", "r-2")
Payload = dict[str, Any]


def minding(version: str = "v1") -> Rulebook:
    """Limits under which an order that comes twice is refused, so that approvals are kept."""
    rules = rulebook(version)
    numbers = {(Level.DEFAULT, ""): limits(duplicate_interval_ms_min=1)}
    rules.limits = Limits(version, numbers, rules.limits.rates)
    return rules


def traded() -> Ledgered:
    """A day: bought, filled in two, refused, halted and resumed, sold through zero, canceled."""
    account = Ledgered()
    with account.batch(minding()) as batch:
        bought = decide_signal(batch, signal(1000), ALLOWED).order
    assert bought is not None
    with account.batch(minding()) as batch:
        [sent] = intend(batch, [bought.order_id])
        book_report(
            batch, "paper", report(sent, ExecType.NEW, "e-0"), batch.state.orders[sent.order_id]
        )
    with account.batch(minding()) as batch:
        order = batch.state.orders[bought.order_id]
        book_report(batch, "paper", fill(order, "e-1", 4, "99.9"), order)
        book_report(batch, "paper", fill(order, "e-2", 6, 100), order)
        book_report(batch, "paper", report(order, ExecType.NEW, "e-9"), order)
        book_report(batch, "other", fill(order, "e-1", 1, 100), None)
    strategy = Scope(ScopeKind.STRATEGY, "value")
    with account.batch(minding("v2"), market(AAPL=110, ES=5000)) as batch:
        refused = decide_signal(batch, signal(10**10, signal_id="s-2"), ALLOWED)
        assert refused.outcome is Outcome.REJECTED
        for state in (TradingState.HALTED, TradingState.ACTIVE):
            set_trading_state(batch, told_to(state), "r", cancel_open_orders=False)
        held = told_to(TradingState.REDUCE_ONLY, strategy)
        set_trading_state(batch, held, "r", cancel_open_orders=False)
        sold = decide_signal(batch, signal(-550, Side.SELL, signal_id="s-3"), ALLOWED).order
        future = signal(300_000, signal_id="s-4", symbol="ES")
        queued = decide_signal(batch, future, ALLOWED).order
    assert sold is not None
    assert queued is not None
    with account.batch(minding("v2")) as batch:
        order = batch.state.orders[sold.order_id]
        book_report(batch, "paper", fill(order, "e-3", 15, "110.5"), order)
        request_cancel(batch, batch.state.orders[queued.order_id], "r", "enough", "olga")
        note_differences(batch, "paper", [DIFFERENCE])
        accept_difference(batch, ACCEPTANCE)
    return account


class Audit:
    """The record as an auditor gets it, to plant faults in."""

    def __init__(self) -> None:
        account = traded()
        self.journal = account.journal
        self.state = account.state
        self.orders = account.orders
        self.executions = account.executions

    def entry(self, kind: EntryKind, number: int = 0) -> int:
        """Place of the entry of a kind, by its number among them."""
        return [at for at, each in enumerate(self.journal) if each.kind is kind][number]

    def change(self, at: int, **changes: Any) -> None:
        self.journal[at] = replace(self.journal[at], **changes)

    def payload(self, at: int, change: Callable[[Payload], object]) -> None:
        """Change a payload and nothing else."""
        payload = orjson.loads(self.journal[at].payload)
        change(payload)
        self.change(at, payload=canonical(payload))

    def reseal(self) -> None:
        """Chain the journal anew, head and all: what whoever writes the record could have done."""
        sealed: list[JournalEntry] = []
        for each in self.journal:
            prev_hash = sealed[-1].hash if sealed else GENESIS_HASH
            sequence = len(sealed) + 1
            sealed.append(
                seal("main", sequence, each.recorded_at_ns, each.kind, each.payload, prev_hash)
            )
        self.journal = sealed
        self.state.sequence, self.state.head_hash = sealed[-1].sequence, sealed[-1].hash

    def verify(self) -> Findings:
        verification = Verification("main", book)
        for each in self.journal:
            verification.take(each)
        verification.compare(self.state, self.orders.values(), self.executions)
        return verification.findings

    def replay(self) -> Findings:
        replay = Replay(decide_again)
        for each in self.journal:
            replay.take(each)
        return replay.findings


@pytest.fixture
def audit() -> Audit:
    return Audit()


def test_a_record_that_holds_is_clean(audit: Audit) -> None:
    found = audit.verify()
    assert found.faults == []
    assert found.counts == {"entries": len(audit.journal), "orders": 3, "fills": 3}
    assert {each.kind for each in audit.journal} == set(EntryKind) - {
        EntryKind.CANCEL_REQUESTED,
        EntryKind.EQUITY_MARKED,  # the day has tests of its own
        EntryKind.BOOKS_COMPARED,  # and so have the firm's books
        EntryKind.CANCEL_REJECTED,
        EntryKind.REPORT_QUARANTINED,
        EntryKind.REPLACE_REQUESTED,  # tests/unit/execution/test_replacing.py
        EntryKind.REPLACE_REJECTED,
    }
    assert audit.state.positions["momentum", "AAPL"].quantity == -5


def test_differences_are_what_was_last_found_and_accepted(audit: Audit) -> None:
    audit.state.differences = {}
    assert "the differences with the broker" in str(audit.verify().faults[0])
    found = audit.entry(EntryKind.RECONCILIATION)
    audit.payload(found, lambda payload: payload["differences"].clear())
    audit.reseal()
    assert any("was accepted, never found" in str(each) for each in audit.verify().faults)


def test_it_knows_the_executions_of_each_broker(audit: Audit) -> None:
    verification = Verification("main", book)
    for each in audit.journal:
        verification.take(each)
    assert verification.exec_ids("paper") == {"e-1", "e-2", "e-3"}
    assert verification.exec_ids("other") == set()


def at(faults: list[Fault], what: str) -> list[int]:
    return [fault.sequence for fault in faults if what in fault.what]


# ---- the chain ------------------------------------------------------------------------------


def test_a_changed_payload(audit: Audit) -> None:
    place = audit.entry(EntryKind.DECISION)
    audit.payload(place, lambda doc: doc["decision"].update(message="fine"))
    assert audit.verify().faults == [
        Fault(place + 1, "the content does not have the recorded hash")
    ]


@pytest.mark.parametrize(
    "changes", [{"recorded_at_ns": NOW_NS + 1}, {"kind": EntryKind.REPORT_IGNORED}]
)
def test_a_changed_column(audit: Audit, changes: dict[str, Any]) -> None:
    place = audit.entry(EntryKind.TRADING_STATE)
    audit.change(place, **changes)
    assert at(audit.verify().faults, "does not have the recorded hash") == [place + 1]


def test_a_changed_sequence(audit: Audit) -> None:
    audit.change(4, sequence=50)
    faults = audit.verify().faults
    assert at(faults, "does not have the recorded hash") == [50]
    assert at(faults, "sequence 5 is missing before this entry") == [50]
    assert at(faults, "sequence 51 is missing before this entry") == [6]


def test_an_entry_whose_hash_was_made_to_fit(audit: Audit) -> None:
    place = audit.entry(EntryKind.DECISION)
    audit.payload(place, lambda doc: doc["decision"].update(message="fine"))
    each = audit.journal[place]
    digest = entry_hash(
        "main", each.sequence, each.recorded_at_ns, each.kind, each.payload, each.prev_hash
    )
    audit.change(place, hash=digest)
    assert audit.verify().faults == [
        Fault(place + 2, "prev_hash is not the hash of the entry before")
    ]


def test_a_deleted_entry(audit: Audit) -> None:
    place = audit.entry(EntryKind.REPORT_IGNORED)
    del audit.journal[place]
    assert audit.verify().faults == [
        Fault(place + 2, f"sequence {place + 1} is missing before this entry"),
        Fault(place + 2, "prev_hash is not the hash of the entry before"),
    ]


def test_a_deleted_first_entry(audit: Audit) -> None:
    del audit.journal[0]
    assert at(audit.verify().faults, "sequence 1 is missing") == [2]


def test_a_cut_tail(audit: Audit) -> None:
    last = audit.journal.pop().sequence
    found = at(
        audit.verify().faults, f"the head is not the last journal entry, which is {last - 1}"
    )
    assert found == [last]


def test_a_head_of_another_history(audit: Audit) -> None:
    audit.state.head_hash = bytes(32)
    assert at(audit.verify().faults, "the head is not") == [audit.state.sequence]


def test_reordered_entries(audit: Audit) -> None:
    first = audit.entry(EntryKind.TRADING_STATE)
    audit.journal[first : first + 2] = reversed(audit.journal[first : first + 2])
    faults = audit.verify().faults
    assert at(faults, "is missing before this entry") == [first + 2, first + 1, first + 3]
    assert at(faults, "prev_hash is not") == [first + 2, first + 1, first + 3]


def test_an_entry_of_another_account(audit: Audit) -> None:
    each = audit.journal[2]
    foreign = seal("b", 3, each.recorded_at_ns, each.kind, each.payload, each.prev_hash)
    audit.journal[2] = foreign
    assert at(audit.verify().faults, "does not have the recorded hash") == [3]


@pytest.mark.parametrize("payload", [b"{", b"[]", b"{}", b'{"decision":null}'])
def test_a_payload_that_cannot_be_read(audit: Audit, payload: bytes) -> None:
    place = audit.entry(EntryKind.DECISION)
    audit.change(place, payload=payload)
    assert at(audit.verify().faults, "the entry cannot be read") == [place + 1]
    assert at(audit.replay().faults, "the entry cannot be read") == [place + 1]


def test_an_entry_that_cannot_even_be_hashed_is_a_finding_and_the_next_follows_it(
    audit: Audit,
) -> None:
    place = audit.entry(EntryKind.TRADING_STATE)
    audit.journal[place] = replace(audit.journal[place], recorded_at_ns=1 << 70)
    faults = audit.verify().faults
    assert at(faults, "the entry cannot be read") == [place + 1]
    assert at(faults, "is missing before this entry") == []


# ---- what the entries say, in a chain that holds --------------------------------------------


def test_a_signal_decided_twice(audit: Audit) -> None:
    audit.journal.append(audit.journal[audit.entry(EntryKind.DECISION, 1)])
    audit.reseal()
    found = at(audit.verify().faults, "signal s-2 is decided a second time")
    assert found == [audit.state.sequence]


@pytest.mark.parametrize(
    ("number", "change"),
    [(0, {"outcome": "REJECTED"}), (0, {"outcome": "NO_ACTION"}), (1, {"outcome": "APPROVED"})],
)
def test_an_order_and_an_approval_go_together(
    audit: Audit, number: int, change: dict[str, Any]
) -> None:
    place = audit.entry(EntryKind.DECISION, number)
    audit.payload(place, lambda doc: doc["decision"].update(change))
    audit.reseal()
    found = at(audit.verify().faults, "approval and order do not go together")
    assert found == [place + 1]


def test_an_order_under_an_id_that_is_not_its_signals(audit: Audit) -> None:
    place = audit.entry(EntryKind.DECISION)
    audit.payload(place, lambda doc: doc["decision"]["order"].update(order_id="o-mine"))
    audit.reseal()
    assert at(audit.verify().faults, "order o-mine is not signal s-1's") == [place + 1]


def test_an_order_that_was_never_approved(audit: Audit) -> None:
    place = audit.entry(EntryKind.DECISION)
    del audit.journal[place]
    audit.reseal()
    order_id = next(iter(audit.orders))
    found = at(audit.verify().faults, f"order {order_id} was never approved")
    assert found[0] == audit.entry(EntryKind.DELIVERY) + 1


def test_a_fill_booked_twice(audit: Audit) -> None:
    place = audit.entry(EntryKind.EXECUTION, 1)
    audit.journal.insert(place + 1, audit.journal[place])
    audit.reseal()
    faults = audit.verify().faults
    assert at(faults, "execution e-1 is booked a second time") == [place + 2]
    assert place + 2 in at(faults, "position or cash is not what the fills make it")
    assert place + 2 in at(faults, "CumQty of order")


def test_an_execution_is_one_of_its_broker(audit: Audit) -> None:
    place = audit.entry(EntryKind.EXECUTION, 1)
    audit.payload(place, lambda doc: doc.update(broker="other"))
    audit.reseal()
    assert at(audit.verify().faults, "execution e-1 of") == [0, 0]
    audit.executions ^= {("paper", "e-1"), ("other", "e-1")}
    assert audit.verify().faults == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"last_qty": "5"}, "position or cash"),
        ({"last_px": "99.8"}, "position or cash"),
        ({"commission": "2"}, "position or cash"),
        ({"last_qty": "5"}, "CumQty of order"),
        ({"last_qty": "-1"}, "cannot be read"),
    ],
)
def test_a_fill_with_other_numbers(audit: Audit, change: dict[str, str], found: str) -> None:
    place = audit.entry(EntryKind.EXECUTION, 1)
    audit.payload(place, lambda doc: doc["report"].update(change))
    audit.reseal()
    assert place + 1 in at(audit.verify().faults, found)


def test_the_multiplier_counts(audit: Audit) -> None:
    place = audit.entry(EntryKind.LIMITS_CHANGED)
    audit.payload(place, lambda doc: doc["instruments"][0].update(multiplier="2"))
    audit.reseal()
    assert (
        at(audit.verify().faults, "position or cash")[0] == audit.entry(EntryKind.EXECUTION, 1) + 1
    )


# ---- the tables -----------------------------------------------------------------------------


def change_order(audit: Audit) -> None:
    next(iter(audit.orders.values())).order_qty += 1


def lose_order(audit: Audit) -> None:
    del audit.orders[next(iter(audit.orders))]


def make_up_order(audit: Audit) -> None:
    made_up = replace(next(iter(audit.orders.values())), order_id="o-extra")
    audit.orders["o-extra"] = made_up


def change_position(audit: Audit) -> None:
    audit.state.positions["momentum", "AAPL"].cost += D("0.01")


def lose_position(audit: Audit) -> None:
    audit.state.positions.clear()


def make_up_position(audit: Audit) -> None:
    audit.state.positions["value", "IBM"] = Position("value", "IBM", D(1), D(10))


def lift_a_halt(audit: Audit) -> None:
    audit.state.trading.clear()


def halt(audit: Audit) -> None:
    audit.state.trading[GLOBAL] = told_to(TradingState.HALTED)


def forget_an_approval(audit: Audit) -> None:
    doc = audit.state.activity.to_json()
    doc["approved"].pop()
    audit.state.activity = Activity.from_json(doc)


TABLES: list[tuple[Callable[[Audit], object], str]] = [
    (change_order, "in the table is not what the journal last said of it"),
    (lose_order, "in the table is not what the journal last said of it"),
    (make_up_order, "order o-extra in the table is not what the journal last said of it"),
    (change_position, "position momentum AAPL in the table is not the fold of its fills"),
    (lose_position, "position momentum AAPL in the table is not the fold of its fills"),
    (make_up_position, "position value IBM in the table is not the fold of its fills"),
    (lambda audit: setattr(audit.state, "cash", D(1)), "cash is 1, the fills make it 10065"),
    (lambda audit: setattr(audit.state, "realized_pnl", D(1)), "realized_pnl is 1, the fills"),
    (lambda audit: setattr(audit.state, "fees", D("2.5")), "fees is 2.5, the fills make it 3"),
    (lambda audit: setattr(audit.state, "limits_version", "v1"), "limits_version is v1, not v2"),
    (lambda audit: setattr(audit.state, "limits_number", 3), "limits_number is 3, not 2"),
    (lambda audit: setattr(audit.state, "limits_sequence", 1), "limits_sequence is 1, not "),
    (lambda audit: audit.state.activity.executions.clear(), "the strategies' executions are not"),
    (forget_an_approval, "the approvals that are kept are not the last of the journal"),
    (lift_a_halt, "the trading states are not what was last set"),
    (halt, "the trading states are not what was last set"),
    (lambda audit: audit.executions.remove(("paper", "e-2")), "execution e-2 of paper is not both"),
    (lambda audit: audit.executions.add(("paper", "e-7")), "execution e-7 of paper is not both"),
    (lambda audit: audit.executions.add(("b", "e-1")), "execution e-1 of b is not both"),
]


@pytest.mark.parametrize(("plant", "found"), TABLES)
def test_a_table_that_says_otherwise(
    audit: Audit, plant: Callable[[Audit], object], found: str
) -> None:
    plant(audit)
    [fault] = audit.verify().faults
    assert found in fault.what
    assert fault.sequence == 0


# ---- what decisions were made on ------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "change", "found"),
    [
        (
            1,
            lambda doc: doc["decision"].update(limits_version="v1"),
            "decided by limits v1, and v2 was in force",
        ),
        (
            2,
            lambda doc: doc["context"]["view"]["standing"]["approvals"].clear(),
            "the approvals of momentum that it looked at are not the journal's",
        ),
        (
            3,
            lambda doc: doc["context"]["view"]["standing"]["approvals"].append(["BUY", "1", 7]),
            "the approvals of momentum that it looked at are not the journal's",
        ),
        (
            2,
            lambda doc: doc["context"]["view"]["standing"].update(executions=7),
            "the executions of momentum that it looked at are not the journal's",
        ),
    ],
)
def test_a_decision_on_other_grounds_than_the_journal_has(
    audit: Audit, number: int, change: Callable[[Payload], object], found: str
) -> None:
    place = audit.entry(EntryKind.DECISION, number)
    audit.payload(place, change)
    audit.reseal()
    assert [(each.sequence, each.what) for each in audit.verify().faults] == [(place + 1, found)]


def test_a_change_of_limits_that_was_left_out(audit: Audit) -> None:
    del audit.journal[audit.entry(EntryKind.LIMITS_CHANGED, 1)]
    audit.reseal()
    faults = [str(each) for each in audit.verify().faults]
    assert sum("decided by limits v2, and v1 was in force" in each for each in faults) == 3
    assert any("limits_number is 2, not 1" in each for each in faults)


def test_changes_of_limits_that_came_in_another_order(audit: Audit) -> None:
    place = audit.entry(EntryKind.LIMITS_CHANGED)
    audit.payload(place, lambda doc: doc["change"].update(number=2))
    audit.reseal()
    assert at(audit.verify().faults, "change 2 of the limits comes after change 2") == [
        audit.entry(EntryKind.LIMITS_CHANGED, 1) + 1
    ]


def test_a_journal_from_before_changes_had_numbers(audit: Audit) -> None:
    for number in (0, 1):
        at_ = audit.entry(EntryKind.LIMITS_CHANGED, number)
        audit.payload(at_, lambda doc: doc.pop("change"))
    audit.reseal()
    audit.state.limits_number = audit.state.limits_sequence = 0
    assert audit.verify().faults == []


# ---- replay ---------------------------------------------------------------------------------


def test_every_decision_comes_out_the_same(audit: Audit) -> None:
    found = audit.replay()
    assert found.faults == []
    assert found.counts == {"decisions": 4}


@pytest.mark.parametrize(
    ("number", "change", "found"),
    [
        (
            0,
            lambda doc: doc["decision"]["checks"][-1].__setitem__(4, "7"),
            "signal s-1 differs in checks: APPROVED then, APPROVED now",
        ),
        (
            1,
            lambda doc: doc["decision"].update(outcome="APPROVED"),
            "signal s-2 differs in outcome: APPROVED then, REJECTED now",
        ),
        (
            0,
            lambda doc: doc["decision"]["order"].update(order_qty="11"),
            "signal s-1 differs in order:",
        ),
        (0, lambda doc: doc["decision"]["sizing"].update(capped_by="x"), "differs in sizing:"),
        (0, lambda doc: doc["decision"].update(extra=1), "differs in extra:"),
        (0, lambda doc: doc["decision"].pop("message"), "differs in message:"),
        (
            0,
            lambda doc: doc["context"]["view"].update(quantity="4"),
            "signal s-1 differs in checks, message, order, sizing:",
        ),
        (0, lambda doc: doc["context"].update(now_ns=NOW_NS + 10**18), "REJECTED now"),
        (0, lambda doc: doc["context"].update(currency="EUR"), "APPROVED then, REJECTED now"),
        (
            0,
            lambda doc: doc["decision"].update(limits_version="v0"),
            "the rulebook v0 is not in the journal",
        ),
    ],
)
def test_a_decision_that_would_not_be_made_so(
    audit: Audit, number: int, change: Callable[[Payload], object], found: str
) -> None:
    place = audit.entry(EntryKind.DECISION, number)
    audit.payload(place, change)
    [fault] = audit.replay().faults
    assert fault.sequence == place + 1
    assert found in fault.what


def test_a_missing_rulebook(audit: Audit) -> None:
    del audit.journal[audit.entry(EntryKind.LIMITS_CHANGED)]
    assert at(audit.replay().faults, "the rulebook v1 is not in the journal") == [4]


def test_another_rulebook_of_that_version(audit: Audit) -> None:
    place = audit.entry(EntryKind.LIMITS_CHANGED)

    def without_one(doc: dict[str, Any]) -> None:
        doc["limits"] = [each for each in doc["limits"] if each["name"] != "order_notional_max"]

    audit.payload(place, without_one)
    assert at(audit.replay().faults, "APPROVED then, REJECTED now") == [4]


@pytest.mark.parametrize(
    "change",
    [
        lambda doc: doc["context"]["view"].pop("standing"),
        lambda doc: (
            doc["context"].update(closing=True),
            doc["context"]["view"]["standing"].update(executions=7),
        ),
    ],
    ids=["from before there were approvals", "an operator's, which looks at none"],
)
def test_a_decision_that_looked_at_no_approvals_is_held_to_none(
    audit: Audit, change: Callable[[Payload], object]
) -> None:
    audit.payload(audit.entry(EntryKind.DECISION, 3), change)
    audit.reseal()
    verification = Verification("main", book)
    for each in audit.journal:
        verification.take(each)
    assert verification.findings.faults == []
