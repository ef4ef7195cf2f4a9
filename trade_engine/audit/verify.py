"""Verification: the chain holds, and the tables say what the journal says.

The journal is walked from its first entry: sequences dense, each hash recomputed, every order
preceded by a decision that approved it, every decision made by the limits in force and on what its
strategy had done (`grounds`), every fill booked again into positions and cash. What
comes out is compared with the account, its orders, fills and positions as the tables have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Protocol

import orjson

from trade_engine.audit.chain import entry_hash
from trade_engine.audit.executions import Counted, Executions
from trade_engine.audit.findings import UNREADABLE, Findings
from trade_engine.audit.grounds import Grounds
from trade_engine.domain.account import GENESIS_HASH, AccountState, scope_state_from_json
from trade_engine.domain.day import Day, day_after
from trade_engine.domain.difference import Difference, DifferenceKind
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.money import ONE, ZERO, optional, text
from trade_engine.domain.order import Order, order_id_for
from trade_engine.domain.position import Position
from trade_engine.domain.replacement import Terms
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import Scope, ScopeState, TradingState


class Booked(Protocol):
    """What a fill did."""

    @property
    def cash_change(self) -> Decimal:
        """What came in; negative: went out."""
        ...

    @property
    def realized_pnl(self) -> Decimal:
        """What it realized, before fees."""
        ...


Book = Callable[[Position, Side, Decimal, Decimal, Decimal, Decimal, Decimal | None], Booked]
"""The ledger: position, side, quantity, price, commission, multiplier, rate of exchange."""


class Verification:
    """Takes an account's entries in order; `compare` then holds the tables against them."""

    def __init__(self, account_id: str, book: Book) -> None:
        self.findings = Findings()
        self._account_id = account_id
        self._book = book
        self._sequence = 0
        self._hash = GENESIS_HASH
        self._cash = ZERO
        self._realized_pnl = ZERO
        self._fees = ZERO
        self._day = Day()
        self._grounds = Grounds(self.findings)
        self._trading: dict[Scope, ScopeState] = {}
        self._differences: dict[str, Difference] = {}
        self._books_differences: dict[str, Difference] = {}
        self._filled: dict[str, Decimal] = {}
        self._orders: dict[str, dict[str, Any]] = {}
        self._positions: dict[tuple[str, str], Position] = {}
        self._executions: set[tuple[str, str]] = set()
        self._counted = Executions()
        self._multipliers: dict[str, Decimal] = {}
        self._currencies: dict[str, str] = {}
        self._signals: set[str] = set()
        self._replacements: dict[str, dict[str, Any]] = {}

    def take(self, entry: JournalEntry) -> None:
        """Check the next entry and fold it; one that cannot be read is a finding."""
        self.findings.count("entries")
        try:
            self._check_chain(entry)
            self._fold(entry, orjson.loads(entry.payload))
        except UNREADABLE as error:
            self.findings.add(entry.sequence, f"the entry cannot be read: {error!r}")

    def _fold(self, entry: JournalEntry, payload: dict[str, Any]) -> None:
        match entry.kind:
            case EntryKind.ACCOUNT_OPENED:
                self._cash = Decimal(payload["opening_cash"])
            case EntryKind.LIMITS_CHANGED:
                rulebook = Rulebook.from_json(payload)
                self._grounds.take_limits(entry, payload, rulebook)
                self._multipliers |= {
                    each.symbol: each.multiplier for each in rulebook.instruments.values()
                }
                self._currencies |= {
                    each.symbol: each.currency for each in rulebook.instruments.values()
                }
            case EntryKind.DECISION:
                self._take_decision(entry, payload)
            case (
                EntryKind.DELIVERY
                | EntryKind.CANCEL_REQUESTED
                | EntryKind.CANCEL_REJECTED
                | EntryKind.REPLACE_REQUESTED
                | EntryKind.REPLACE_REJECTED
                | EntryKind.EXECUTION
            ):
                self._take_order(entry, payload)
            case EntryKind.TRADING_STATE:
                trading = scope_state_from_json(payload["state"])
                self._trading.pop(trading.scope, None)
                if trading.state is TradingState.ACTIVE:
                    self._grounds.enable(trading.scope)
                else:
                    self._trading[trading.scope] = trading
                self._day.excused = payload.get("excused", self._day.excused)
            case EntryKind.DAY_ROLL:
                self._take_roll(entry, payload)
            case EntryKind.EQUITY_MARKED:
                self._day.mark(self._equity(payload))
                self._check_day(entry, payload)
            case EntryKind.RECONCILIATION:
                found = map(Difference.from_json, payload["differences"])
                self._differences = {each.difference_id: each for each in found}
            case EntryKind.BOOKS_COMPARED:
                self._take_books(entry, payload)
            case EntryKind.DIFFERENCE_ACCEPTED:
                accepted = Difference.from_json(payload["difference"])
                if accepted.difference_id not in self._differences:
                    self.findings.add(
                        entry.sequence, f"{accepted.difference_id} was accepted, never found"
                    )
                self._differences[accepted.difference_id] = accepted
            case (  # pragma: no branch  the last of all kinds
                EntryKind.REPORT_IGNORED | EntryKind.REPORT_QUARANTINED
            ):
                pass

    def exec_ids(self, broker: str) -> set[str]:
        """The executions of a broker that the journal has booked so far."""
        return {exec_id for name, exec_id in self._executions if name == broker}

    def compare(
        self, state: AccountState, orders: Iterable[Order], executions: set[tuple[str, str]]
    ) -> None:
        """Hold the tables against the journal; executions are (broker, exec_id) as booked."""
        add = self.findings.add
        if (state.sequence, state.head_hash) != (self._sequence, self._hash):
            add(
                state.sequence, f"the head is not the last journal entry, which is {self._sequence}"
            )
        for name, tabled_sum, folded_sum in (
            ("cash", state.cash, self._cash),
            ("realized_pnl", state.realized_pnl, self._realized_pnl),
            ("fees", state.fees, self._fees),
        ):
            if tabled_sum != folded_sum:
                add(0, f"{name} is {text(tabled_sum)}, the fills make it {text(folded_sum)}")
        self._grounds.compare(state)
        if state.day != self._day:
            add(0, "the day is not what the journal's rolls and marks make it")
        if state.trading != self._trading:
            add(0, "the trading states are not what was last set")
        if state.differences != self._differences:
            add(0, "the differences with the broker are not what was last found and accepted")
        if state.books_differences != self._books_differences:
            add(0, "the differences with the firm's books are not what was last found")
        tabled = {order.order_id: order.to_json() for order in orders}
        for order_id in sorted(tabled.keys() | self._orders.keys()):
            if tabled.get(order_id) != self._orders.get(order_id):
                add(0, f"order {order_id} in the table is not what the journal last said of it")
        for key in sorted(state.positions.keys() | self._positions.keys()):
            held, folded = state.positions.get(key), self._positions.get(key)
            if held is None or folded is None or held.to_json() != folded.to_json():
                add(0, f"position {key[0]} {key[1]} in the table is not the fold of its fills")
        for broker, exec_id in sorted(executions ^ self._executions):
            add(0, f"execution {exec_id} of {broker} is not both in the table and in the journal")

    def _check_chain(self, entry: JournalEntry) -> None:
        expected = self._sequence + 1
        if entry.sequence != expected:
            self.findings.add(entry.sequence, f"sequence {expected} is missing before this entry")
        if entry.prev_hash != self._hash:
            self.findings.add(entry.sequence, "prev_hash is not the hash of the entry before")
        self._sequence, self._hash = entry.sequence, entry.hash
        digest = entry_hash(
            self._account_id,
            entry.sequence,
            entry.recorded_at_ns,
            entry.kind,
            entry.payload,
            entry.prev_hash,
        )
        if digest != entry.hash:
            self.findings.add(entry.sequence, "the content does not have the recorded hash")

    def _take_decision(self, entry: JournalEntry, payload: dict[str, Any]) -> None:
        decision = payload["decision"]
        signal_id = decision["signal"]["signal_id"]
        if signal_id in self._signals:
            self.findings.add(entry.sequence, f"signal {signal_id} is decided a second time")
        self._signals.add(signal_id)
        replacement = decision.get("replacement")
        approved = (decision["order"] is not None) + (replacement is not None)
        if approved != (decision["outcome"] == "APPROVED"):
            self.findings.add(entry.sequence, "approval and order do not go together")
        if replacement is not None:
            self._take_replacement(entry, decision["signal"], Terms.from_json(replacement))
        if decision["order"] is not None:
            self.findings.count("orders")
            order_id = decision["order"]["order_id"]
            if order_id != order_id_for(self._account_id, signal_id):
                self.findings.add(entry.sequence, f"order {order_id} is not signal {signal_id}'s")
            self._orders[order_id] = decision["order"]
        self._grounds.take_decision(entry, payload)

    def _take_replacement(self, entry: JournalEntry, signal: dict[str, Any], terms: Terms) -> None:
        """New terms are for an order of the same strategy, on the same side of the same symbol."""
        self.findings.count("replacements")
        order = self._orders.get(terms.order_id, {})
        if any(order.get(name) != signal[name] for name in ("strategy_id", "symbol", "side")):
            self.findings.add(
                entry.sequence, f"order {terms.order_id} is not one that this signal may replace"
            )
        if not terms.cancels:
            self._replacements[signal["signal_id"]] = terms.to_json()

    def _take_order(self, entry: JournalEntry, payload: dict[str, Any]) -> None:
        order = payload["order"]
        if order["order_id"] not in self._orders:
            self.findings.add(entry.sequence, f"order {order['order_id']} was never approved")
        self._orders[order["order_id"]] = order
        if entry.kind is EntryKind.REPLACE_REQUESTED:
            asked = self._replacements.get(payload["signal_id"])
            if asked is None or asked != payload["replacement"]:
                self.findings.add(
                    entry.sequence, f"these terms of order {order['order_id']} were never approved"
                )
        if "report" not in payload:
            return
        report = ExecutionReport.from_json(payload["report"])
        if report.exec_type is ExecType.TRADE and report.last_px is not None:
            self._take_fill(entry, payload, Order.from_json(order), report)
        elif report.exec_type in (ExecType.TRADE_CORRECT, ExecType.TRADE_CANCEL):
            self._take_amendment(entry, payload, Order.from_json(order), report)

    def _take_roll(self, entry: JournalEntry, payload: dict[str, Any]) -> None:
        session, before = payload["session"], self._day
        if not before.ends_ns <= entry.recorded_at_ns < session["closes_ns"]:
            self.findings.add(entry.sequence, "the day rolled before its end, or into another day")
        self._day = day_after(
            before, session["name"], session["closes_ns"], self._realized_pnl, self._fees
        )
        if not payload["missing"]:
            self._day.mark(self._equity(payload))
        self._check_day(entry, payload)

    def _take_books(self, entry: JournalEntry, payload: dict[str, Any]) -> None:
        """What an entry found itself must say of our side what the fold says at that point."""
        held: dict[str, Decimal] = {}
        for (_, symbol), position in self._positions.items():
            held[symbol] = held.get(symbol, ZERO) + position.quantity
        known = self._books_differences
        differences = list(map(Difference.from_json, payload["differences"]))
        for each in differences:
            if each.kind is DifferenceKind.POSITION:
                ours = held.get(each.subject, ZERO)
            elif each.kind is DifferenceKind.CASH:
                ours = self._cash
            else:
                continue
            if known.get(each.difference_id) == each:
                continue
            if each.ours != text(ours) or Decimal(each.gap) != Decimal(each.theirs) - ours:
                self.findings.add(
                    entry.sequence, f"{each.difference_id} is not what the fills make it"
                )
        self._books_differences = {each.difference_id: each for each in differences}

    def _check_day(self, entry: JournalEntry, payload: dict[str, Any]) -> None:
        if self._day.to_json() != payload["day"]:
            self.findings.add(entry.sequence, "the day is not what positions and prices make it")

    def _equity(self, payload: dict[str, Any]) -> Decimal:
        """Cash, and what is held at its prices; one that is missing is a LookupError.

        rates are there where money of other currencies was held.
        """
        prices, rates = payload["prices"], payload.get("rates", {})
        held: dict[str, Decimal] = {}
        for (_, symbol), position in self._positions.items():
            held[symbol] = held.get(symbol, ZERO) + position.quantity
        values = (
            quantity
            * Decimal(prices[symbol])
            * self._multipliers.get(symbol, ONE)
            * Decimal(rates.get(self._currencies.get(symbol, ""), ONE))
            for symbol, quantity in held.items()
            if quantity
        )
        return self._cash + sum(values, ZERO)

    def _take_fill(
        self, entry: JournalEntry, payload: dict[str, Any], order: Order, report: ExecutionReport
    ) -> None:
        self.findings.count("fills")
        execution = (payload["broker"], report.exec_id)
        if execution in self._executions:
            self.findings.add(entry.sequence, f"execution {report.exec_id} is booked a second time")
        self._executions.add(execution)
        key = (order.strategy_id, order.symbol)
        fx_rate = optional(payload.get("fx_rate"))
        counted = self._counted.take(
            payload["broker"], order.order_id, key, order.side, report, fx_rate
        )
        position = self._positions.setdefault(key, Position(*key))
        if counted.last_qty:
            booked = self._book_one(position, counted)
            self._cash += booked.cash_change
            self._realized_pnl += booked.realized_pnl
            rate = ONE if fx_rate is None else fx_rate
            self._fees += counted.commission * rate
            multiplier = self._multipliers.get(order.symbol, ONE)
            self._day.traded += abs(counted.last_qty * counted.last_px) * multiplier * rate
        self._check_booked(entry, payload, position)
        self._check_filled(entry, order, counted.last_qty)

    def _take_amendment(
        self, entry: JournalEntry, payload: dict[str, Any], order: Order, report: ExecutionReport
    ) -> None:
        """A bust or a correction: the position moves as its fold does, if it has come before."""
        self.findings.count("amendments")
        broker, key = payload["broker"], (order.strategy_id, order.symbol)
        amended = self._counted.find(broker, order.order_id, report)
        if amended is None:
            if "amended" in payload:
                self.findings.add(entry.sequence, f"execution {report.exec_ref_id} was never told")
            return
        before, quantity = self._folded(key), amended.last_qty
        self._counted.amend(broker, order.order_id, amended, report)
        after = self._folded(key)
        position = self._positions[key]
        for name in ("quantity", "cost", "realized_pnl", "fees"):
            moved = getattr(after, name) - getattr(before, name)
            setattr(position, name, getattr(position, name) + moved)
        if position.local_cost is not None:
            position.local_cost += (after.local_cost or ZERO) - (before.local_cost or ZERO)
        self._realized_pnl += after.realized_pnl - before.realized_pnl
        self._fees += after.fees - before.fees
        self._cash += _cash_moved(after) - _cash_moved(before)
        self._check_booked(entry, payload, position)
        self._check_filled(entry, order, amended.last_qty - quantity)

    def _folded(self, key: tuple[str, str]) -> Position:
        """A position as its surviving executions make it."""
        position = Position(*key)
        for counted in self._counted.surviving(key):
            self._book_one(position, counted)
        return position

    def _book_one(self, position: Position, counted: Counted) -> Booked:
        return self._book(
            position,
            counted.side,
            counted.last_qty,
            counted.last_px,
            counted.commission,
            self._multipliers.get(position.symbol, ONE),
            counted.fx_rate,
        )

    def _check_booked(
        self, entry: JournalEntry, payload: dict[str, Any], position: Position
    ) -> None:
        if position.to_json() != payload["position"] or text(self._cash) != payload["cash"]:
            self.findings.add(entry.sequence, "position or cash is not what the fills make it")

    def _check_filled(self, entry: JournalEntry, order: Order, more: Decimal) -> None:
        filled = self._filled.get(order.order_id, ZERO) + more
        self._filled[order.order_id] = filled
        if order.cum_qty != filled:
            self.findings.add(entry.sequence, f"CumQty of order {order.order_id} is not its fills'")


def _cash_moved(position: Position) -> Decimal:
    """What a position's executions did to cash, all together."""
    return position.realized_pnl - position.cost - position.fees
