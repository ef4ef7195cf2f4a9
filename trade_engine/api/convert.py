"""Signals and quotes out of their messages: every field is checked here, and nowhere later.

All faults of a request are collected and named together, by their path in the message. Values
that come out are exact, in range, and safe as keys, file names and JSON.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial

from google.protobuf.timestamp_pb2 import Timestamp

from trade_engine.api.reading import Reader, named, printable
from trade_engine.domain.clock import FUTURE_TOLERANCE_NS, NS_PER_MS, NS_PER_S
from trade_engine.domain.decision import Outcome
from trade_engine.domain.errors import InvalidField, InvalidFields
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
from trade_engine.v1 import (
    decision_pb2,
    market_data_service_pb2,
    signal_pb2,
    signal_service_pb2,
)

EQUITY_FRACTION_MAX = Decimal(10)
"""No target may be more than ten times the equity: past it lies a typing error."""
SOURCE_CHARS_MAX = 64
SYMBOLS_MAX = 500
YEAR_10000_S = 253_402_300_800
"""The first second that RFC 3339 cannot write."""

PLAIN_DECIMAL = re.compile(r"-?[0-9]{1,32}(\.[0-9]{1,32})?")


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
        created_at_ns=None if made is None else read(instant, made, "create_time"),
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


def quote_of(message: market_data_service_pb2.Quote, received_ns: int) -> Quote:
    """Read a quote, and hold it to making sense as a price; undated, it is of `received_ns`.

    One from the future would keep every true one out, as older, until its time has come.

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
        time_ns=read(partial(_past_instant, received_ns), message.quote_time, "quote_time")
        if dated
        else received_ns,
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


def outcome_filter(given: decision_pb2.Outcome.ValueType, field: str) -> Outcome | None:
    """Read an outcome to filter by; unspecified is None."""
    if given == decision_pb2.OUTCOME_UNSPECIFIED:
        return None
    return named(_OUTCOMES, given, field)


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


def _side(given: signal_pb2.Signal.Side.ValueType, field: str) -> Side:
    return named(_SIDES, given, field)


def _time_horizon(given: signal_pb2.Signal.TimeHorizon.ValueType, field: str) -> TimeHorizon:
    return named(_HORIZONS, given, field)


def _exposure_unit(given: signal_pb2.Signal.ExposureUnit.ValueType, field: str) -> ExposureUnit:
    return named(_UNITS, given, field)


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


def instant(given: Timestamp, field: str) -> int:
    """Nanoseconds since 1970; the message's own range is wider than what can be written down."""
    seconds, nanos = given.seconds, given.nanos
    if not (0 <= seconds < YEAR_10000_S and 0 <= nanos < NS_PER_S):
        shown = f"seconds {seconds}, nanos {nanos}"
        raise InvalidField(field, shown, "a time from 1970-01-01 to 9999-12-31 in UTC")
    return seconds * NS_PER_S + nanos


def _past_instant(now_ns: int, given: Timestamp, field: str) -> int:
    at_ns = instant(given, field)
    if at_ns > now_ns + FUTURE_TOLERANCE_NS:
        ahead_ms = (at_ns - now_ns) // NS_PER_MS
        allowed = f"at most {FUTURE_TOLERANCE_NS // NS_PER_MS} ms ahead of the engine's clock"
        raise InvalidField(field, f"{given.ToJsonString()}, {ahead_ms} ms ahead", allowed)
    return at_ns


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
    return printable(given, field, SOURCE_CHARS_MAX)
