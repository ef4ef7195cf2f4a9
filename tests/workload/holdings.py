"""An account as its journal leaves it, folded by hand: what is held, worked, traded, and in cash.

A fold of its own, as plain as can be, that shares nothing with the engine's: it reads the entries'
payloads, counts each execution of a broker once and with its last numbers (a bust or a correction
may come before what it amends), and knows nothing of how the engine came to any of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from trade_engine.domain.journal import EntryKind

Payload = dict[str, Any]
ZERO = Decimal(0)
ENDED = frozenset({"CANCELED", "REJECTED", "EXPIRED"})
CLOSED = ENDED | {"FILLED"}
AMENDMENTS = frozenset({"TRADE_CORRECT", "TRADE_CANCEL"})
SIGN = {"BUY": 1, "SELL": -1}


def order_of(kind: str, payload: Payload) -> Payload | None:
    """The order that a journal entry holds, if it is about one."""
    found = payload["decision"]["order"] if kind == EntryKind.DECISION else payload.get("order")
    return found if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True)
class Working:
    """What an open order may still fill: on its terms, or on those asked for if that is more."""

    strategy_id: str
    symbol: str
    side: str
    leaves: Decimal


@dataclass(slots=True)
class Execution:
    """What an execution counts for; amended: its numbers are the last ones, whatever comes."""

    quantity: Decimal = ZERO
    price: Decimal = ZERO
    commission: Decimal = ZERO
    amended: bool = False


@dataclass(slots=True)
class Holdings:
    """Signed quantities held by (strategy, symbol); by order, what works and what is filled.

    traded is this day's. executions are by order and ExecID. asked is by order the request to
    replace that no answer has ended: its ClOrdID, and the OrderQty that it asks for.
    """

    cash: Decimal = ZERO
    traded: Decimal = ZERO
    held: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    open: dict[str, Working] = field(default_factory=dict)
    filled: dict[str, Decimal] = field(default_factory=dict)
    executions: dict[tuple[str, str], Execution] = field(default_factory=dict)
    asked: dict[str, tuple[str, Decimal]] = field(default_factory=dict)

    # ---- the fold ---------------------------------------------------------------------------

    def take(self, kind: str, payload: Payload, multipliers: dict[str, Decimal]) -> None:
        """Fold one entry; multipliers are the symbols' of the rulebook in force."""
        if kind == EntryKind.ACCOUNT_OPENED:
            self.cash = Decimal(payload["opening_cash"])
        elif kind == EntryKind.DAY_ROLL:
            self.traded = ZERO
        order = order_of(kind, payload)
        if order is None:
            return
        report = payload.get("report") or {}
        if kind == EntryKind.EXECUTION and report.get("exec_type") in AMENDMENTS | {"TRADE"}:
            self._book(order, report, multipliers[order["symbol"]])
        self._ask(kind, order, payload)
        leaves = self._leaves(order)
        if leaves:
            self.open[order["order_id"]] = Working(
                order["strategy_id"], order["symbol"], order["side"], leaves
            )
        else:
            self.open.pop(order["order_id"], None)

    def _ask(self, kind: str, order: Payload, payload: Payload) -> None:
        """Note what is asked for in the place of an order's terms, until that is answered."""
        order_id, report = order["order_id"], payload.get("report") or {}
        if kind == EntryKind.REPLACE_REQUESTED:
            terms = payload["replacement"]
            self.asked[order_id] = terms["cl_ord_id"], Decimal(terms["order_qty"])
            return
        taken = report.get("exec_type") == "REPLACED"
        answers = (
            order["ord_status"] in ENDED
            or kind == EntryKind.REPLACE_REJECTED
            or (taken and self.asked.get(order_id, ("",))[0] == report["cl_ord_id"])
        )
        if answers:
            self.asked.pop(order_id, None)

    def _leaves(self, order: Payload) -> Decimal:
        leaves = ZERO if order["ord_status"] in CLOSED else Decimal(order["leaves_qty"])
        _, asked = self.asked.get(order["order_id"], ("", ZERO))
        return max(leaves, asked - Decimal(order["cum_qty"]))

    def _book(self, order: Payload, report: Payload, multiplier: Decimal) -> None:
        amends = report["exec_type"] in AMENDMENTS
        key = order["order_id"], report["exec_ref_id"] if amends else report["exec_id"]
        before = self.executions.get(key, Execution())
        if amends:
            after = _numbers(report, amended=True)
            known = key in self.executions and before.quantity > 0
            self.executions[key] = after
            if not known:
                return  # it comes before what it amends
        elif before.amended:
            before, after = Execution(), before  # its numbers came first
        else:
            after = self.executions[key] = _numbers(report, amended=False)
        self._move(order, before, after, multiplier, amends=amends)

    def _move(
        self,
        order: Payload,
        before: Execution,
        after: Execution,
        multiplier: Decimal,
        *,
        amends: bool,
    ) -> None:
        sign, own = SIGN[order["side"]], (order["strategy_id"], order["symbol"])
        paid = (after.quantity * after.price - before.quantity * before.price) * multiplier
        moved = after.quantity - before.quantity
        self.held[own] = self.held.get(own, ZERO) + sign * moved
        self.filled[order["order_id"]] = self.filled.get(order["order_id"], ZERO) + moved
        self.cash -= sign * paid + after.commission - before.commission
        if not amends:
            self.traded += abs(paid)

    # ---- what it comes to -------------------------------------------------------------------

    def symbols(self) -> set[str]:
        """Whatever is held or worked."""
        held = {symbol for (_, symbol), quantity in self.held.items() if quantity}
        return held | {each.symbol for each in self.open.values()}

    def quantity(self, symbol: str, strategy_id: str | None = None) -> Decimal:
        """What is held, by one strategy or by all."""
        found = (
            quantity
            for (owner, of), quantity in self.held.items()
            if of == symbol and strategy_id in (None, owner)
        )
        return sum(found, ZERO)

    def working(self, symbol: str, side: str, strategy_id: str | None = None) -> Decimal:
        """What works on one side, for one strategy or for all."""
        found = (
            each.leaves
            for each in self.open.values()
            if (each.symbol, each.side) == (symbol, side)
            and strategy_id in (None, each.strategy_id)
        )
        return sum(found, ZERO)

    def longest(self, symbol: str) -> Decimal:
        """What is held if every buy fills and no sell does."""
        return self.quantity(symbol) + self.working(symbol, "BUY")

    def shortest(self, symbol: str) -> Decimal:
        """What is held short if every sell fills and no buy does."""
        return self.working(symbol, "SELL") - self.quantity(symbol)

    def worst(self, symbol: str) -> Decimal:
        """The most that may come to be held, long or short."""
        return max(self.longest(symbol), self.shortest(symbol))

    def closes(self, strategy_id: str | None, symbol: str, side: str) -> bool:
        """Whether all that works on this side, for one strategy or for all, only closes."""
        held = -SIGN[side] * self.quantity(symbol, strategy_id)
        return self.working(symbol, side, strategy_id) <= max(held, ZERO)


def _numbers(report: Payload, *, amended: bool) -> Execution:
    price = Decimal(report["last_px"]) if report.get("last_px") else ZERO
    return Execution(Decimal(report["last_qty"]), price, Decimal(report["commission"]), amended)
