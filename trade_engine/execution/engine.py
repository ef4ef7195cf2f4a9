"""The engine: the gates and routers of all its accounts, and what the edge asks of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from trade_engine.audit.chain import canonical, seal
from trade_engine.domain.account import ENGINE, GENESIS_HASH, AccountState, scope_state_json
from trade_engine.domain.decision import Decision
from trade_engine.domain.difference import Difference
from trade_engine.domain.errors import EngineError, NotFound, StoreUnavailable
from trade_engine.domain.execution import BrokerReport
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.market import Instrument, Quote
from trade_engine.domain.money import ONE, text
from trade_engine.domain.order import Order
from trade_engine.domain.rulebook import AccountTerms, Rulebook
from trade_engine.domain.signal import Signal
from trade_engine.domain.trading_state import Scope, ScopeKind, ScopeState, TradingState
from trade_engine.execution.account_brokers import AccountBrokers
from trade_engine.execution.clearing import Clearing
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
from trade_engine.execution.gate import AccountGate, Settled, no_books
from trade_engine.execution.halting import Halting
from trade_engine.execution.limits_keeper import LimitsKeeper
from trade_engine.execution.observer import Alert, raise_alert
from trade_engine.execution.order_router import OrderRouter
from trade_engine.execution.parts import EngineParts
from trade_engine.execution.portfolio_reader import read_portfolio
from trade_engine.execution.portfolio_watch import PortfolioWatch
from trade_engine.execution.ports import Commit
from trade_engine.execution.report_intake import ReportIntake
from trade_engine.execution.requests import (
    AcceptDifferenceRequest,
    CancelRequest,
    EvaluateRequest,
    SubmitRequest,
)
from trade_engine.execution.status import StatusReader
from trade_engine.execution.stores_watch import StoresWatch
from trade_engine.portfolio.view import Portfolio

log = structlog.get_logger(__name__)

IDLE_LOOK_S = 0.01
WATCH_EVERY_S = 0.25


class Engine:
    """Everything that the edge may ask for; see `api.engine.EnginePort`."""

    def __init__(self, parts: EngineParts) -> None:
        self._parts = parts
        self.queries = parts.queries
        self.ledger = parts.ledger
        self._routers: dict[str, OrderRouter] = {}
        accounts = parts.rulebooks.latest.rulebook.accounts
        self._books = (
            PortfolioWatch(
                parts.portfolio,
                accounts,
                parts.portfolio_age_ms_max,
                parts.portfolio_tolerance,
                parts.clock,
                parts.observer,
            )
            if parts.portfolio
            else None
        )
        self._gates = {account_id: self._make_gate(account_id) for account_id in accounts}
        self._routers = {
            account_id: OrderRouter(
                gate,
                AccountBrokers(accounts[account_id], parts.brokers, self._instruments),
                parts.leases,
                parts.replica_id,
                parts.stores.record,
                parts.clock,
                self._halt_account,
                parts.uptime,
                parts.observer,
            )
            for account_id, gate in self._gates.items()
        }
        stores = parts.stores
        self._halting = Halting(
            self._gates,
            stores.record,
            stores.controls,
            stores.risk,
            parts.clock,
            parts.observer,
            parts.queries,
        )
        self._clearing = Clearing(self._gates, stores.record)
        self._limits = LimitsKeeper(
            self._gates, parts.rulebooks, parts.limits, stores, parts.rulebook_text, parts.clock
        )
        self._status = StatusReader(parts, self._gates, self._books)
        self._tasks: list[asyncio.Task[None]] = []
        self.failed = asyncio.Event()
        """Set when a task that must never end has ended: the process should."""
        self._own_halts: set[asyncio.Task[None]] = set()
        self._settled_here: dict[str, int] = {}

    def _instruments(self) -> Mapping[str, Instrument]:
        return self._parts.rulebooks.latest.rulebook.instruments

    def _make_gate(self, account_id: str) -> AccountGate:
        parts = self._parts
        return AccountGate(
            account_id,
            parts.stores,
            parts.rulebooks,
            parts.clock,
            parts.replica_id,
            self._on_settled,
            lambda: self._routers[account_id].claim,
            parts.queue_cap,
            parts.observer,
            self._books_fault(account_id),
            can_replace_at={name for name, each in parts.brokers.items() if each.can_replace},
        )

    def _books_fault(self, account_id: str) -> Callable[[int], str | None]:
        books = self._books
        return no_books if books is None else partial(books.fault, account_id)

    # ---- life -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open accounts that are new, and start their writers, brokers and routers."""
        accounts = self.rulebook.accounts
        for account_id in self._gates:
            await self._open_account(accounts[account_id])
        self._read_calendars()
        for gate in self._gates.values():
            await gate.open()
            self._keep_running(gate.run(), f"gate {gate.account_id}")
        self._keep_running(self._watch(), "watch")
        if self._books is not None:
            self._keep_running(self._books.run(self._gates), "portfolio")
        await self._limits.catch_up()
        self._keep_running(self._limits.follow(), "limits")
        for broker in self._parts.brokers.values():
            await broker.start(self._sink_of(broker.name))
        for router in self._routers.values():
            self._keep_running(router.run(), f"router {router.account_id}")
        parts = self._parts
        watch = StoresWatch(parts.stores, self._gates.values(), parts.clock, parts.observer)
        self._keep_running(watch.run(), "watch of the stores")

    def _read_calendars(self) -> None:
        """Reading a calendar takes a second: better now than in the first batch that needs it."""
        calendars = {each.calendar for each in self.rulebook.instruments.values()}
        for calendar in calendars:
            self._parts.stores.calendars.session_at(calendar, self._parts.clock())

    async def _watch(self) -> None:
        """Look at every account where time passes and nobody asks for it."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            now_ns = self._parts.clock()
            for gate in self._gates.values():
                gate.watch(now_ns)

    def _keep_running(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """An account without its writer or its sender is no engine: let the process end."""
        if not task.cancelled():
            raise_alert(
                self._parts.observer,
                Alert.TASK_DIED,
                task=task.get_name(),
                exc_info=task.exception(),
            )
            self.failed.set()

    async def stop(self, drain_s: float) -> None:
        """Take no new signal, settle and send what is approved (for `drain_s` at most), let go."""
        for gate in self._gates.values():
            gate.stop_taking()
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self._idle()
        for broker in self._parts.brokers.values():
            await broker.stop()
        await asyncio.gather(*self._own_halts)
        await self._halting.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for router in self._routers.values():
            await router.release()

    async def _idle(self) -> None:
        while not self._is_idle():  # noqa: ASYNC110  the sum of many states, asked once in a life
            await asyncio.sleep(IDLE_LOOK_S)

    def _is_idle(self) -> bool:
        gates = all(gate.is_idle for gate in self._gates.values())
        routers = self._routers.values()
        return gates and all(router.is_idle or not router.holds_lease for router in routers)

    async def _open_account(self, terms: AccountTerms) -> None:
        parts = self._parts
        if await parts.stores.record.load(terms.account_id) is not None:
            return
        state = AccountState(
            account_id=terms.account_id,
            currency=terms.currency,
            epoch=parts.new_epoch(),
            sequence=0,
            head_hash=GENESIS_HASH,
            cash=terms.opening_cash,
        )
        payload = {
            "epoch": state.epoch,
            "currency": terms.currency,
            "opening_cash": text(terms.opening_cash),
            "broker": terms.broker,
        }
        now_ns = parts.clock()
        entries = [_next_entry(state, now_ns, EntryKind.ACCOUNT_OPENED, payload)]
        live = [each for each in terms.brokers if parts.brokers[each].is_live]
        if live:
            entries.append(_halt_entry(state, now_ns, ", ".join(live)))
        commit = Commit(
            account_id=terms.account_id,
            epoch=state.epoch,
            expected_sequence=0,
            sequence=state.sequence,
            head_hash=state.head_hash,
            summary=state.summary_json(),
            entries=entries,
        )
        if await parts.stores.record.open_account(commit):
            log.info("account_opened", account_id=terms.account_id)

    # ---- what happened ----------------------------------------------------------------------

    def _on_settled(self, settled: Settled) -> None:
        """A batch of ours is committed: ring, and let the router send."""
        self._settled_here[settled.account_id] = settled.sequence
        router = self._routers[settled.account_id]
        router.offer(settled.commit, settled.approved, settled.to_cancel)
        if settled.replaces:
            router.look()
        self._parts.doorbell.ring(settled.account_id, settled.sequence)

    def _halt_account(self, account_id: str, why: str) -> None:
        """Halt an account by ourselves, at once here and soon everywhere."""
        command = HaltCommand(
            Scope(ScopeKind.ACCOUNT, account_id), TradingState.HALTED, why, ENGINE, False, ""
        )
        halting = asyncio.create_task(self._halt_by_itself(command))
        self._own_halts.add(halting)
        halting.add_done_callback(self._own_halts.discard)

    async def _halt_by_itself(self, command: HaltCommand) -> None:
        with suppress(EngineError):  # halted here all the same, alerted on, carried to the stores
            await self._halting.halt(command)

    def on_ring(self, account_id: str, sequence: int) -> None:
        """The doorbell rang: another replica may have left something to send."""
        router = self._routers.get(account_id)
        if router is not None and sequence > self._settled_here.get(account_id, 0):
            router.look()

    def _sink_of(self, broker: str) -> Callable[[str, Sequence[BrokerReport]], Awaitable[None]]:
        async def sink(account_id: str, reports: Sequence[BrokerReport]) -> None:
            await ReportIntake(self._gates[account_id], broker).book(reports)

        return sink

    # ---- what the edge asks -----------------------------------------------------------------

    async def submit(self, signal: Signal) -> Answer:
        """Decide a signal once and for all; answer when that is durable."""
        gate = self._gate(signal.account_id)
        known = gate.remembered(signal)
        if known is not None:
            return Answer(known, replayed=True)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        gate.enqueue(SubmitRequest(signal, answer))
        return await answer

    async def evaluate(self, signal: Signal) -> Decision:
        """Decide as `submit` would now, and write nothing."""
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._gate(signal.account_id).enqueue(EvaluateRequest(signal, answer))
        return await answer

    async def cancel_order(
        self, account_id: str, order_id: str, request_id: str, reason: str, operator: str
    ) -> Order:
        """Make the wish to cancel durable; answer with the order after it."""
        answer: asyncio.Future[Order] = asyncio.get_running_loop().create_future()
        request = CancelRequest(order_id, request_id, reason, operator, answer)
        self._gate(account_id).enqueue(request)
        return await answer

    async def halt(self, request: HaltCommand) -> HaltResult:
        """Stop trading in a scope, on every replica."""
        return await asyncio.shield(asyncio.ensure_future(self._halting.halt(request)))

    async def resume(self, request: ResumeCommand) -> ResumeResult:
        """Let a scope trade again."""
        return await asyncio.shield(asyncio.ensure_future(self._halting.resume(request)))

    async def cancel_all(self, command: ClearCommand) -> CancelAllResult:
        """Ask for the cancel of every open order in a scope, whatever its trading state."""
        return await asyncio.shield(asyncio.ensure_future(self._clearing.cancel_all(command)))

    async def flatten(self, command: ClearCommand) -> FlattenResult:
        """Close every position in a scope that is not halted."""
        return await asyncio.shield(asyncio.ensure_future(self._clearing.flatten(command)))

    async def accept_difference(self, command: AcceptDifferenceCommand) -> Difference:
        """Take a difference with the broker as it is; the account goes on when none stands."""
        answer: asyncio.Future[Difference] = asyncio.get_running_loop().create_future()
        self._gate(command.account_id).enqueue(AcceptDifferenceRequest(command, answer))
        return await answer

    async def status(self, account_id: str) -> EngineStatus:
        """How the engine stands; an empty account_id means every account."""
        if account_id:
            self._gate(account_id)
        return await self._status.read([account_id] if account_id else sorted(self._gates))

    async def may_trade(self) -> dict[str, bool]:
        """Whether each account may trade now; none may where the operators' halts are not known."""
        try:
            controls = await self._parts.stores.risk.controls()
        except StoreUnavailable:
            controls = None
        return {
            account_id: controls is not None and gate.may_trade(controls)
            for account_id, gate in self._gates.items()
        }

    async def portfolio(self, account_id: str) -> Portfolio:
        """What an account holds now, by our own ledger; all of it or an error."""
        return await read_portfolio(self._parts, account_id)

    @property
    def rulebook(self) -> Rulebook:
        """The latest rulebook that this process knows of."""
        return self._parts.rulebooks.latest.rulebook

    async def limits(self, account_id: str) -> LimitsInForce:
        """The limits in force; an account_id leaves out what cannot apply to it."""
        if account_id:
            self._gate(account_id)
        return await self._limits.in_force(account_id)

    async def update_limits(self, command: UpdateLimitsCommand) -> LimitsUpdated:
        """Replace the limits on every replica, or say what that would do."""
        return await asyncio.shield(asyncio.ensure_future(self._limits.update(command)))

    async def publish_quotes(self, quotes: list[Quote]) -> None:
        """Remember quotes; one older than the known one of its symbol is not taken over."""
        await self._parts.stores.risk.put_quotes(quotes, self._parts.clock())

    async def quotes(self, symbols: list[str]) -> dict[str, Quote]:
        """The last quotes of these symbols; unknown ones are absent."""
        return await self._parts.stores.risk.quotes(symbols)

    def symbol_terms(self, account_id: str, symbol: str) -> SymbolTerms:
        """What it takes to value an account's position in a symbol."""
        rulebook = self.rulebook
        instrument = rulebook.instruments.get(symbol)
        if instrument is None:
            return SymbolTerms(ONE)
        pair = rulebook.fx_pair(symbol, rulebook.accounts[account_id].currency)
        return SymbolTerms(instrument.multiplier, instrument.currency, pair)

    def account_known(self, account_id: str) -> bool:
        """Whether this engine trades for the account."""
        return account_id in self._gates

    def _gate(self, account_id: str) -> AccountGate:
        gate = self._gates.get(account_id)
        if gate is None:
            raise NotFound("account", account_id=account_id)
        return gate


def _halt_entry(state: AccountState, now_ns: int, broker: str) -> JournalEntry:
    """Real money moves there: somebody has to say that it may."""
    halt = ScopeState(
        Scope(ScopeKind.ACCOUNT, state.account_id),
        TradingState.HALTED,
        f"{broker} is a live broker: its accounts start halted, until an operator resumes them",
        ENGINE,
        now_ns,
    )
    state.trading[halt.scope] = halt
    payload = {"state": scope_state_json(halt), "request_id": "", "cancel_open_orders": False}
    return _next_entry(state, now_ns, EntryKind.TRADING_STATE, payload)


def _next_entry(
    state: AccountState, now_ns: int, kind: EntryKind, payload: dict[str, Any]
) -> JournalEntry:
    entry = seal(
        state.account_id, state.sequence + 1, now_ns, kind, canonical(payload), state.head_hash
    )
    state.sequence, state.head_hash = entry.sequence, entry.hash
    return entry
