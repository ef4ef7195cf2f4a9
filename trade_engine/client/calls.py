"""The calls that have one answer: what each sends and what it makes of the answer.

Every one of them may be sent again: reading changes nothing, and what changes something carries an
id that makes the second time harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from trade_engine.client.messages import ScopeLike, batches, scope_of
from trade_engine.client.results import Submitted
from trade_engine.v1 import (
    control_service_pb2,
    control_service_pb2_grpc,
    decision_pb2,
    market_data_service_pb2,
    market_data_service_pb2_grpc,
    order_pb2,
    portfolio_pb2,
    signal_pb2,
    signal_service_pb2,
    signal_service_pb2_grpc,
)

T = TypeVar("T")

CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    # A dead connection is noticed within half a minute, also by a stream that only listens.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # By default grpc waits up to two minutes before it tries again; an engine restarts in seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # grpc's own retries would hide failures from ours.
    ("grpc.enable_retries", 0),
]


class Stubs:
    """The services of the contract on one channel, synchronous or not."""

    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None:
        self.signals: Any = signal_service_pb2_grpc.SignalServiceStub(channel)
        self.control: Any = control_service_pb2_grpc.ControlServiceStub(channel)
        self.quotes: Any = market_data_service_pb2_grpc.MarketDataServiceStub(channel)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call: which RPC, with which request (or stream of them), and what the answer means."""

    rpc: Callable[[Stubs], Any]
    request: Message | Sequence[Message]
    read: Callable[[Any], T]

    def argument(self) -> Message | Iterator[Message]:
        """What the stub takes; to be asked for anew at every attempt."""
        return self.request if isinstance(self.request, Message) else iter(self.request)


@dataclass(frozen=True, slots=True)
class Pages(Generic[T]):
    """A list that comes in pages: `request` is sent again with each next_page_token."""

    rpc: Callable[[Stubs], Any]
    request: Any
    items: Callable[[Any], Sequence[T]]

    def page(self, token: str) -> Call[tuple[Sequence[T], str]]:
        """The call for the page with this token; "" is the first."""
        request = type(self.request)()
        request.CopyFrom(self.request)
        request.page_token = token
        return Call(self.rpc, request, lambda answer: (self.items(answer), answer.next_page_token))


def submit(signal: signal_pb2.Signal) -> Call[Submitted]:
    """SubmitSignal."""
    return Call(
        lambda stubs: stubs.signals.SubmitSignal,
        signal_service_pb2.SubmitSignalRequest(signal=signal),
        lambda answer: Submitted(signal.signal_id, answer.decision, answer.replayed),
    )


def evaluate(signal: signal_pb2.Signal) -> Call[decision_pb2.Decision]:
    """EvaluateSignal."""
    return Call(
        lambda stubs: stubs.signals.EvaluateSignal,
        signal_service_pb2.EvaluateSignalRequest(signal=signal),
        lambda answer: answer.decision,
    )


def get_decision(account_id: str, signal_id: str) -> Call[decision_pb2.Decision]:
    """GetDecision."""
    return Call(
        lambda stubs: stubs.signals.GetDecision,
        signal_service_pb2.GetDecisionRequest(account_id=account_id, signal_id=signal_id),
        lambda answer: answer.decision,
    )


def list_decisions(
    account_id: str,
    strategy_id: str,
    symbol: str,
    outcome: decision_pb2.Outcome.ValueType,
    page_size: int,
) -> Pages[decision_pb2.Decision]:
    """ListDecisions."""
    return Pages(
        lambda stubs: stubs.signals.ListDecisions,
        signal_service_pb2.ListDecisionsRequest(
            account_id=account_id,
            strategy_id=strategy_id,
            symbol=symbol,
            outcome=outcome,
            page_size=page_size,
        ),
        lambda answer: answer.decisions,
    )


def get_order(account_id: str, order_id: str) -> Call[order_pb2.Order]:
    """GetOrder."""
    return Call(
        lambda stubs: stubs.signals.GetOrder,
        signal_service_pb2.GetOrderRequest(account_id=account_id, order_id=order_id),
        lambda answer: answer.order,
    )


def list_orders(
    account_id: str, strategy_id: str, symbol: str, *, open_only: bool, page_size: int
) -> Pages[order_pb2.Order]:
    """ListOrders."""
    return Pages(
        lambda stubs: stubs.signals.ListOrders,
        signal_service_pb2.ListOrdersRequest(
            account_id=account_id,
            strategy_id=strategy_id,
            symbol=symbol,
            open_only=open_only,
            page_size=page_size,
        ),
        lambda answer: answer.orders,
    )


