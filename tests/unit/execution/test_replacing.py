"""Whatever comes between: what is filled and what may fill stay within target and limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import orjson
import pytest

from tests.support.cases import STOCK, signal
from tests.support.ledgered import ALLOWED, Ledgered, report, rulebook
from tests.support.wide import wide_limits
from tests.workload.prefixes import Prefix
from trade_engine.audit.chain import canonical
from trade_engine.audit.verify import Verification
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.execution import CancelReject, ExecType, ExecutionReport
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.limits import Level, Limits
from trade_engine.domain.order import DeliveryState, Order, WorkingOrders
from trade_engine.domain.replacement import Terms, terms_asked
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import Scope, ScopeKind, ScopeState, TradingState
from trade_engine.execution.batch import Batch
from trade_engine.execution.changed_terms import halt_on_changed_terms
from trade_engine.execution.decisions import decide_signal
from trade_engine.execution.fills import book_cancel_reject, book_report
from trade_engine.execution.order_changes import intend, set_trading_state
from trade_engine.execution.ports import Fence
from trade_engine.execution.replacing import intend_replacements, settle_replacements
from trade_engine.portfolio.ledger import book

D = Decimal
RULES = rulebook()
RULES.instruments[STOCK.symbol] = replace(STOCK, working_orders=WorkingOrders.REPLACE)
FENCE = Fence("paper", "here", 1)


def ask(account: Ledgered, number: int, target: int) -> tuple[Outcome, list[Reason]]:
    with account.batch(RULES, sender=FENCE) as batch:
        batch.can_replace_at = frozenset({"paper"})
        decision = decide_signal(batch, signal(target, signal_id=f"s-{number}"), ALLOWED)
        exposure_is_folded(batch)
    return decision.outcome, decision.reasons


def exposure_is_folded(batch: Batch) -> None:
    """What is kept up to date is what a fold of the orders makes it."""
    working = sum((each.working_qty for each in batch.state.orders.values()), D(0))
    assert batch.exposure.of_symbol(STOCK.symbol).working_buy == working


class Venue:
    """One order at a venue that works on one of its terms, and answers when it likes."""

    def __init__(self, account: Ledgered, draws: Random) -> None:
        self.account, self.draws = account, draws
        self.cum = self.qty = D(0)
        self.asked: dict[str, Decimal | None] = {}
        self.count = 0
        self.worst = D(0)

    @property
    def order(self) -> Order:
        [order] = self.account.orders.values()
        return order

    def tell(self, said: ExecutionReport | CancelReject) -> None:
        with self.account.batch(RULES, sender=FENCE) as batch:
            known = batch.find(self.order.order_id)
            if isinstance(said, CancelReject):
                book_cancel_reject(batch, "paper", said, known)
            elif known is not None:
                before = known.copy()
                book_report(batch, "paper", said, known)
                assert halt_on_changed_terms(batch, before, known, said) is None
            exposure_is_folded(batch)

    def fill(self) -> None:
        left = self.qty - self.cum
        if left <= 0:
            return
        self.count += 1
        quantity = D(self.draws.randint(1, int(left)))
        self.cum += quantity
        self.tell(
            report(self.order, ExecType.TRADE, f"t-{self.count}", last_qty=quantity, last_px=D(100))
        )

    def take_up(self) -> None:
        """Send what is queued: it arrives, is lost, or its answer is."""
        with self.account.batch(RULES, sender=FENCE) as batch:
            for order in intend_replacements(batch, [self.order.order_id]):
                terms = terms_asked(order)
                assert terms is not None
                if self.draws.random() < 0.7:
                    self.arrive(terms)
                settle_replacements(batch, {terms.cl_ord_id: DeliveryState.IN_DOUBT})

    def arrive(self, terms: Terms) -> None:
        """The venue works on the new terms from now on, or refuses; it tells later."""
        if self.cum >= self.qty or self.draws.random() < 0.3:
            self.asked[terms.cl_ord_id] = None
        else:
            self.qty = self.asked[terms.cl_ord_id] = max(terms.order_qty, self.cum)

    def answer(self) -> None:
        order = self.order
        terms = terms_asked(order)
        if terms is None or (order.replacement or {})["delivery"] == DeliveryState.QUEUED:
            return
        if terms.cl_ord_id not in self.asked:  # it never arrived, and the venue is asked
            with self.account.batch(RULES, sender=FENCE) as batch:
                settle_replacements(batch, {terms.cl_ord_id: None})
                exposure_is_folded(batch)
            return
        quantity = self.asked[terms.cl_ord_id]
        if quantity is None:
            self.tell(CancelReject(terms.cl_ord_id, 1, order.order_id))
            return
        self.count += 1
        told = report(
            order, ExecType.REPLACED, f"r-{self.count}", order_qty=quantity, price=terms.price
        )
        told = replace(told, cl_ord_id=terms.cl_ord_id, orig_cl_ord_id=order.order_id)
        self.tell(told)
        if self.draws.random() < 0.3:
            self.tell(replace(told, exec_id=f"again-{self.count}"))


@pytest.mark.parametrize("seed", range(150))
def test_nothing_is_filled_past_a_target_or_what_was_held_for_it(seed: int) -> None:
    draws, account = Random(seed), Ledgered()
    assert ask(account, 0, 5_000)[0] is Outcome.APPROVED
    venue = Venue(account, draws)
    with account.batch(RULES, sender=FENCE) as batch:
        intend(batch, [venue.order.order_id])
    venue.qty = venue.order.order_qty
    venue.tell(report(venue.order, ExecType.NEW, "n-1"))
    most = D(5_000)
    for step in range(1, 25):
        if not venue.order.is_open:
            break
        match draws.choice(["signal", "fill", "take_up", "answer"]):
            case "signal":
                target = draws.randint(1, 100) * 100
                outcome, _ = ask(account, step, target)
                if outcome is Outcome.APPROVED:
                    most = max(most, D(target))
            case "fill":
                venue.fill()
            case "take_up":
                venue.take_up()
            case _:
                venue.answer()
        if len(account.orders) > 1:
            return  # it added, as one request was open already: another order's story
        order = venue.order
        assert order.cum_qty == venue.cum
        assert venue.cum + max(venue.qty - venue.cum, D(0)) <= order.cum_qty + order.working_qty
        assert (order.cum_qty + order.working_qty) * 100 <= most
    walk = Verification("main", book)
    for entry in account.journal:
        walk.take(entry)
    walk.compare(account.state, account.orders.values(), account.executions)
    assert walk.findings.faults == []


def test_a_filled_order_asked_to_be_for_more_holds_it_until_answered() -> None:
    account = Ledgered()
    ask(account, 0, 5_000)
    venue = Venue(account, Random(1))
    with account.batch(RULES, sender=FENCE) as batch:
        intend(batch, [venue.order.order_id])
    venue.tell(report(venue.order, ExecType.NEW, "n-1"))
    ask(account, 1, 8_000)
    with account.batch(RULES, sender=FENCE) as batch:
        intend_replacements(batch, [venue.order.order_id])
    venue.tell(report(venue.order, ExecType.TRADE, "t-1", last_qty=D(50), last_px=D(100)))
    assert (venue.order.leaves_qty, venue.order.working_qty) == (0, 30)
    assert venue.order.is_open
    terms = terms_asked(venue.order)
    assert terms is not None
    venue.tell(CancelReject(terms.cl_ord_id, 1, venue.order.order_id))
    assert venue.order.working_qty == 0
    assert not venue.order.is_open


def acknowledged() -> Ledgered:
    """An account with one order for 50 that its venue has."""
    account = Ledgered()
    ask(account, 0, 5_000)
    venue = Venue(account, Random(1))
    with account.batch(RULES, sender=FENCE) as batch:
        intend(batch, [venue.order.order_id])
    venue.tell(report(venue.order, ExecType.NEW, "n-1"))
    return account


def test_terms_that_no_decision_approved_are_found_in_the_journal() -> None:
    account = acknowledged()
    ask(account, 1, 8_000)
    walk = Verification("main", book)
    for entry in account.journal:
        is_it = entry.kind is EntryKind.REPLACE_REQUESTED
        payload = entry.payload.replace(b'"80"', b'"90"') if is_it else entry.payload
        walk.take(replace(entry, payload=payload))
    assert any("never approved" in str(each) for each in walk.findings.faults)


def prefixes(account: Ledgered, **numbers: int) -> tuple[Prefix, list[str]]:
    """What the workloads' checker makes of an account's journal, under these limits."""
    prefix, said = Prefix("main", {STOCK.symbol: D(100), "ES": D(100)}), list[str]()
    for entry in account.journal:
        said += prefix.take(entry)
        if prefix.rules is not None:
            limits = Limits("v1", {(Level.DEFAULT, ""): wide_limits("test", **numbers)}, {})
            prefix.rules = replace(prefix.rules, limits=limits)
    return prefix, said + prefix.past_halts


def test_the_workloads_checker_counts_the_larger_of_both_terms() -> None:
    account = acknowledged()
    ask(account, 1, 8_000)
    now = prefixes(account)[0].now
    assert now.working(STOCK.symbol, "BUY") == 80
    venue = Venue(account, Random(1))
    terms = terms_asked(venue.order)
    assert terms is not None
    venue.qty = D(50)
    venue.tell(report(venue.order, ExecType.TRADE, "t-1", last_qty=D(50), last_px=D(100)))
    assert prefixes(account)[0].now.working(STOCK.symbol, "BUY") == 30, "filled, and asked for more"
    venue.tell(CancelReject(terms.cl_ord_id, 1, venue.order.order_id))
    now, said = prefixes(account)[0].now, prefixes(account)[1]
    assert (now.open, now.asked, said) == ({}, {}, [])


def test_the_workloads_checker_lets_no_new_terms_pass_a_limit() -> None:
    account = acknowledged()
    ask(account, 1, 8_000)
    for name in ("symbol_position_notional_max", "gross_exposure_max", "order_notional_max"):
        assert prefixes(account, **{name: 8_000})[1] == []
        [said] = prefixes(account, **{name: 7_999})[1]
        assert f"{name} is 7999, and it is 8000" in said
    assert prefixes(account, order_quantity_max=79)[1] != []
    ask(account, 2, 1_000)  # one is open, so nothing is asked for
    assert prefixes(account)[0].now.working(STOCK.symbol, "BUY") == 80


def test_only_what_closes_passes_while_reducing() -> None:
    account = acknowledged()
    scope = Scope(ScopeKind.ACCOUNT, "main")
    state = ScopeState(scope, TradingState.REDUCE_ONLY, "loss", "ops", 1)
    with account.batch(RULES, sender=FENCE, controls={scope: state}) as batch:
        batch.can_replace_at = frozenset({"paper"})
        smaller = decide_signal(batch, signal(2_000, signal_id="s-8"), ALLOWED)
        nothing = decide_signal(batch, signal(0, signal_id="s-9"), ALLOWED)
    assert smaller.reasons == [Reason.REDUCE_ONLY], "what is left of it would still open"
    assert nothing.replacement is not None
    assert nothing.replacement.cancels


def test_a_halt_drops_what_is_queued_and_names_what_is_on_its_way() -> None:
    for sent in (False, True):
        account = acknowledged()
        ask(account, 1, 8_000)
        scope = Scope(ScopeKind.ACCOUNT, "main")
        state = ScopeState(scope, TradingState.HALTED, "enough", "ops", 1)
        with account.batch(RULES, sender=FENCE) as batch:
            [order_id] = batch.state.orders
            if sent:
                intend_replacements(batch, [order_id])
            change = set_trading_state(batch, state, "", cancel_open_orders=False)
            assert (batch.state.orders[order_id].replacement is not None) is sent
        assert change.in_flight == ([order_id] if sent else [])


def test_the_limits_see_the_larger_of_both_terms() -> None:
    account = acknowledged()
    ask(account, 1, 1_000)  # asked to be for 10, and may still be for 50
    with account.batch(RULES, sender=FENCE) as batch:
        assert batch.exposure.of_symbol(STOCK.symbol).working_buy == 50


def test_one_request_at_a_time_a_signal_in_between_adds() -> None:
    account = Ledgered()
    ask(account, 0, 5_000)
    venue = Venue(account, Random(1))
    with account.batch(RULES, sender=FENCE) as batch:
        intend(batch, [venue.order.order_id])
    venue.tell(report(venue.order, ExecType.NEW, "n-1"))
    ask(account, 1, 8_000)
    ask(account, 2, 9_000)
    added = [each for each in account.orders.values() if each.signal_id == "s-2"]
    assert [each.order_qty for each in added] == [10]


def test_a_sell_is_replaced_like_a_buy() -> None:
    account = Ledgered()
    with account.batch(RULES, sender=FENCE) as batch:
        batch.can_replace_at = frozenset({"paper"})
        wish = signal(-5_000, signal_id="s-1", side=Side.SELL)
        order = decide_signal(batch, wish, ALLOWED).order
        assert order is not None
        intend(batch, [order.order_id])
        told = report(order, ExecType.NEW, "n-1")
        book_report(batch, "paper", told, batch.state.orders[order.order_id])
        larger = signal(-8_000, signal_id="s-2", side=Side.SELL)
        terms = decide_signal(batch, larger, ALLOWED).replacement
    assert terms is not None
    assert terms.order_qty == 80


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            lambda doc: doc["decision"]["replacement"].update(order_id="o-other"),
            "order o-other is not one that this signal may replace",
        ),
        (
            lambda doc: doc["decision"]["signal"].update(side="SELL"),
            "is not one that this signal may replace",
        ),
    ],
)
def test_new_terms_for_an_order_that_is_not_the_signals_are_found(
    change: Callable[[dict[str, Any]], object], found: str
) -> None:
    account = acknowledged()
    ask(account, 1, 8_000)
    walk = Verification("main", book)
    for entry in account.journal:
        payload = orjson.loads(entry.payload)
        if (payload.get("decision") or {}).get("replacement"):
            change(payload)
            walk.take(replace(entry, payload=canonical(payload)))
        else:
            walk.take(entry)
    assert any(found in str(each) for each in walk.findings.faults)
