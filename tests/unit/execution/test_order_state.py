"""What the path to capital sees of the order machine: `Order` before and after each event."""

from __future__ import annotations

import copy
from decimal import Decimal

import pytest

from tests.support.orders import ORDER_QTY, bust, correct, fill, make_order, make_report
from trade_engine.domain.execution import (
    CancelReject,
    ExecRestatementReason,
    ExecType,
    ExecutionReport,
)
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import DeliveryState, Order, OrdStatus, TimeInForce
from trade_engine.execution.order_state import (
    Applied,
    Execution,
    FillDelta,
    RequestKind,
    apply_cancel_reject,
    apply_report,
    chain_of,
    note_request,
    turn_day,
)

NOW = 77


def after(order: Order, *reports: ExecutionReport) -> Applied:
    """Fold reports in, each of which must be accepted; answers with the last outcome."""
    applied = Applied(accepted=False)
    for report in reports:
        applied = apply_report(order, report, NOW)
        assert applied.accepted, applied.why
    return applied


def numbers(order: Order) -> tuple[OrdStatus, Decimal, Decimal]:
    return order.ord_status, order.cum_qty, order.leaves_qty


def execution(exec_id: str, qty: int, px: int, *, amended: str = "") -> Execution:
    ids = [exec_id, amended] if amended else [exec_id]
    return Execution(exec_id, Decimal(qty), Decimal(qty * px), ids=ids)


# ---- fills ----------------------------------------------------------------------------------


def test_fills_fold_into_quantities_value_and_average() -> None:
    order = make_order()
    applied = after(order, make_report(ExecType.NEW), fill("a", 40, 10), fill("b", 20, 13))
    assert applied == Applied(
        accepted=True, fill_delta=FillDelta(Decimal(20), Decimal(13), Decimal(0))
    )
    assert numbers(order) == (OrdStatus.PARTIALLY_FILLED, 60, 40)
    assert order.cum_value == 660
    assert order.avg_px == 11
    assert order.updated_at_ns == NOW


def test_the_commission_goes_to_the_ledger_with_the_fill() -> None:
    report = fill("a", 40)
    report.commission = Decimal("-0.05")  # a rebate
    applied = after(make_order(), report)
    assert applied.fill_delta == FillDelta(Decimal(40), Decimal(10), Decimal("-0.05"))


def test_a_fill_may_be_at_zero_or_below() -> None:
    applied = after(make_order(), fill("a", 1, 0), fill("b", 1, -37))
    assert applied.fill_delta == FillDelta(Decimal(1), Decimal(-37), Decimal(0))


@pytest.mark.parametrize("exec_type", [ExecType.CANCELED, ExecType.EXPIRED, ExecType.REJECTED])
def test_a_late_fill_is_booked_and_flagged(exec_type: ExecType) -> None:
    order = make_order()
    after(order, make_report(exec_type))
    status = order.ord_status
    applied = after(order, fill("late", 30))
    assert applied.late_fill
    assert not applied.overfill
    assert applied.fill_delta == FillDelta(Decimal(30), Decimal(10), Decimal(0))
    assert numbers(order) == (status, 30, 0)


def test_a_late_fill_of_all_the_rest_fills_the_order() -> None:
    order = make_order()
    after(order, fill("a", 40), make_report(ExecType.CANCELED), fill("late", 60))
    assert numbers(order) == (OrdStatus.FILLED, 100, 0)


def test_an_overfill_is_booked_and_flagged() -> None:
    order = make_order()
    applied = after(order, fill("a", 90), fill("b", 15))
    assert applied.overfill
    assert not applied.late_fill  # the order could still fill when it came
    assert applied.fill_delta == FillDelta(Decimal(15), Decimal(10), Decimal(0))
    assert numbers(order) == (OrdStatus.FILLED, 105, 0)
    applied = after(order, fill("c", 1))
    assert applied.overfill
    assert applied.late_fill


def test_fills_while_a_cancel_is_pending_do_not_hide_it() -> None:
    order = make_order()
    after(order, make_report(ExecType.NEW), make_report(ExecType.PENDING_CANCEL), fill("a", 100))
    assert numbers(order) == (OrdStatus.PENDING_CANCEL, 100, 0)


