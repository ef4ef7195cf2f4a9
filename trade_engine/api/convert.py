"""Messages into domain values: every field is checked here, and nowhere later.

All faults of a request are collected and named together, by their path in the message. Values
that come out are exact, in range, and safe as keys, file names and JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TypeVar, cast

from google.protobuf.timestamp_pb2 import Timestamp

from trade_engine.domain.clock import NS_PER_S
from trade_engine.domain.decision import Outcome
from trade_engine.domain.errors import InvalidField, InvalidFields
from trade_engine.domain.limits_change import FileText
from trade_engine.domain.market import Quote
from trade_engine.domain.money import MAX_ABS, from_double, parse
from trade_engine.domain.signal import (
    ExposureUnit,
    Side,
    Signal,
    TimeHorizon,
    checked_id,
    checked_symbol,
)
from trade_engine.domain.trading_state import GLOBAL, Scope, ScopeKind, TradingState
from trade_engine.execution.commands import (
    AcceptDifferenceCommand,
    ClearCommand,
    HaltCommand,
    ResumeCommand,
    UpdateLimitsCommand,
)
from trade_engine.v1 import (
    control_service_pb2,
    decision_pb2,
    market_data_service_pb2,
    signal_pb2,
    signal_service_pb2,
)

Given = TypeVar("Given")
Taken = TypeVar("Taken")

EQUITY_FRACTION_MAX = Decimal(10)
"""No target may be more than ten times the equity: past it lies a typing error."""
REASON_CHARS_MAX = 500
FILE_NAME_CHARS_MAX = 64
LIMITS_FILE = "limits.toml"
INSTRUMENTS_FILE = "instruments.toml"
SOURCE_CHARS_MAX = 64
DIFFERENCE_ID_CHARS_MAX = 200
SYMBOLS_MAX = 500
YEAR_10000_S = 253_402_300_800
"""The first second that RFC 3339 cannot write."""

PLAIN_DECIMAL = re.compile(r"-?[0-9]{1,32}(\.[0-9]{1,32})?")


class Reader:
    """Reads the fields of one request, and collects what is wrong with them.

    `prefix` is put before the name of each field ("signal." for instance).
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._faults: list[InvalidField] = []

    def read(self, check: Callable[[Given, str], Taken], given: Given, field: str) -> Taken:
        """Return the checked value; if it is refused, note the fault, and `done` will raise."""
        try:
            return check(given, field)
        except InvalidField as fault:
            self._faults.append(
                InvalidField(self._prefix + fault.field, fault.given, fault.allowed)
            )
            return cast("Taken", None)  # goes nowhere: `done` raises

    def done(self) -> None:
        """Let the fields read so far be used.

        Raises:
            InvalidFields: some field was refused; all of them are named.
        """
        if self._faults:
            raise InvalidFields(self._faults)


# ---- requests -------------------------------------------------------------------------------


def signal_of(message: signal_pb2.Signal, default_account: str, prefix: str) -> Signal:
    """Read a signal; `prefix` is its own path in the request, with a dot, or empty.

    Raises:
        InvalidFields: every bad field is named.
    """
    reader = Reader(prefix)
    read = reader.read
    has = message.HasField
    slippage = notional = None
    if has("constraints"):
        bounds = message.constraints
        if bounds.HasField("max_slippage_bps"):
            given = bounds.max_slippage_bps
            slippage = read(_not_negative, given, "constraints.max_slippage_bps")
        if bounds.HasField("max_notional"):
            notional = read(_positive, bounds.max_notional, "constraints.max_notional")
    unit = read(_exposure_unit, message.exposure_unit, "exposure_unit")
    in_unit = _fraction if unit is ExposureUnit.EQUITY_FRACTION else _bounded
    exposure = message.target_exposure if has("target_exposure") else None
    confidence = message.confidence if has("confidence") else None
    made = message.create_time if has("create_time") else None
    signal = Signal(
        signal_id=read(checked_id, message.signal_id, "signal_id"),
        account_id=read(checked_id, message.account_id or default_account, "account_id"),
        strategy_id=read(checked_id, message.strategy_id, "strategy_id"),
        symbol=read(checked_symbol, message.symbol, "symbol"),
        side=read(_side, message.side, "side"),
        confidence=read(_confidence, confidence, "confidence"),
        target_exposure=read(in_unit, exposure, "target_exposure"),
        time_horizon=read(_time_horizon, message.time_horizon, "time_horizon"),
        exposure_unit=unit,
        max_slippage_bps=slippage,
        max_notional=notional,
        created_at_ns=None if made is None else read(_instant, made, "create_time"),
    )
    reader.done()
    return signal


def required_signal(
    request: signal_service_pb2.SubmitSignalRequest | signal_service_pb2.EvaluateSignalRequest,
    default_account: str,
) -> Signal:
    """Read the signal of a request that must have one.

    Raises:
        InvalidFields: it has none, or one with bad fields.
    """
    if not request.HasField("signal"):
        raise InvalidFields([InvalidField("signal", "", "a signal")])
    return signal_of(request.signal, default_account, "signal.")


