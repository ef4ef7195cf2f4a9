"""What holds of every order after any events in any order."""

from __future__ import annotations

import copy
from decimal import Decimal
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.orders import (
    ORDER_QTY,
    bust,
    correct,
    fill,
    make_order,
    make_report,
    sent_chain,
    surviving_qty,
)
from trade_engine.domain.execution import CancelReject, ExecType, ExecutionReport
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import CLOSED, Order, OrdStatus, TimeInForce
from trade_engine.execution.order_facts import RequestKind
from trade_engine.execution.order_state import (
    Execution,
    apply_cancel_reject,
    apply_report,
    chain_of,
    note_request,
    turn_day,
)
from trade_engine.execution.order_table import DAY_ENDED, ENDED, Event, may_become

PLAIN = [
    ExecType.NEW,
    ExecType.PENDING_NEW,
    ExecType.REJECTED,
    ExecType.CANCELED,
    ExecType.EXPIRED,
    ExecType.DONE_FOR_DAY,
    ExecType.CALCULATED,
    ExecType.STOPPED,
    ExecType.SUSPENDED,
    ExecType.RESTATED,
    ExecType.ORDER_STATUS,
]
REQUESTS = {
    ExecType.PENDING_CANCEL: RequestKind.CANCEL,
    ExecType.PENDING_REPLACE: RequestKind.REPLACE,
    ExecType.REPLACED: RequestKind.REPLACE,
    ExecType.CANCELED: RequestKind.CANCEL,
}
QUANTITIES = st.integers(1, 60)
PRICES = st.integers(-5, 30)


class OrderLife(RuleBasedStateMachine):
    """An order in its journal form between any two events, beside a plain record of its fills."""

    def __init__(self) -> None:
        super().__init__()
        self.order = make_order()
        self.executions: list[Execution] = []
        self.fills: dict[str, tuple[Decimal, Decimal]] = {}
        self.root_of: dict[str, str] = {}
        self.requests: dict[str, RequestKind] = {}
        self.ids = count()

    def apply(self, report: ExecutionReport) -> bool:
        before, status = copy.deepcopy(self.order), self.order.ord_status
        executions = copy.deepcopy(self.executions)
        applied = apply_report(self.order, report, 5, executions)
        if not applied.accepted:
            assert applied.why
            assert self.order == before
            return False
        if applied.amended is None and report.exec_type is ExecType.TRADE:
            assert applied.fill_delta is not None
            value = report.last_qty * (report.last_px or ZERO)
            executions.append(
                Execution(report.exec_id, report.last_qty, value, ids=[report.exec_id])
            )
        self.executions = executions
        event = chain_of(before).event_of(report)
        assert self.order.ord_status in may_become(status, event)
        self.order = Order.from_json(self.order.to_json())
        return True

    @rule(exec_type=st.sampled_from(PLAIN))
    def report(self, exec_type: ExecType) -> None:
        if self.apply(make_report(exec_type, f"e{next(self.ids)}")) and exec_type in (
            ExecType.CANCELED,
            ExecType.EXPIRED,
            ExecType.REJECTED,
        ):
            assert self.order.ord_status in (ENDED | {OrdStatus.FILLED})

    @rule(qty=QUANTITIES, px=PRICES)
    def trade(self, qty: int, px: int) -> None:
        exec_id = f"e{next(self.ids)}"
        assert self.apply(fill(exec_id, qty, px))  # whatever the state
        self.fills[exec_id] = (Decimal(qty), Decimal(px))
        self.root_of[exec_id] = exec_id

    @precondition(lambda self: self.fills)
    @rule(data=st.data(), qty=QUANTITIES, px=PRICES)
    def amend(self, data: st.DataObject, qty: int, px: int) -> None:
        ref = data.draw(st.sampled_from(sorted(self.root_of)))
        root, exec_id = self.root_of[ref], f"e{next(self.ids)}"
        busts = data.draw(st.booleans())
        report = bust(exec_id, ref) if busts else correct(exec_id, ref, qty, px)
        assert self.apply(report) == (root in self.fills)
        if root in self.fills:
            self.root_of[exec_id] = root
            self.fills[root] = (Decimal(qty), Decimal(px))
            if busts:
                del self.fills[root]

    @rule(kind=st.sampled_from(RequestKind), qty=QUANTITIES)
    def request(self, kind: RequestKind, qty: int) -> None:
        before, cl_ord_id = copy.deepcopy(self.order), f"R{next(self.ids)}"
        if note_request(self.order, kind, cl_ord_id, 5, Decimal(qty)).accepted:
            self.requests[cl_ord_id] = kind
            assert self.order.ord_status is before.ord_status
        else:
            assert self.order == before

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), exec_type=st.sampled_from(list(REQUESTS)))
    def answer(self, data: st.DataObject, exec_type: ExecType) -> None:
        fitting = [key for key, kind in self.requests.items() if kind is REQUESTS[exec_type]]
        if fitting:
            answered = data.draw(st.sampled_from(fitting))
            exec_id = f"e{next(self.ids)}"
            self.apply(make_report(exec_type, exec_id, cl_ord_id=answered, orig_cl_ord_id="X"))

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        refused = data.draw(st.sampled_from(sorted(self.requests)))
        before = copy.deepcopy(self.order)
        if not apply_cancel_reject(self.order, CancelReject(refused, 5, "X"), 5).accepted:
            assert self.order == before
        else:
            assert self.order.ord_status in may_become(before.ord_status, Event.CANCEL_REJECT)

    @rule()
    def turn_day(self) -> None:
        before = self.order.ord_status
        turn_day(self.order, 5)
        assert self.order.ord_status in may_become(before, Event.NEW_DAY)

    @invariant()
    def filled_is_what_survives(self) -> None:
        assert self.order.cum_qty == sum((qty for qty, _ in self.fills.values()), ZERO)
        assert self.order.cum_value == sum((qty * px for qty, px in self.fills.values()), ZERO)

    @invariant()
    def quantities_add_up(self) -> None:
        order = self.order
        assert order.leaves_qty in (ZERO, max(order.order_qty - order.cum_qty, ZERO))
        day_ended = chain_of(order).marks & DAY_ENDED  # perhaps hidden by a pending cancel
        active = order.ord_status not in CLOSED and not day_ended
        if active and order.cum_qty <= order.order_qty:
            assert order.order_qty == order.cum_qty + order.leaves_qty
        if order.ord_status in ENDED:
            assert order.leaves_qty == 0

    @invariant()
    def the_status_tells_the_truth(self) -> None:
        order = self.order
        assert order.ord_status not in (OrdStatus.REPLACED, OrdStatus.ACCEPTED_FOR_BIDDING)
        if order.ord_status is OrdStatus.FILLED:
            assert order.cum_qty >= order.order_qty
        if order.ord_status is OrdStatus.PARTIALLY_FILLED:
            assert 0 < order.cum_qty < order.order_qty
        if order.ord_status in (OrdStatus.NEW, OrdStatus.PENDING_NEW):
            assert order.cum_qty == 0

    @invariant()
    def the_journal_form_is_the_order(self) -> None:
        assert Order.from_json(self.order.to_json()) == self.order