def test_a_fill_that_overtakes_the_acknowledgment() -> None:
    order = make_order()
    after(order, fill("a", 40), make_report(ExecType.NEW, broker_order_id="b-1"))
    assert numbers(order) == (OrdStatus.PARTIALLY_FILLED, 40, 60)
    assert order.broker_order_id == "b-1"


@pytest.mark.parametrize(
    "report",
    [
        fill("a", 0),
        fill("a", -5),
        make_report(ExecType.TRADE, "a", last_px=None),
    ],
)
def test_a_fill_without_its_numbers_is_refused(report: ExecutionReport) -> None:
    order = make_order()
    before = copy.deepcopy(order)
    applied = apply_report(order, report, NOW)
    assert applied == Applied(
        accepted=False, why="a TRADE must state a LastQty above 0 and a LastPx"
    )
    assert order == before


def test_a_report_that_cannot_come_changes_nothing_and_says_why() -> None:
    order = make_order()
    after(order, fill("a", 100))
    before = copy.deepcopy(order)
    report = make_report(ExecType.SUSPENDED, broker_order_id="other", text="words")
    applied = apply_report(order, report, NOW + 1)
    assert applied == Applied(accepted=False, why="SUSPENDED cannot come while the order is FILLED")
    assert order == before


def test_what_is_filled_cannot_be_rejected() -> None:
    order = make_order()
    after(order, fill("a", 40), make_report(ExecType.PENDING_CANCEL))
    applied = apply_report(order, make_report(ExecType.REJECTED), NOW)
    assert applied.why == "REJECTED cannot come with 40 filled: it can only be canceled"
    assert numbers(order) == (OrdStatus.PENDING_CANCEL, 40, 60)


# ---- delivery, names and words --------------------------------------------------------------


@pytest.mark.parametrize("exec_type", [ExecType.NEW, ExecType.REJECTED, ExecType.ORDER_STATUS])
def test_any_report_proves_that_the_order_arrived(exec_type: ExecType) -> None:
    order = make_order(delivery=DeliveryState.IN_DOUBT)
    after(order, make_report(exec_type))
    assert order.delivery is DeliveryState.SENT


def test_names_and_words_are_kept_until_new_ones_come() -> None:
    order = make_order()
    after(order, make_report(ExecType.NEW, broker_order_id="b-1", text="hello"))
    after(order, fill("a", 1))
    assert (order.broker_order_id, order.text) == ("b-1", "hello")


def test_an_ordinary_order_needs_no_memory() -> None:
    order = make_order()
    after(order, make_report(ExecType.NEW), fill("a", 40), make_report(ExecType.PENDING_CANCEL))
    after(order, fill("b", 10), make_report(ExecType.CANCELED), fill("c", 20))
    assert order.chain == {}


# ---- cancels --------------------------------------------------------------------------------


def test_a_cancel_request_shows_only_once_the_broker_took_it_up() -> None:
    order = make_order()
    after(order, make_report(ExecType.NEW))
    assert note_request(order, RequestKind.CANCEL, "Y", NOW).accepted
    assert order.cancel_requested
    after(order, fill("a", 30))
    assert numbers(order) == (OrdStatus.PARTIALLY_FILLED, 30, 70)
    after(order, make_report(ExecType.PENDING_CANCEL, cl_ord_id="Y", orig_cl_ord_id="X"))
    assert numbers(order) == (OrdStatus.PENDING_CANCEL, 30, 70)
    after(order, make_report(ExecType.CANCELED, cl_ord_id="Y", orig_cl_ord_id="X"))
    assert numbers(order) == (OrdStatus.CANCELED, 30, 0)


def test_a_refused_cancel_leaves_the_order_as_it_was() -> None:
    order = make_order()
    after(order, make_report(ExecType.NEW), make_report(ExecType.SUSPENDED))
    before = copy.deepcopy(order)
    note_request(order, RequestKind.CANCEL, "Y", NOW)
    after(order, make_report(ExecType.PENDING_CANCEL, cl_ord_id="Y", orig_cl_ord_id="X"))
    assert order.ord_status is OrdStatus.PENDING_CANCEL
    reject = CancelReject("Y", 3, "X", text="too late")
    assert apply_cancel_reject(order, reject, NOW).accepted
    assert numbers(order) == numbers(before)
    assert not order.cancel_requested
    assert order.text == "too late"


