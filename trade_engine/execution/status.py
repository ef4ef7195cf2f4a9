"""How the engine stands, for operators: read from the record, valued at the known quotes."""

from __future__ import annotations

from decimal import Decimal

from trade_engine.domain.account import AccountState
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.fx import FxPair
from trade_engine.domain.market import Quote
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import DeliveryState
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.trading_state import Scope, ScopeState, TradingState, strictest
from trade_engine.execution.batch import Batch
from trade_engine.execution.commands import (
    AccountStatus,
    BooksStatus,
    DayStatus,
    EngineStatus,
    FxStatus,
)
from trade_engine.execution.gate import AccountGate
from trade_engine.execution.parts import EngineParts
from trade_engine.execution.portfolio_watch import PortfolioWatch
from trade_engine.execution.ports import SnapshotRequest
from trade_engine.execution.raises import raises_of
from trade_engine.risk.fx import NoRate, Rate


class StatusReader:
    """Reads the state of accounts without touching them."""

    def __init__(
        self, parts: EngineParts, gates: dict[str, AccountGate], books: PortfolioWatch | None
    ) -> None:
        self._parts = parts
        self._gates = gates
        self._books = books

    async def read(self, account_ids: list[str]) -> EngineStatus:
        """The status of these accounts; a store that does not answer is named, not raised."""
        status = EngineStatus(
            version=self._parts.version,
            replica_id=self._parts.replica_id,
            accounts=[],
            postgres="ok",
            redis="ok",
        )
        for account_id in account_ids:
            status.accounts.append(await self._account(account_id, status))
        return status

    async def _account(self, account_id: str, status: EngineStatus) -> AccountStatus:
        gate = self._gates[account_id]
        latest = self._parts.rulebooks.latest.rulebook
        terms = latest.accounts[account_id]
        state, sender = await self._record(account_id, terms.broker, status)
        symbols = sorted({symbol for _, symbol in state.positions}) if state else []
        symbols = latest.with_fx(symbols, terms.currency)
        redis_sequence, quotes, controls = await self._risk(account_id, state, symbols, status)
        found = AccountStatus(
            account_id=account_id,
            trading_state=TradingState.HALTED,
            scope_states=[],
            sequence=state.sequence if state else 0,
            redis_sequence=redis_sequence,
            gate_open=not gate.closed_because and state is not None and controls is not None,
            gate_reason=gate.closed_because,
            open_orders=0,
            in_doubt_orders=0,
            queued_orders=0,
            cash=None,
            equity=None,
            realized_pnl=None,
            unrealized_pnl=None,
            gross_exposure=None,
            limits_version=state.limits_version if state else latest.version,
            broker=", ".join(terms.brokers),
            sender=sender,
            currency=terms.currency,
        )
        if state is not None:
            _count_orders(found, state)
            self._value(found, state, latest, quotes)
            found.day = _day(state, found.equity)
            if controls is not None:
                _name_states(found, state, controls | gate.latched)
            found.differences = list(state.differences.values())
            limits = self._parts.rulebooks.known(state.limits_number).limits
            raises = raises_of(limits, account_id, self._parts.clock())
            found.active_raises = [each for each in raises if each.active]
        if self._books is not None:
            found.books = self._books_status(self._books, account_id, state)
        if not found.gate_open and not found.gate_reason:
            found.gate_reason = "a store does not answer"
        return found

    def _books_status(
        self, books: PortfolioWatch, account_id: str, state: AccountState | None
    ) -> BooksStatus:
        told = books.books(account_id).told
        return BooksStatus(
            fault=books.fault(account_id, self._parts.clock()),
            as_of_ns=told.as_of_ns if told else 0,
            differences=list(state.books_differences.values()) if state else [],
        )

    async def _record(
        self, account_id: str, broker: str, status: EngineStatus
    ) -> tuple[AccountState | None, str]:
        try:
            state = await self._parts.stores.record.load(account_id)
            return state, await self._parts.leases.holder(account_id, broker)
        except StoreUnavailable as error:
            status.postgres = error.message
            return None, ""

    async def _risk(
        self,
        account_id: str,
        state: AccountState | None,
        symbols: list[str],
        status: EngineStatus,
    ) -> tuple[int, dict[str, Quote], dict[Scope, ScopeState] | None]:
        try:
            snapshot = await self._parts.stores.risk.snapshot(
                SnapshotRequest(
                    account_id=account_id,
                    batch_id="status",
                    now_ns=self._parts.clock(),
                    epoch=state.epoch if state else "",
                    known_sequence=state.sequence if state else -1,
                    known_hash=state.head_hash if state else b"",
                    symbols=symbols,
                    peek=True,
                )
            )
        except StoreUnavailable as error:
            status.redis = error.message
            return 0, {}, None
        return snapshot.sequence or 0, snapshot.quotes, snapshot.controls

    def _value(
        self,
        found: AccountStatus,
        state: AccountState,
        rulebook: Rulebook,
        quotes: dict[str, Quote],
    ) -> None:
        """Money figures; those that need a price are left out where one is missing."""
        batch = Batch(state, rulebook, self._parts.clock(), quotes, {}, earlier_quotes=quotes)
        found.cash = state.cash
        found.realized_pnl = state.realized_pnl
        found.equity = batch.equity()
        if found.equity is not None:
            cost = sum((each.cost for each in state.positions.values()), ZERO)
            found.unrealized_pnl = found.equity - state.cash - cost
        found.rates = [
            _fx_status(pair, quotes.get(pair.symbol), batch.exchanges.pair_rate(pair))
            for pair in batch.exchanges.pairs(batch.exposure.symbols())
        ]
        gross, missing = batch.exposure.gross_without("", batch.unit_value)
        found.gross_exposure = None if missing else gross


def _fx_status(pair: FxPair, quote: Quote | None, rate: Rate | NoRate) -> FxStatus:
    if isinstance(rate, NoRate):
        return FxStatus(pair, quote, fault=rate.why)
    return FxStatus(pair, quote, rate.reference, rate.worst)


def _day(state: AccountState, equity: Decimal | None) -> DayStatus | None:
    """The day that the account is in, held against what it is worth now."""
    day = state.day
    if not day.session:
        return None
    start, peak = day.start_equity, day.peak_equity
    return DayStatus(
        session=day.session,
        ends_ns=day.ends_ns,
        start_equity=start,
        peak_equity=peak,
        profit_and_loss=None if equity is None or start is None else equity - start,
        drawdown=None if equity is None or peak is None else max(peak - equity, ZERO),
    )


def _count_orders(found: AccountStatus, state: AccountState) -> None:
    found.open_orders = len(state.orders)
    for order in state.orders.values():
        found.in_doubt_orders += order.delivery is DeliveryState.IN_DOUBT
        found.queued_orders += order.delivery is DeliveryState.QUEUED


def _name_states(
    found: AccountStatus, state: AccountState, controls: dict[Scope, ScopeState]
) -> None:
    """The scopes that are not ACTIVE, and the strictest that covers the whole account."""
    standing = [
        each
        for each in (controls | state.trading).values()
        if each.state is not TradingState.ACTIVE
    ]
    if state.disagreement is not None:
        standing.append(state.disagreement)
    found.scope_states = sorted(standing, key=lambda each: str(each.scope))
    covering = [each for each in standing if each.scope.covers(found.account_id, "", "")]
    worst = strictest(covering)
    found.trading_state = worst.state if worst else TradingState.ACTIVE
