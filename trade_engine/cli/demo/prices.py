"""Real daily prices, from the package bokeh_sampledata (extra `demo`; public domain)."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from trade_engine.domain.errors import ConfigError

PACKAGE = "bokeh_sampledata"
SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
SPREAD = 0.0002
"""Between bid and ask, as a fraction of the price."""
DECIMALS = 4
"""Adjusted for later splits, a share of 2000 may cost less than a dollar: cents are too coarse."""
TICK = 10**-DECIMALS
SIZE_SHARE = 0.02
"""How much of a day's volume stands at the touch."""


@dataclass(frozen=True, slots=True)
class Close:
    """The end of a symbol's day; price and volume are adjusted for splits and dividends."""

    symbol: str
    price: float
    volume: int

    def quote(self) -> dict[str, str]:
        """The JSON form of a quote around the close; it is of when it is sent."""
        half = max(self.price * SPREAD / 2, TICK)
        bid, ask = self.price - half, self.price + half
        size = str(max(1, round(self.volume * SIZE_SHARE)))
        return {
            "symbol": self.symbol,
            "bid": f"{bid:.{DECIMALS}f}",
            "ask": f"{ask:.{DECIMALS}f}",
            "bid_size": size,
            "ask_size": size,
            "last": f"{self.price:.{DECIMALS}f}",
            "source": "demo",
        }


Day = tuple[str, list[Close]]
"""A date, and the closes of the symbols that were traded on it."""


def read_days(count: int | None) -> list[Day]:
    """Read every day there is, oldest first; with `count` the last ones only.

    Raises:
        ConfigError: the package with the prices is not installed.
    """
    days: dict[str, list[Close]] = {}
    with gzip.open(_file(), "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["Ticker"] in SYMBOLS:
                days.setdefault(row["Date"], []).append(_close(row))
    found = sorted(days.items())
    return found if count is None else found[-count:]


def _close(row: dict[str, str]) -> Close:
    price = float(row["Adj Close"])
    shares_now = float(row["Close"]) / price  # what one share of then has become
    return Close(row["Ticker"], price, round(int(row["Volume"]) * shares_now))


def _file() -> Path:
    spec = find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder) / "_data" / "stocks.csv.gz"
        if file.is_file():
            return file
    raise ConfigError(
        "the demo needs real prices, which the extra `demo` brings: "
        "pip install 'trade-engine[demo]'"
    )