def test_a_cancel_that_the_engine_made_visible_by_itself_can_be_refused() -> None:
    order = make_order(delivery=DeliveryState.SENT)
    after(order, make_report(ExecType.NEW), fill("a", 40))
    order.ord_status, order.cancel_requested = OrdStatus.PENDING_CANCEL, True
    assert apply_cancel_reject(order, CancelReject("X", 3), NOW).accepted
    assert numbers(order) == (OrdStatus.PARTIALLY_FILLED, 40, 60)
    assert order.chain == {}


def test_a_broker_that_does_not_know_the_order_proves_nothing() -> None:
    order = make_order(delivery=DeliveryState.IN_DOUBT)
    order.ord_status, order.cancel_requested = OrdStatus.PENDING_CANCEL, True
    reject = CancelReject("X", 3, unknown_order=True)
    assert apply_cancel_reject(order, reject, NOW).accepted
    assert order.delivery is DeliveryState.IN_DOUBT
    assert numbers(order) == (OrdStatus.PENDING_NEW, 0, 100)


def test_a_broker_that_refuses_to_cancel_has_the_order() -> None:
    order = make_order(delivery=DeliveryState.IN_DOUBT)
    note_request(order, RequestKind.CANCEL, "Y", NOW)
    apply_cancel_reject(order, CancelReject("Y", 3, "X"), NOW)
    assert order.delivery is DeliveryState.SENT
    assert order.ord_status is OrdStatus.NEW


def test_a_refusal_of_a_request_that_is_not_open_changes_nothing() -> None:
    order = make_order()
    before = copy.deepcopy(order)
    applied = apply_cancel_reject(order, CancelReject("Z", 3), NOW)
    assert applied == Applied(accepted=False, why="no request Z of this order is open")
    assert order == before


def test_a_refusal_may_come_after_the_end() -> None:
    order = make_order()
    note_request(order, RequestKind.CANCEL, "Y", NOW)
    after(order, make_report(ExecType.EXPIRED))
    assert apply_cancel_reject(order, CancelReject("Y", 3, "X"), NOW).accepted
    assert numbers(order) == (OrdStatus.EXPIRED, 0, 0)


# ---- replaces -------------------------------------------------------------------------------


def test_a_replacement_takes_effect_only_when_it_is_confirmed() -> None:
    order = make_order()
    after(order, make_report(ExecType.NEW), fill("a", 40))
    note_request(order, RequestKind.REPLACE, "Y", NOW, Decimal(150), Decimal(11))
    after(order, make_report(ExecType.PENDING_REPLACE, cl_ord_id="Y", orig_cl_ord_id="X"))
    after(order, fill("b", 10))
    assert (order.order_qty, order.price) == (100, 10)
    assert numbers(order) == (OrdStatus.PENDING_REPLACE, 50, 50)
    after(order, make_report(ExecType.REPLACED, cl_ord_id="Y", orig_cl_ord_id="X"))
    assert (order.order_qty, order.price) == (150, 11)
    assert numbers(order) == (OrdStatus.PARTIALLY_FILLED, 50, 100)
    assert order.chain["cl_ord_id"] == "Y"


def test_the_broker_has_the_last_word_on_quantity_and_price() -> None:
    order = make_order()
    note_request(order, RequestKind.REPLACE, "Y", NOW, Decimal(150), Decimal(11))
    confirmed = make_report(
        ExecType.REPLACED,
        cl_ord_id="Y",
        orig_cl_ord_id="X",
        order_qty=Decimal(140),
        price=Decimal("10.5"),
    )
    after(order, confirmed)
    assert (order.order_qty, order.price) == (140, Decimal("10.5"))


def test_less_than_is_filled_stops_the_order_there() -> None:
    order = make_order()
    note_request(order, RequestKind.REPLACE, "Y", NOW, Decimal(30))
    after(order, fill("a", 40), make_report(ExecType.REPLACED, cl_ord_id="Y", orig_cl_ord_id="X"))
    assert order.order_qty == 40
    assert numbers(order) == (OrdStatus.FILLED, 40, 0)


