"""What is asked of the engine beside signals, and what it answers: values, already validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from trade_engine.domain.decision import Decision
from trade_engine.domain.difference import Difference
from trade_engine.domain.errors import EngineError
from trade_engine.domain.fx import FxPair
from trade_engine.domain.limits_change import FileText, LimitsChange
from trade_engine.domain.market import Quote
from trade_engine.domain.rulebook_difference import RulebookDifference
from trade_engine.domain.trading_state import Scope, ScopeState, TradingState
from trade_engine.execution.raises import RaiseStatus
from trade_engine.risk.limit_breaches import Breach


@dataclass(slots=True)
class Answer:
    """The decision on a submitted signal; replayed when it had been decided before this call."""

    decision: Decision
    replayed: bool


@dataclass(frozen=True, slots=True)
class HaltCommand:
    """Stop trading in a scope; `state` is HALTED or REDUCE_ONLY.

    request_id is the client's idempotency key, empty when none was given.
    """

    scope: Scope
    state: TradingState
    reason: str
    operator: str
    cancel_open_orders: bool
    request_id: str


@dataclass(slots=True)
class HaltResult:
    """How a halt ended.

    drained: no order of the scope reaches a broker any more. Otherwise in_doubt_order_ids names
    those that may. canceled_order_ids were canceled before they were sent, or their brokers were
    asked to. sequences says where the halt stands in the journal of each account that it touches;
    0 where it could not be journaled yet: there other replicas may have approved more by then.
    """

    drained: bool
    in_doubt_order_ids: list[str] = field(default_factory=list)
    canceled_order_ids: list[str] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResumeCommand:
    """Take back the halt of exactly this scope; override although its cause stands."""

    scope: Scope
    reason: str
    operator: str
    request_id: str
    override: bool


@dataclass(slots=True)
class ResumeResult:
    """Where the resume stands in each account's journal, and the overlapping scopes not ACTIVE."""

    sequences: dict[str, int] = field(default_factory=dict)
    remaining: list[ScopeState] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AcceptDifferenceCommand:
    """Take a difference between an account and its broker as it is, for a reason."""

    account_id: str
    difference_id: str
    reason: str
    operator: str
    request_id: str


@dataclass(frozen=True, slots=True)
class ClearCommand:
    """Cancel the open orders of a scope, or close its positions; see `execution.clearing`."""

    scope: Scope
    reason: str
    operator: str
    request_id: str


@dataclass(slots=True)
class CancelAllResult:
    """Orders canceled before they were sent or asked to be; and those of them that are unclear."""

    canceled_order_ids: list[str] = field(default_factory=list)
    in_doubt_order_ids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class FlattenResult:
    """What was decided on each position, and the orders that were canceled first."""

    decisions: list[Decision] = field(default_factory=list)
    canceled_order_ids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class AccountStatus:
    """How one account stands, as far as this replica knows.

    Money is in the account's currency; None where it cannot be had, for want of a quote or of a
    store. redis_sequence is 0 when the risk store knows nothing of the account. gate_reason is
    empty when the gate is open; sender is empty when no replica holds the lease.
    """

    account_id: str
    trading_state: TradingState
    scope_states: list[ScopeState]
    sequence: int
    redis_sequence: int
    gate_open: bool
    gate_reason: str
    open_orders: int
    in_doubt_orders: int
    queued_orders: int
    cash: Decimal | None
    equity: Decimal | None
    realized_pnl: Decimal | None
    unrealized_pnl: Decimal | None
    gross_exposure: Decimal | None
    limits_version: str
    broker: str
    sender: str
    differences: list[Difference] = field(default_factory=list)
    """What does not agree with the broker; the accepted ones too."""
    day: DayStatus | None = None
    """None before the first day, and where the record cannot be read."""
    books: BooksStatus | None = None
    """None where the firm keeps no books of its own."""
    active_raises: list[RaiseStatus] = field(default_factory=list)
    currency: str = ""
    rates: list[FxStatus] = field(default_factory=list)
    """What converts the money of what it holds or works in other currencies."""


