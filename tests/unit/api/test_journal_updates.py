"""What the journal says of orders, as messages: the same as of an order at hand."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.memory_engine import START_NS, approved, order_for
from tests.unit.api.test_answers import SIGNAL
from trade_engine.api.answers import order_message
from trade_engine.api.journal_updates import update_of
from trade_engine.audit.chain import canonical
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.order import DeliveryState, Order, OrdStatus, OrdType, TimeInForce
from trade_engine.domain.signal import Side
from trade_engine.v1 import order_pb2

KINDS = {
    EntryKind.DELIVERY: order_pb2.UPDATE_KIND_DELIVERY,
    EntryKind.CANCEL_REQUESTED: order_pb2.UPDATE_KIND_CANCEL_REQUESTED,
    EntryKind.CANCEL_REJECTED: order_pb2.UPDATE_KIND_CANCEL_REJECTED,
    EntryKind.REPLACE_REQUESTED: order_pb2.UPDATE_KIND_REPLACE_REQUESTED,
    EntryKind.REPLACE_REJECTED: order_pb2.UPDATE_KIND_REPLACE_REJECTED,
    EntryKind.EXECUTION: order_pb2.UPDATE_KIND_EXECUTION,
}

numbers = st.decimals(
    min_value=0, max_value=10**15, places=6, allow_nan=False, allow_infinity=False
)
orders = st.builds(
    Order,
    order_id=st.just("o-1"),
    account_id=st.just("main"),
    strategy_id=st.text(max_size=8),
    symbol=st.just("AAPL"),
    signal_id=st.text(max_size=8),
    side=st.sampled_from(Side),
    ord_type=st.sampled_from(OrdType),
    time_in_force=st.sampled_from(TimeInForce),
    order_qty=numbers,
    price=st.none() | numbers,
    broker=st.just("paper"),
    created_at_ns=st.integers(1, 2**62),
    ord_status=st.sampled_from(OrdStatus),
    delivery=st.sampled_from(DeliveryState),
    cum_qty=st.just(Decimal(0)) | numbers,
    leaves_qty=numbers,
    cum_value=numbers,
    broker_order_id=st.text(max_size=8),
    text=st.text(max_size=20),
    updated_at_ns=st.just(0) | st.integers(1, 2**62),
    last_sequence=st.integers(0, 2**62),
)


def entry(kind: EntryKind, payload: object) -> JournalEntry:
    return JournalEntry("main", 9, START_NS + 1, kind, canonical(payload), b"", b"")


@given(order=orders, kind=st.sampled_from(list(KINDS)))
def test_an_order_is_told_as_one_at_hand_is(order: Order, kind: EntryKind) -> None:
    update = update_of(entry(kind, {"order": order.to_json()}))

    assert update is not None
    assert update == order_pb2.OrderUpdate(
        sequence=9, event_time=update.event_time, order=order_message(order), kind=KINDS[kind]
    )
    assert update.event_time.ToNanoseconds() == START_NS + 1


def test_an_approval_tells_the_order_of_its_decision() -> None:
    decision = approved(SIGNAL, 9)

    update = update_of(entry(EntryKind.DECISION, {"decision": decision.to_json()}))

    assert update is not None
    assert update.kind == order_pb2.UPDATE_KIND_APPROVED
    assert decision.order is not None
    assert update.order == order_message(decision.order)


def test_a_refusal_is_no_update() -> None:
    decision = approved(SIGNAL, 9)
    decision.order = None

    assert update_of(entry(EntryKind.DECISION, {"decision": decision.to_json()})) is None


@pytest.mark.parametrize("kind", list(ExecType))
def test_only_a_fill_has_a_quantity_a_price_and_a_commission(kind: ExecType) -> None:
    order = order_for(SIGNAL, 3)
    report = ExecutionReport(
        order.cl_ord_id,
        "e-1",
        kind,
        START_NS,
        last_qty=Decimal(5),
        last_px=Decimal("1.50"),
        exec_ref_id="e-0",
        text="words",
    )

    payload = {"order": order.to_json(), "report": report.to_json()}
    update = update_of(entry(EntryKind.EXECUTION, payload))

    assert update is not None
    told = update.execution_report
    figures = (told.last_qty, told.last_px, told.commission)
    is_fill = kind in (ExecType.TRADE, ExecType.TRADE_CORRECT, ExecType.TRADE_CANCEL)
    assert figures == (("5", "1.5", "0") if is_fill else ("", "", ""))
    assert order_pb2.ExecType.Name(told.exec_type) == f"EXEC_TYPE_{kind}"
    assert (told.exec_id, told.exec_ref_id, told.text) == ("e-1", "e-0", "words")
    assert told.transact_time.ToNanoseconds() == START_NS