def test_a_replacement_confirmed_settles_those_asked_for_before() -> None:
    order = make_order()
    after(order, make_report(ExecType.NEW))
    note_request(order, RequestKind.REPLACE, "Y", NOW, Decimal(150))
    note_request(order, RequestKind.REPLACE, "Z", NOW, Decimal(160))
    after(
        order,
        make_report(ExecType.PENDING_REPLACE, cl_ord_id="Y", orig_cl_ord_id="X"),
        make_report(ExecType.REPLACED, cl_ord_id="Z", orig_cl_ord_id="X"),
    )
    assert numbers(order) == (OrdStatus.NEW, 0, 160)


def test_a_broker_may_answer_under_the_order_s_own_id() -> None:
    order = make_order()
    note_request(order, RequestKind.REPLACE, "Y", NOW, Decimal(150))
    after(order, make_report(ExecType.PENDING_REPLACE), make_report(ExecType.REPLACED))
    assert numbers(order) == (OrdStatus.NEW, 0, 150)


@pytest.mark.parametrize("taken", [True, False])
def test_a_replace_that_was_said_to_be_pending_without_its_name_is_settled_with_it(
    *, taken: bool
) -> None:
    order, px = make_order(), Decimal(10)
    apply_report(order, make_report(ExecType.NEW), 3)
    note_request(order, RequestKind.REPLACE, "X.r5", 4, Decimal(120), px, "s-2")
    apply_report(order, make_report(ExecType.PENDING_REPLACE), 5)
    pending = order.ord_status
    if taken:
        report = make_report(ExecType.REPLACED, order_qty=Decimal(120), price=px)
        report.cl_ord_id, report.orig_cl_ord_id = "X.r5", "X"
        apply_report(order, report, 6)
    else:
        apply_cancel_reject(order, CancelReject("X.r5", 6, "X"), 6)
    assert (pending, order.ord_status) == (OrdStatus.PENDING_REPLACE, OrdStatus.NEW)
    assert order.working_qty == (120 if taken else 100)


def test_a_replacement_that_nobody_asked_for() -> None:
    order = make_order()
    after(order, make_report(ExecType.REPLACED, order_qty=Decimal(80)))
    assert numbers(order) == (OrdStatus.NEW, 0, 80)


def test_a_quantity_that_the_broker_works_to_early_goes_back_if_it_is_refused() -> None:
    order = make_order()
    after(order, make_report(ExecType.NEW))
    note_request(order, RequestKind.REPLACE, "Y", NOW, Decimal(80))
    note_request(order, RequestKind.REPLACE, "Z", NOW, Decimal(70))
    second = make_report(
        ExecType.PENDING_REPLACE, cl_ord_id="Z", orig_cl_ord_id="X", order_qty=Decimal(80)
    )
    after(order, second)
    assert order.order_qty == 80
    apply_cancel_reject(order, CancelReject("Y", 3, "X"), NOW)
    assert order.order_qty == 100


@pytest.mark.parametrize("cl_ord_id", ["Y", "Z"])
def test_a_pending_report_cannot_invent_a_quantity(cl_ord_id: str) -> None:
    order = make_order()
    note_request(order, RequestKind.REPLACE, "Y", NOW, Decimal(80))
    note_request(order, RequestKind.REPLACE, "Z", NOW, Decimal(70))
    report = make_report(
        ExecType.PENDING_REPLACE, cl_ord_id=cl_ord_id, orig_cl_ord_id="X", order_qty=Decimal(5)
    )
    after(order, report)
    assert order.order_qty == ORDER_QTY


@pytest.mark.parametrize(
    ("kind", "cl_ord_id", "why"),
    [
        (RequestKind.CANCEL, "X", "the ClOrdID X was used before"),
        (RequestKind.REPLACE, "Y", "REPLACE_REQUEST cannot come while the order is CANCELED"),
    ],
)
def test_requests_that_cannot_be_made(kind: RequestKind, cl_ord_id: str, why: str) -> None:
    order = make_order()
    after(order, make_report(ExecType.CANCELED))
    before = copy.deepcopy(order)
    assert note_request(order, kind, cl_ord_id, NOW) == Applied(accepted=False, why=why)
    assert order == before


