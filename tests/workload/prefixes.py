"""Every prefix of a journal against the limits in force at its end, and the halts.

What is held and worked is `holdings`' fold, at prices that do not move. The journal says which
limits are in force after each of its entries; nothing may grow beyond one. What only closes for its
strategy, and lets nothing grow in its symbol, may pass: limits are there to stop risk from growing.

New terms for an order are an approval like any other. Until they are answered the order works for
the larger of both quantities.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

import orjson

from tests.workload.holdings import AMENDMENTS, ZERO, Holdings, Payload, order_of
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.limits import Limit
from trade_engine.domain.money import ONE
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.trading_state import Scope, ScopeKind

OF_EQUITY = frozenset({"asset_concentration_max", "leverage_max"})
OF_AN_ORDER = frozenset({"order_quantity_max", "order_notional_max"})
ON_APPROVAL = OF_EQUITY | {"borrowing_max", "turnover_day_max"}
"""Cash, equity and turnover move with each fill's price: only an approval is held to these."""
SYMBOL = "symbol_position_notional_max"
EXPOSURES = (
    SYMBOL,
    "asset_exposure_max",
    "asset_class_exposure_max",
    "gross_exposure_max",
    "net_exposure_max",
    "open_orders_max",
)
HELD_TO = (*EXPOSURES, *sorted(ON_APPROVAL), *sorted(OF_AN_ORDER))
"""Every limit that bounds an order, or what an account holds, works and trades."""


