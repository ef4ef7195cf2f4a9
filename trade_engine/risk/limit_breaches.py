"""What stands in breach of limits without any signal: positions and working orders of an account.

Asked before limits are changed: a new limit refuses what would grow, but takes nothing back. So
whoever lowers one should know what lies beyond it already.

Every limit that bounds orders, positions, exposures or losses is asked about, as every level sets
it for the strategies and symbols that hold or work something: a limit of a strategy bounds the
whole account when that strategy trades, so the account may be beyond it. Limits of a signal (its
age, its price, its rate) are not: what stands is not judged by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from trade_engine.domain.account import AccountState
from trade_engine.domain.limits import (
    ASSET_CLASS_EXPOSURE,
    ASSET_CONCENTRATION,
    ASSET_EXPOSURE,
    BORROWING,
    DAILY_LOSS,
    DRAWDOWN,
    GROSS_EXPOSURE,
    LEVERAGE,
    NET_EXPOSURE,
    OPEN_ORDERS,
    ORDER_NOTIONAL,
    ORDER_QUANTITY,
    REPEATED_EXECUTIONS,
    SYMBOL_POSITION,
    TURNOVER,
    Limit,
    LimitSpec,
)
from trade_engine.domain.money import ONE, ZERO, quotient
from trade_engine.domain.order import Order
from trade_engine.domain.replacement import terms_asked
from trade_engine.domain.rulebook import Rulebook
from trade_engine.risk.exposure import Elsewhere, Exposure, Held, UnitValue


@dataclass(frozen=True, slots=True)
class Breach:
    """One limit that what stands is beyond of. limit and observed are in the unit of its name.

    scope says of what: `order:o-…`, `symbol:AAPL`, `asset:ES`, `asset_class:future`,
    `strategy:momentum` or `account:main`. order_ids are the working orders that count toward it.
    observed is None where no quote gives it a value.
    """

    account_id: str
    limit_name: str
    scope: str
    limit: Decimal
    source: str
    observed: Decimal | None
    order_ids: list[str] = field(default_factory=list)


_Place = tuple[str, str]
"""A strategy and a symbol; "" for none in particular."""


@dataclass(frozen=True, slots=True)
class _Measure:
    """What one kind of limit bounds: how much it is, and whose limits it is held to.

    unit is what 1 of the limit stands for: the equity where it is a multiple of that, None where
    that is not known or not positive.
    """

    spec: LimitSpec
    scope: str
    observed: Decimal | None
    orders: list[Order]
    places: Iterable[_Place]
    unit: Decimal | None = ONE


def standing_breaches(
    state: AccountState,
    rulebook: Rulebook,
    unit_value: UnitValue,
    equity: Decimal | None,
    now_ns: int,
) -> list[Breach]:
    """Every breach of an account's positions and working orders, under a rulebook, at a time.

    The worst case per side counts, as when a signal is decided. A waived limit is never breached.
    """
    standing = _Standing(state, rulebook, unit_value, equity)
    return [
        breach
        for measure in (
            *standing.of_orders(),
            *standing.of_symbols(),
            *standing.of_assets(),
            *standing.of_classes(),
            *standing.of_strategies(),
            *standing.of_account(),
        )
        for breach in _beyond(measure, state.account_id, rulebook, now_ns)
    ]


def _beyond(
    measure: _Measure, account_id: str, rulebook: Rulebook, now_ns: int
) -> Iterator[Breach]:
    """The limits that a measure is beyond of, each level's once."""
    seen: set[Limit] = set()
    for strategy_id, symbol in measure.places:
        instrument = rulebook.instruments.get(symbol)
        asset_class = instrument.asset_class if instrument else ""
        limits = rulebook.limits.in_force(now_ns, account_id, strategy_id, symbol, asset_class)
        limit = limits.get(measure.spec.name)
        if limit is None or limit in seen or not limit.value.is_finite():
            continue
        seen.add(limit)
        observed, unit = measure.observed, measure.unit
        if observed is not None and unit is not None and observed <= limit.value * unit:
            continue
        if observed is not None:
            observed = None if unit is None else quotient(observed, unit)
        ids = [order.order_id for order in measure.orders]
        scope, name = measure.scope, measure.spec.name
        yield Breach(account_id, name, scope, limit.value, limit.source, observed, ids)