def test_a_request_names_the_last_id_that_was_not_rejected() -> None:
    order = make_order()
    assert chain_of(order).orig_cl_ord_id == "X"
    after(order, make_report(ExecType.PENDING_CANCEL))  # by the broker's word alone: no id of ours
    assert chain_of(order).orig_cl_ord_id == "X"
    note_request(order, RequestKind.REPLACE, "Y", NOW, Decimal(150))
    assert chain_of(order).orig_cl_ord_id == "Y"
    apply_cancel_reject(order, CancelReject("Y", 3, "X"), NOW)
    assert chain_of(order).orig_cl_ord_id == "X"
    note_request(order, RequestKind.REPLACE, "Z", NOW, Decimal(150))
    after(order, make_report(ExecType.REPLACED, cl_ord_id="Z", orig_cl_ord_id="X"))
    assert chain_of(order).orig_cl_ord_id == "Z"


# ---- busts and corrections ------------------------------------------------------------------


def test_a_bust_takes_the_fill_away_and_opens_the_order_again() -> None:
    order = make_order()
    after(order, fill("a", 40), fill("b", 60, 20))
    booked = [execution("a", 40, 10), execution("b", 60, 20)]
    applied = apply_report(order, bust("x", "b"), NOW, booked)
    assert applied.amended is not None
    assert applied.amended.exec_id == "b"
    assert applied.amended.busted
    assert applied.amended.last_qty == ZERO
    assert numbers(order) == (OrdStatus.PARTIALLY_FILLED, 40, 60)
    assert order.cum_value == 400


def test_a_bust_of_everything_leaves_a_new_order() -> None:
    order = make_order()
    after(order, fill("a", 100))
    apply_report(order, bust("x", "a"), NOW, [execution("a", 100, 10)])
    assert numbers(order) == (OrdStatus.NEW, 0, 100)
    assert order.avg_px == 0


def test_a_bust_on_a_canceled_order_does_not_open_it() -> None:
    order = make_order()
    after(order, fill("a", 40), make_report(ExecType.CANCELED))
    apply_report(order, bust("x", "a"), NOW, [execution("a", 40, 10)])
    assert numbers(order) == (OrdStatus.CANCELED, 0, 0)


def test_a_correction_states_the_new_numbers() -> None:
    order = make_order()
    after(order, fill("a", 40))
    applied = apply_report(order, correct("x", "a", 30, 12), NOW, [execution("a", 40, 10)])
    assert applied.amended is not None
    assert (applied.amended.last_qty, applied.amended.last_px) == (30, 12)
    assert applied.amended.ids == ["a", "x"]
    assert order.cum_value == 360
    assert numbers(order) == (OrdStatus.PARTIALLY_FILLED, 30, 70)


def test_a_correction_leaves_alone_what_it_does_not_state() -> None:
    order = make_order()
    after(order, fill("a", 40))
    apply_report(order, correct("x", "a", 0, 12), NOW, [execution("a", 40, 10)])
    assert order.cum_value == 480
    apply_report(order, correct("y", "x", 20), NOW, [execution("a", 40, 12, amended="x")])
    assert order.cum_value == 240


def test_a_correction_may_overfill() -> None:
    order = make_order()
    after(order, fill("a", 90))
    applied = apply_report(order, correct("x", "a", 110), NOW, [execution("a", 90, 10)])
    assert applied.overfill


def test_an_amendment_waits_for_its_execution() -> None:
    order = make_order()
    applied = apply_report(order, correct("x", "a", 30, 12), NOW, [])
    assert applied == Applied(accepted=True, waiting=True)
    assert order.chain["waiting"]
    order = Order.from_json(order.to_json())
    applied = apply_report(order, fill("a", 40), NOW, [])
    assert applied.fill_delta == FillDelta(Decimal(30), Decimal(12), Decimal(0))
    assert applied.amended is not None
    assert numbers(order) == (OrdStatus.PARTIALLY_FILLED, 30, 70)
    assert order.chain == {}


def test_a_fill_that_was_busted_before_it_came_adds_nothing() -> None:
    order = make_order()
    apply_report(order, bust("x", "a"), NOW, [])
    applied = apply_report(order, fill("a", 40), NOW, [])
    assert applied.accepted
    assert applied.fill_delta is None
    assert applied.amended is not None
    assert applied.amended.busted
    assert numbers(order) == (OrdStatus.NEW, 0, 100)


