"""A signal: what a strategy wishes to hold. The engine decides what becomes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from trade_engine.domain.errors import InvalidField
from trade_engine.domain.money import optional_text, text

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,63}")
ID_ALLOWED = "1 to 64 characters of A-Z a-z 0-9 . _ : -, the first a letter or digit"
SYMBOL_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-/]{0,31}")
SYMBOL_ALLOWED = "1 to 32 characters of A-Z a-z 0-9 . _ - /, the first a letter or digit"


class Side(StrEnum):
    """FIX Side(54): the direction of an order, and a signal's guard."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL."""
        return 1 if self is Side.BUY else -1


class TimeHorizon(StrEnum):
    """How long the strategy means to hold; it sets the order's TimeInForce."""

    INTRADAY = "INTRADAY"
    SWING = "SWING"
    LONG = "LONG"


class ExposureUnit(StrEnum):
    """What target_exposure counts: money, or a fraction of the account's equity."""

    NOTIONAL = "NOTIONAL"
    EQUITY_FRACTION = "EQUITY_FRACTION"


@dataclass(slots=True)
class Signal:
    """A strategy's wish, already validated.

    target_exposure is the signed notional (account currency), or fraction of equity, that the
    strategy wants in the symbol when done. max_slippage_bps and max_notional are None where the
    strategy set no constraint. created_at_ns is None where the sender did not say.
    """

    signal_id: str
    account_id: str
    strategy_id: str
    symbol: str
    side: Side
    confidence: Decimal
    target_exposure: Decimal
    time_horizon: TimeHorizon
    exposure_unit: ExposureUnit = ExposureUnit.NOTIONAL
    max_slippage_bps: Decimal | None = None
    max_notional: Decimal | None = None
    created_at_ns: int | None = None

    def to_json(self) -> dict[str, str]:
        """The content, canonical: equal texts mean the same signal. Absent values are ""."""
        return {
            "signal_id": self.signal_id,
            "account_id": self.account_id,
            "strategy_id": self.strategy_id,
            "symbol": self.symbol,
            "side": str(self.side),
            "confidence": text(self.confidence),
            "target_exposure": text(self.target_exposure),
            "time_horizon": str(self.time_horizon),
            "exposure_unit": str(self.exposure_unit),
            "max_slippage_bps": optional_text(self.max_slippage_bps),
            "max_notional": optional_text(self.max_notional),
            "create_time_ns": "" if self.created_at_ns is None else str(self.created_at_ns),
        }

    @classmethod
    def from_json(cls, doc: dict[str, str]) -> Signal:
        """Read what `to_json` wrote."""
        return cls(
            signal_id=doc["signal_id"],
            account_id=doc["account_id"],
            strategy_id=doc["strategy_id"],
            symbol=doc["symbol"],
            side=Side(doc["side"]),
            confidence=Decimal(doc["confidence"]),
            target_exposure=Decimal(doc["target_exposure"]),
            time_horizon=TimeHorizon(doc["time_horizon"]),
            exposure_unit=ExposureUnit(doc["exposure_unit"]),
            max_slippage_bps=_optional(doc["max_slippage_bps"]),
            max_notional=_optional(doc["max_notional"]),
            created_at_ns=int(doc["create_time_ns"]) if doc["create_time_ns"] else None,
        )

    def differs_from(self, other: Signal) -> list[str]:
        """Name the fields in which two signals of one id differ, in the contract's words."""
        mine, theirs = self.to_json(), other.to_json()
        return [name.removesuffix("_ns") for name in mine if mine[name] != theirs[name]]


def _optional(written: str) -> Decimal | None:
    return Decimal(written) if written else None


def checked_id(value: str, field: str) -> str:
    """Hold an id to the pattern that every store, key and file name can carry.

    Raises:
        InvalidField: missing, too long, or with another character.
    """
    if not ID_PATTERN.fullmatch(value):
        raise InvalidField(field, value, ID_ALLOWED)
    return value


def checked_symbol(value: str, field: str) -> str:
    """Hold a symbol to its pattern.

    Raises:
        InvalidField: missing, too long, or with another character.
    """
    if not SYMBOL_PATTERN.fullmatch(value):
        raise InvalidField(field, value, SYMBOL_ALLOWED)
    return value