class _Standing:
    """An account as limits measure it: orders, symbols, assets, classes, strategies, all of it."""

    def __init__(
        self,
        state: AccountState,
        rulebook: Rulebook,
        unit_value: UnitValue,
        equity: Decimal | None,
    ) -> None:
        self._state = state
        self._rulebook = rulebook
        self._unit_value = unit_value
        self._equity = equity
        self._orders = list(state.orders.values())
        self._exposure = Exposure(state.positions.values(), self._orders)
        self._symbols = sorted(self._exposure.symbols())
        self._places: list[_Place] = sorted(
            {key for key, each in state.positions.items() if each.quantity}
            | {(order.strategy_id, order.symbol) for order in self._orders}
        )

    def of_orders(self) -> Iterator[_Measure]:
        """What may still fill of each working order, an open request to replace it included."""
        for order in self._orders:
            scope, own = f"order:{order.order_id}", [(order.strategy_id, order.symbol)]
            value = _order_value(order, self._rulebook, self._unit_value)
            yield _Measure(ORDER_QUANTITY, scope, order.working_qty, [order], own)
            yield _Measure(ORDER_NOTIONAL, scope, value, [order], own)

    def of_symbols(self) -> Iterator[_Measure]:
        """The worst case of each symbol."""
        for symbol in self._symbols:
            value = self._worst([symbol])
            orders, places = self._of([symbol])
            yield _Measure(SYMBOL_POSITION, f"symbol:{symbol}", value, orders, places)

    def of_assets(self) -> Iterator[_Measure]:
        """The worst case of each asset, in money and as a part of equity."""
        for asset, symbols in self._grouped("asset").items():
            scope, value = f"asset:{asset}", self._worst(symbols)
            orders, places = self._of(symbols)
            yield _Measure(ASSET_EXPOSURE, scope, value, orders, places)
            yield _Measure(ASSET_CONCENTRATION, scope, value, orders, places, self._per_equity())

    def of_classes(self) -> Iterator[_Measure]:
        """The worst case of each asset class."""
        for asset_class, symbols in self._grouped("asset_class").items():
            orders, places = self._of(symbols)
            value = self._worst(symbols)
            scope = f"asset_class:{asset_class}"
            yield _Measure(ASSET_CLASS_EXPOSURE, scope, value, orders, places)

    def of_strategies(self) -> Iterator[_Measure]:
        """What each strategy did since it was last enabled."""
        for strategy_id, executions in sorted(self._state.activity.executions.items()):
            orders = [each for each in self._orders if each.strategy_id == strategy_id]
            own = [each for each in self._places if each[0] == strategy_id]
            places = [(strategy_id, ""), *own]
            scope, count = f"strategy:{strategy_id}", Decimal(executions)
            yield _Measure(REPEATED_EXECUTIONS, scope, count, orders, places)

    def of_account(self) -> Iterator[_Measure]:
        """What all of it adds up to."""
        state, day, orders = self._state, self._state.day, self._orders
        scope, places = f"account:{state.account_id}", [("", ""), *self._places]
        total = self._exposure.elsewhere("", self._unit_value, self._rulebook.instruments)
        known = None if total.missing else total

        def measure(spec: LimitSpec, observed: Decimal | None) -> _Measure:
            return _Measure(spec, scope, observed, orders, places)

        if self._symbols:
            gross = known.gross if known else None
            yield measure(GROSS_EXPOSURE, gross)
            yield measure(NET_EXPOSURE, max(known.net_long, known.net_short) if known else None)
            yield _Measure(LEVERAGE, scope, gross, orders, places, self._per_equity())
        yield measure(BORROWING, max(known.funds - state.cash, ZERO) if known else None)
        yield measure(OPEN_ORDERS, Decimal(len(orders)))
        yield measure(TURNOVER, self._turnover(known))
        for spec, reference in ((DAILY_LOSS, day.start_equity), (DRAWDOWN, day.peak_equity)):
            if reference is not None:
                loss = None if self._equity is None else max(reference - self._equity, ZERO)
                yield _Measure(spec, scope, loss, [], places)

    def _turnover(self, known: Elsewhere | None) -> Decimal | None:
        if not self._orders:
            return self._state.day.traded
        return self._state.day.traded + known.working if known else None

    def _per_equity(self) -> Decimal | None:
        return self._equity if self._equity is not None and self._equity > 0 else None

    def _grouped(self, by: str) -> dict[str, list[str]]:
        """The symbols of each asset, or of each asset class; unknown ones are their own asset."""
        found: dict[str, list[str]] = {}
        for symbol in self._symbols:
            instrument = self._rulebook.instruments.get(symbol)
            name = getattr(instrument, by) if instrument else symbol
            found.setdefault(name, []).append(symbol)
        return found

    def _worst(self, symbols: list[str]) -> Decimal | None:
        values = [
            _value(self._exposure.of_symbol(symbol), symbol, self._unit_value) for symbol in symbols
        ]
        known = [each for each in values if each is not None]
        return sum(known, ZERO) if len(known) == len(values) else None

    def _of(self, symbols: list[str]) -> tuple[list[Order], list[_Place]]:
        """The working orders in these symbols; and who holds or works something in them."""
        orders = [each for each in self._orders if each.symbol in symbols]
        own = [each for each in self._places if each[1] in symbols]
        return orders, [*(("", symbol) for symbol in symbols), *own]


def _order_value(order: Order, rulebook: Rulebook, unit_value: UnitValue) -> Decimal | None:
    """What is left of an order, at its limit price: what its own check counts.

    Until new terms that are asked for are answered, it is the more of both. Money of another
    currency counts at the rate that each was approved with.
    """
    instrument = rulebook.instruments.get(order.symbol)
    if order.price is None or instrument is None:
        value = unit_value(order.symbol)
        return None if value is None else order.working_qty * value
    worth = order.leaves_qty * order.price * (ONE if order.fx_rate is None else order.fx_rate)
    asked = terms_asked(order) if order.chain else None
    if asked is not None:
        rate = ONE if asked.fx_rate is None else asked.fx_rate
        worth = max(worth, (asked.order_qty - order.cum_qty) * asked.price * rate)
    return worth * instrument.multiplier


def _value(held: Held, symbol: str, unit_value: UnitValue) -> Decimal | None:
    value = unit_value(symbol)
    return None if value is None else held.worst_quantity() * value