def halt_of(request: control_service_pb2.HaltRequest, operator: str) -> HaltCommand:
    """Read a halt.

    Raises:
        InvalidFields: every bad field is named.
    """
    reader = Reader()
    read = reader.read
    command = HaltCommand(
        scope=read(_scope, request.scope, "scope"),
        state=read(_halt_mode, request.mode, "mode"),
        reason=read(_required_reason, request.reason, "reason"),
        operator=operator,
        cancel_open_orders=request.cancel_open_orders,
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


def resume_of(request: control_service_pb2.ResumeRequest, operator: str) -> ResumeCommand:
    """Read a resume.

    Raises:
        InvalidFields: every bad field is named.
    """
    reader = Reader()
    read = reader.read
    command = ResumeCommand(
        scope=read(_scope, request.scope, "scope"),
        reason=read(_required_reason, request.reason, "reason"),
        operator=operator,
        request_id=read(optional_id, request.request_id, "request_id"),
        override=request.override,
    )
    reader.done()
    return command


def cancel_all_of(
    request: control_service_pb2.CancelAllOrdersRequest, operator: str
) -> ClearCommand:
    """Read whose orders to cancel.

    Raises:
        InvalidFields: every bad field is named.
    """
    reader = Reader()
    read = reader.read
    command = ClearCommand(
        scope=read(_scope, request.scope, "scope"),
        reason=read(_required_reason, request.reason, "reason"),
        operator=operator,
        request_id=read(optional_id, request.request_id, "request_id"),
    )
    reader.done()
    return command


def flatten_of(request: control_service_pb2.FlattenPositionsRequest, operator: str) -> ClearCommand:
    """Read whose positions to close; without a request_id it could not be repeated.

    Raises:
        InvalidFields: every bad field is named.
    """
    reader = Reader()
    read = reader.read
    command = ClearCommand(
        scope=read(_scope, request.scope, "scope"),
        reason=read(_required_reason, request.reason, "reason"),
        operator=operator,
        request_id=read(checked_id, request.request_id, "request_id"),
    )
    reader.done()
    return command


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


def quote_of(message: market_data_service_pb2.Quote, received_ns: int) -> Quote:
    """Read a quote, and hold it to making sense as a price; undated, it is of `received_ns`.

    Raises:
        InvalidFields: every bad field is named; or the quote as a whole, under "quote".
    """
    reader = Reader()
    read = reader.read
    dated = message.HasField("quote_time")
    quote = Quote(
        symbol=read(checked_symbol, message.symbol, "symbol"),
        bid=read(_optional_decimal, message.bid, "bid"),
        ask=read(_optional_decimal, message.ask, "ask"),
        bid_size=read(_optional_size, message.bid_size, "bid_size"),
        ask_size=read(_optional_size, message.ask_size, "ask_size"),
        last=read(_optional_decimal, message.last, "last"),
        time_ns=read(_instant, message.quote_time, "quote_time") if dated else received_ns,
        source=read(_source, message.source, "source"),
    )
    reader.done()
    fault = quote.fault()
    if fault is not None:
        prices = f"bid {message.bid or '-'}, ask {message.ask or '-'}, last {message.last or '-'}"
        raise InvalidFields([InvalidField("quote", prices, f"usable as a price ({fault})")])
    return quote


def symbols_of(request: market_data_service_pb2.GetQuotesRequest) -> list[str]:
    """Read the symbols asked for, each once, in the order asked for.

    Raises:
        InvalidFields: none, too many, or a bad one.
    """
    reader = Reader()
    count = len(request.symbols)
    reader.read(_symbol_count, count, "symbols")
    if count <= SYMBOLS_MAX:
        for place, symbol in enumerate(request.symbols):
            reader.read(checked_symbol, symbol, f"symbols[{place}]")
    reader.done()
    return list(dict.fromkeys(request.symbols))


# ---- fields that several requests share -----------------------------------------------------


def optional_id(given: str, field: str) -> str:
    """Hold an id to its pattern; empty stays empty."""
    return checked_id(given, field) if given else ""


def optional_symbol(given: str, field: str) -> str:
    """Hold a symbol to its pattern; empty stays empty."""
    return checked_symbol(given, field) if given else ""


def optional_reason(given: str, field: str) -> str:
    """Hold a reason in words to its length; empty stays empty."""
    return _text(given, field, REASON_CHARS_MAX)


def outcome_filter(given: decision_pb2.Outcome.ValueType, field: str) -> Outcome | None:
    """Read an outcome to filter by; unspecified is None."""
    if given == decision_pb2.OUTCOME_UNSPECIFIED:
        return None
    return _named(_OUTCOMES, given, field)


def after_sequence(given: int, field: str) -> int:
    """Hold a resume point to being 0 or more."""
    if given < 0:
        raise InvalidField(field, str(given), "0 or more")
    return given


# ---- one check each -------------------------------------------------------------------------

_SIDES = {signal_pb2.Signal.BUY: Side.BUY, signal_pb2.Signal.SELL: Side.SELL}
_HORIZONS = {
    signal_pb2.Signal.INTRADAY: TimeHorizon.INTRADAY,
    signal_pb2.Signal.SWING: TimeHorizon.SWING,
    signal_pb2.Signal.LONG: TimeHorizon.LONG,
}
_UNITS = {
    signal_pb2.Signal.EXPOSURE_UNIT_UNSPECIFIED: ExposureUnit.NOTIONAL,
    signal_pb2.Signal.NOTIONAL: ExposureUnit.NOTIONAL,
    signal_pb2.Signal.EQUITY_FRACTION: ExposureUnit.EQUITY_FRACTION,
}
_OUTCOMES = {
    decision_pb2.OUTCOME_APPROVED: Outcome.APPROVED,
    decision_pb2.OUTCOME_REJECTED: Outcome.REJECTED,
    decision_pb2.OUTCOME_NO_ACTION: Outcome.NO_ACTION,
}
_HALT_MODES = {
    control_service_pb2.TRADING_STATE_UNSPECIFIED: TradingState.HALTED,
    control_service_pb2.TRADING_STATE_REDUCE_ONLY: TradingState.REDUCE_ONLY,
    control_service_pb2.TRADING_STATE_HALTED: TradingState.HALTED,
}


def _named(words: Mapping[Given, Taken], given: Given, field: str) -> Taken:
    """Translate an enum's number; proto3 lets any number through, so that is checked here."""
    try:
        return words[given]
    except KeyError:
        names = list(dict.fromkeys(str(word) for word in words.values()))
        allowed = ", ".join(names[:-1]) + " or " + names[-1]
        raise InvalidField(field, str(given or ""), allowed) from None


def _side(given: signal_pb2.Signal.Side.ValueType, field: str) -> Side:
    return _named(_SIDES, given, field)


def _time_horizon(given: signal_pb2.Signal.TimeHorizon.ValueType, field: str) -> TimeHorizon:
    return _named(_HORIZONS, given, field)


def _exposure_unit(given: signal_pb2.Signal.ExposureUnit.ValueType, field: str) -> ExposureUnit:
    return _named(_UNITS, given, field)


def _halt_mode(given: control_service_pb2.TradingState.ValueType, field: str) -> TradingState:
    return _named(_HALT_MODES, given, field)


def _confidence(given: float | None, field: str) -> Decimal:
    return _between(given, field, "between 0 and 1", Decimal(0), Decimal(1))


def _fraction(given: float | None, field: str) -> Decimal:
    allowed = f"between -{EQUITY_FRACTION_MAX} and {EQUITY_FRACTION_MAX} as a fraction of equity"
    return _between(given, field, allowed, -EQUITY_FRACTION_MAX, EQUITY_FRACTION_MAX)


def _bounded(given: float | None, field: str) -> Decimal:
    return _between(given, field, "a number", -MAX_ABS, MAX_ABS)


def _between(given: float | None, field: str, allowed: str, low: Decimal, high: Decimal) -> Decimal:
    if given is None:
        raise InvalidField(field, "", allowed)
    value = from_double(given, field)
    if not low <= value <= high:
        raise InvalidField(field, repr(given), allowed)
    return value


def _not_negative(given: float, field: str) -> Decimal:
    value = from_double(given, field)
    if value < 0:
        raise InvalidField(field, repr(given), "0 or more")
    return value


def _positive(given: float, field: str) -> Decimal:
    value = from_double(given, field)
    if value <= 0:
        raise InvalidField(field, repr(given), "above 0")
    return value


def _instant(given: Timestamp, field: str) -> int:
    """Nanoseconds since 1970; the message's own range is wider than what can be written down."""
    seconds, nanos = given.seconds, given.nanos
    if not (0 <= seconds < YEAR_10000_S and 0 <= nanos < NS_PER_S):
        shown = f"seconds {seconds}, nanos {nanos}"
        raise InvalidField(field, shown, "a time from 1970-01-01 to 9999-12-31 in UTC")
    return seconds * NS_PER_S + nanos


def _optional_decimal(given: str, field: str) -> Decimal | None:
    """A number in plain notation, as the contract says: Decimal alone would take "1e3" too."""
    if not given:
        return None
    if not PLAIN_DECIMAL.fullmatch(given):
        raise InvalidField(field, given, 'a decimal string in plain notation, such as "150.25"')
    return parse(given, field)


def _optional_size(given: str, field: str) -> Decimal | None:
    value = _optional_decimal(given, field)
    if value is not None and value < 0:
        raise InvalidField(field, given, "0 or more")
    return value


def _symbol_count(given: int, field: str) -> int:
    if not 1 <= given <= SYMBOLS_MAX:
        raise InvalidField(field, str(given or ""), f"1 to {SYMBOLS_MAX} symbols")
    return given


def _source(given: str, field: str) -> str:
    return _text(given, field, SOURCE_CHARS_MAX)


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
    return _text(given, field, DIFFERENCE_ID_CHARS_MAX)


def _text(given: str, field: str, chars_max: int) -> str:
    """Words for people: no control characters, which neither logs nor jsonb take."""
    if len(given) > chars_max or not given.isprintable():
        raise InvalidField(field, given, f"at most {chars_max} printable characters")
    return given


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
