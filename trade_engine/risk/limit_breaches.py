"""What stands in breach of limits without any signal: positions and working orders of an account.

Asked before limits are changed: a new limit refuses what would grow, but takes nothing back. So
whoever lowers one should know what lies beyond it already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from trade_engine.domain.account import AccountState
from trade_engine.domain.limits import (
    GROSS_EXPOSURE,
    ORDER_NOTIONAL,
    SYMBOL_POSITION,
    Limit,
    LimitSpec,
)
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import Order
from trade_engine.domain.rulebook import Rulebook
from trade_engine.risk.exposure import Exposure, Held, UnitValue


@dataclass(frozen=True, slots=True)
class Breach:
    """One limit that what stands is beyond of. limit and observed are in the unit of its name.

    scope says of what: `symbol:AAPL`, `account:main`, `order:o-…`. order_ids are the working orders
    that count toward it. observed is None where no quote gives it a value.
    """

    account_id: str
    limit_name: str
    scope: str
    limit: Decimal
    source: str
    observed: Decimal | None
    order_ids: list[str] = field(default_factory=list)


def standing_breaches(
    state: AccountState, rulebook: Rulebook, unit_value: UnitValue
) -> list[Breach]:
    """Every breach of an account's positions and working orders, under a rulebook.

    The worst case per side counts, as when a signal is decided. A waived limit is never breached.
    """
    return [
        *_order_breaches(state, rulebook, unit_value),
        *_exposure_breaches(state, rulebook, unit_value),
    ]


def _order_breaches(
    state: AccountState, rulebook: Rulebook, unit_value: UnitValue
) -> Iterator[Breach]:
    for order in state.orders.values():
        limits = rulebook.limits.in_force(state.account_id, order.strategy_id, order.symbol)
        value = _order_value(order, rulebook, unit_value)
        scope = f"order:{order.order_id}"
        yield from _beyond(state, limits, ORDER_NOTIONAL, scope, value, [order])


def _exposure_breaches(
    state: AccountState, rulebook: Rulebook, unit_value: UnitValue
) -> Iterator[Breach]:
    exposure = Exposure(state.positions.values(), state.orders.values())
    gross: Decimal | None = ZERO
    for symbol in sorted(exposure.symbols()):
        value = _value(exposure.of_symbol(symbol), symbol, unit_value)
        gross = None if gross is None or value is None else gross + value
        orders = [each for each in state.orders.values() if each.symbol == symbol]
        limits = rulebook.limits.in_force(state.account_id, "", symbol)
        yield from _beyond(state, limits, SYMBOL_POSITION, f"symbol:{symbol}", value, orders)
    if exposure.symbols():
        limits = rulebook.limits.in_force(state.account_id, "", "")
        account = f"account:{state.account_id}"
        orders = list(state.orders.values())
        yield from _beyond(state, limits, GROSS_EXPOSURE, account, gross, orders)


def _order_value(order: Order, rulebook: Rulebook, unit_value: UnitValue) -> Decimal | None:
    """What is left of an order, at its limit price: what its own check counts."""
    instrument = rulebook.instruments.get(order.symbol)
    if order.price is not None and instrument is not None:
        return order.leaves_qty * order.price * instrument.multiplier
    value = unit_value(order.symbol)
    return None if value is None else order.leaves_qty * value


def _value(held: Held, symbol: str, unit_value: UnitValue) -> Decimal | None:
    value = unit_value(symbol)
    return None if value is None else held.worst_quantity() * value


def _beyond(
    state: AccountState,
    limits: dict[str, Limit],
    spec: LimitSpec,
    scope: str,
    observed: Decimal | None,
    orders: Iterable[Order],
) -> Iterator[Breach]:
    limit = limits.get(spec.name)
    if limit is None or not limit.value.is_finite():
        return
    if observed is None or observed > limit.value:
        ids = [order.order_id for order in orders]
        yield Breach(state.account_id, spec.name, scope, limit.value, limit.source, observed, ids)
