"""What the contract promises beyond what buf checks: its JSON form, its numbers, its words."""

import importlib
import pkgutil
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
)

import trade_engine.v1
from trade_engine.domain import decision, execution, order, signal, trading_state
from trade_engine.v1 import (
    control_service_pb2,
    decision_pb2,
    order_pb2,
    signal_pb2,
    signal_service_pb2,
)

SIGNAL_JSON = """
{"signal": {"signal_id": "s-1", "strategy_id": "momentum-v1", "symbol": "AAPL", "side": "BUY",
  "confidence": 0.82, "target_exposure": 15000, "time_horizon": "INTRADAY",
  "constraints": {"max_slippage_bps": 10, "max_notional": 20000}}}
"""

INTEGER_NAMES = ("sequence", "count", "_orders", "page_size", "code")
"""How the name of an integer ends: a place or a count, never money, a price or a quantity."""

BINARY_FLOATS = {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}
NO_INTEGERS = BINARY_FLOATS | {
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_ENUM,
    FieldDescriptor.TYPE_MESSAGE,
    FieldDescriptor.TYPE_STRING,
}

# (streamed in, streamed out), by service and method.
UNARY, IN, OUT, BOTH = (False, False), (True, False), (False, True), (True, True)
SERVICES = {
    "SignalService": {
        "SubmitSignal": UNARY,
        "SubmitSignals": BOTH,
        "EvaluateSignal": UNARY,
        "GetDecision": UNARY,
        "ListDecisions": UNARY,
        "GetOrder": UNARY,
        "ListOrders": UNARY,
        "CancelOrder": UNARY,
        "StreamOrderUpdates": OUT,
    },
    "ControlService": {
        "Halt": UNARY,
        "Resume": UNARY,
        "GetStatus": UNARY,
        "AcceptDifference": UNARY,
        "CancelAllOrders": UNARY,
        "FlattenPositions": UNARY,
        "GetLimits": UNARY,
        "UpdateLimits": UNARY,
        "ListPositions": UNARY,
    },
    "MarketDataService": {"PublishQuotes": IN, "GetQuotes": UNARY},
    "PortfolioService": {"GetPortfolio": UNARY},
}

SAME_WORDS: list[tuple[EnumDescriptor, str, type[StrEnum]]] = [
    (signal_pb2.Signal.Side.DESCRIPTOR, "", signal.Side),
    (signal_pb2.Signal.TimeHorizon.DESCRIPTOR, "", signal.TimeHorizon),
    (signal_pb2.Signal.ExposureUnit.DESCRIPTOR, "", signal.ExposureUnit),
    (order_pb2.OrderSide.DESCRIPTOR, "ORDER_SIDE_", signal.Side),
    (order_pb2.OrdType.DESCRIPTOR, "ORD_TYPE_", order.OrdType),
    (order_pb2.TimeInForce.DESCRIPTOR, "TIME_IN_FORCE_", order.TimeInForce),
    (order_pb2.OrdStatus.DESCRIPTOR, "ORD_STATUS_", order.OrdStatus),
    (order_pb2.DeliveryState.DESCRIPTOR, "DELIVERY_STATE_", order.DeliveryState),
    (order_pb2.ExecType.DESCRIPTOR, "EXEC_TYPE_", execution.ExecType),
    (decision_pb2.Outcome.DESCRIPTOR, "OUTCOME_", decision.Outcome),
    (
        control_service_pb2.TradingState.DESCRIPTOR,
        "TRADING_STATE_",
        trading_state.TradingState,
    ),
]


def contract_files() -> list[FileDescriptor]:
    """Every file of the contract, found by looking, so that a new one is held to it too."""
    names = [each.name for each in pkgutil.iter_modules(trade_engine.v1.__path__)]
    modules: list[Any] = [
        importlib.import_module(f"trade_engine.v1.{name}")
        for name in names
        if name.endswith("_pb2")
    ]
    return [module.DESCRIPTOR for module in modules]


def with_nested(message: Descriptor) -> Iterator[Descriptor]:
    yield message
    for nested in message.nested_types:
        yield from with_nested(nested)