def cancel_order(
    account_id: str, order_id: str, reason: str, request_id: str
) -> Call[order_pb2.Order]:
    """CancelOrder."""
    return Call(
        lambda stubs: stubs.signals.CancelOrder,
        signal_service_pb2.CancelOrderRequest(
            account_id=account_id, order_id=order_id, reason=reason, request_id=request_id
        ),
        lambda answer: answer.order,
    )


def publish_quotes(
    quotes: Iterable[market_data_service_pb2.Quote],
) -> Call[market_data_service_pb2.PublishQuotesResponse]:
    """PublishQuotes, as a stream of as many messages as it takes."""
    return Call(
        lambda stubs: stubs.quotes.PublishQuotes,
        [market_data_service_pb2.PublishQuotesRequest(quotes=some) for some in batches(quotes)],
        lambda answer: answer,
    )


def get_quotes(symbols: Iterable[str]) -> Call[market_data_service_pb2.GetQuotesResponse]:
    """GetQuotes."""
    return Call(
        lambda stubs: stubs.quotes.GetQuotes,
        market_data_service_pb2.GetQuotesRequest(symbols=list(symbols)),
        lambda answer: answer,
    )


def list_positions(
    account_id: str, strategy_id: str, symbol: str, page_size: int
) -> Pages[portfolio_pb2.Position]:
    """ListPositions."""
    return Pages(
        lambda stubs: stubs.control.ListPositions,
        control_service_pb2.ListPositionsRequest(
            account_id=account_id, strategy_id=strategy_id, symbol=symbol, page_size=page_size
        ),
        lambda answer: answer.positions,
    )


def halt(
    scope: ScopeLike,
    reason: str,
    mode: control_service_pb2.TradingState.ValueType,
    *,
    cancel_open_orders: bool,
    request_id: str,
) -> Call[control_service_pb2.HaltResponse]:
    """Halt."""
    return Call(
        lambda stubs: stubs.control.Halt,
        control_service_pb2.HaltRequest(
            scope=scope_of(scope),
            reason=reason,
            mode=mode,
            cancel_open_orders=cancel_open_orders,
            request_id=request_id,
        ),
        lambda answer: answer,
    )


def resume(
    scope: ScopeLike, reason: str, *, override: bool, request_id: str
) -> Call[control_service_pb2.ResumeResponse]:
    """Resume."""
    return Call(
        lambda stubs: stubs.control.Resume,
        control_service_pb2.ResumeRequest(
            scope=scope_of(scope), reason=reason, override=override, request_id=request_id
        ),
        lambda answer: answer,
    )


def cancel_all_orders(
    scope: ScopeLike, reason: str, *, request_id: str
) -> Call[control_service_pb2.CancelAllOrdersResponse]:
    """CancelAllOrders."""
    return Call(
        lambda stubs: stubs.control.CancelAllOrders,
        control_service_pb2.CancelAllOrdersRequest(
            scope=scope_of(scope), reason=reason, request_id=request_id
        ),
        lambda answer: answer,
    )


def flatten_positions(
    scope: ScopeLike, reason: str, *, request_id: str
) -> Call[control_service_pb2.FlattenPositionsResponse]:
    """FlattenPositions."""
    return Call(
        lambda stubs: stubs.control.FlattenPositions,
        control_service_pb2.FlattenPositionsRequest(
            scope=scope_of(scope), reason=reason, request_id=request_id
        ),
        lambda answer: answer,
    )


def accept_difference(
    account_id: str, difference_id: str, reason: str, *, request_id: str
) -> Call[control_service_pb2.Difference]:
    """AcceptDifference."""
    return Call(
        lambda stubs: stubs.control.AcceptDifference,
        control_service_pb2.AcceptDifferenceRequest(
            account_id=account_id,
            difference_id=difference_id,
            reason=reason,
            request_id=request_id,
        ),
        lambda answer: answer.difference,
    )


def limits(account_id: str) -> Call[control_service_pb2.GetLimitsResponse]:
    """GetLimits."""
    return Call(
        lambda stubs: stubs.control.GetLimits,
        control_service_pb2.GetLimitsRequest(account_id=account_id),
        lambda answer: answer,
    )


def update_limits(
    request: control_service_pb2.UpdateLimitsRequest,
) -> Call[control_service_pb2.UpdateLimitsResponse]:
    """UpdateLimits."""
    return Call(lambda stubs: stubs.control.UpdateLimits, request, lambda answer: answer)


def status(account_id: str) -> Call[control_service_pb2.GetStatusResponse]:
    """GetStatus."""
    return Call(
        lambda stubs: stubs.control.GetStatus,
        control_service_pb2.GetStatusRequest(account_id=account_id),
        lambda answer: answer,
    )
