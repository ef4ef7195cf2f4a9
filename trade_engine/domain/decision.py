"""A decision: what the engine made of a signal, with every check's numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, final, overload

from trade_engine.domain.money import optional_text, text
from trade_engine.domain.order import Order
from trade_engine.domain.replacement import Terms
from trade_engine.domain.signal import Signal


class Outcome(StrEnum):
    """What became of a signal."""

    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    NO_ACTION = "NO_ACTION"


class Reason(StrEnum):
    """Why a signal was refused or needs no order: stable codes, documented in docs/refusals.md."""

    TRADING_HALTED = "TRADING_HALTED"
    REDUCE_ONLY = "REDUCE_ONLY"
    STRATEGY_UNKNOWN = "STRATEGY_UNKNOWN"
    STRATEGY_NOT_PERMITTED = "STRATEGY_NOT_PERMITTED"
    INSTRUMENT_UNKNOWN = "INSTRUMENT_UNKNOWN"
    INSTRUMENT_RESTRICTED = "INSTRUMENT_RESTRICTED"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    FX_QUOTE_MISSING = "FX_QUOTE_MISSING"
    FX_QUOTE_STALE = "FX_QUOTE_STALE"
    FX_QUOTE_INVALID = "FX_QUOTE_INVALID"
    SIGNAL_STALE = "SIGNAL_STALE"
    SIGNAL_FROM_FUTURE = "SIGNAL_FROM_FUTURE"
    DUPLICATE_ORDER = "DUPLICATE_ORDER"
    DUPLICATES_UNKNOWN = "DUPLICATES_UNKNOWN"
    STRATEGY_THROTTLED = "STRATEGY_THROTTLED"
    ACCOUNT_THROTTLED = "ACCOUNT_THROTTLED"
    CONFIDENCE_LOW = "CONFIDENCE_LOW"
    QUOTE_MISSING = "QUOTE_MISSING"
    QUOTE_STALE = "QUOTE_STALE"
    QUOTE_INVALID = "QUOTE_INVALID"
    SESSION_UNKNOWN = "SESSION_UNKNOWN"
    SESSION_CLOSED = "SESSION_CLOSED"
    MARK_MISSING = "MARK_MISSING"
    EQUITY_UNKNOWN = "EQUITY_UNKNOWN"
    PORTFOLIO_UNKNOWN = "PORTFOLIO_UNKNOWN"
    SLIPPAGE_LIMIT = "SLIPPAGE_LIMIT"
    PRICE_BAND_UNKNOWN = "PRICE_BAND_UNKNOWN"
    PRICE_COLLAR = "PRICE_COLLAR"
    NOT_SHORTABLE = "NOT_SHORTABLE"
    OPPOSITE_ORDER = "OPPOSITE_ORDER"
    ORDER_QUANTITY_LIMIT = "ORDER_QUANTITY_LIMIT"
    ORDER_NOTIONAL_LIMIT = "ORDER_NOTIONAL_LIMIT"
    SYMBOL_POSITION_LIMIT = "SYMBOL_POSITION_LIMIT"
    ASSET_EXPOSURE_LIMIT = "ASSET_EXPOSURE_LIMIT"
    CONCENTRATION_LIMIT = "CONCENTRATION_LIMIT"
    ASSET_CLASS_EXPOSURE_LIMIT = "ASSET_CLASS_EXPOSURE_LIMIT"
    GROSS_EXPOSURE_LIMIT = "GROSS_EXPOSURE_LIMIT"
    NET_EXPOSURE_LIMIT = "NET_EXPOSURE_LIMIT"
    LEVERAGE_LIMIT = "LEVERAGE_LIMIT"
    BUYING_POWER = "BUYING_POWER"
    OPEN_ORDERS_LIMIT = "OPEN_ORDERS_LIMIT"
    TURNOVER_LIMIT = "TURNOVER_LIMIT"
    REPEATED_EXECUTIONS_LIMIT = "REPEATED_EXECUTIONS_LIMIT"
    DAILY_LOSS_LIMIT = "DAILY_LOSS_LIMIT"
    DRAWDOWN_LIMIT = "DRAWDOWN_LIMIT"
    LIMIT_NOT_SET = "LIMIT_NOT_SET"
    SIDE_MISMATCH = "SIDE_MISMATCH"
    AT_TARGET = "AT_TARGET"
    BELOW_LOT = "BELOW_LOT"


Written = dict[str, Any] | list[str]
"""A check in the journal: in full by its words' names, or in short by their places."""


