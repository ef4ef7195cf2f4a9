"""The limits of a run: some tight enough for the load to reach, the others wide."""

from __future__ import annotations

import random

from tests.support.wide import wide_toml

Values = dict[str, int | str | None]

OPENING_CASH = {"default": 200_000, "second": 60_000}
BASE: Values = {
    "signal_age_ms_max": 60_000,
    "quote_age_ms_max": 600_000,
    "order_notional_max": 30_000,
    "symbol_position_notional_max": 60_000,
    "gross_exposure_max": 90_000,
}
NARROW: Values = {"symbol_position_notional_max": 20_000, "gross_exposure_max": 30_000}
"""What the load reaches at once, whatever comes of it."""
TIGHT: dict[str, tuple[int | str, ...]] = {
    "order_quantity_max": (60, 100),
    "order_notional_max": (9_000, 16_000),
    "symbol_position_notional_max": (20_000, 35_000),
    "asset_exposure_max": (20_000, 35_000),
    "asset_class_exposure_max": (30_000, 50_000),
    "gross_exposure_max": (30_000, 50_000),
    "net_exposure_max": (20_000, 40_000),
    "open_orders_max": (2, 5),
    "turnover_day_max": (60_000, 150_000),
    "borrowing_max": (0,),
    "asset_concentration_max": ("0.2", "0.4"),
    "leverage_max": ("0.3", "0.6"),
}
"""Every limit that bounds an order, or what an account holds, works and trades."""

_SECOND = """[accounts.second]
currency = "USD"
opening_cash = {opening_cash}
broker = "paper"
"""


def drawn(chance: random.Random) -> Values:
    """Limits of which some are tight."""
    names = chance.sample(sorted(TIGHT), chance.randint(1, 3))
    return BASE | {name: chance.choice(TIGHT[name]) for name in names}


def limits_toml(values: Values) -> str:
    """The file that says so; the second account may hold less than the first."""
    return (
        _SECOND.format(opening_cash=OPENING_CASH["second"])
        + wide_toml(OPENING_CASH["default"], "default", **values)
        + "[limits.account.second]\ngross_exposure_max = 50000\n"
    )
