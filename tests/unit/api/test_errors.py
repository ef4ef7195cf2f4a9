"""The engine's errors as statuses."""

from __future__ import annotations

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from trade_engine.api.errors import (
    MESSAGE_CHARS_MAX,
    Internal,
    message_of,
    signal_error_of,
    status_of,
    treatment_of,
)
from trade_engine.domain.errors import (
    ConfigError,
    EngineError,
    GateClosed,
    InvalidField,
    InvalidFields,
)

OUR_FAULT = {EngineError, ConfigError, Internal}
"""What a caller cannot have caused, nor mend: INTERNAL."""


def every_kind(of: type[EngineError]) -> set[type[EngineError]]:
    return {of}.union(*(every_kind(kind) for kind in of.__subclasses__()))


@pytest.mark.parametrize(
    "kind",
    sorted(
        (
            kind
            for kind in every_kind(EngineError)
            if kind.__module__
            in {
                "trade_engine.domain.errors",
                "trade_engine.execution.commands",
                "trade_engine.api.errors",
            }
        ),
        key=str,
    ),
)
def test_every_error_has_a_status_of_its_own(kind: type[EngineError]) -> None:
    error = kind.__new__(kind)

    is_internal = treatment_of(error).code is grpc.StatusCode.INTERNAL
    assert is_internal is (kind in OUR_FAULT)


def test_an_error_that_is_not_in_the_table_is_told_as_what_it_is_a_kind_of() -> None:
    class GateStuck(GateClosed):
        """A kind of closed gate."""

    assert treatment_of(GateStuck("stuck")) == treatment_of(GateClosed("closed"))


def test_the_metadata_is_told_whole() -> None:
    status = status_of(GateClosed("closed", account_id="main", gate_reason="rebuilding"))

    info = ErrorInfo()
    status.details[0].Unpack(info)
    assert info == ErrorInfo(
        reason="GATE_CLOSED",
        domain="trade-engine",
        metadata={"account_id": "main", "gate_reason": "rebuilding"},
    )


def test_one_bad_field_is_told_like_several() -> None:
    fault = InvalidField("page_size", "-1", "0 or more")

    assert status_of(fault) == status_of(InvalidFields([fault]))
    assert message_of(fault) == "page_size: must be 0 or more, got -1"


def test_what_was_given_is_shown_without_control_characters() -> None:
    assert (
        message_of(InvalidField("f", "a\r\n\x1b[31m", "b")) == "f: must be b, got a\\r\\n\\x1b[31m"
    )


def test_a_message_is_cut_to_what_a_status_can_carry() -> None:
    faults = [InvalidField(f"field_{number}", "x" * 500, "y" * 100) for number in range(50)]

    assert len(message_of(InvalidFields(faults))) == MESSAGE_CHARS_MAX


def test_an_error_on_a_stream_says_how_long_to_wait() -> None:
    error = signal_error_of(GateClosed("closed", gate_reason="rebuilding"))

    assert dict(error.metadata) == {"gate_reason": "rebuilding", "retry_delay_ms": "250"}
