"""Messages of the contract from what people write: JSON forms, keyword arguments, and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message

from trade_engine.v1 import control_service_pb2, market_data_service_pb2, signal_pb2

M = TypeVar("M", bound=Message)

SignalLike = signal_pb2.Signal | Mapping[str, Any]
"""A signal, or its JSON form: {"strategy_id": …, "symbol": …}, or {"signal": {…}}."""
QuoteLike = market_data_service_pb2.Quote | Mapping[str, Any]
"""A quote, or its JSON form; without a quote_time it is of now."""
ScopeLike = control_service_pb2.Scope | Mapping[str, Any]
"""A scope, or its JSON form: {"global": True}, {"account_id": …}, {"strategy_id": …}, …."""

BATCH = 100
"""Signals or quotes in one message of a stream: far below its 64 KiB, whatever they hold."""


def signal_of(given: SignalLike | None, fields: Mapping[str, Any]) -> signal_pb2.Signal:
    """Make a signal of a message or its JSON form, with `fields` replacing what is in it.

    Raises:
        ValueError: a field has another name or kind than the contract's.
    """
    signal = signal_pb2.Signal()
    if isinstance(given, signal_pb2.Signal):
        signal.CopyFrom(given)
    elif given is not None:
        wrapped = given.get("signal")
        _parse(wrapped if isinstance(wrapped, Mapping) else given, signal, "signal")
    for name in fields:
        if name in signal.DESCRIPTOR.fields_by_name:
            signal.ClearField(name)  # type: ignore[arg-type]  # a name of the descriptor's
    _parse(fields, signal, "signal")
    return signal


def with_id(signal: signal_pb2.Signal, new_id: Callable[[], str]) -> signal_pb2.Signal:
    """Give a signal an id if it has none: the same one is then sent again on every retry."""
    if not signal.signal_id:
        signal.signal_id = new_id()
    return signal


def quote_of(given: QuoteLike, now_ns: int) -> market_data_service_pb2.Quote:
    """Make a quote of a message or its JSON form; one without a time is of now.

    Raises:
        ValueError: a field has another name or kind than the contract's.
    """
    quote = market_data_service_pb2.Quote()
    if isinstance(given, Mapping):
        _parse(given, quote, "quote")
    else:
        quote.CopyFrom(given)
    if not quote.HasField("quote_time"):
        quote.quote_time.FromNanoseconds(now_ns)
    return quote


def scope_of(given: ScopeLike) -> control_service_pb2.Scope:
    """Make a scope of a message or its JSON form.

    Raises:
        ValueError: it is no scope.
    """
    if isinstance(given, Mapping):
        return _parse(given, control_service_pb2.Scope(), "scope")
    return given


def batches(items: Iterable[M]) -> Iterator[list[M]]:
    """Cut into lists that fit into one message."""
    batch: list[M] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def to_json(message: Message) -> dict[str, Any]:
    """The proto3 JSON form, under the names of the .proto files, with what is 0, false or empty."""
    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def wall_clock_ns() -> int:
    """The time of day, nanoseconds since 1970."""
    return time.time_ns()


def _parse(given: Mapping[str, Any], message: M, kind: str) -> M:
    try:
        return ParseDict(dict(given), message)
    except ParseError as error:
        raise ValueError(f"not the JSON form of a {kind}: {error}") from error
