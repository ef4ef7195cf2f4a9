"""The path to capital: one writer per account, through which everything that changes it goes.

What arrives while one batch commits is the next batch. The steps, as the code below numbers them:

     1  the edge has validated and authenticated; the request waits here, its sender awaits
     2  know the account's head (sequence, hash)
     3  ask the risk store, in one script: applied sequence, epoch, throttles; quotes and controls
     4  applied sequence or epoch differ: take the newer state, or rebuild the fold from the record
     5  decide, one by one, each approval changing what the next one sees
     6  one transaction in Postgres, if the head is where it was expected
    --  point of no return: what is committed here is the truth  --
     7  bring the risk store to the new sequence: sent before, and heard of before the next batch
     8  answer; ring the doorbell
     9  the router sends what was approved
    10  execution reports come back through here as requests like any other

A batch that loses the race for the head is thrown away and computed anew, the second time under
the row's lock, so that nobody starves. Nothing in here runs in a handler: a client that hangs up
cancels nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import TypeVar

import structlog

from trade_engine.domain.account import AccountState
from trade_engine.domain.clock import Clock
from trade_engine.domain.decision import Decision
from trade_engine.domain.errors import (
    EngineError,
    QueueFull,
    ShuttingDown,
    SignalIdConflict,
    StoreRefused,
    StoreUnavailable,
)
from trade_engine.domain.order import Order
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.session import Session
from trade_engine.domain.signal import Signal
from trade_engine.domain.trading_state import Scope, ScopeState, TradingState
from trade_engine.execution.applying import Application, Fenced
from trade_engine.execution.attempt import Attempt, fail_all, reject, resolve, same_content
from trade_engine.execution.batch import Batch
from trade_engine.execution.commands import Answer
from trade_engine.execution.day_orders import turn_sessions
from trade_engine.execution.day_roll import keep_day
from trade_engine.execution.finding import find_closed, find_executions, find_flattened
from trade_engine.execution.head import AccountHead, Watch
from trade_engine.execution.observer import UNOBSERVED, Alert, Observer, raise_alert
from trade_engine.execution.parts import GateStores
from trade_engine.execution.ports import (
    Commit,
    Committed,
    Fence,
    RecordLookups,
    Snapshot,
)
from trade_engine.execution.quotes_alert import QuotesAlert
from trade_engine.execution.requests import (
    ReportsRequest,
    Request,
    SendersRequest,
    SubmitRequest,
    WatchRequest,
)
from trade_engine.execution.rulebooks import Rulebooks
from trade_engine.execution.waiting_line import WaitingLine, is_signal
from trade_engine.risk.loss_limits import Marks

K = TypeVar("K")
V = TypeVar("V")

log = structlog.get_logger(__name__)

HEAL_S = 0.5
"""How often a closed gate looks whether it may open."""
REMEMBERED_DECISIONS = 4096
"""Decisions kept at hand for signals that come again; older ones are read from the record."""


@dataclass(slots=True)
class Settled:
    """What a committed batch leaves to do outside: for the router and for whoever streams."""

    account_id: str
    sequence: int
    commit: Commit
    approved: list[Order] = field(default_factory=list)
    to_cancel: list[Order] = field(default_factory=list)
    replaces: bool = False


def no_books(now_ns: int) -> str | None:  # noqa: ARG001  a firm's books would be asked at that time
    """The fault of a firm's own books where it keeps none."""
    return None


