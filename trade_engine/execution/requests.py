"""What the writer of an account takes from its queue: everything that changes the account.

Each request carries the future that its sender awaits. The sender may be gone by the time it is
answered; the work is done all the same.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from trade_engine.domain.decision import Decision
from trade_engine.domain.difference import Difference
from trade_engine.domain.execution import BrokerReport
from trade_engine.domain.limits_change import LimitsChange
from trade_engine.domain.order import DeliveryState, Order
from trade_engine.domain.signal import Signal
from trade_engine.domain.trading_state import ScopeState
from trade_engine.execution.books_compare import BooksComparison
from trade_engine.execution.commands import AcceptDifferenceCommand, Answer, ClearCommand
from trade_engine.execution.ports import Fence
from trade_engine.execution.report_faults import fault_of, printable
from trade_engine.portfolio.view import Portfolio


@dataclass(slots=True, eq=False)
class SubmitRequest:
    """Decide a signal for good."""

    signal: Signal
    answer: Future[Answer]


@dataclass(slots=True, eq=False)
class EvaluateRequest:
    """Say what would be decided; write nothing."""

    signal: Signal
    answer: Future[Decision]


@dataclass(slots=True, eq=False)
class ReportsRequest:
    """Book what a broker reported; refused is what cannot be, and why: it is quarantined."""

    broker: str
    reports: Sequence[BrokerReport]
    answer: Future[None]
    refused: list[tuple[BrokerReport, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Sort out what no store could take."""
        for report in self.reports:
            report.text = printable(report.text)
        faulty = [(report, why) for report in self.reports if (why := fault_of(report))]
        if faulty:
            self.refused += faulty
            self.reports = [report for report in self.reports if not fault_of(report)]


@dataclass(slots=True, eq=False)
class IntentRequest:
    """Commit the intent to send these queued orders: QUEUED becomes SENDING.

    Answered with those that may now be sent. Orders that trading state forbids are canceled.
    """

    order_ids: Sequence[str]
    answer: Future[list[Order]]


@dataclass(slots=True, eq=False)
class PendingRequest:
    """Ask for the open orders that the router may have something to do about.

    Those not known to be sent, and those to be canceled; as they are between two batches.
    """

    answer: Future[list[Order]]


@dataclass(slots=True, eq=False)
class DeliveryRequest:
    """Record what became of sending: order_id to (delivery state, why).

    claim is what the sender acted under: when it is in force no more, another sender may have gone
    on from there, and nothing is recorded.
    """

    outcomes: dict[str, tuple[DeliveryState, str]]
    claim: Fence
    answer: Future[None]


@dataclass(slots=True, eq=False)
class ReplaceIntentRequest:
    """Commit the intent to send the queued requests to replace these orders.

    Answered with the orders whose requests may now be sent.
    """

    order_ids: Sequence[str]
    answer: Future[list[Order]]


@dataclass(slots=True, eq=False)
class ReplaceDeliveryRequest:
    """Record what became of sending requests to replace, by ClOrdID; see `DeliveryRequest`.

    None: it never arrived, and never will.
    """

    outcomes: dict[str, DeliveryState | None]
    claim: Fence
    answer: Future[None]


@dataclass(slots=True, eq=False)
class CancelRequest:
    """Ask for an order to be canceled; one that was not sent yet is canceled by this."""

    order_id: str
    request_id: str
    reason: str
    operator: str
    answer: Future[Order]


@dataclass(slots=True)
class StateChange:
    """Where a trading state stands in the journal, and what it did to the orders in its scope.

    canceled were not sent yet and are canceled; canceling are asked for at the broker; in_flight
    may be on their way to the broker at this very moment.
    """

    sequence: int
    canceled: list[str] = field(default_factory=list)
    canceling: list[str] = field(default_factory=list)
    in_flight: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class CancelScopeRequest:
    """Ask for the cancel of every open order in a scope; to_flatten: only if it is not halted."""

    command: ClearCommand
    to_flatten: bool
    answer: Future[StateChange]


@dataclass(slots=True, eq=False)
class FlattenRequest:
    """Decide on a closing order for each position in a scope."""

    command: ClearCommand
    answer: Future[list[Decision]]


@dataclass(slots=True, eq=False)
class TradingStateRequest:
    """Journal an operator's trading state and cancel what it forbids.

    override: resume although the cause of the halt stands.
    """

    state: ScopeState
    request_id: str
    cancel_open_orders: bool
    override: bool
    answer: Future[StateChange]


@dataclass(slots=True, eq=False)
class WatchRequest:
    """Look at the account although nobody asks anything of it: its day may be over.

    The answer is whether it was looked at: not while its gate is closed.
    """

    answer: Future[bool]


@dataclass(slots=True)
class Holdings:
    """What an account works and holds: open orders by ClOrdID, net quantities by symbol."""

    orders: dict[str, Order]
    quantities: dict[str, Decimal]
    differences: dict[str, Difference]


@dataclass(slots=True, eq=False)
class HoldingsRequest:
    """Ask for what the account works and holds, as it is between two batches."""

    answer: Future[Holdings]


@dataclass(slots=True, eq=False)
class ReconciledRequest:
    """Record what a comparison with a broker found; answered with the differences that stand.

    mark is what its differences bear; see `Share`.
    """

    broker: str
    found: Sequence[Difference]
    claim: Fence
    answer: Future[list[Difference]]
    mark: str = ""


@dataclass(slots=True, eq=False)
class AcceptDifferenceRequest:
    """Take a difference as it is."""

    command: AcceptDifferenceCommand
    answer: Future[Difference]


@dataclass(slots=True, eq=False)
class CloseUnknownRequest:
    """Close orders of unclear outcome that the broker never saw."""

    order_ids: Sequence[str]
    why: str
    claim: Fence
    answer: Future[None]


@dataclass(slots=True, eq=False)
class BooksRequest:
    """Hold what the firm's own books told against the ledger, unless the gate is closed."""

    told: Portfolio
    comparison: BooksComparison
    answer: Future[bool]


SendersRequest = (
    IntentRequest
    | DeliveryRequest
    | ReplaceIntentRequest
    | ReplaceDeliveryRequest
    | ReconciledRequest
    | CloseUnknownRequest
)
"""What only the account's sender may ask."""


@dataclass(slots=True, eq=False)
class LimitsRequest:
    """Let the account's journal take a change of the limits, unless it has it or a later one.

    Answered with its sequence there; 0 when a later one stands already.
    """

    change: LimitsChange
    answer: Future[int]


Request = (
    SubmitRequest
    | EvaluateRequest
    | ReportsRequest
    | IntentRequest
    | PendingRequest
    | DeliveryRequest
    | ReplaceIntentRequest
    | ReplaceDeliveryRequest
    | CancelRequest
    | CancelScopeRequest
    | FlattenRequest
    | TradingStateRequest
    | WatchRequest
    | HoldingsRequest
    | ReconciledRequest
    | AcceptDifferenceRequest
    | CloseUnknownRequest
    | BooksRequest
    | LimitsRequest
)
