"""What the path to capital needs of the outside: the record, the risk store, the broker.

The outer ring implements these; `main` wires them together. Every method that talks to a store
raises `StoreUnavailable` when the store does not answer within the adapter's own time limit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from trade_engine.domain.account import AccountState
from trade_engine.domain.decision import Decision, Outcome
from trade_engine.domain.execution import BrokerReport, ExecutionReport
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.limits import Rate
from trade_engine.domain.limits_change import LimitsChange
from trade_engine.domain.market import Quote
from trade_engine.domain.order import ApprovedOrder, Order
from trade_engine.domain.position import Position
from trade_engine.domain.replacement import ApprovedReplacement
from trade_engine.domain.session import Session
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import Scope, ScopeState
from trade_engine.portfolio.view import Portfolio

# ---- the record (Postgres) ------------------------------------------------------------------


@dataclass(slots=True)
class DecisionRow:
    """The index row of a decision; the decision itself is the journal entry at `sequence`."""

    signal_id: str
    sequence: int
    strategy_id: str
    symbol: str
    outcome: Outcome
    order_id: str
    """Empty unless approved."""


@dataclass(slots=True)
class Fill:
    """One execution as it now counts; deduplicated on (broker, exec_id) within an account.

    amended_by names the reports that corrected or busted it, in order; busted, all of its numbers
    are 0. What it was at first stands in the journal, at sequence. Price and commission are in the
    instrument's currency; fx_rate is at what they were booked, None where that is the account's.
    """

    broker: str
    exec_id: str
    order_id: str
    sequence: int
    strategy_id: str
    symbol: str
    side: Side
    last_qty: Decimal
    last_px: Decimal
    commission: Decimal
    transact_time_ns: int
    amended_by: list[str] = field(default_factory=list)
    fx_rate: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Fence:
    """A sender's claim: the commit holds only while this lease is still the one in force."""

    broker: str
    holder: str
    token: int


@dataclass(slots=True)
class Commit:
    """One batch's whole effect, as absolute values: what Postgres commits and Redis is brought to.

    Valid on top of `expected_sequence` only; `sequence` and `head_hash` are the account's head
    after it. orders and positions hold the final value of each that changed (orders that closed
    among them); fills are new, amended are known ones with their new numbers. summary is
    `AccountState.summary_json()`.
    """

    account_id: str
    epoch: str
    expected_sequence: int
    sequence: int
    head_hash: bytes
    summary: dict[str, Any]
    entries: list[JournalEntry] = field(default_factory=list)
    decisions: list[DecisionRow] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    amended: list[Fill] = field(default_factory=list)
    fence: Fence | None = None


class Committed(StrEnum):
    """What became of a commit. Nothing at all was written unless DONE (or, perhaps, UNKNOWN)."""

    DONE = "DONE"
    LOST_RACE = "LOST_RACE"
    """The head is not at the expected sequence: another replica wrote."""
    DUPLICATE = "DUPLICATE"
    """A signal_id of the batch was decided before, or a fill was booked before."""
    FENCED = "FENCED"
    """The lease named by the fence is not (any more) in force."""
    UNKNOWN = "UNKNOWN"
    """The reply was lost: ask `has_entry` before answering anybody."""


class RecordLookups(Protocol):
    """What a batch may need from the record beside the account's state."""

    async def find_decisions(
        self, account_id: str, signal_ids: Sequence[str]
    ) -> dict[str, Decision]:
        """The first decisions on these signals; missing ids are absent."""

    async def find_orders(self, account_id: str, order_ids: Sequence[str]) -> dict[str, Order]:
        """These orders, open or closed; missing ids are absent."""

    async def find_fills(self, account_id: str, strategy_id: str, symbol: str) -> list[Fill]:
        """Every execution that a position is made of, in the order in which they were booked."""


class LockedAccount(RecordLookups, Protocol):
    """An account whose head row is locked, in one transaction that `commit` ends.

    What is looked up goes through that transaction's own connection: whoever holds the lock must
    not wait for another one.
    """

    state: AccountState

    async def commit(self, commit: Commit) -> Committed:
        """Write and commit; afterward the lock is gone. LOST_RACE cannot happen here."""