@dataclass(slots=True)
class FxStatus:
    """A pair, its last quote, and the rates that it gives; None and a fault where it gives none."""

    pair: FxPair
    quote: Quote | None
    reference: Decimal | None = None
    worst: Decimal | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class SymbolTerms:
    """What it takes to value a position in a symbol.

    multiplier is what one unit at price 1 is worth, in its currency; pair is what converts that
    into the account's, None where nothing has to. currency is empty for an instrument that left.
    """

    multiplier: Decimal
    currency: str = ""
    pair: FxPair | None = None


@dataclass(slots=True)
class DayStatus:
    """An account's trading day, in its currency; None where something has no usable quote.

    profit_and_loss is equity less start_equity, after fees; drawdown what equity is below the peak.
    """

    session: str
    ends_ns: int
    start_equity: Decimal | None
    peak_equity: Decimal | None
    profit_and_loss: Decimal | None
    drawdown: Decimal | None


@dataclass(slots=True)
class BooksStatus:
    """The firm's own books: why they cannot be relied on (empty: they can), and what differs.

    as_of_ns is what their last picture holds for, 0 before the first.
    """

    fault: str
    as_of_ns: int
    differences: list[Difference]


@dataclass(slots=True)
class EngineStatus:
    """How the engine stands; postgres and redis are "ok" or what is wrong, in words."""

    version: str
    replica_id: str
    accounts: list[AccountStatus]
    postgres: str
    redis: str


@dataclass(frozen=True, slots=True)
class UpdateLimitsCommand:
    """Replace the limits, as TOML; without instruments, those in force stay.

    etag names the change that is replaced; validate_only compares and changes nothing.
    """

    limits: FileText
    instruments: FileText | None
    etag: str
    validate_only: bool
    reason: str
    operator: str
    request_id: str


@dataclass(frozen=True, slots=True)
class LimitsInForce:
    """The limits in force: the change that brought them, and both files' text, written anew."""

    change: LimitsChange
    toml: str
    instruments_toml: str
    raises: list[RaiseStatus] = field(default_factory=list)


@dataclass(slots=True)
class LimitsUpdated:
    """What an update changed, or would: the change, differences, and what it leaves in breach.

    sequences says where the change stands in each account's journal;
    0 where a later one stands already.
    """

    change: LimitsChange
    differences: list[RulebookDifference] = field(default_factory=list)
    breaches: list[Breach] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=dict)


class EtagMismatch(EngineError):
    """The limits were changed by somebody else meanwhile: read them again, then decide anew."""

    reason = "ETAG_MISMATCH"

    def __init__(self, given: str, etag: str) -> None:
        super().__init__(
            f"the limits in force have the etag {etag!r}, not {given!r}: they were changed "
            "meanwhile. Read them again, then decide anew.",
            etag=etag,
        )


class RequestIdConflict(EngineError):
    """This request_id was used before for another request; choose a new one."""

    reason = "REQUEST_ID_CONFLICT"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"request_id {request_id!r} was used before for another request. "
            "Send the first request again, or choose a new request_id.",
            request_id=request_id,
        )


class HaltCauseStands(EngineError):
    """The cause of the halt stands, so it is not resumed; mend it, or ask with override."""

    reason = "HALT_CAUSE_STANDS"


class DifferenceNotAcceptable(EngineError):
    """This difference is not one to accept: it goes when the broker can be asked again."""

    reason = "DIFFERENCE_NOT_ACCEPTABLE"


class ScopeHalted(EngineError):
    """Something that is to be closed is HALTED: no order may be sent, not even to close."""

    reason = "SCOPE_HALTED"

    def __init__(self, scope: str, why: str) -> None:
        super().__init__(
            f"{scope} is HALTED ({why}): nothing may be sent, not even to close. Halt a wider or "
            "another overlapping scope as REDUCE_ONLY, resume this one, and flatten then.",
            scope=scope,
        )