@dataclass(slots=True)
class Prefix:
    """An account after some of its journal's entries."""

    account_id: str
    prices: dict[str, Decimal]
    """What each symbol costs; of instruments in another currency than the account, too, and of the
    symbols whose quotes say what one unit of that is."""
    now: Holdings = field(default_factory=Holdings)
    rules: Rulebook | None = None
    trading: dict[str, str] = field(default_factory=dict)
    """The state of each scope that is not ACTIVE, as the journal has it."""
    past_halts: list[str] = field(default_factory=list)
    """What was approved that the halts in the journal do not let through."""

    def take(self, entry: JournalEntry) -> Iterator[str]:
        """Fold the next entry; say what it lets grow beyond a limit."""
        payload: Payload = orjson.loads(entry.payload)
        if entry.kind is EntryKind.LIMITS_CHANGED:
            self.rules = Rulebook.from_json(payload)
        elif entry.kind is EntryKind.TRADING_STATE:
            self._set_state(payload["state"])
        order = order_of(entry.kind, payload)
        if entry.kind is EntryKind.DECISION:
            yield from self._decided(entry.sequence, payload["decision"])
        if order is None:
            self.now.take(entry.kind, payload, {})
            return
        if self.rules is None:
            yield f"{entry.sequence}: an order before any limits"
            return
        overtakes = self._overtakes(entry.kind, order, payload)
        before = self._measures(order["symbol"])
        self.now.take(entry.kind, payload, self._multipliers())
        after = self._measures(order["symbol"])
        if overtakes:
            return
        reduces = self.closes(order) and after[SYMBOL] <= before[SYMBOL]
        approved = _approved(entry.kind, order, payload)
        if approved is not None:
            self.past_halts += self._halted(entry.sequence, order, payload)
        yield from self._grown(entry, order, approved, before, after, reduces=reduces)

    def _decided(self, sequence: int, decision: Payload) -> Iterator[str]:
        """Whether what was approved was held to the limits in force."""
        if decision["order"] is None and not decision.get("replacement"):
            return
        in_force = self.rules.version if self.rules is not None else "none"
        if decision["limits_version"] != in_force:
            yield f"{sequence}: decided by limits {decision['limits_version']}, not {in_force}"

    def _set_state(self, state: Payload) -> None:
        self.trading[state["scope"]] = state["state"]
        if state["state"] == "ACTIVE":
            del self.trading[state["scope"]]

    def _overtakes(self, kind: EntryKind, order: Payload, payload: Payload) -> bool:
        """Whether the broker takes back what it said: no limit could have known."""
        exec_type = (payload.get("report") or {}).get("exec_type")
        late = exec_type == "TRADE" and order["order_id"] not in self.now.open
        return kind is EntryKind.EXECUTION and (exec_type in AMENDMENTS or late)

    # ---- halts ------------------------------------------------------------------------------

    def _halted(self, sequence: int, order: Payload, payload: Payload) -> Iterator[str]:
        """What the halts in the journal do not let through of an order approved now.

        Where more than one strategy may only reduce, it must close for the account too, unless an
        operator closes all of a scope.
        """
        by_operator = payload.get("context", {}).get("closing", False)
        closes_for_account = self.now.closes(None, order["symbol"], order["side"])
        for written, state in self.trading.items():
            scope = Scope.parse(written)
            if not scope.covers(self.account_id, order["strategy_id"], order["symbol"]):
                continue
            own = scope.kind is ScopeKind.STRATEGY or by_operator
            passes = self.closes(order) and (own or closes_for_account)
            if state == "HALTED" or not passes:
                yield f"{sequence}: {order['order_id']} was approved, and {written} is {state}"

    def closes(self, order: Payload) -> bool:
        """Whether an order that works now only closes for its strategy, with all beside it."""
        return self.now.closes(order["strategy_id"], order["symbol"], order["side"])

    # ---- limits -----------------------------------------------------------------------------

    def _grown(
        self,
        entry: JournalEntry,
        order: Payload,
        approved: Payload | None,
        before: dict[str, Decimal],
        after: dict[str, Decimal],
        *,
        reduces: bool,
    ) -> Iterator[str]:
        assert self.rules is not None
        symbol = order["symbol"]
        asset_class = self.rules.instruments[symbol].asset_class
        limits = self.rules.limits.in_force(
            entry.recorded_at_ns, self.account_id, order["strategy_id"], symbol, asset_class
        )
        if approved is not None:
            quantity = Decimal(approved["order_qty"])
            worth = quantity * self._worst_value(approved)
            before = before | dict.fromkeys(OF_AN_ORDER, ZERO)
            after = after | {"order_quantity_max": quantity, "order_notional_max": worth}
            if entry.kind is EntryKind.DECISION:  # new terms add only what they add
                after["turnover_day_max"] = before["turnover_day_max"] + worth
        for name in HELD_TO if approved is not None else EXPOSURES:
            most = self._most(name, limits[name])
            may_pass = reduces and name not in OF_AN_ORDER
            if after[name] > before[name] and after[name] > most and not may_pass:
                yield f"{entry.sequence}: {name} is {most}, and it is {after[name]}"

    def _most(self, name: str, limit: Limit) -> Decimal:
        if name not in OF_EQUITY or limit.number is None:
            return limit.value
        held = {symbol: self.now.quantity(symbol) for symbol in self.now.symbols()}
        worth = sum((quantity * self._value(symbol) for symbol, quantity in held.items()), ZERO)
        return limit.value * max(self.now.cash + worth, ZERO)

    def _measures(self, symbol: str) -> dict[str, Decimal]:
        """What the limits bound, in money at the prices given; those of a symbol for this one."""
        assert self.rules is not None
        now, value, of = self.now, self._value, self.rules.instruments
        symbols = now.symbols() | {symbol}
        worst = {each: now.worst(each) * value(each) for each in symbols}
        alike = [each for each in symbols if of[each].asset == of[symbol].asset]
        kin = [each for each in symbols if of[each].asset_class == of[symbol].asset_class]
        in_asset = sum((worst[each] for each in alike), ZERO)
        gross = sum(worst.values(), ZERO)
        longest = sum((now.longest(each) * value(each) for each in symbols), ZERO)
        shortest = sum((now.shortest(each) * value(each) for each in symbols), ZERO)
        funds = (max(now.working(each, "BUY"), -now.quantity(each), ZERO) * value(each)
                 for each in symbols)  # fmt: skip
        working = ((now.working(each, "BUY") + now.working(each, "SELL")) * value(each)
                   for each in symbols)  # fmt: skip
        return {
            SYMBOL: worst[symbol],
            "asset_exposure_max": in_asset,
            "asset_concentration_max": in_asset,
            "asset_class_exposure_max": sum((worst[each] for each in kin), ZERO),
            "gross_exposure_max": gross,
            "leverage_max": gross,
            "net_exposure_max": max(longest, shortest),
            "borrowing_max": max(sum(funds, ZERO) - now.cash, ZERO),
            "open_orders_max": Decimal(len(now.open)),
            "turnover_day_max": now.traded + sum(working, ZERO),
        }

    def _value(self, symbol: str) -> Decimal:
        assert self.rules is not None
        return self.prices[symbol] * self._multiplier(symbol)

    def _worst_value(self, order: Payload) -> Decimal:
        """What a unit of an order may come to: its limit, or the price if that is more."""
        assert self.rules is not None
        symbol = order["symbol"]
        limit = Decimal(order["price"]) if order["price"] else ZERO
        return max(limit, self.prices[symbol]) * self._multiplier(symbol)

    def _multipliers(self) -> dict[str, Decimal]:
        assert self.rules is not None
        return {symbol: self._multiplier(symbol) for symbol in self.rules.instruments}

    def _multiplier(self, symbol: str) -> Decimal:
        """What one unit at price 1 is worth to the account."""
        assert self.rules is not None
        instrument, account = self.rules.instruments[symbol], self.rules.accounts[self.account_id]
        pair = self.rules.fx.get((instrument.currency, account.currency))
        return instrument.multiplier * (ONE if pair is None else self.prices[pair.symbol])


def _approved(kind: EntryKind, order: Payload, payload: Payload) -> Payload | None:
    """The order as it was approved by this entry: a new one, or one on new terms."""
    if kind is EntryKind.DECISION:
        return order
    return order | payload["replacement"] if kind is EntryKind.REPLACE_REQUESTED else None


def violations(
    account_id: str, entries: Iterable[JournalEntry], prices: dict[str, Decimal]
) -> Iterator[str]:
    """Walk an account's whole journal; say where something passed a limit or a halt."""
    prefix = Prefix(account_id, prices)
    for entry in entries:
        yield from prefix.take(entry)
    yield from prefix.past_halts