class RecordStore(RecordLookups, Protocol):
    """The record: what is committed here is the truth."""

    async def load(self, account_id: str) -> AccountState | None:
        """Read the account as of its head, consistently; None when it was never opened."""

    async def open_account(self, commit: Commit) -> bool:
        """Create the account with its genesis entry; False when it exists already."""

    async def commit(self, commit: Commit) -> Committed:
        """Write the batch in one transaction, if the head is at the expected sequence."""

    def locked(self, account_id: str) -> AbstractAsyncContextManager[LockedAccount]:
        """Lock the head row first, then read: for the try after a lost race."""

    async def has_entry(self, account_id: str, sequence: int, entry_hash: bytes) -> bool:
        """Say whether the journal holds exactly this entry (after an UNKNOWN commit)."""

    async def booked(self, account_id: str, broker: str, exec_ids: Sequence[str]) -> set[str]:
        """Which of these executions are booked already."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to send an account's orders to a broker, until it expires in the record's time."""

    account_id: str
    broker: str
    holder: str
    token: int


class LeaseStore(Protocol):
    """One sender per account and broker."""

    async def acquire(self, account_id: str, broker: str, holder: str, ttl_ms: int) -> Lease | None:
        """Take the lease if it is free, expired, or already this holder's; the token grows by one.

        None when another holder has it.
        """

    async def renew(self, lease: Lease, ttl_ms: int) -> bool:
        """Prolong; False when it is not this lease any more."""

    async def release(self, lease: Lease) -> None:
        """Give it back; harmless when it is not ours any more."""

    async def holder(self, account_id: str, broker: str) -> str:
        """Who holds it now; empty when nobody does."""


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which decisions to list; empty means any."""

    strategy_id: str = ""
    symbol: str = ""
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders to list; empty means any."""

    strategy_id: str = ""
    symbol: str = ""
    open_only: bool = False


class RecordQueries(Protocol):
    """Reading the record, for lists, streams and audits. Always from the primary."""

    async def list_decisions(
        self, account_id: str, which: DecisionFilter, before_sequence: int | None, limit: int
    ) -> list[Decision]:
        """Newest first, those with sequence < before_sequence."""

    async def list_orders(
        self, account_id: str, which: OrderFilter, before: tuple[int, str] | None, limit: int
    ) -> list[Order]:
        """Newest first by (created_at_ns, order_id), those before `before`."""

    async def list_positions(
        self,
        account_id: str,
        strategy_id: str,
        symbol: str,
        after: tuple[str, str] | None,
        limit: int,
    ) -> list[Position]:
        """By (strategy_id, symbol), those after `after`; empty ids mean any."""

    async def entries(
        self,
        account_id: str,
        after_sequence: int,
        limit: int,
        kinds: frozenset[EntryKind] | None = None,
    ) -> list[JournalEntry]:
        """Journal entries in order, those with sequence > after_sequence."""

    async def head(self, account_id: str) -> int | None:
        """The account's head sequence; None when it was never opened."""

    async def open_orders(self, account_id: str) -> tuple[int, list[Order]]:
        """The open orders and the head sequence as of which they are, read consistently."""

    async def account_ids(self) -> list[str]:
        """Every account ever opened, sorted."""


# ---- the risk store (Redis) -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ThrottleRequest:
    """Ask a throttle for one message. key is for instance `strategy:momentum-v1`.

    with_next: the message is the next request's as well, and takes from both throttles or neither.
    """

    key: str
    rate: Rate
    with_next: bool = False


@dataclass(frozen=True, slots=True)
class ThrottleVerdict:
    """GCRA's answer. retry_after_ns is 0 when allowed."""

    allowed: bool
    limit: int
    remaining: int
    retry_after_ns: int


class Verdicts(NamedTuple):
    """What the throttles of the strategy and of the account said of one signal.

    None where there is none to ask: no rate is set, or it was waived. For a cancel, account is the
    verdict of the account's throttle for cancels.
    """

    strategy: ThrottleVerdict | None = None
    account: ThrottleVerdict | None = None


@dataclass(slots=True)
class SnapshotRequest:
    """One batch's question to the risk store.

    batch_id makes the throttles idempotent: the same batch asked twice counts once. known_sequence
    and known_hash are the state's that the caller has in hand (-1 for none): the state is sent only
    when the store's differs. peek asks the throttles without counting.
    """

    account_id: str
    batch_id: str
    now_ns: int
    epoch: str
    known_sequence: int
    known_hash: bytes = b""
    throttles: list[ThrottleRequest] = field(default_factory=list)
    symbols: list[str] = field(default_factory=list)
    earlier: list[str] = field(default_factory=list)
    peek: bool = False


