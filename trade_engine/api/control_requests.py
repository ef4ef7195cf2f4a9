"""What operators ask for, out of their messages: halts, resumes, cancels, limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

from trade_engine.api.reading import (
    REASON_CHARS_MAX,
    Reader,
    named,
    optional_id,
    optional_reason,
    printable,
)
from trade_engine.domain.errors import InvalidField
from trade_engine.domain.limits_change import FileText
from trade_engine.domain.signal import checked_id, checked_symbol
from trade_engine.domain.trading_state import GLOBAL, Scope, ScopeKind, TradingState
from trade_engine.execution.commands import (
    AcceptDifferenceCommand,
    ClearCommand,
    HaltCommand,
    ResumeCommand,
    UpdateLimitsCommand,
)
from trade_engine.v1 import control_service_pb2

FILE_NAME_CHARS_MAX = 64
LIMITS_FILE = "limits.toml"
INSTRUMENTS_FILE = "instruments.toml"
DIFFERENCE_ID_CHARS_MAX = 200

_HALT_MODES = {
    control_service_pb2.TRADING_STATE_UNSPECIFIED: TradingState.HALTED,
    control_service_pb2.TRADING_STATE_REDUCE_ONLY: TradingState.REDUCE_ONLY,
    control_service_pb2.TRADING_STATE_HALTED: TradingState.HALTED,
}


_ScopedRequest = (
    control_service_pb2.HaltRequest
    | control_service_pb2.ResumeRequest
    | control_service_pb2.CancelAllOrdersRequest
    | control_service_pb2.FlattenPositionsRequest
)


class _Asked(TypedDict):
    """What each of these requests says: of what, why, who asks, and under which id."""

    scope: Scope
    reason: str
    operator: str
    request_id: str


def halt_of(request: control_service_pb2.HaltRequest, operator: str) -> HaltCommand:
    """Read a halt.

    Raises:
        InvalidFields: every bad field is named.
    """
    reader = Reader()
    state = reader.read(_halt_mode, request.mode, "mode")
    asked = _asked(reader, request, operator)
    return HaltCommand(**asked, state=state, cancel_open_orders=request.cancel_open_orders)


def resume_of(request: control_service_pb2.ResumeRequest, operator: str) -> ResumeCommand:
    """Read a resume.

    Raises:
        InvalidFields: every bad field is named.
    """
    return ResumeCommand(**_asked(Reader(), request, operator), override=request.override)


def cancel_all_of(
    request: control_service_pb2.CancelAllOrdersRequest, operator: str
) -> ClearCommand:
    """Read whose orders to cancel.

    Raises:
        InvalidFields: every bad field is named.
    """
    return ClearCommand(**_asked(Reader(), request, operator))


def flatten_of(request: control_service_pb2.FlattenPositionsRequest, operator: str) -> ClearCommand:
    """Read whose positions to close; without a request_id it could not be repeated.

    Raises:
        InvalidFields: every bad field is named.
    """
    return ClearCommand(**_asked(Reader(), request, operator, check_id=checked_id))


def _asked(
    reader: Reader,
    request: _ScopedRequest,
    operator: str,
    check_id: Callable[[str, str], str] = optional_id,
) -> _Asked:
    """Read what these requests share, and let the reader be done."""
    read = reader.read
    asked = _Asked(
        scope=read(_scope, request.scope, "scope"),
        reason=read(_required_reason, request.reason, "reason"),
        operator=operator,
        request_id=read(check_id, request.request_id, "request_id"),
    )
    reader.done()
    return asked


def accept_difference_of(
    request: control_service_pb2.AcceptDifferenceRequest, default_account: str, operator: str
) -> AcceptDifferenceCommand:
    """Read what difference is accepted, and why.

    Raises:
        InvalidFields: every bad field is named.
    """
    reader = Reader()
    read = reader.read
    command = AcceptDifferenceCommand(
        account_id=read(checked_id, request.account_id or default_account, "account_id"),
        difference_id=read(_difference_id, request.difference_id, "difference_id"),
        reason=read(_required_reason, request.reason, "reason"),
        operator=operator,
        request_id=read(optional_id, request.request_id, "request_id"),
    )
    reader.done()
    return command


def update_limits_of(
    request: control_service_pb2.UpdateLimitsRequest, operator: str
) -> UpdateLimitsCommand:
    """Read a change of the limits; what the files say is not read here.

    Raises:
        InvalidFields: every bad field is named.
    """
    reader = Reader()
    read = reader.read
    name = read(_file_name, request.file_name or LIMITS_FILE, "file_name")
    instruments = request.instruments_toml
    command = UpdateLimitsCommand(
        limits=FileText(name, read(_required_text, request.toml, "toml")),
        instruments=FileText(INSTRUMENTS_FILE, instruments) if instruments else None,
        etag=read(_required_text, request.etag, "etag"),
        validate_only=request.validate_only,
        reason=read(_required_reason, request.reason, "reason"),
        operator=operator,
        request_id=read(optional_id, request.request_id, "request_id"),
    )
    reader.done()
    return command


def _halt_mode(given: control_service_pb2.TradingState.ValueType, field: str) -> TradingState:
    return named(_HALT_MODES, given, field)


def _required_text(given: str, field: str) -> str:
    if not given:
        raise InvalidField(field, "", "a text")
    return given


def _file_name(given: str, field: str) -> str:
    if len(given) > FILE_NAME_CHARS_MAX or not given.isprintable() or "/" in given:
        allowed = f"a name without folders, of at most {FILE_NAME_CHARS_MAX} printable characters"
        raise InvalidField(field, given, allowed)
    return given


def _required_reason(given: str, field: str) -> str:
    if not given.strip():
        raise InvalidField(field, "", f"at most {REASON_CHARS_MAX} printable characters")
    return optional_reason(given, field)


def _difference_id(given: str, field: str) -> str:
    if not given:
        raise InvalidField(field, given, "the name of a difference, as GetStatus gives it")
    return printable(given, field, DIFFERENCE_ID_CHARS_MAX)


def _scope(given: control_service_pb2.Scope, field: str) -> Scope:
    match given.WhichOneof("kind"):
        case "global" if getattr(given, "global"):  # a keyword: no attribute by that name
            return GLOBAL
        case "account_id":
            return Scope(ScopeKind.ACCOUNT, checked_id(given.account_id, f"{field}.account_id"))
        case "strategy_id":
            return Scope(ScopeKind.STRATEGY, checked_id(given.strategy_id, f"{field}.strategy_id"))
        case "symbol":
            return Scope(ScopeKind.SYMBOL, checked_symbol(given.symbol, f"{field}.symbol"))
        case _:
            raise InvalidField(field, "", "global (true), account_id, strategy_id or symbol")