def contract_fields() -> list[FieldDescriptor]:
    return [
        field
        for file in contract_files()
        for top in file.message_types_by_name.values()
        for message in with_nested(top)
        for field in message.fields
    ]


def test_the_json_signal_of_the_readme_is_read_as_it_stands() -> None:
    request = json_format.Parse(SIGNAL_JSON, signal_service_pb2.SubmitSignalRequest())

    assert request.signal == signal_pb2.Signal(
        signal_id="s-1",
        strategy_id="momentum-v1",
        symbol="AAPL",
        side=signal_pb2.Signal.BUY,
        confidence=0.82,
        target_exposure=15000,
        time_horizon=signal_pb2.Signal.INTRADAY,
        constraints=signal_pb2.SignalConstraints(max_slippage_bps=10, max_notional=20000),
    )


def test_a_signals_field_numbers_stay_while_strategies_hold_old_clients() -> None:
    assert {field.name: field.number for field in signal_pb2.Signal.DESCRIPTOR.fields} == {
        "strategy_id": 1,
        "symbol": 2,
        "side": 3,
        "confidence": 4,
        "target_exposure": 5,
        "time_horizon": 6,
        "constraints": 7,
        "signal_id": 8,
        "account_id": 9,
        "create_time": 10,
        "exposure_unit": 11,
    }


def test_a_number_given_as_zero_is_not_a_number_left_out() -> None:
    flat = json_format.Parse('{"target_exposure": 0, "confidence": 0}', signal_pb2.Signal())
    bare = signal_pb2.Signal()
    capped = json_format.Parse('{"max_notional": 0}', signal_pb2.SignalConstraints())

    for field in ("target_exposure", "confidence"):
        assert flat.HasField(field), field
        assert not bare.HasField(field), field
    assert capped.HasField("max_notional")
    assert not capped.HasField("max_slippage_bps")


def test_streaming_from_sequence_zero_is_not_asking_for_a_snapshot() -> None:
    from_start = json_format.Parse(
        '{"after_sequence": 0}', signal_service_pb2.StreamOrderUpdatesRequest()
    )

    assert from_start.HasField("after_sequence")
    assert not signal_service_pb2.StreamOrderUpdatesRequest().HasField("after_sequence")


def test_the_json_halt_of_everything_is_read_as_it_stands() -> None:
    request = json_format.Parse(
        '{"scope": {"global": true}, "reason": "drill"}', control_service_pb2.HaltRequest()
    )

    assert request.scope.WhichOneof("kind") == "global"
    assert request.mode == control_service_pb2.TRADING_STATE_UNSPECIFIED


def test_no_number_but_a_signals_is_a_binary_float() -> None:
    floats = {field.full_name for field in contract_fields() if field.type in BINARY_FLOATS}

    assert floats == {
        "trade_engine.v1.Signal.confidence",
        "trade_engine.v1.Signal.target_exposure",
        "trade_engine.v1.SignalConstraints.max_slippage_bps",
        "trade_engine.v1.SignalConstraints.max_notional",
    }


def test_an_integer_is_a_place_or_a_count() -> None:
    integers = [field for field in contract_fields() if field.type not in NO_INTEGERS]

    assert integers
    assert [each.full_name for each in integers if not each.name.endswith(INTEGER_NAMES)] == []


def test_the_services_and_what_they_stream() -> None:
    found = {
        name: {
            method.name: (method.client_streaming, method.server_streaming)
            for method in service.methods
        }
        for file in contract_files()
        for name, service in file.services_by_name.items()
    }

    assert found == SERVICES


@pytest.mark.parametrize(
    ("words", "prefix", "domain"), SAME_WORDS, ids=lambda each: getattr(each, "name", None)
)
def test_contract_and_domain_use_the_same_words(
    words: EnumDescriptor, prefix: str, domain: type[StrEnum]
) -> None:
    by_number = {value.number: value.name for value in words.values}
    absent = by_number.pop(0)

    assert absent.endswith("_UNSPECIFIED")
    assert set(by_number.values()) == {prefix + word for word in domain}