@dataclass(slots=True)
class Snapshot:
    """The risk store's answer.

    epoch and sequence are None when the store knows nothing of the account. state is None when it
    is the known one. controls are the trading states that operators set (None: unknown, so
    refuse). quotes holds what is known of the symbols asked for; earlier, of those asked
    for, the quote that a price is held against: the middle one of three earlier ones.
    """

    epoch: str | None
    sequence: int | None
    state: AccountState | None
    verdicts: list[ThrottleVerdict]
    quotes: dict[str, Quote]
    controls: dict[Scope, ScopeState] | None
    earlier: dict[str, Quote] = field(default_factory=dict)


class RiskStore(Protocol):
    """The fold that all replicas decide on, the throttles, the quotes, the operators' controls."""

    async def snapshot(self, request: SnapshotRequest) -> Snapshot:
        """One script, plus quotes and controls in the same pipeline."""

    async def apply(self, commit: Commit) -> bool:
        """Bring the fold to commit.sequence, if it stands where the commit begins, hash and all.

        False (and nothing changed) when it stands elsewhere: behind, it will be rebuilt; ahead,
        another replica's later state is there already.
        """

    async def replace(self, state: AccountState, *, force: bool = False) -> bool:
        """Lay the whole fold anew, unless one of the same epoch at a later sequence is there.

        force lays it anew all the same: what is there is of a timeline that the record lost.
        """

    async def controls(self) -> dict[Scope, ScopeState] | None:
        """The trading states that operators set; None when unknown."""

    async def put_controls(self, states: Sequence[ScopeState], *, complete: bool) -> None:
        """Write trading states (ACTIVE ones too); complete: these are all that the record knows.

        One never takes the place of a stricter one, but for ACTIVE, of what was set before it.
        """

    async def damaged_controls(self) -> list[str]:
        """The fields of trading states that cannot be read: they keep all of them unknown."""

    async def drop_control(self, field: str) -> None:
        """Remove what stands under a field that names no scope."""

    async def check(self) -> None:
        """See that the store may be relied on: that it drops nothing by itself.

        Raises:
            StoreUnavailable: it may not. So does every snapshot, until a check passes.
        """

    async def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """The last quotes of these symbols; unknown ones are absent."""

    async def put_quotes(self, quotes: Sequence[Quote], now_ns: int) -> None:
        """Remember quotes; one older than the known one of its symbol is not taken over.

        A known one of after now (see `FUTURE_TOLERANCE_NS`) keeps none out.
        """


class ControlStore(Protocol):
    """The record of operators' trading states (all scopes), beside each account's journal."""

    async def controls(self) -> dict[Scope, ScopeState]:
        """Every scope that an operator ever set and did not set back to ACTIVE."""

    async def put_controls(self, states: Sequence[ScopeState]) -> None:
        """Write trading states; an ACTIVE one removes its scope, if that was set before it.

        One never takes the place of a stricter one.
        """


class RequestLedger(Protocol):
    """The first content of every request_id, and the answer once there is one.

    caller is the name in the credentials: ids of different callers never meet.
    """

    async def begin(
        self, caller: str, request_id: str, content: bytes
    ) -> tuple[bytes, bytes | None]:
        """Remember a content under its id; answers with the first one, and its answer if any."""

    async def answer(self, caller: str, request_id: str, answer: bytes) -> None:
        """Remember the answer to a request that began; the first one stays."""


class LimitsStore(Protocol):
    """The record of the limits' changes, beside each account's journal; the last is in force."""

    async def last(self) -> LimitsChange | None:
        """The change in force; None before the first."""

    async def last_number(self) -> int:
        """The number of the change in force; 0 before the first."""

    async def change(self, number: int) -> LimitsChange | None:
        """The change of a number; None when there is none."""

    async def requested(self, request_id: str) -> LimitsChange | None:
        """The change that came of a request; None when none did."""

    async def append(self, change: LimitsChange) -> bool:
        """Put a change into force; False, and nothing changed, when another one came first."""


class Doorbell(Protocol):
    """A hint to other tasks and replicas that an account's journal grew. May be lost."""

    def ring(self, account_id: str, sequence: int) -> None:
        """Never blocks, never raises."""


# ---- calendars ------------------------------------------------------------------------------


class Calendars(Protocol):
    """When markets trade, and so when an account's day ends. Never waits for anything."""

    def session_at(self, calendar: str, now_ns: int) -> Session | None:
        """The session that an instant is in, or else the next one; None past a calendar's end."""


# ---- a firm's own books ---------------------------------------------------------------------