class AccountGate:
    """The one writer of an account in this process."""

    def __init__(
        self,
        account_id: str,
        stores: GateStores,
        rulebooks: Rulebooks,
        clock: Clock,
        replica_id: str,
        on_settled: Callable[[Settled], None],
        sender: Callable[[], Fence | None],
        queue_cap: int = 10_000,
        observer: Observer = UNOBSERVED,
        books_fault: Callable[[int], str | None] = no_books,
        *,
        can_replace_at: Collection[str] = (),
    ) -> None:
        """Say what it works on; on_settled must not block.

        sender gives the claim under which this process sends the account's orders, if it does.

        queue_cap is how many signals may wait; other requests always may. can_replace_at names the
        brokers that take requests to replace.
        """
        self.account_id = account_id
        self.latched: dict[Scope, ScopeState] = {}
        self._is_settling = False
        self._record_is_away = False
        self._quotes = QuotesAlert(observer)
        self._head = AccountHead(account_id, stores, rulebooks, clock, observer)
        self._stores = stores
        self._rulebooks = rulebooks
        self._on_settled = on_settled
        self._sender = sender
        self._queue_cap = queue_cap
        self._observer = observer
        self._books_fault = books_fault
        self._can_replace_at = frozenset(can_replace_at)
        self._line = WaitingLine()
        self._marks = Marks()
        self._watching: asyncio.Future[bool] | None = None
        self._stopping = False
        self._batches = 0
        self._recent: OrderedDict[str, Decision] = OrderedDict()
        self._booked: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._run_id = f"{replica_id}-{clock()}"

    @property
    def closed_because(self) -> str:
        """Why nothing is approved now; empty when the gate is open."""
        return self._head.closed_because

    # ---- the queue (step 1) -----------------------------------------------------------------

    def enqueue(self, request: Request) -> None:
        """Let a request wait for the next batch.

        Raises:
            ShuttingDown: this engine takes nothing new.
            QueueFull: too many signals wait already.
        """
        if is_signal(request) and self._stopping:
            raise ShuttingDown("the engine is stopping; another replica, or this one soon, answers")
        if is_signal(request) and len(self._line) >= self._queue_cap:
            raise QueueFull(
                f"{len(self._line)} requests wait for account {self.account_id}; try again later",
                account_id=self.account_id,
                queued=str(len(self._line)),
                limit=str(self._queue_cap),
            )
        self._line.join(request)

    def remembered(self, signal: Signal) -> Decision | None:
        """The decision on this signal, if it was made here not long ago.

        Raises:
            SignalIdConflict: it was made on other content.
        """
        decision = self._recent.get(signal.signal_id)
        return same_content(decision, signal) if decision else None

    def stop_taking(self) -> None:
        """Refuse signals from now on; what waits is still settled, and reports still come in."""
        self._stopping = True

    @property
    def limits_number(self) -> int:
        """The change of the limits that the account was under when last heard of."""
        return self._head.limits_number

    async def open(self) -> None:
        """Bring record, rulebook and risk store together before the first signal needs it."""
        attempt = Attempt([], f"{self._run_id}-open-{self._batches}")
        try:
            if await self._optimistic(attempt) is Committed.DONE:
                await self._after_commit(attempt)
                return
        except EngineError as error:
            self._head.close(error.message)
        except Exception:  # noqa: BLE001  # the writer must outlive whatever it meets in a store
            raise_alert(
                self._observer, Alert.GATE_NOT_OPENED, account_id=self.account_id, exc_info=True
            )
            self._head.close("its state cannot be read; see the log")
        self._head.forget()

    async def run(self) -> None:
        """Settle batch after batch, until canceled; a closed gate looks whether it may open."""
        while True:
            if self._head.closed_because and not len(self._line):
                # Not wait_for: on Python 3.11 it loses a cancel that comes with an arrival.
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEAL_S):
                        await self._line.arrival()
                if not len(self._line):
                    await self.open()
                    continue
            await self._line.arrival()
            requests = await self._line.next_batch()
            self._is_settling = True
            await self._settle_or_fail(requests)
            self._is_settling = False
            self._line.settled(requests)

    def close(self, why: str) -> None:
        """Approve nothing until the stores were looked at anew, which is soon and by itself."""
        self._head.close(why)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits."""
        return not len(self._line) and not self._is_settling

    def latch(self, state: ScopeState) -> None:
        """Let a halt hold here at once, before any store has it; one that is stricter stays."""
        standing = self.latched.get(state.scope)
        if standing is None or standing.state.strictness <= state.state.strictness:
            self.latched[state.scope] = state

    def may_trade(self, controls: dict[Scope, ScopeState]) -> bool:
        """Whether it is open, and nothing known here halts the whole account."""
        standing = (*controls.values(), *self._head.trading.values(), *self.latched.values())
        return not self.closed_because and not any(
            each.state is TradingState.HALTED and each.scope.covers(self.account_id, "", "")
            for each in standing
        )

    def unclear_orders(self, scope: Scope) -> list[str]:
        """Orders in a scope that may be on their way, as far as this process knows."""
        return self._head.unclear_orders(scope)

    async def _settle_or_fail(self, requests: list[Request]) -> None:
        """Settle a batch; one that a request of it spoils is settled again one by one.

        So a request that cannot be settled at all fails alone, and takes neither a halt nor
        anybody's signal along. What a store's absence fails, fails together.
        """
        try:
            await self._settle(requests)
        except StoreRefused as error:
            fault: Exception = error
        except EngineError as error:
            self._head.forget()
            fail_all(requests, error)
            return
        except Exception as error:  # noqa: BLE001  # the writer must outlive any fault of a single batch
            fault = error
        else:
            return
        self._head.forget()
        waiting = [each for each in requests if not each.answer.done()]
        if len(requests) > 1:
            for each in waiting:
                await self._settle_or_fail([each])
            return
        raise_alert(self._observer, Alert.BATCH_FAILED, account_id=self.account_id, exc_info=fault)
        fail_all(requests, fault)

    # ---- one batch (steps 2 to 9) -----------------------------------------------------------

    async def _settle(self, requests: list[Request]) -> None:
        """Try until the batch is committed, each time with those requests that still stand."""
        self._batches += 1
        began = perf_counter()
        attempt = Attempt(requests, f"{self._run_id}-{self._batches}")
        contended = False
        while attempt.requests:
            outcome = await (self._locked(attempt) if contended else self._optimistic(attempt))
            if outcome is not Committed.DONE:
                self._head.forget()
            match outcome:
                case Committed.DONE:
                    await self._after_commit(attempt)
                    self._observer.batch_settled(len(requests), perf_counter() - began)
                    return
                case Committed.LOST_RACE:
                    contended = True
                case Committed.DUPLICATE:
                    if not await self._drop_known(attempt):
                        raise StoreUnavailable("the record names a duplicate and shows none")
                case Committed.FENCED:
                    fenced = [each for each in attempt.requests if isinstance(each, SendersRequest)]
                    fail_all(fenced, Fenced("the sender's lease is not in force any more"))
                    attempt.drop(fenced)
                    attempt.fenced = True
                case Committed.UNKNOWN:
                    raise AssertionError("resolved where it arises")

    async def _optimistic(self, attempt: Attempt) -> Committed:
        state = await self._head.known_state()  # step 2
        asked_under = state.limits_number
        snapshot = await self._head.ask_risk(attempt, state)  # step 3
        if snapshot is not None:
            state = await self._head.reconcile(state, snapshot)  # step 4
        if state.limits_number != asked_under:
            return Committed.LOST_RACE  # the throttles were asked by other limits: ask them again
        record = self._stores.record
        commit = await self._compute(attempt, state, snapshot, record)  # step 5
        if commit is None:
            return Committed.DONE
        outcome = await self._written(record.commit(commit))  # step 6
        return await self._resolved(outcome, commit)

    async def _locked(self, attempt: Attempt) -> Committed:
        async with self._stores.record.locked(self.account_id) as account:  # step 2
            snapshot = await self._head.ask_risk(attempt, account.state)  # step 3
            commit = await self._compute(attempt, account.state, snapshot, account)  # step 5
            if commit is None:
                return Committed.DONE
            outcome = await self._written(account.commit(commit))  # step 6
        return await self._resolved(outcome, commit)

    async def _written(self, writing: Awaitable[Committed]) -> Committed:
        """Wait for the record's answer; the first time that it takes nothing, somebody must look.

        It may be read all the same: read-only, or with a full disk.
        """
        try:
            outcome = await writing
        except StoreRefused:
            raise
        except StoreUnavailable as error:
            if not self._record_is_away:
                raise_alert(
                    self._observer,
                    Alert.RECORD_UNAVAILABLE,
                    account_id=self.account_id,
                    why=error.message,
                )
            self._record_is_away = True
            raise
        self._record_is_away = False
        return outcome

    async def _resolved(self, outcome: Committed, commit: Commit) -> Committed:
        """A lost reply says nothing: look whether the last entry is there before going on."""
        self._observer.committed(outcome)
        if outcome is not Committed.UNKNOWN:
            return outcome
        raise_alert(
            self._observer,
            Alert.COMMIT_UNKNOWN,
            account_id=self.account_id,
            sequence=commit.sequence,
        )
        while True:
            try:
                done = await self._stores.record.has_entry(
                    self.account_id, commit.sequence, commit.head_hash
                )
            except StoreUnavailable:
                await asyncio.sleep(0.2)
                continue
            return Committed.DONE if done else Committed.LOST_RACE

    async def _after_commit(self, attempt: Attempt) -> None:
        batch, commit = attempt.batch, attempt.commit
        if batch is not None:
            self._head.keep(batch.state, commit.orders if commit else ())
        applied = asyncio.ensure_future(self._bring_risk_to(commit))  # step 7: on its way
        await asyncio.sleep(0)
        attempt.release_answers()  # step 8
        for decision in attempt.decided:
            self._remember(decision)
            self._observer.decided(decision.outcome, decision.reasons)
            self._quotes.note(decision)
        if commit is not None:
            self._booked.update(((fill.broker, fill.exec_id), None) for fill in commit.fills)
            self._on_settled(
                Settled(
                    self.account_id,
                    commit.sequence,
                    commit,
                    attempt.approved,
                    attempt.to_cancel,
                    attempt.replaces,
                )
            )  # step 9
        self._tell_reports(attempt)
        _trim(self._recent)
        _trim(self._booked)
        await applied

    def _tell_reports(self, attempt: Attempt) -> None:
        reports = sum(
            len(each.reports) for each in attempt.requests if isinstance(each, ReportsRequest)
        )
        if reports:
            self._observer.reported(reports, len(attempt.commit.fills) if attempt.commit else 0)
        for alert, details in attempt.batch.alerts if attempt.batch else ():
            raise_alert(self._observer, alert, **details)

    async def _bring_risk_to(self, commit: Commit | None) -> None:
        """A risk store left behind is harmless: the next snapshot shows it, and it is rebuilt."""
        if commit is None:
            return
        try:
            await self._stores.risk.apply(commit)
        except StoreUnavailable as error:
            log.warning("risk_store_behind", account_id=self.account_id, why=error.message)

    # ---- computing the batch (step 5) -------------------------------------------------------

    async def _compute(
        self,
        attempt: Attempt,
        state: AccountState,
        snapshot: Snapshot | None,
        record: RecordLookups,
    ) -> Commit | None:
        closed = await find_closed(record, attempt, state)
        controls = dict(snapshot.controls or {}) if snapshot else {}
        for scope, latched in self.latched.items():
            known = controls.get(scope, latched)
            controls[scope] = max(known, latched, key=lambda each: each.state.strictness)
        batch = Batch(
            state,
            await self._rulebooks.of(state),
            attempt.now_ns,
            snapshot.quotes if snapshot else {},
            controls,
            None if attempt.fenced else self._sender(),
            self._stores.calendars.session_at,
            snapshot.earlier if snapshot else {},
        )
        attempt.flattened = await find_flattened(record, attempt, state)
        batch.executions = await find_executions(record, attempt, state, closed)
        batch.books_fault = self._books_fault(attempt.now_ns)
        batch.can_replace_at = self._can_replace_at
        attempt.start(batch)
        if not state.limits_number:
            batch.change_limits(self._rulebooks.latest)
        session = self._session(batch.rulebook, attempt.now_ns)
        attempt.to_cancel += turn_sessions(batch, session)
        if snapshot is not None:
            keep_day(batch, session)
        why_closed = "" if snapshot is not None else self.closed_because
        application = Application(attempt, batch, self._marks, closed, self._booked, why_closed)
        for request in attempt.in_order():
            application.apply(request)
        attempt.commit = batch.commit()
        return attempt.commit

    def _session(self, rulebook: Rulebook, now_ns: int) -> Session | None:
        """The session that the account's day is of; None when its calendar has ended."""
        calendar = rulebook.accounts[self.account_id].calendar
        return self._stores.calendars.session_at(calendar, now_ns)

    def watch(self, now_ns: int) -> None:
        """Look at the account where nobody asks for it, by an empty batch if need be."""
        if self.closed_because or (self._watching is not None and not self._watching.done()):
            return
        rulebook = self._rulebooks.known(self._head.limits_number)
        watch = self._head.to_watch(self._session(rulebook, now_ns), rulebook.limits, now_ns)
        if watch is not None:
            self._watching = asyncio.get_running_loop().create_future()
            self._watching.add_done_callback(partial(self._watched, watch))
            self.enqueue(WatchRequest(self._watching))

    def _watched(self, watch: Watch, done: asyncio.Future[bool]) -> None:
        """What could not be looked at is to be looked at again."""
        if not done.cancelled() and done.exception() is None and done.result():
            self._head.watched = watch

    # ---- what was decided or booked before --------------------------------------------------

    async def _drop_known(self, attempt: Attempt) -> bool:
        """Answer what the record knows already; False when it knows nothing of the batch."""
        signals = attempt.signals()
        record = self._stores.record
        known = await record.find_decisions(self.account_id, [each.signal_id for each in signals])
        for request in list(attempt.requests):
            if isinstance(request, SubmitRequest) and request.signal.signal_id in known:
                decision = known[request.signal.signal_id]
                self._remember(decision)
                try:
                    answer = Answer(same_content(decision, request.signal), replayed=True)
                    resolve(request.answer, answer)
                except SignalIdConflict as conflict:
                    reject(request.answer, conflict)
                attempt.drop([request])
        learned = bool(known)
        for broker, exec_ids in attempt.exec_ids().items():
            for exec_id in await record.booked(self.account_id, broker, sorted(exec_ids)):
                self._booked[broker, exec_id] = None
                learned = True
        return learned

    def _remember(self, decision: Decision) -> None:
        self._recent[decision.signal.signal_id] = decision


def _trim(remembered: OrderedDict[K, V]) -> None:
    while len(remembered) > REMEMBERED_DECISIONS:
        remembered.popitem(last=False)
