"""The engine's errors as gRPC statuses, in the form that the contract promises.

Each carries a google.rpc.ErrorInfo; BadRequest where fields are at fault; RetryInfo where waiting
helps. A driver's words never get here: they were turned into ours where they were caught.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from trade_engine.domain.errors import (
    CancelsThrottled,
    EngineError,
    GateClosed,
    InvalidField,
    InvalidFields,
    NotFound,
    OrderNotOpen,
    QueueFull,
    ShuttingDown,
    SignalIdConflict,
    StoreUnavailable,
    SubscriberLagged,
)
from trade_engine.execution.commands import (
    DifferenceNotAcceptable,
    EtagMismatch,
    HaltCauseStands,
    RequestIdConflict,
    ScopeHalted,
)
from trade_engine.v1 import signal_service_pb2

DOMAIN = "trade-engine"
MESSAGE_CHARS_MAX = 1000
"""A status travels in HTTP/2 trailers, of which clients take 8 KiB by default."""
SHOWN_CHARS_MAX = 80


class SequenceAhead(EngineError):
    """The stream is to resume after a sequence that this journal never had."""

    reason = "SEQUENCE_AHEAD"

    def __init__(self, after_sequence: int, head_sequence: int) -> None:
        super().__init__(
            f"after_sequence {after_sequence} is ahead of the journal, whose head is "
            f"{head_sequence}. Begin again without after_sequence.",
            after_sequence=str(after_sequence),
            head_sequence=str(head_sequence),
        )


class MalformedMessage(EngineError):
    """The bytes that came are not the message that this call takes."""

    reason = "MALFORMED_MESSAGE"

    def __init__(self, rpc: str) -> None:
        super().__init__(
            f"the request of {rpc} cannot be parsed. Send the protobuf message of the contract.",
            rpc=rpc,
        )


class Internal(EngineError):
    """The engine has a fault of its own; the incident's id is in its log, with the cause."""

    reason = "INTERNAL"

    def __init__(self, incident_id: str) -> None:
        super().__init__(
            f"internal error; the engine's log has the cause under incident {incident_id}. "
            "The outcome is unknown: retry with the same id.",
            incident_id=incident_id,
        )


@dataclass(frozen=True, slots=True)
class Treatment:
    """How an error looks from outside; retry_ms is 0 where waiting does not help."""

    code: grpc.StatusCode
    retry_ms: int = 0


_TREATMENTS: dict[type[EngineError], Treatment] = {
    InvalidField: Treatment(grpc.StatusCode.INVALID_ARGUMENT),
    InvalidFields: Treatment(grpc.StatusCode.INVALID_ARGUMENT),
    MalformedMessage: Treatment(grpc.StatusCode.INVALID_ARGUMENT),
    NotFound: Treatment(grpc.StatusCode.NOT_FOUND),
    SignalIdConflict: Treatment(grpc.StatusCode.ALREADY_EXISTS),
    RequestIdConflict: Treatment(grpc.StatusCode.ALREADY_EXISTS),
    EtagMismatch: Treatment(grpc.StatusCode.ABORTED),
    OrderNotOpen: Treatment(grpc.StatusCode.FAILED_PRECONDITION),
    ScopeHalted: Treatment(grpc.StatusCode.FAILED_PRECONDITION),
    HaltCauseStands: Treatment(grpc.StatusCode.FAILED_PRECONDITION),
    DifferenceNotAcceptable: Treatment(grpc.StatusCode.FAILED_PRECONDITION),
    SequenceAhead: Treatment(grpc.StatusCode.OUT_OF_RANGE),
    SubscriberLagged: Treatment(grpc.StatusCode.RESOURCE_EXHAUSTED),
    QueueFull: Treatment(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_ms=50),
    CancelsThrottled: Treatment(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_ms=100),
    GateClosed: Treatment(grpc.StatusCode.UNAVAILABLE, retry_ms=250),
    StoreUnavailable: Treatment(grpc.StatusCode.UNAVAILABLE, retry_ms=1000),
    ShuttingDown: Treatment(grpc.StatusCode.UNAVAILABLE, retry_ms=500),
}
_OTHERWISE = Treatment(grpc.StatusCode.INTERNAL)
_FIELDS_REASON = "INVALID_ARGUMENT_FIELDS"


def treatment_of(error: EngineError) -> Treatment:
    """Find how an error is told, by its class or the nearest one above it."""
    for kind in type(error).__mro__:
        if kind in _TREATMENTS:
            return _TREATMENTS[kind]
    return _OTHERWISE


def status_of(error: EngineError) -> Status:
    """Tell an error as the status that ends a call."""
    how = treatment_of(error)
    faults = _faults_of(error)
    details = [_packed(ErrorInfo(reason=_reason(error), domain=DOMAIN, metadata=_metadata(error)))]
    if faults:
        violations = [
            BadRequest.FieldViolation(field=fault.field, description=_description(fault))
            for fault in faults
        ]
        details.append(_packed(BadRequest(field_violations=violations)))
    if how.retry_ms:
        delay = Duration()
        delay.FromMilliseconds(how.retry_ms)
        details.append(_packed(RetryInfo(retry_delay=delay)))
    return Status(code=how.code.value[0], message=message_of(error), details=details)


def signal_error_of(error: EngineError) -> signal_service_pb2.SignalError:
    """Tell the same of one signal of a stream that goes on."""
    how = treatment_of(error)
    faults = _faults_of(error)
    metadata = _metadata(error)
    if how.retry_ms:
        metadata["retry_delay_ms"] = str(how.retry_ms)
    return signal_service_pb2.SignalError(
        code=how.code.value[0],
        reason=_reason(error),
        message=message_of(error),
        field_violations=[
            signal_service_pb2.FieldViolation(field=fault.field, description=_description(fault))
            for fault in faults
        ],
        metadata=metadata,
    )


def message_of(error: EngineError) -> str:
    """Tell an error in words, within what a status can carry."""
    faults = _faults_of(error)
    said = error.message
    if faults:
        said = "; ".join(f"{fault.field}: {_description(fault)}" for fault in faults)
    return said if len(said) <= MESSAGE_CHARS_MAX else said[: MESSAGE_CHARS_MAX - 3] + "..."


def _faults_of(error: EngineError) -> list[InvalidField]:
    match error:
        case InvalidFields():
            return error.faults
        case InvalidField():
            return [error]
        case _:
            return []


def _reason(error: EngineError) -> str:
    return _FIELDS_REASON if isinstance(error, InvalidField | InvalidFields) else error.reason


def _metadata(error: EngineError) -> dict[str, str]:
    return {} if isinstance(error, InvalidField | InvalidFields) else dict(error.metadata)


def _description(fault: InvalidField) -> str:
    if not fault.given:
        return f"is required: {fault.allowed}"
    # ascii() keeps control characters and long percent-encodings out of headers and logs.
    shown = ascii(fault.given)[1:-1][:SHOWN_CHARS_MAX]
    return f"must be {fault.allowed}, got {shown}"


def _packed(message: ErrorInfo | BadRequest | RetryInfo) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
