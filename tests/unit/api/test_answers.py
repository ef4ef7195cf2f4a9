"""Domain values into messages."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest

from tests.support.memory_engine import START_NS, approved, filled, order_for
from trade_engine.api import answers
from trade_engine.domain.decision import Decision, Outcome, Reason
from trade_engine.domain.execution import ExecType
from trade_engine.domain.order import DeliveryState, OrdStatus, OrdType, TimeInForce
from trade_engine.domain.replacement import Terms
from trade_engine.domain.signal import ExposureUnit, Side, Signal, TimeHorizon
from trade_engine.domain.trading_state import TradingState
from trade_engine.v1 import control_service_pb2, decision_pb2, order_pb2, signal_pb2

SIGNAL = Signal(
    "s-1", "main", "m", "AAPL", Side.BUY, Decimal("0.8"), Decimal(15000), TimeHorizon.INTRADAY
)

WORDS: list[tuple[type[StrEnum], Any, str]] = [
    (Side, signal_pb2.Signal.Side, ""),
    (TimeHorizon, signal_pb2.Signal.TimeHorizon, ""),
    (ExposureUnit, signal_pb2.Signal.ExposureUnit, ""),
    (Outcome, decision_pb2.Outcome, "OUTCOME_"),
    (Side, order_pb2.OrderSide, "ORDER_SIDE_"),
    (OrdType, order_pb2.OrdType, "ORD_TYPE_"),
    (TimeInForce, order_pb2.TimeInForce, "TIME_IN_FORCE_"),
    (OrdStatus, order_pb2.OrdStatus, "ORD_STATUS_"),
    (DeliveryState, order_pb2.DeliveryState, "DELIVERY_STATE_"),
    (ExecType, order_pb2.ExecType, "EXEC_TYPE_"),
    (TradingState, control_service_pb2.TradingState, "TRADING_STATE_"),
]


@pytest.mark.parametrize(("ours", "theirs", "prefix"), WORDS)
def test_the_contract_has_exactly_our_words(ours: type[StrEnum], theirs: Any, prefix: str) -> None:
    names = {name.removeprefix(prefix) for name in theirs.keys()}  # noqa: SIM118  # no Mapping

    assert {name for name in names if not name.endswith("UNSPECIFIED")} == set(ours)


def test_a_rejection_has_its_reasons_and_no_order() -> None:
    decision = approved(SIGNAL, 4)
    decision.order = decision.sizing = None
    decision.outcome = Outcome.REJECTED
    decision.reasons = [Reason.ORDER_NOTIONAL_LIMIT, Reason.GROSS_EXPOSURE_LIMIT]
    decision.checks[0].passed = False
    decision.checks[0].reason = Reason.ORDER_NOTIONAL_LIMIT
    decision.checks[1].limit = decision.checks[1].observed = None

    message = answers.decision_message(decision)

    assert message.outcome == decision_pb2.OUTCOME_REJECTED
    assert message.reasons == ["ORDER_NOTIONAL_LIMIT", "GROSS_EXPOSURE_LIMIT"]
    assert message.order_id == ""
    assert not message.HasField("order")
    assert not message.HasField("sizing")
    assert [check.reason for check in message.checks] == ["ORDER_NOTIONAL_LIMIT"] + [""] * 7
    assert (message.checks[1].limit, message.checks[1].observed) == ("", "")
    assert [check.message for check in message.checks] == [
        check.message for check in decision.checks
    ]
    assert message.decide_time.ToNanoseconds() == START_NS


def test_every_field_of_a_decision_is_told() -> None:
    """A field that is added to the contract and forgotten here would stay empty."""
    decision = approved(SIGNAL, 4)
    decision.reasons = [Reason.AT_TARGET]
    for check in decision.checks:
        check.reason = Reason.AT_TARGET
    assert decision.sizing is not None
    decision.sizing.capped_by = "max_notional"
    decision.sizing.currency, decision.sizing.fx_rate = "EUR", Decimal("1.1")
    assert decision.order is not None
    filled(decision.order, "e-1")
    decision.order.broker_order_id, decision.order.text = "b-1", "words"
    decision.replacement = Terms("o-1", "o-1.r2", Decimal(2), Decimal(3), cancels=True)

    message = answers.decision_message(decision)

    for part in (message, message.checks[0], message.sizing, message.order, message.replacement):
        unset = {field.name for field in part.DESCRIPTOR.fields} - {
            field.name for field, _ in part.ListFields()
        }
        assert not unset, f"{part.DESCRIPTOR.name} lacks {unset}"


def test_an_order_without_a_price_or_a_later_change() -> None:
    order = order_for(SIGNAL, 3)
    order.price, order.updated_at_ns = None, 0

    message = answers.order_message(order)

    assert message.limit_price == ""
    assert message.update_time == message.create_time
    assert message.avg_px == "0"


def test_the_average_price_is_rounded_once() -> None:
    order = order_for(SIGNAL, 3)
    order.cum_qty, order.cum_value = Decimal(3), Decimal(10)

    assert answers.order_message(order).avg_px == "3.333333333333"


def test_a_decision_keeps_to_numbers_in_plain_notation() -> None:
    decision = Decision(SIGNAL, Outcome.APPROVED, START_NS, "v", "m")
    order = order_for(SIGNAL, 1)
    order.order_qty, order.price = Decimal("1E+6"), Decimal("0.00000010")
    decision.order = order

    told = answers.decision_message(decision).order

    assert (told.order_qty, told.limit_price) == ("1000000", "0.0000001")