def test_a_bust_stands_whatever_waits_beside_it() -> None:
    order = make_order()
    apply_report(order, bust("x", "a"), NOW, [])
    apply_report(order, correct("y", "a", 30), NOW, [])
    after_fill = apply_report(order, fill("a", 40), NOW, [])
    assert after_fill.amended is not None
    assert after_fill.amended.busted
    assert numbers(order) == (OrdStatus.NEW, 0, 100)


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (bust("x", ""), "a TRADE_CANCEL must name its execution in ExecRefID"),
        (bust("a", "a"), "the report a was folded in already"),
        (bust("x", "unlisted"), "TRADE_CANCEL needs the order's executions, which are not at hand"),
        (correct("y", "gone", 5), "the execution gone is busted: nothing can amend it any more"),
        (fill("a", 40), "the execution a is booked already"),
    ],
)
def test_amendments_that_cannot_be(report: ExecutionReport, why: str) -> None:
    order = make_order()
    after(order, fill("a", 40), fill("other", 10))
    before = copy.deepcopy(order)
    gone = Execution("gone", ZERO, ZERO, busted=True, ids=["gone"])
    applied = apply_report(order, report, NOW, [execution("a", 40, 10), gone])
    assert applied == Applied(accepted=False, why=why, repeats=report.exec_id == "a")
    assert order == before


def test_an_amendment_without_the_executions_at_hand_is_refused() -> None:
    order = make_order()
    after(order, fill("a", 40))
    before = copy.deepcopy(order)
    applied = apply_report(order, bust("x", "a"), NOW)
    assert "needs the order's executions" in applied.why
    assert order == before


# ---- days and restatements ------------------------------------------------------------------


def test_a_gtc_order_done_for_the_day_stands_again_the_next_day() -> None:
    order = make_order(time_in_force=TimeInForce.GTC)
    after(order, fill("a", 40), make_report(ExecType.DONE_FOR_DAY))
    assert numbers(order) == (OrdStatus.DONE_FOR_DAY, 40, 60)
    assert turn_day(order, NOW)
    assert numbers(order) == (OrdStatus.PARTIALLY_FILLED, 40, 60)
    assert not turn_day(order, NOW)


def test_a_day_order_done_for_the_day_does_not() -> None:
    order = make_order()
    after(order, fill("a", 40), make_report(ExecType.DONE_FOR_DAY))
    assert numbers(order) == (OrdStatus.DONE_FOR_DAY, 40, 0)
    assert not turn_day(order, NOW)


def test_a_split_scales_quantities_and_keeps_the_value() -> None:
    order = make_order(time_in_force=TimeInForce.GTC)
    after(order, fill("a", 40))
    split = make_report(
        ExecType.RESTATED,
        order_qty=Decimal(200),
        price=Decimal(5),
        exec_restatement_reason=ExecRestatementReason.GT_CORPORATE_ACTION,
    )
    after(order, split)
    assert numbers(order) == (OrdStatus.PARTIALLY_FILLED, 80, 120)
    assert (order.order_qty, order.price) == (200, 5)
    assert order.cum_value == 400
    assert order.avg_px == 5


def test_another_restatement_leaves_what_is_filled_alone() -> None:
    order = make_order()
    restated = make_report(
        ExecType.RESTATED,
        order_qty=Decimal(80),
        exec_restatement_reason=ExecRestatementReason.PARTIAL_DECLINE,
    )
    after(order, fill("a", 40), restated)
    assert numbers(order) == (OrdStatus.PARTIALLY_FILLED, 40, 40)


# ---- memory ---------------------------------------------------------------------------------


def test_a_hidden_state_survives_the_journal() -> None:
    order = make_order()
    after(order, make_report(ExecType.NEW), make_report(ExecType.STOPPED))
    note_request(order, RequestKind.CANCEL, "Y", NOW)
    note_request(order, RequestKind.REPLACE, "Z", NOW, Decimal(150), Decimal(11))
    after(order, make_report(ExecType.PENDING_CANCEL, cl_ord_id="Y", orig_cl_ord_id="X"))
    restored = Order.from_json(order.to_json())
    assert restored == order
    assert apply_cancel_reject(restored, CancelReject("Y", 3, "X"), NOW).accepted
    assert restored.ord_status is OrdStatus.STOPPED
    after(restored, make_report(ExecType.REPLACED, cl_ord_id="Z", orig_cl_ord_id="X"))
    assert (restored.order_qty, restored.price) == (150, 11)


