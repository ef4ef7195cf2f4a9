"""Every prefix of a journal against the limits in force at its end.

A fold of its own, as plain as can be, that shares nothing with the engine's but the reading of a
rulebook: what is held and what may still fill, worst case per side, at prices that do not move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.rulebook import Rulebook

CLOSED = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED"})


@dataclass(slots=True)
class Holdings:
    """Quantities held by symbol, and (symbol, side, leaves) of each open order."""

    held: dict[str, Decimal] = field(default_factory=dict)
    open: dict[str, tuple[str, str, Decimal]] = field(default_factory=dict)

    def worst(self, symbol: str) -> Decimal:
        """The most that may come to be held, long or short."""
        held = self.held.get(symbol, Decimal(0))
        return max(
            abs(held + self._leaves(symbol, "BUY")), abs(held - self._leaves(symbol, "SELL"))
        )

    def symbols(self) -> set[str]:
        """Whatever is held or worked."""
        return {*self.held, *(symbol for symbol, _, _ in self.open.values())}

    def _leaves(self, symbol: str, side: str) -> Decimal:
        leaves = (leaves for of, on, leaves in self.open.values() if (of, on) == (symbol, side))
        return sum(leaves, Decimal(0))


def violations(
    account_id: str, entries: Iterable[JournalEntry], prices: dict[str, Decimal]
) -> Iterator[str]:
    """Walk an account's whole journal; say where a limit was passed by something that grew."""
    now, rules = Holdings(), None
    for entry in entries:
        payload = orjson.loads(entry.payload)
        if entry.kind is EntryKind.LIMITS_CHANGED:
            rules = Rulebook.from_json(payload)
        order = _order_of(entry.kind, payload)
        if order is None:
            continue
        if rules is None:
            yield f"{entry.sequence}: an order before any limits"
            return
        before = _measures(now, order["symbol"], prices)
        _fold(now, entry.kind, order, payload)
        limits = rules.limits.in_force(account_id, order["strategy_id"], order["symbol"])
        for name, after in _measures(now, order["symbol"], prices).items():
            if after > before[name] and after > limits[name].value:
                yield f"{entry.sequence}: {name} is {limits[name].value}, and it is {after}"
        if entry.kind is EntryKind.DECISION:
            worth = Decimal(order["order_qty"]) * prices[order["symbol"]]
            if worth > limits["order_notional_max"].value:
                yield f"{entry.sequence}: an order worth {worth}"


def _order_of(kind: EntryKind, payload: dict[str, Any]) -> dict[str, Any] | None:
    found = payload["decision"]["order"] if kind is EntryKind.DECISION else payload.get("order")
    return found if isinstance(found, dict) else None


def _fold(now: Holdings, kind: EntryKind, order: dict[str, Any], payload: dict[str, Any]) -> None:
    symbol, side = order["symbol"], order["side"]
    report = payload.get("report") or {}
    if kind is EntryKind.EXECUTION and report.get("exec_type") == "TRADE":
        traded = Decimal(report["last_qty"]) * (1 if side == "BUY" else -1)
        now.held[symbol] = now.held.get(symbol, Decimal(0)) + traded
    now.open[order["order_id"]] = symbol, side, Decimal(order["leaves_qty"])
    if order["ord_status"] in CLOSED:
        del now.open[order["order_id"]]


def _measures(now: Holdings, symbol: str, prices: dict[str, Decimal]) -> dict[str, Decimal]:
    return {
        "symbol_position_notional_max": now.worst(symbol) * prices[symbol],
        "gross_exposure_max": sum(
            (now.worst(each) * prices[each] for each in now.symbols()), Decimal(0)
        ),
    }
