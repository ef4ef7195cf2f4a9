"""Limits so wide that they refuse nothing, for tests that are about something else."""

from __future__ import annotations

from decimal import Decimal

from trade_engine.domain.limits import NUMERIC_LIMITS, RATES, Limit, Rate

WIDE = {spec.name: 0 if spec.is_floor else 10**9 for spec in NUMERIC_LIMITS}
"""Every limit with a number, by name."""
_ACCOUNT = """[accounts.{account}]
currency = "USD"
opening_cash = {opening_cash}
broker = "paper"

[limits]
"""


def wide_limits(source: str, **values: int | str | Decimal | None) -> dict[str, Limit]:
    """All limits, wide but for those given by name; None is not set."""
    return {
        name: Limit(Decimal(value), source.format(name=name))
        for name, value in (WIDE | values).items()
        if value is not None
    }


def each_rate(rate: Rate) -> dict[str, Rate]:
    """The same rate for every throttle."""
    return dict.fromkeys(RATES, rate)


def wide_toml(opening_cash: int, account: str = "default", **values: float | str | None) -> str:
    """A limits file of one account, wide but for what is given by name; None is not set."""
    floors = [name for name, number in WIDE.items() if not number and name not in values]
    rate = "{ count = 100000, per_ms = 1000, burst = 100000 }"
    given = {
        **{name: number for name, number in WIDE.items() if name not in floors},
        **dict.fromkeys(RATES, rate),
        "slippage_bps_max": 50,
        "price_band_bps_max": 9999,
        **values,
    }
    return _ACCOUNT.format(account=account, opening_cash=opening_cash) + "\n".join(
        [
            *(f"{name} = {value}" for name, value in given.items() if value is not None),
            f"acknowledged_unlimited = {floors}".replace("'", '"'),
            "",
        ]
    )
