"""Limits as values: which there are, on which levels, and how the tightest is found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction


class Level(StrEnum):
    """Where a limit may be set; the tightest of all that apply holds."""

    DEFAULT = "default"
    ACCOUNT = "account"
    STRATEGY = "strategy"
    SYMBOL = "symbol"
    STRATEGY_SYMBOL = "strategy_symbol"


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """One kind of limit: its name in the file, the unit of its number, and what it bounds."""

    name: str
    unit: str
    meaning: str


SIGNAL_AGE = LimitSpec("signal_age_ms_max", "ms", "age of a signal since its create_time")
QUOTE_AGE = LimitSpec("quote_age_ms_max", "ms", "age of a quote that prices an order or a position")
SLIPPAGE = LimitSpec("slippage_bps_max", "bps", "distance of an order's limit price from reference")
ORDER_NOTIONAL = LimitSpec("order_notional_max", "money", "worst-case value of one order")
SYMBOL_POSITION = LimitSpec(
    "symbol_position_notional_max", "money", "worst-case value held and working in a symbol"
)
GROSS_EXPOSURE = LimitSpec(
    "gross_exposure_max", "money", "worst-case value held and working, over all symbols"
)

NUMERIC_LIMITS = (
    SIGNAL_AGE,
    QUOTE_AGE,
    SLIPPAGE,
    ORDER_NOTIONAL,
    SYMBOL_POSITION,
    GROSS_EXPOSURE,
)
STRATEGY_RATE = "strategy_signal_rate"


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit in force: its number, and where it was set ("limits.toml:symbol AAPL")."""

    value: Decimal
    source: str


@dataclass(frozen=True, slots=True)
class Rate:
    """A throttle (GCRA): `count` signals per `period_ns`, and `burst` more at once."""

    count: int
    period_ns: int
    burst: int
    source: str

    @property
    def pace(self) -> Fraction:
        """Signals per ns, exactly."""
        return Fraction(self.count, self.period_ns)


LevelKey = tuple[Level, str]
"""A level and its id: "" for the default, "strategy|symbol" for both."""


@dataclass(slots=True)
class Limits:
    """All limits of a configuration, immutable once made; version is the hash of its content.

    What holds is worked out once for each combination of the ids that the configuration names. Any
    other id counts as "", so that whoever makes up ids makes nothing grow.
    """

    version: str
    numbers: dict[LevelKey, dict[str, Limit]]
    rates: dict[LevelKey, Rate]
    _named: frozenset[str] = field(init=False, repr=False, compare=False)
    _in_force: dict[tuple[str, str, str], dict[str, Limit]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    _rate: dict[tuple[str, str], Rate | None] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        """Note the ids that are named."""
        ids = (scope_id for _, scope_id in (*self.numbers, *self.rates))
        self._named = frozenset(name for scope_id in ids for name in scope_id.split("|"))

    def in_force(self, account_id: str, strategy_id: str, symbol: str) -> dict[str, Limit]:
        """The tightest limit of each name for this account, strategy and symbol."""
        named = self._named
        key = (
            account_id if account_id in named else "",
            strategy_id if strategy_id in named else "",
            symbol if symbol in named else "",
        )
        found = self._in_force.get(key)
        if found is None:
            found = self._in_force[key] = self._tightest(*key)
        return found

    def rate(self, account_id: str, strategy_id: str) -> Rate | None:
        """The rate for a strategy's signals; None when none is set.

        The tightest pace holds and the tightest burst, whichever levels they come from.
        """
        named = self._named
        key = (
            account_id if account_id in named else "",
            strategy_id if strategy_id in named else "",
        )
        if key not in self._rate:
            self._rate[key] = self._tightest_rate(*key)
        return self._rate[key]

    def _tightest(self, account_id: str, strategy_id: str, symbol: str) -> dict[str, Limit]:
        tightest: dict[str, Limit] = {}
        for level in (
            (Level.DEFAULT, ""),
            (Level.ACCOUNT, account_id),
            (Level.STRATEGY, strategy_id),
            (Level.SYMBOL, symbol),
            (Level.STRATEGY_SYMBOL, f"{strategy_id}|{symbol}"),
        ):
            for name, limit in self.numbers.get(level, {}).items():
                if name not in tightest or limit.value < tightest[name].value:
                    tightest[name] = limit
        return tightest

    def _tightest_rate(self, account_id: str, strategy_id: str) -> Rate | None:
        levels = (
            (Level.DEFAULT, ""),
            (Level.ACCOUNT, account_id),
            (Level.STRATEGY, strategy_id),
        )
        rates = [self.rates[level] for level in levels if level in self.rates]
        if not rates:
            return None
        slowest = min(rates, key=lambda rate: (rate.pace, rate.burst))
        smallest = min(rates, key=lambda rate: rate.burst)
        if slowest.burst == smallest.burst:
            return slowest
        source = f"{slowest.source}, burst {smallest.source}"
        return replace(slowest, burst=smallest.burst, source=source)
