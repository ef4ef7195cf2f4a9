"""What goes wrong in a call: one error, read from the details that the engine sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from trade_engine.v1 import signal_service_pb2

_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(eq=False)
class TradeEngineError(Exception):
    """A call was refused, or its outcome is unknown.

    reason is the engine's stable code, such as SIGNAL_ID_CONFLICT, to branch on; where the error
    comes from the connection instead, it is the status code's name. field_violations are (field,
    what is wrong with it). retry_after_s is how long the engine asks to wait; None: no word.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: dict[str, str] = field(default_factory=dict)
    field_violations: tuple[tuple[str, str], ...] = ()
    retry_after_s: float | None = None

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"

    @property
    def retryable(self) -> bool:
        """Whether the same request, under the same id, may do better later.

        After CANCELED, INTERNAL and UNKNOWN nobody knows whether it was done, so the same id asks
        for the first answer. RESOURCE_EXHAUSTED counts only where the engine says how long to
        wait: without that word it is a message that is too large.
        """
        match self.code:
            case (
                grpc.StatusCode.UNAVAILABLE
                | grpc.StatusCode.DEADLINE_EXCEEDED
                | grpc.StatusCode.CANCELLED
                | grpc.StatusCode.INTERNAL
                | grpc.StatusCode.UNKNOWN
            ):
                return True
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return self.retry_after_s is not None
            case _:
                return False

    @property
    def is_the_engines(self) -> bool:
        """Whether the engine said it, and not the connection, or the client's own clock."""
        return self.reason != self.code.name or bool(self.metadata)

    @classmethod
    def from_call(cls, error: grpc.RpcError, target: str) -> Self:
        """Read what ended a call; target is named where the engine could not be reached."""
        call = cast("grpc.Call", error)
        code = call.code()
        info, bad, retry = _details(call)
        message = call.details() or "no details were given"
        if info is None and code is grpc.StatusCode.UNAVAILABLE:
            message = f"{nobody_answers(target).message} ({message})"
        if info is None and code is grpc.StatusCode.DEADLINE_EXCEEDED:
            message = f"{target} gave no answer in time: ask again with the same id"
        return cls(
            code,
            info.reason if info else code.name,
            message,
            dict(info.metadata) if info else {},
            tuple((each.field, each.description) for each in bad.field_violations) if bad else (),
            retry.retry_delay.ToNanoseconds() / 1e9 if retry else None,
        )

    @classmethod
    def from_signal_error(cls, error: signal_service_pb2.SignalError) -> Self:
        """Read the error of one signal of a stream."""
        metadata: Mapping[str, str] = error.metadata
        delay_ms = metadata.get("retry_delay_ms")
        return cls(
            _BY_NUMBER.get(error.code, grpc.StatusCode.UNKNOWN),
            error.reason,
            error.message,
            dict(metadata),
            tuple((each.field, each.description) for each in error.field_violations),
            float(delay_ms) / 1000 if delay_ms is not None else None,
        )


def nobody_answers(target: str) -> TradeEngineError:
    """The engine could not be reached."""
    return TradeEngineError(
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNAVAILABLE.name,
        f"no engine answers at {target}: start one, or name another",
    )


def ended_early() -> TradeEngineError:
    """A stream that goes on for ever came to an end: the engine is going away."""
    return TradeEngineError(
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNAVAILABLE.name,
        "the engine ended the stream: open it again",
    )


def _details(call: grpc.Call) -> tuple[Any, Any, Any]:
    try:
        status: Any = rpc_status.from_call(call)
    except ValueError:  # details that contradict the status are somebody else's
        status = None
    return (
        _detail(status, ErrorInfo),
        _detail(status, BadRequest),
        _detail(status, RetryInfo),
    )


def _detail(status: Any, kind: Any) -> Any:
    for packed in status.details if status is not None else ():
        if packed.Is(kind.DESCRIPTOR):
            found = kind()
            packed.Unpack(found)
            return found
    return None
