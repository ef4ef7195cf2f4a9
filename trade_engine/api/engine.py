"""What the edge needs of the engine; `execution` provides it, the wiring hands it in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from trade_engine.domain.decision import Decision
from trade_engine.domain.difference import Difference
from trade_engine.domain.market import Quote
from trade_engine.domain.order import Order
from trade_engine.domain.signal import Signal
from trade_engine.execution.commands import (
    AcceptDifferenceCommand,
    Answer,
    CancelAllResult,
    ClearCommand,
    EngineStatus,
    FlattenResult,
    HaltCommand,
    HaltResult,
    LimitsInForce,
    LimitsUpdated,
    ResumeCommand,
    ResumeResult,
    SymbolTerms,
    UpdateLimitsCommand,
)
from trade_engine.execution.ports import RecordQueries, RequestLedger
from trade_engine.portfolio.view import Portfolio


class Finder(Protocol):
    """The part of the record store that looks things up by id."""

    async def find_decisions(
        self, account_id: str, signal_ids: Sequence[str]
    ) -> dict[str, Decision]:
        """The first decisions on these signals; missing ids are absent."""

    async def find_orders(self, account_id: str, order_ids: Sequence[str]) -> dict[str, Order]:
        """These orders, open or closed; missing ids are absent."""


class EnginePort(Protocol):
    """The engine as the edge sees it.

    Work that moves capital runs in tasks of the engine's own: an awaiting handler may be canceled
    at any time, and the work goes on. Every method raises `EngineError` and its kinds only.
    """

    @property
    def queries(self) -> RecordQueries:
        """The record, for lists and streams."""

    @property
    def ledger(self) -> RequestLedger:
        """What became of requests that carry a request_id."""

    async def submit(self, signal: Signal) -> Answer:
        """Decide a signal once and for all; answer when that is durable.

        Raises:
            SignalIdConflict, GateClosed, QueueFull, ShuttingDown, StoreUnavailable.
            NotFound: no such account.
        """

    async def evaluate(self, signal: Signal) -> Decision:
        """Decide as `submit` would now, and write nothing."""

    async def cancel_order(
        self, account_id: str, order_id: str, request_id: str, reason: str, operator: str
    ) -> Order:
        """Make the wish to cancel durable; answer with the order after it.

        Raises:
            NotFound, OrderNotOpen, RequestIdConflict, StoreUnavailable.
        """

    async def halt(self, request: HaltCommand) -> HaltResult:
        """Stop trading in a scope, on every replica."""

    async def resume(self, request: ResumeCommand) -> ResumeResult:
        """Let a scope trade again.

        Raises:
            HaltCauseStands, RequestIdConflict, StoreUnavailable.
        """

    async def accept_difference(self, command: AcceptDifferenceCommand) -> Difference:
        """Take a difference between an account and its broker as it is.

        Raises:
            NotFound, DifferenceNotAcceptable, StoreUnavailable.
        """

    async def cancel_all(self, command: ClearCommand) -> CancelAllResult:
        """Ask for the cancel of every open order in a scope, whatever its trading state."""

    async def flatten(self, command: ClearCommand) -> FlattenResult:
        """Close every position in a scope.

        Raises:
            ScopeHalted, GateClosed, StoreUnavailable.
        """

    async def limits(self, account_id: str) -> LimitsInForce:
        """The limits in force; an account_id leaves out what cannot apply to it."""

    async def update_limits(self, command: UpdateLimitsCommand) -> LimitsUpdated:
        """Replace the limits on every replica, or say what that would do.

        Raises:
            InvalidFields, EtagMismatch, RequestIdConflict, StoreUnavailable.
        """

    async def status(self, account_id: str) -> EngineStatus:
        """How the engine stands; an empty account_id means every account."""

    async def may_trade(self) -> dict[str, bool]:
        """Whether each account may trade now: its gate open, and it not HALTED as a whole."""

    async def portfolio(self, account_id: str) -> Portfolio:
        """What an account holds now, by the engine's own ledger.

        Raises:
            StoreUnavailable: all of it cannot be told, for want of a store or of a quote.
        """

    async def publish_quotes(self, quotes: list[Quote]) -> None:
        """Remember quotes; one older than the known one of its symbol is not taken over."""

    async def quotes(self, symbols: list[str]) -> dict[str, Quote]:
        """The last quotes of these symbols; unknown ones are absent."""

    def symbol_terms(self, account_id: str, symbol: str) -> SymbolTerms:
        """What it takes to value an account's position in a symbol."""

    def account_known(self, account_id: str) -> bool:
        """Whether this engine trades for the account."""