class GtcOrderLife(OrderLife):
    """The same of an order that outlives its day."""

    def __init__(self) -> None:
        super().__init__()
        self.order = make_order(time_in_force=TimeInForce.GTC)

    @invariant()
    def done_for_the_day_keeps_what_is_left(self) -> None:
        order = self.order
        if order.ord_status is OrdStatus.DONE_FOR_DAY:
            assert order.leaves_qty == max(order.order_qty - order.cum_qty, ZERO)


TestOrderLife = OrderLife.TestCase
TestOrderLife.settings = settings(max_examples=80, stateful_step_count=30)
TestGtcOrderLife = GtcOrderLife.TestCase
TestGtcOrderLife.settings = settings(max_examples=60, stateful_step_count=30)


REPORTS = [
    fill("a", 30, 10),
    fill("b", 20, 11),
    fill("c", 10, 12),
    correct("a2", "a", 25, 9),
    correct("a3", "a2", 35, 8),
    bust("b2", "b"),
    correct("c2", "c", 15, 13),
    bust("c3", "c2"),
]


@given(st.permutations(REPORTS))
def test_the_order_of_arrival_does_not_matter(arrival: list[ExecutionReport]) -> None:
    """Busts and corrections give the same executions however they overtake each other."""
    chain = sent_chain()
    for report in arrival:
        assert chain.refusal(report) == ""
        chain.fold(report)
    assert chain.waiting == []
    assert chain.cum_qty == surviving_qty(chain) == 35
    assert chain.cum_value == 35 * 8
    assert chain.leaves_qty == ORDER_QTY - 35
    assert {each.exec_id: each.busted for each in chain.executions} == {
        "a": False,
        "b": True,
        "c": True,
    }


@given(st.lists(st.sampled_from([*PLAIN, ExecType.TRADE]), max_size=12))
def test_an_order_between_events_is_the_same_machine(exec_types: list[ExecType]) -> None:
    """Folding through the order's own fields and memory loses nothing against one long chain."""
    order, chain = make_order(), sent_chain()
    for number, exec_type in enumerate(exec_types):
        report = make_report(exec_type, f"e{number}")
        why = chain.refusal(report)
        applied = apply_report(order, report, 5)
        assert applied.why == why
        if not why:
            chain.fold(report)
        order = Order.from_json(order.to_json())
        assert order.ord_status is chain.ord_status
        assert (order.cum_qty, order.leaves_qty) == (chain.cum_qty, chain.leaves_qty)