@final
@dataclass(slots=True)
class CheckResult:
    """One check's verdict and the numbers that explain it.

    limit is what is allowed, observed what stands now, projected what would stand after the order;
    None where a check has no such number. source says where the limit was set (file:level).
    """

    name: str
    passed: bool
    scope: str
    unit: str
    reason: Reason | None = None
    limit: Decimal | None = None
    observed: Decimal | None = None
    projected: Decimal | None = None
    source: str = ""
    message: str = ""

    def to_json(self) -> Written:
        """The canonical form in the journal: what a check has nothing to say of is left out."""
        if self.passed and self.reason is None and not self.message:
            return _in_short(
                self.name,
                self.scope,
                self.unit,
                self.source,
                self.limit,
                self.observed,
                self.projected,
            )
        doc: dict[str, Any] = {
            "name": self.name,
            "passed": self.passed,
            "scope": self.scope,
            "unit": self.unit,
        }
        if self.limit is not None:
            doc["limit"] = text(self.limit)
        if self.observed is not None:
            doc["observed"] = text(self.observed)
        if self.projected is not None:
            doc["projected"] = text(self.projected)
        if self.source:
            doc["source"] = self.source
        if self.reason is not None:
            doc["reason"] = self.reason.value
        if self.message:
            doc["message"] = self.message
        return doc

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> CheckResult:
        """Read what is written in full: once all checks were, now those with a reason."""

        def number(name: str) -> Decimal | None:
            return Decimal(doc[name]) if name in doc else None

        return cls(
            name=doc["name"],
            passed=doc["passed"],
            scope=doc["scope"],
            unit=doc["unit"],
            reason=Reason(doc["reason"]) if "reason" in doc else None,
            limit=number("limit"),
            observed=number("observed"),
            projected=number("projected"),
            source=doc.get("source", ""),
            message=doc.get("message", ""),
        )


Passed = tuple[str, str, str, str, Decimal | None, Decimal | None, Decimal | None]
"""A check that passed, in short: (name, scope, unit, source, limit, observed, projected).

A decision has thirty of them, and most are only written down: a bare tuple costs a tenth of a
`CheckResult`."""

Told = CheckResult | Passed
"""What a check said: in full where it refused."""


