"""One batch of the writer: the account's state moved along, and everything that this writes.

A batch starts from the state at the head and is pure: it reads no clock and no store. Its `commit`
is what Postgres takes in one transaction and Redis is then brought to. If that fails the batch is
thrown away, state and all, and computed anew from the new head.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from trade_engine.audit.chain import canonical, seal
from trade_engine.domain.account import AccountState, PositionKey
from trade_engine.domain.fx import FxPair
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.limits import QUOTE_AGE
from trade_engine.domain.limits_change import LimitsChange
from trade_engine.domain.market import Quote
from trade_engine.domain.money import ONE, ZERO, quotient
from trade_engine.domain.order import DeliveryState, Order
from trade_engine.domain.position import Position
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.session import ALWAYS_OPEN, Session, utc_day
from trade_engine.domain.signal import Signal
from trade_engine.domain.trading_state import Scope, ScopeState, TradingState, strictest
from trade_engine.execution.exchanges import Exchanges
from trade_engine.execution.observer import Alert
from trade_engine.execution.ports import Commit, DecisionRow, Fence, Fill
from trade_engine.risk.exposure import Exposure
from trade_engine.risk.fx import NoRate
from trade_engine.risk.price import quote_age_ms
from trade_engine.risk.view import Hours

SessionAt = Callable[[str, int], Session | None]
"""The session of a calendar that an instant is in, or the next one; None past its end."""


def only_always_open(calendar: str, now_ns: int) -> Session | None:
    """What is known without any calendar: a market that never closes."""
    return utc_day(now_ns) if calendar == ALWAYS_OPEN else None


class Batch:
    """The state under change, what it is judged by, and what has been written so far.

    controls are the operators' trading states; quotes what is known of the market, by symbol, and
    earlier_quotes what was known of it before.
    sender is the claim under which this process sends what is approved at once (its intent to
    send is then part of the approval), None where another process sends. session_at tells when
    markets trade.
    """

    def __init__(
        self,
        state: AccountState,
        rulebook: Rulebook,
        now_ns: int,
        quotes: dict[str, Quote],
        controls: dict[Scope, ScopeState],
        sender: Fence | None = None,
        session_at: SessionAt = only_always_open,
        earlier_quotes: dict[str, Quote] | None = None,
    ) -> None:
        self.delivery = DeliveryState.SENDING if sender else DeliveryState.QUEUED
        self.sender = sender
        self.state = state
        self.rulebook = rulebook
        self.now_ns = now_ns
        self.quotes = quotes
        self.earlier_quotes = earlier_quotes or {}
        self.exchanges = self._exchanges()
        self.exposure = Exposure(state.positions.values(), state.orders.values())
        self.acts_as_sender = False
        self.alerts: list[tuple[Alert, dict[str, Any]]] = []
        self.executions: dict[PositionKey, list[Fill]] = {}
        """All executions of the positions that an amendment is about, in order; see `amend`."""
        self._controls = controls
        self._session_at = session_at
        self._hours: dict[str, Hours] = {}
        self.can_replace_at: frozenset[str] = frozenset()
        """The brokers that take requests to replace."""
        self.books_fault: str | None = None
        """What keeps a firm's own books from being relied on; None where it keeps none."""
        self._unit_values: dict[str, Decimal | None] = {}
        self._expected_sequence = state.sequence
        self._entries: list[JournalEntry] = []
        self._decisions: list[DecisionRow] = []
        self._orders: dict[str, Order] = {}
        self._positions: dict[tuple[str, str], Position] = {}
        self._fills: list[Fill] = []
        self._amended: dict[tuple[str, str], Fill] = {}

    def change_limits(self, change: LimitsChange) -> int:
        """Journal a change of the limits: what is decided after it is decided by its rulebook.

        A change that the account has already, or a later one of, writes nothing; nor does one that
        does not have the account. Answers with the change's sequence, 0 where that is not known.
        """
        if change.number == self.state.limits_number:
            return self.state.limits_sequence
        has_account = self.state.account_id in change.rulebook.accounts
        if change.number <= self.state.limits_number or not has_account:
            return 0
        self.rulebook = change.rulebook
        self.state.limits_version = change.rulebook.version
        self.state.limits_number = change.number
        self.state.limits_sequence = self.next_sequence
        self._unit_values.clear()
        self.exchanges = self._exchanges()
        return self.write(EntryKind.LIMITS_CHANGED, change.journaled())

    def _exchanges(self) -> Exchanges:
        return Exchanges(
            self.rulebook, self.state.currency, self.quotes, self.earlier_quotes, self.now_ns
        )

    @property
    def next_sequence(self) -> int:
        """The sequence that the next entry will have."""
        return self.state.sequence + 1

    def write(self, kind: EntryKind, payload: dict[str, Any]) -> int:
        """Append an entry to the journal; answers with its sequence."""
        state = self.state
        entry = seal(
            state.account_id,
            state.sequence + 1,
            self.now_ns,
            kind,
            canonical(payload),
            state.head_hash,
        )
        self._entries.append(entry)
        state.sequence = entry.sequence
        state.head_hash = entry.hash
        return entry.sequence

    def alert(self, alert: Alert, **details: Any) -> None:
        """Raise an alert once the batch is committed: one that is thrown away raises none."""
        self.alerts.append((alert, details))

    def write_order(self, kind: EntryKind, order: Order, payload: dict[str, Any]) -> None:
        """Append an entry about an order, which it holds as it is afterward."""
        order.last_sequence = self.next_sequence
        order.updated_at_ns = self.now_ns
        self.keep_order(order)
        self.write(kind, {"order": order.to_json(), **payload})

    def find(self, order_id: str) -> Order | None:
        """An order that is open, or that this batch has closed."""
        return self.state.orders.get(order_id) or self._orders.get(order_id)

    def keep_order(self, order: Order) -> None:
        """Let the batch write an order that changed; open ones stay in the state."""
        self.acts_as_sender |= order.delivery is DeliveryState.SENDING
        self._orders[order.order_id] = order
        if order.is_open:
            self.state.orders[order.order_id] = order
        else:
            self.state.orders.pop(order.order_id, None)

    def count_approval(self, signal: Signal, quantity: Decimal) -> None:
        """Count an order that was approved; for as long as an equal one would be a duplicate."""
        self.state.activity.approve(
            signal.strategy_id,
            signal.symbol,
            signal.side,
            quantity,
            self.now_ns,
            self.rulebook.limits.approvals_kept_ns,
        )

    def keep_position(self, position: Position) -> None:
        """Let the batch write a position that changed."""
        self._positions[position.strategy_id, position.symbol] = position

    def keep_fill(self, fill: Fill) -> None:
        """Let the batch write an execution."""
        self._fills.append(fill)
        known = self.executions.get((fill.strategy_id, fill.symbol))
        if known is not None:
            known.append(fill)

    def keep_amended(self, fill: Fill) -> None:
        """Let the batch write the new numbers of an execution; its own has them already."""
        if not any(each is fill for each in self._fills):
            self._amended[fill.broker, fill.exec_id] = fill

    def keep_decision(self, row: DecisionRow) -> None:
        """Let the batch write the index row of a decision."""
        self._decisions.append(row)

    def trading(self, account_id: str, strategy_id: str, symbol: str) -> ScopeState | None:
        """The strictest trading state that covers an order; None when all is ACTIVE."""
        covering = [
            state
            for states in (self._controls, self.state.trading)
            for scope, state in states.items()
            if state.state is not TradingState.ACTIVE
            and scope.covers(account_id, strategy_id, symbol)
        ]
        if self.state.differences and (disagreement := self.state.disagreement):
            covering.append(disagreement)
        return strictest(covering)

    def unit_value(self, symbol: str) -> Decimal | None:
        """What exposure counts one unit of a symbol as now; None without a sane and fresh quote.

        Foreign money counts at its worst rate.
        """
        if symbol not in self._unit_values:
            value, rate = self._value(symbol), self.exchanges.rate(symbol)
            if value is not None and rate is not None:
                value = None if isinstance(rate, NoRate) else value * rate.worst
            self._unit_values[symbol] = value
        return self._unit_values[symbol]

    def unit_mark(self, symbol: str) -> Decimal | None:
        """What one unit that is held is worth now: as `unit_value`, at the reference rate."""
        rate = self.exchanges.rate(symbol)
        if rate is None:
            return self.unit_value(symbol)
        value = self._value(symbol)
        return None if value is None or isinstance(rate, NoRate) else value * rate.reference

    def equity(self) -> Decimal | None:
        """Cash, and all that is held at what it is worth now; None where that is not known."""
        held = self.exposure.market_value(self.unit_mark if self.rulebook.fx else self.unit_value)
        return None if held is None else self.state.cash + held

    def hours(self, symbol: str) -> Hours | None:
        """When an instrument trades; None when it is none."""
        instrument = self.rulebook.instruments.get(symbol)
        if instrument is None:
            return None
        calendar = instrument.calendar
        found = self._hours.get(calendar)
        if found is None:
            found = Hours(calendar, self._session_at(calendar, self.now_ns))
            self._hours[calendar] = found
        return found

    def multiplier(self, symbol: str) -> Decimal:
        """The instrument's multiplier; 1 for one that left the rulebook while it was held."""
        instrument = self.rulebook.instruments.get(symbol)
        return instrument.multiplier if instrument else ONE

    def average_paid(self, symbol: str) -> Decimal | None:
        """The average price of what the account holds in a symbol, long or short; None when flat.

        Where strategies hold opposite sides it is the average of them all, by size.
        """
        held = [each for (_, name), each in self.state.positions.items() if name == symbol]
        size = sum((abs(each.quantity) for each in held), ZERO)
        paid = sum((abs(each.own_cost) for each in held), ZERO)
        return quotient(paid, size * self.multiplier(symbol)) if size else None

    def average_rate_paid(self, pair: FxPair) -> Decimal | None:
        """The average price of a pair's symbol at which what is held through it was booked."""
        own, booked = ZERO, ZERO
        for (_, symbol), each in self.state.positions.items():
            if each.local_cost and self.rulebook.fx_pair(symbol, self.state.currency) == pair:
                own, booked = own + abs(each.local_cost), booked + abs(each.cost)
        if not (own and booked):
            return None
        return quotient(own, booked) if pair.inverse else quotient(booked, own)

    def _value(self, symbol: str) -> Decimal | None:
        quote = self.quotes.get(symbol)
        instrument = self.rulebook.instruments.get(symbol)
        if instrument is None:
            return None  # its multiplier is not known any more
        limits = self.rulebook.limits.in_force(
            self.now_ns, self.state.account_id, "", symbol, instrument.asset_class
        )
        limit = limits.get(QUOTE_AGE.name)
        if quote is None or limit is None or quote_age_ms(quote, self.now_ns) > limit.value:
            return None
        reference = quote.reference
        return None if reference is None else reference * instrument.multiplier

    def commit(self) -> Commit | None:
        """The batch's whole effect; None when nothing changed.

        What a sender intends, and what it says became of it, is only good while its lease is in
        force.
        """
        if not self._entries:
            return None
        state = self.state
        return Commit(
            account_id=state.account_id,
            epoch=state.epoch,
            expected_sequence=self._expected_sequence,
            sequence=state.sequence,
            head_hash=state.head_hash,
            summary=state.summary_json(),
            entries=self._entries,
            decisions=self._decisions,
            orders=list(self._orders.values()),
            positions=list(self._positions.values()),
            fills=self._fills,
            amended=list(self._amended.values()),
            fence=self.sender if self.acts_as_sender else None,
        )
