"""The rulebook: limits, instruments and accounts as configured, under one version.

The version is the hash of the content. The journal keeps the whole rulebook whenever it changes,
so that every decision can be made again by the rules of its day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from trade_engine.domain.fx import FxPair
from trade_engine.domain.limits import STRATEGY_RATE, Level, Limit, Limits, Raise, Rate
from trade_engine.domain.market import Instrument
from trade_engine.domain.money import ZERO, text
from trade_engine.domain.order import OrderPolicy, WorkingOrders
from trade_engine.domain.session import ALWAYS_OPEN
from trade_engine.domain.trading_state import TradingState

MARK_BAND_BPS = Decimal(1000)
"""How far a quote may be from the one before, unless an account says otherwise: a tenth."""


@dataclass(frozen=True, slots=True)
class Route:
    """Which broker the orders of a symbol, or of an asset class, go to; level says which."""

    level: Level
    scope_id: str
    broker: str


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """An account as configured. opening_cash is what its ledger starts with.

    broker is where its orders go that no route sends elsewhere. calendar says when its trading day
    ends: at the close of each of the calendar's sessions. What follows says what a breach of a loss
    limit does, how far a quote may be from the mark before and replace it at once, and how much
    more than was ordered a broker may fill before the account halts.
    """

    account_id: str
    currency: str
    opening_cash: Decimal
    broker: str
    calendar: str = ALWAYS_OPEN
    on_daily_loss: TradingState = TradingState.REDUCE_ONLY
    on_drawdown: TradingState = TradingState.HALTED
    mark_band_bps: Decimal = MARK_BAND_BPS
    overfill_bps_max: Decimal = ZERO
    routes: tuple[Route, ...] = ()

    @property
    def brokers(self) -> tuple[str, ...]:
        """All that its orders may go to, its own one first."""
        return tuple(dict.fromkeys((self.broker, *(route.broker for route in self.routes))))

    def broker_for(self, symbol: str, asset_class: str) -> str:
        """Where an order goes: as its symbol's route says, else its asset class's, else the own."""
        for level, scope_id in ((Level.SYMBOL, symbol), (Level.ASSET_CLASS, asset_class)):
            for route in self.routes:
                if route.level is level and route.scope_id == scope_id:
                    return route.broker
        return self.broker


@dataclass(frozen=True, slots=True)
class StrategyTerms:
    """A strategy as configured: where it may trade, and what. An empty list is no restriction."""

    strategy_id: str
    accounts: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    asset_classes: tuple[str, ...] = ()


@dataclass(slots=True)
class Rulebook:
    """Everything that operators configure of trading; immutable once made.

    Where no strategy is listed, every strategy may trade everything; else only those listed may.
    """

    version: str
    limits: Limits
    instruments: dict[str, Instrument] = field(default_factory=dict)
    accounts: dict[str, AccountTerms] = field(default_factory=dict)
    strategies: dict[str, StrategyTerms] = field(default_factory=dict)
    fx: dict[tuple[str, str], FxPair] = field(default_factory=dict)
    """How money is converted, by (from, to)."""

    def fx_pair(self, symbol: str, currency: str) -> FxPair | None:
        """What converts an instrument's money into a currency; None where nothing has to be."""
        instrument = self.instruments.get(symbol)
        return self.fx.get((instrument.currency, currency)) if instrument else None

    def with_fx(self, symbols: list[str], currency: str) -> list[str]:
        """These symbols, and those whose quotes say what they are worth in a currency."""
        if not self.fx:
            return symbols
        pairs = [self.fx_pair(symbol, currency) for symbol in symbols]
        return sorted({*symbols, *(pair.symbol for pair in pairs if pair is not None)})

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the journal; `version` is the hash of `content`.

        strategies, raises and fx are there only where some are listed.
        """
        doc: dict[str, Any] = {
            "version": self.version,
            "limits": [
                {"level": level.value, "id": scope_id, "name": name} | _limit_json(limit)
                for (level, scope_id), named in sorted(self.limits.numbers.items())
                for name, limit in sorted(named.items())
            ],
            "rates": [
                {"level": level.value, "id": scope_id, "name": name} | _rate_json(rate)
                for (level, scope_id), named in sorted(self.limits.rates.items())
                for name, rate in sorted(named.items())
            ],
            "instruments": [
                _instrument_json(self.instruments[symbol]) for symbol in sorted(self.instruments)
            ],
            "accounts": [_terms_json(self.accounts[each]) for each in sorted(self.accounts)],
        }
        if self.strategies:
            doc["strategies"] = [
                _strategy_json(self.strategies[each]) for each in sorted(self.strategies)
            ]
        if self.limits.raises:
            doc["raises"] = [_raise_json(each) for each in self.limits.raises]
        if self.fx:
            doc["fx"] = [self.fx[each].to_json() for each in sorted(self.fx)]
        return doc

    def content(self) -> dict[str, Any]:
        """What the version is the hash of: all but itself, and but the names of files.

        So two files that say the same have one version, whatever they are called.
        """
        doc = self.to_json()
        del doc["version"]
        for each in (*doc["limits"], *doc["rates"]):
            del each["source"]
        return doc

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> Rulebook:
        """Read what `to_json` wrote."""
        numbers: dict[tuple[Level, str], dict[str, Limit]] = {}
        for each in doc["limits"]:
            at = numbers.setdefault((Level(each["level"]), each["id"]), {})
            at[each["name"]] = Limit(Decimal(each["value"]), each["source"])
        rates: dict[tuple[Level, str], dict[str, Rate]] = {}
        for each in doc["rates"]:
            named = rates.setdefault((Level(each["level"]), each["id"]), {})
            named[each.get("name", STRATEGY_RATE)] = Rate(
                each["count"], each["period_ns"], each["burst"], each["source"]
            )
        instruments = [_instrument_from_json(each) for each in doc["instruments"]]
        terms = [_terms_from_json(each) for each in doc["accounts"]]
        return cls(
            version=doc["version"],
            limits=Limits(
                doc["version"], numbers, rates, tuple(map(_raise_from_json, doc.get("raises", ())))
            ),
            instruments={each.symbol: each for each in instruments},
            accounts={each.account_id: each for each in terms},
            strategies={
                each["strategy_id"]: _strategy_from_json(each) for each in doc.get("strategies", ())
            },
            fx={(each.base, each.terms): each for each in map(FxPair.from_json, doc.get("fx", ()))},
        )


def _limit_json(limit: Limit) -> dict[str, Any]:
    return {"value": text(limit.value), "source": limit.source}


def _rate_json(rate: Rate) -> dict[str, Any]:
    return _pace_json(rate) | {"source": rate.source}


def _pace_json(rate: Rate) -> dict[str, Any]:
    """A rate without where it was set: a raise has its name for that."""
    return {"count": rate.count, "period_ns": rate.period_ns, "burst": rate.burst}


def _raise_json(each: Raise) -> dict[str, Any]:
    return {
        "name": each.name,
        "limit": each.limit_name,
        "level": each.level.value,
        "id": each.scope_id,
        "value": text(each.value) if isinstance(each.value, Decimal) else _pace_json(each.value),
        "from_ns": each.from_ns,
        "until_ns": each.until_ns,
        "reason": each.reason,
        "operator": each.operator,
    }


def _raise_from_json(doc: dict[str, Any]) -> Raise:
    value = doc["value"]
    return Raise(
        doc["name"],
        doc["limit"],
        Level(doc["level"]),
        doc["id"],
        Rate(**value, source="") if isinstance(value, dict) else Decimal(value),
        int(doc["from_ns"]),
        int(doc["until_ns"]),
        doc["reason"],
        doc["operator"],
    )


def _terms_json(terms: AccountTerms) -> dict[str, Any]:
    """Routes are there where there are any."""
    routes = {f"{each.level}.{each.scope_id}": each.broker for each in terms.routes}
    return ({"routes": routes} if routes else {}) | {
        "account_id": terms.account_id,
        "currency": terms.currency,
        "opening_cash": text(terms.opening_cash),
        "broker": terms.broker,
        "calendar": terms.calendar,
        "on_daily_loss": terms.on_daily_loss.value,
        "on_drawdown": terms.on_drawdown.value,
        "mark_band_bps": text(terms.mark_band_bps),
        "overfill_bps_max": text(terms.overfill_bps_max),
    }


def _terms_from_json(doc: dict[str, Any]) -> AccountTerms:
    """Read what `_terms_json` wrote; old journals lack what had no effect then."""
    return AccountTerms(
        doc["account_id"],
        doc["currency"],
        Decimal(doc["opening_cash"]),
        doc["broker"],
        doc.get("calendar", ALWAYS_OPEN),
        TradingState(doc.get("on_daily_loss", TradingState.REDUCE_ONLY)),
        TradingState(doc.get("on_drawdown", TradingState.HALTED)),
        Decimal(doc.get("mark_band_bps", MARK_BAND_BPS)),
        Decimal(doc.get("overfill_bps_max", ZERO)),
        tuple(_routes_from_json(doc.get("routes", {}))),
    )


def _routes_from_json(doc: dict[str, str]) -> Iterator[Route]:
    for key, broker in doc.items():
        level, _, scope_id = key.partition(".")
        yield Route(Level(level), scope_id, broker)


def _strategy_json(terms: StrategyTerms) -> dict[str, Any]:
    return {
        "strategy_id": terms.strategy_id,
        "accounts": list(terms.accounts),
        "symbols": list(terms.symbols),
        "asset_classes": list(terms.asset_classes),
    }


def _strategy_from_json(doc: dict[str, Any]) -> StrategyTerms:
    return StrategyTerms(
        doc["strategy_id"],
        tuple(doc["accounts"]),
        tuple(doc["symbols"]),
        tuple(doc["asset_classes"]),
    )


def _instrument_json(instrument: Instrument) -> dict[str, Any]:
    said = {"underlying": instrument.underlying} if instrument.underlying else {}
    if instrument.order_policy is not OrderPolicy.MARKETABLE_LIMIT:
        said["order_policy"] = instrument.order_policy.value
    if instrument.working_orders is not WorkingOrders.ADD:
        said["working_orders"] = instrument.working_orders.value
    return said | {
        "symbol": instrument.symbol,
        "tick": text(instrument.tick),
        "lot": text(instrument.lot),
        "currency": instrument.currency,
        "asset_class": instrument.asset_class,
        "multiplier": text(instrument.multiplier),
        "calendar": instrument.calendar,
        "shortable": instrument.shortable,
        "restricted": instrument.restricted,
    }


def _instrument_from_json(doc: dict[str, Any]) -> Instrument:
    numbers = {name: Decimal(doc[name]) for name in ("tick", "lot", "multiplier")}
    policy = OrderPolicy(doc.get("order_policy", OrderPolicy.MARKETABLE_LIMIT))
    working = WorkingOrders(doc.get("working_orders", WorkingOrders.ADD))
    return Instrument(**(doc | numbers | {"order_policy": policy, "working_orders": working}))