class Checks(Sequence[CheckResult]):
    """What the checks of a decision said, in order of precedence.

    Whoever looks at one sees it in full.
    """

    __slots__ = ("_seen", "_told", "_written")

    def __init__(self, told: Iterable[Told] = ()) -> None:
        """Take over what was said."""
        self._told: list[Told] = list(told)
        self._written: list[Written] | None = None
        self._seen = False

    def __len__(self) -> int:
        """How many checks judged."""
        return len(self._told)

    @overload
    def __getitem__(self, index: int) -> CheckResult: ...
    @overload
    def __getitem__(self, index: slice) -> list[CheckResult]: ...
    def __getitem__(self, index: int | slice) -> CheckResult | list[CheckResult]:
        """One in full; it stays so, and its changes are the decision's."""
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self._told)))]
        self._seen = True
        found = self._told[index]
        if not isinstance(found, CheckResult):
            found = self._told[index] = in_full(*found)
        return found

    def __eq__(self, other: object) -> bool:
        """Whether the same was said, in full or in short."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # what is in it may change

    def to_json(self) -> list[Written]:
        """The canonical form in the journal, which the answer to the client is made of as well.

        Kept from the one to the other, unless somebody has seen a check, and may change it.
        """
        if self._written is None or self._seen:
            self._written = [
                each.to_json() if type(each) is CheckResult else _in_short(*each)
                for each in self._told
            ]
        return self._written

    @classmethod
    def from_json(cls, docs: Iterable[Written]) -> Checks:
        """Read what `to_json` wrote."""
        return cls(
            _read_short(*doc) if isinstance(doc, list) else CheckResult.from_json(doc)
            for doc in docs
        )


def in_full(
    name: str,
    scope: str,
    unit: str,
    source: str,
    limit: Decimal | None,
    observed: Decimal | None,
    projected: Decimal | None,
) -> CheckResult:
    """What `Passed` says in short."""
    return CheckResult(name, True, scope, unit, None, limit, observed, projected, source)


def _in_short(
    name: str,
    scope: str,
    unit: str,
    source: str,
    limit: Decimal | None,
    observed: Decimal | None,
    projected: Decimal | None,
) -> list[str]:
    """`Passed` in the journal: "" for a number that is not there, none of them at the end."""
    if projected is not None:
        seen = optional_text(observed)
        return [name, scope, unit, source, optional_text(limit), seen, text(projected)]
    if observed is not None:
        return [name, scope, unit, source, optional_text(limit), text(observed)]
    if limit is not None:
        return [name, scope, unit, source, text(limit)]
    return [name, scope, unit, source] if source else [name, scope, unit]


def _read_short(
    name: str,
    scope: str,
    unit: str,
    source: str = "",
    limit: str = "",
    observed: str = "",
    projected: str = "",
) -> Passed:
    most, now, then = (Decimal(each) if each else None for each in (limit, observed, projected))
    return (name, scope, unit, source, most, now, then)


SIZING_WORDS = ("capped_by", "currency")


@dataclass(slots=True)
class Sizing:
    """How the order's size came about. Quantities are signed (BUY positive) but order_quantity.

    capped_by names the constraint that made the order smaller than the target asks; "" if none.
    Prices are in the instrument's currency and order_notional is in the account's: fx_rate is what
    one unit of `currency` counted as; None and "" where both are the same.
    """

    reference_price: Decimal
    current_quantity: Decimal
    working_quantity: Decimal
    target_quantity: Decimal
    order_quantity: Decimal
    limit_price: Decimal
    order_notional: Decimal
    capped_by: str = ""
    currency: str = ""
    fx_rate: Decimal | None = None

    def to_json(self) -> dict[str, str]:
        """The canonical form in the journal; the last two only where there is a rate."""
        doc = {
            "reference_price": text(self.reference_price),
            "current_quantity": text(self.current_quantity),
            "working_quantity": text(self.working_quantity),
            "target_quantity": text(self.target_quantity),
            "order_quantity": text(self.order_quantity),
            "limit_price": text(self.limit_price),
            "order_notional": text(self.order_notional),
            "capped_by": self.capped_by,
        }
        if self.fx_rate is not None:
            doc["currency"], doc["fx_rate"] = self.currency, text(self.fx_rate)
        return doc

    @classmethod
    def from_json(cls, doc: dict[str, str]) -> Sizing:
        """Read what `to_json` wrote."""
        numbers = {name: Decimal(doc[name]) for name in doc if name not in SIZING_WORDS}
        return cls(**numbers, capped_by=doc["capped_by"], currency=doc.get("currency", ""))


@dataclass(slots=True)
class Decision:
    """The verdict on one signal. sequence is 0 until the journal holds it (or in a what-if).

    What is approved is an order, or new terms for one that works: replacement.
    """

    signal: Signal
    outcome: Outcome
    decided_at_ns: int
    limits_version: str
    message: str
    reasons: list[Reason] = field(default_factory=list)
    checks: Checks = field(default_factory=Checks)
    sizing: Sizing | None = None
    order: Order | None = None
    sequence: int = 0
    replacement: Terms | None = None

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the journal, without the sequence, which is the entry's."""
        doc: dict[str, Any] = {
            "signal": self.signal.to_json(),
            "outcome": self.outcome.value,
            "decided_at_ns": self.decided_at_ns,
            "limits_version": self.limits_version,
            "message": self.message,
            "reasons": [reason.value for reason in self.reasons],
            "checks": self.checks.to_json(),
            "sizing": self.sizing.to_json() if self.sizing else None,
            "order": self.order.to_json() if self.order else None,
        }
        if self.replacement is not None:
            doc["replacement"] = self.replacement.to_json()
        return doc

    @classmethod
    def from_json(cls, doc: dict[str, Any], sequence: int) -> Decision:
        """Read what `to_json` wrote, from the journal entry at `sequence`."""
        return cls(
            signal=Signal.from_json(doc["signal"]),
            outcome=Outcome(doc["outcome"]),
            decided_at_ns=int(doc["decided_at_ns"]),
            limits_version=doc["limits_version"],
            message=doc["message"],
            reasons=[Reason(reason) for reason in doc["reasons"]],
            checks=Checks.from_json(doc["checks"]),
            sizing=Sizing.from_json(doc["sizing"]) if doc["sizing"] else None,
            order=Order.from_json(doc["order"]) if doc["order"] else None,
            sequence=sequence,
            replacement=Terms.from_json(doc["replacement"]) if "replacement" in doc else None,
        )