class PortfolioSource(Protocol):
    """A firm's own portfolio service."""

    async def portfolio(self, account_id: str) -> Portfolio:
        """What its books say that an account holds.

        Raises:
            StoreUnavailable: it does not answer, or not as the contract has it.
        """


# ---- the broker -----------------------------------------------------------------------------


class Delivery(StrEnum):
    """What is known after handing an order to a broker."""

    SENT = "SENT"
    """The broker has it; reports will follow (a reject is such a report)."""
    IN_DOUBT = "IN_DOUBT"
    """It may or may not have arrived: ask by ClOrdID, never resend blind."""
    NOT_SENT = "NOT_SENT"
    """Certainly nothing left this process: it may be sent again."""


@dataclass(slots=True)
class BrokerOrder:
    """A broker's own view of an order, for queries and reconciliation.

    reports is everything it reported of the order so far, in order, as far as it can tell it
    again. avg_px is FIX AvgPx(6), None where it does not say.
    """

    cl_ord_id: str
    broker_order_id: str
    cum_qty: Decimal
    leaves_qty: Decimal
    is_open: bool
    reports: list[ExecutionReport]
    avg_px: Decimal | None = None


ReportSink = Callable[[str, Sequence[BrokerReport]], Awaitable[None]]
"""Takes what a broker tells of an account's orders, in order; returns once it is booked."""


class OrderEntry(Protocol):
    """Where the orders of an account go: what its sender asks of a broker, or of several as one.

    ClOrdIDs are unique for ever; reports may come at any time. remembers_all says that an order
    absent from `query` certainly never arrived, so that it may be sent; for other brokers absence
    right after an unclear send is no evidence.
    """

    name: str
    remembers_all: bool

    async def open_account(self, account_id: str) -> None:
        """Begin to work for an account: this process holds its lease. Missed reports come again.

        Raises:
            StoreUnavailable: not now; try again.
        """

    async def close_account(self, account_id: str) -> None:
        """Stop working for an account: the lease is another's, or given back. Never raises."""

    async def send(self, orders: Sequence[ApprovedOrder]) -> list[Delivery]:
        """Hand over orders of one account; one answer per order, in order. Never raises."""

    async def cancel(self, orders: Sequence[Order]) -> list[Delivery]:
        """Ask to cancel; what comes of it is reported through the sink. Never raises."""

    async def replace(self, asked: Sequence[ApprovedReplacement]) -> list[Delivery]:
        """Ask for new terms of orders of one account; one answer per request. Never raises.

        What comes of each is reported through the sink: a REPLACED under the request's ClOrdID that
        states OrderQty and Price, or a CancelReject. Until then, and after a refusal, the order
        works on its old terms. SENT, IN_DOUBT and NOT_SENT mean what they do for an order.
        """

    async def query(self, account_id: str, cl_ord_ids: Sequence[str]) -> dict[str, BrokerOrder]:
        """What the broker knows of these orders; one that it never saw is absent.

        Asked by the ClOrdID of a request to replace it answers with the order, if that request has
        arrived, whatever came of it.

        Raises:
            StoreUnavailable: it did not answer, which says nothing about the orders.
        """


class Broker(OrderEntry, Protocol):
    """The port of a broker adapter.

    is_live: real money moves; an account opened there starts HALTED. can_replace says that
    `replace` reaches the venue; for other brokers a signal never replaces, but adds.

    What `open_orders`, `executions` and `positions` answer is compared with the record before
    anything is sent (`execution.reconcile`). Each raises StoreUnavailable when the broker did not
    answer, and gives None where the venue has no such question: neither is ever an empty answer.
    """

    is_live: bool
    can_replace: bool

    @property
    def connection(self) -> int:
        """Which connection to the venue this is: grows with each new one, 0 while there is none."""

    async def start(self, sink: ReportSink) -> None:
        """Connect; from now on reports go to `sink`."""

    async def stop(self) -> None:
        """Disconnect in order; reports not yet taken by the sink come again after `start`."""

    async def open_orders(self, account_id: str) -> list[BrokerOrder] | None:
        """Every order of the account that may still fill there, whoever sent it."""

    async def executions(self, account_id: str, since_ns: int) -> list[ExecutionReport] | None:
        """Every fill, bust and correction since a time of the broker's clock, in its order."""

    async def positions(self, account_id: str) -> dict[str, Decimal] | None:
        """The net quantity held by symbol, all strategies together; flat ones may be left out."""
