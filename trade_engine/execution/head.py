"""Knowing where an account stands: steps 2 to 4 of the path to capital.

The state of the last commit is kept between batches and used again only while the risk store says
that nobody has written since (same epoch and sequence); the commit checks it once more against
the head. It saves the reading, not the checking.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from trade_engine.domain.account import AccountState
from trade_engine.domain.clock import Clock
from trade_engine.domain.errors import NotFound, StoreUnavailable
from trade_engine.domain.limits import Limits
from trade_engine.domain.order import Order
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.session import Session
from trade_engine.domain.signal import Signal
from trade_engine.domain.trading_state import Scope, ScopeState
from trade_engine.execution.attempt import Attempt
from trade_engine.execution.controls import restore_controls
from trade_engine.execution.day_orders import heeds_sessions
from trade_engine.execution.day_roll import is_over
from trade_engine.execution.observer import Alert, Observer, raise_alert
from trade_engine.execution.parts import GateStores
from trade_engine.execution.ports import Snapshot, SnapshotRequest
from trade_engine.execution.rulebooks import Rulebooks
from trade_engine.execution.throttling import Throttles

log = structlog.get_logger(__name__)

Watch = tuple[int, int]
"""What a look at an account is of: its sequence, and since when its limits are as they are."""


class AccountHead:
    """The account's state at its head, and whether the gate may be open."""

    def __init__(
        self,
        account_id: str,
        stores: GateStores,
        rulebooks: Rulebooks,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self.account_id = account_id
        self.closed_because = "not opened yet"
        self._stores = stores
        self._rulebooks = rulebooks
        self._clock = clock
        self._observer = observer
        observer.gate(account_id, is_open=False)
        self.limits_number = 0
        """The change of the limits that the account was under when last heard of."""
        self._state: AccountState | None = None
        self.watched: Watch = (0, 0)
        """What was looked at last."""
        self._unclear: dict[str, tuple[str, str]] = {}

    def keep(self, state: AccountState, changed: Iterable[Order] = ()) -> None:
        """Remember the state that was just committed, and which orders that changed."""
        self._state = state
        self.limits_number = state.limits_number
        self._note(changed)

    def _note(self, orders: Iterable[Order]) -> None:
        """Note which orders may be on their way: a halt must name them, whatever is forgotten."""
        for order in orders:
            if order.is_open and order.is_unclear:
                self._unclear[order.order_id] = order.strategy_id, order.symbol
            else:
                self._unclear.pop(order.order_id, None)

    def forget(self) -> None:
        """What is in hand may be wrong: read the record next time."""
        self._state = None

    def to_watch(self, session: Session | None, limits: Limits, now_ns: int) -> Watch | None:
        """What there is to look at; None for nothing.

        That is a position, an order that ends or rests with a session, what a batch left, limits
        that turned (a raise ended, say), or a day that ends. Once looked at, it is `watched`.

        By the state in hand: whoever wrote last looks, and what another one wrote it looks at too.
        """
        state = self._state
        watch = (state.sequence if state else -1, limits.in_force_since_ns(now_ns))
        if state is None or watch != self.watched:
            return watch
        over = session is not None and is_over(state.day, session, now_ns)
        held = any(each.quantity for each in state.positions.values())
        return watch if over or held or any(map(heeds_sessions, state.orders.values())) else None

    @property
    def trading(self) -> dict[Scope, ScopeState]:
        """The trading states in the account's journal, by the state in hand."""
        return self._state.trading if self._state else {}

    def unclear_orders(self, scope: Scope) -> list[str]:
        """Orders in a scope that may be on their way to a broker, by the last state known."""
        return [
            order_id
            for order_id, (strategy_id, symbol) in self._unclear.items()
            if scope.covers(self.account_id, strategy_id, symbol)
        ]

    async def known_state(self) -> AccountState:
        """Step 2: the state in hand, else the record's.

        Raises:
            NotFound: the account was never opened.
        """
        if self._state is None:
            self._state = await self._load()
        return self._state

    async def _load(self) -> AccountState:
        state = await self._stores.record.load(self.account_id)
        if state is None:
            raise NotFound("account", account_id=self.account_id)
        self._note_all(state)
        return state

    def _note_all(self, state: AccountState) -> None:
        self._unclear.clear()
        self._note(state.orders.values())

    async def ask_risk(self, attempt: Attempt, state: AccountState) -> Snapshot | None:
        """Step 3: ask the risk store; None when it cannot say, which closes the gate."""
        signals = attempt.signals()
        rulebook = await self._rulebooks.of(state)
        limits = rulebook.limits
        now_ns = self._clock()
        throttles = Throttles(limits, self.account_id, now_ns)
        rates = limits.rates_in_force(now_ns)
        # A throttle that was asked in an earlier try of this batch was charged then, unless the
        # limits changed meanwhile.
        if attempt.asked_rates != rates:
            attempt.verdicts.clear()
        for signal in signals:
            if id(signal) not in attempt.verdicts:
                throttles.ask_for_signal(signal)
        for cancel in attempt.cancels():
            if id(cancel) not in attempt.verdicts:
                throttles.ask_for_cancel(cancel)
        symbols, earlier = _asked(rulebook, signals, state, flattens=attempt.flattens())
        request = SnapshotRequest(
            account_id=self.account_id,
            batch_id=attempt.batch_id,
            now_ns=now_ns,
            epoch=state.epoch,
            known_sequence=state.sequence,
            known_hash=state.head_hash,
            throttles=throttles.requests,
            symbols=symbols,
            earlier=earlier,
            peek=False,
        )
        attempt.now_ns = request.now_ns
        try:
            snapshot = await self._stores.risk.snapshot(request)
            if snapshot.controls is None or self.closed_because:
                known = snapshot.controls is not None
                snapshot.controls = await restore_controls(
                    self._stores, expected=known or _is_fresh(state)
                )
            await self._peek_for_evaluations(attempt, state, request, snapshot)
        except StoreUnavailable as error:
            self.close(error.message)
            return None
        attempt.verdicts |= throttles.answers(snapshot.verdicts)
        attempt.asked_rates = rates
        attempt.verdicts |= attempt.peeked
        return snapshot

    async def _peek_for_evaluations(
        self, attempt: Attempt, state: AccountState, asked: SnapshotRequest, snapshot: Snapshot
    ) -> None:
        """What-ifs see the throttles as they are and take nothing from them."""
        signals = attempt.evaluated_signals()
        if not signals:
            return
        rulebook = await self._rulebooks.of(state)
        throttles = Throttles(rulebook.limits, self.account_id, asked.now_ns)
        for signal in signals:
            throttles.ask_for_signal(signal)
        symbols = set(rulebook.with_fx([each.symbol for each in signals], state.currency))
        request = SnapshotRequest(
            account_id=self.account_id,
            batch_id=f"{attempt.batch_id}-peek",
            now_ns=asked.now_ns,
            epoch=asked.epoch,
            known_sequence=asked.known_sequence,
            known_hash=asked.known_hash,
            throttles=throttles.requests,
            symbols=sorted(symbols - set(asked.symbols)),
            earlier=sorted(symbols - set(asked.earlier)),
            peek=True,
        )
        peeked = await self._stores.risk.snapshot(request)
        snapshot.quotes.update(peeked.quotes)
        snapshot.earlier.update(peeked.earlier)
        attempt.peeked = throttles.answers(peeked.verdicts)

    async def reconcile(self, state: AccountState, snapshot: Snapshot) -> AccountState:
        """Step 4: the state to decide on, with the risk store brought in line with the record."""
        same_epoch = snapshot.epoch == state.epoch
        theirs = snapshot.state
        if same_epoch and theirs is None and snapshot.sequence == state.sequence:
            self._opened()
            return state
        # Another replica wrote; or the record lost its tail, and this is of a lost timeline.
        if (
            same_epoch
            and theirs is not None
            and theirs.sequence > state.sequence
            and await self._stores.record.has_entry(
                self.account_id, theirs.sequence, theirs.head_hash
            )
        ):
            self._note_all(theirs)
            await self._add_quotes(theirs, snapshot)
            self._opened()
            return theirs
        if not self.closed_because:
            self.close("the risk store is being rebuilt from the record")
            # A fold that was lost or set back went not alone: a halt may have gone the same way.
            snapshot.controls = await restore_controls(self._stores)
        state = await self._load()
        # The record was read after the fold: a fold that is ahead of it is of a lost timeline. One
        # that cannot be read may say that it is ahead, and would stay.
        lost = snapshot.epoch is None or (same_epoch and (snapshot.sequence or 0) >= state.sequence)
        await self._stores.risk.replace(state, force=lost)
        await self._add_quotes(state, snapshot)
        tell = log.info if _is_fresh(state) else log.warning
        tell("risk_store_rebuilt", account_id=self.account_id, sequence=state.sequence)
        self._opened()
        return state

    async def _add_quotes(self, state: AccountState, snapshot: Snapshot) -> None:
        rulebook = await self._rulebooks.of(state)
        wanted = rulebook.with_fx(_symbols((), state), state.currency)
        missing = [each for each in wanted if each not in snapshot.quotes]
        if missing:
            snapshot.quotes.update(await self._stores.risk.quotes(missing))

    def _opened(self) -> None:
        if self.closed_because:
            self.closed_because = ""
            self._observer.gate(self.account_id, is_open=True)

    def close(self, why: str) -> None:
        """Approve nothing from now on, and say why."""
        if self.closed_because != why:
            raise_alert(self._observer, Alert.GATE_CLOSED, account_id=self.account_id, why=why)
            self._observer.gate(self.account_id, is_open=False)
        self.closed_because = why


def _is_fresh(state: AccountState) -> bool:
    """Whether the account was opened a moment ago: no risk store can know it yet."""
    return state.sequence == 1


def _asked(
    rulebook: Rulebook, signals: list[Signal], state: AccountState, *, flattens: bool
) -> tuple[list[str], list[str]]:
    """The symbols whose last quotes matter, and those whose earlier ones do.

    What converts foreign money is held to its earlier quote wherever it is used.
    """
    symbols = _symbols(signals, state)
    earlier = _symbols(signals, state if flattens else None)
    if not rulebook.fx:
        return symbols, earlier
    pairs = {
        pair.symbol
        for each in symbols
        if (pair := rulebook.fx_pair(each, state.currency)) is not None
    }
    return sorted(pairs.union(symbols)), sorted(pairs.union(earlier))


def _symbols(signals: Iterable[Signal], state: AccountState | None) -> list[str]:
    """Every symbol whose price matters: asked for and, in a state, held or working."""
    symbols = {signal.symbol for signal in signals}
    if state is None:
        return sorted(symbols)
    symbols.update(symbol for (_, symbol), held in state.positions.items() if held.quantity)
    symbols.update(order.symbol for order in state.orders.values())
    return sorted(symbols)
