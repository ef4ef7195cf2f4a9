"""Instruments that an account cannot do without: what is held or works must keep its terms."""

from __future__ import annotations

from decimal import Decimal

from trade_engine.domain.account import AccountState
from trade_engine.domain.market import Instrument
from trade_engine.domain.rulebook import Rulebook


def in_use(state: AccountState) -> set[str]:
    """The symbols that an account holds, or has open orders in."""
    symbols = {symbol for (_, symbol), held in state.positions.items() if held.quantity}
    return symbols | {order.symbol for order in state.orders.values()}


def changed_terms(old: Rulebook, new: Rulebook) -> set[str]:
    """The symbols that leave, or that change what a position in them is worth.

    That may not be while one is in use: its money is quantity times price times multiplier.
    """
    changed = set()
    for symbol, before in old.instruments.items():
        after = new.instruments.get(symbol)
        if after is None or _worth(after) != _worth(before):
            changed.add(symbol)
    return changed


def _worth(instrument: Instrument) -> tuple[Decimal, str]:
    return instrument.multiplier, instrument.currency