def test_a_canceled_order_that_was_filled_up_is_canceled_again_after_a_bust() -> None:
    order = make_order()
    after(order, fill("a", 40), make_report(ExecType.CANCELED), fill("late", 60))
    restored = Order.from_json(order.to_json())
    booked = [execution("a", 40, 10), execution("late", 60, 10)]
    assert apply_report(restored, bust("x", "late"), NOW, booked).accepted
    assert numbers(restored) == (OrdStatus.CANCELED, 40, 0)


def filled_up_after_its_end() -> tuple[Order, list[Execution]]:
    order = make_order()
    after(order, fill("a", 40), make_report(ExecType.CANCELED), fill("late", 60))
    return order, [execution("a", 40, 10), execution("late", 60, 10)]


@pytest.mark.parametrize("end", [ExecType.CANCELED, ExecType.EXPIRED])
@pytest.mark.parametrize("amendment", [bust("x", "b"), correct("x", "b", 20)])
def test_an_end_that_comes_before_the_amendment_that_it_follows_holds_after_it(
    end: ExecType, amendment: ExecutionReport
) -> None:
    order = make_order()
    after(order, fill("a", 40), fill("b", 60), make_report(end))
    assert numbers(order) == (OrdStatus.FILLED, 100, 0)
    restored = Order.from_json(order.to_json())
    booked = [execution("a", 40, 10), execution("b", 60, 10)]
    assert apply_report(restored, amendment, NOW, booked).accepted
    cum_qty = 40 + amendment.last_qty
    assert numbers(restored) == (OrdStatus(end.value), cum_qty, 0)


@pytest.mark.parametrize("again", [ExecType.CANCELED, ExecType.EXPIRED])
def test_a_filled_order_ends_once(again: ExecType) -> None:
    order = make_order()
    after(order, fill("a", 100), make_report(ExecType.CANCELED))
    before = copy.deepcopy(order)
    applied = apply_report(order, make_report(again, "again"), NOW)
    assert applied.why == f"{again} cannot come after the order's end, though a fill hides that"
    assert applied.repeats == (again is ExecType.CANCELED)
    assert order == before


@pytest.mark.parametrize("exec_type", [ExecType.DONE_FOR_DAY, ExecType.CALCULATED])
def test_no_state_of_the_day_holds_on_an_order_that_ended(exec_type: ExecType) -> None:
    order, booked = filled_up_after_its_end()
    after(order, make_report(exec_type))
    apply_report(order, bust("x", "late"), NOW, booked)
    assert numbers(order) == (OrdStatus.CANCELED, 40, 0)


def test_an_order_filled_up_after_its_end_stands_again_when_it_is_enlarged() -> None:
    order, _ = filled_up_after_its_end()
    note_request(order, RequestKind.REPLACE, "Y", NOW, Decimal(150))
    after(order, make_report(ExecType.REPLACED, cl_ord_id="Y", orig_cl_ord_id="X"))
    assert numbers(order) == (OrdStatus.PARTIALLY_FILLED, 100, 50)


def test_a_copy_that_was_answered_with_the_order_s_state_is_not_rejected_later() -> None:
    chain = chain_of(make_order())
    chain.send("X")
    chain.fold(make_report(ExecType.ORDER_STATUS))
    chain.fold(make_report(ExecType.REJECTED))
    assert chain.ord_status is OrdStatus.REJECTED


def test_a_pending_state_set_or_settled_outside_is_heeded() -> None:
    order = make_order()
    after(order, make_report(ExecType.NEW), make_report(ExecType.SUSPENDED))
    note_request(order, RequestKind.REPLACE, "Y", NOW, Decimal(150))
    assert order.chain
    order.ord_status = OrdStatus.PENDING_CANCEL
    after(order, fill("a", 10))
    assert order.ord_status is OrdStatus.PENDING_CANCEL
    order.ord_status = OrdStatus.SUSPENDED
    after(order, fill("b", 10))
    assert order.ord_status is OrdStatus.SUSPENDED
