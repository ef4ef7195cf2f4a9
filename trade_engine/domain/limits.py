"""Limits as values: which there are, on which levels, and how the tightest is found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from trade_engine.domain.clock import NS_PER_MS
from trade_engine.domain.money import ZERO, text


class Level(StrEnum):
    """Where a limit may be set; the tightest of all that apply holds."""

    DEFAULT = "default"
    ACCOUNT = "account"
    STRATEGY = "strategy"
    ASSET_CLASS = "asset_class"
    SYMBOL = "symbol"
    STRATEGY_SYMBOL = "strategy_symbol"


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """One kind of limit: its name in the file, the unit of its number, and what it bounds.

    is_floor: what it bounds may not be less, so that of two the larger is the tighter.
    """

    name: str
    unit: str
    meaning: str
    is_floor: bool = False


SIGNAL_AGE = LimitSpec("signal_age_ms_max", "ms", "age of a signal since its create_time")
DUPLICATE_INTERVAL = LimitSpec(
    "duplicate_interval_ms_min",
    "ms",
    "time between two orders of one strategy with equal symbol, side and quantity",
    is_floor=True,
)
CONFIDENCE = LimitSpec("confidence_min", "confidence", "confidence of a signal", is_floor=True)
QUOTE_AGE = LimitSpec("quote_age_ms_max", "ms", "age of a quote that prices an order or a position")
SLIPPAGE = LimitSpec("slippage_bps_max", "bps", "distance of an order's limit price from reference")
PRICE_BAND = LimitSpec(
    "price_band_bps_max", "bps", "distance of an order's limit price from an earlier quote"
)
ORDER_QUANTITY = LimitSpec("order_quantity_max", "units", "quantity of one order")
ORDER_NOTIONAL = LimitSpec("order_notional_max", "money", "worst-case value of one order")
SYMBOL_POSITION = LimitSpec(
    "symbol_position_notional_max", "money", "worst-case value held and working in a symbol"
)
ASSET_EXPOSURE = LimitSpec(
    "asset_exposure_max", "money", "worst-case value held and working in one asset"
)
ASSET_CONCENTRATION = LimitSpec(
    "asset_concentration_max", "equity", "worst-case value in one asset, as a part of equity"
)
ASSET_CLASS_EXPOSURE = LimitSpec(
    "asset_class_exposure_max", "money", "worst-case value held and working in an asset class"
)
GROSS_EXPOSURE = LimitSpec(
    "gross_exposure_max", "money", "worst-case value held and working, over all symbols"
)
NET_EXPOSURE = LimitSpec(
    "net_exposure_max", "money", "worst-case value long less short, or short less long"
)
LEVERAGE = LimitSpec(
    "leverage_max", "equity", "worst-case value over all symbols, as a multiple of equity"
)
BORROWING = LimitSpec(
    "borrowing_max", "money", "what working buys and shorts may need beyond the cash"
)
OPEN_ORDERS = LimitSpec("open_orders_max", "orders", "open orders of the account")
TURNOVER = LimitSpec("turnover_day_max", "money", "value traded in a day, and working")
REPEATED_EXECUTIONS = LimitSpec(
    "repeated_executions_max", "orders", "orders of a strategy since an operator last enabled it"
)
DAILY_LOSS = LimitSpec("daily_loss_max", "money", "loss since the day began")
DRAWDOWN = LimitSpec("drawdown_max", "money", "loss since the account's highest equity")

NUMERIC_LIMITS = (
    SIGNAL_AGE,
    DUPLICATE_INTERVAL,
    CONFIDENCE,
    QUOTE_AGE,
    SLIPPAGE,
    PRICE_BAND,
    ORDER_QUANTITY,
    ORDER_NOTIONAL,
    SYMBOL_POSITION,
    ASSET_EXPOSURE,
    ASSET_CONCENTRATION,
    ASSET_CLASS_EXPOSURE,
    GROSS_EXPOSURE,
    NET_EXPOSURE,
    LEVERAGE,
    BORROWING,
    OPEN_ORDERS,
    TURNOVER,
    DAILY_LOSS,
    DRAWDOWN,
    REPEATED_EXECUTIONS,
)
_FLOORS = frozenset(spec.name for spec in NUMERIC_LIMITS if spec.is_floor)

STRATEGY_RATE = "strategy_signal_rate"
ACCOUNT_RATE = "account_signal_rate"
CANCEL_RATE = "account_cancel_rate"
RATES = (STRATEGY_RATE, ACCOUNT_RATE, CANCEL_RATE)

LIMIT_NAMES = (*(spec.name for spec in NUMERIC_LIMITS), *RATES)
"""Every limit that a file may set.

Where no level sets it, it refuses; CANCEL_RATE alone does not, since cancels pass.
"""

NO_CEILING = Decimal("Infinity")
NO_FLOOR = Decimal("-Infinity")


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit in force: its number, and where it was set ("limits.toml:symbol AAPL").

    Infinite where somebody wrote by name that there shall be none; number, which decisions show, is
    then None.
    """

    value: Decimal
    source: str
    number: Decimal | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Look at the value once and not at every signal."""
        object.__setattr__(self, "number", self.value if self.value.is_finite() else None)

    @property
    def is_waived(self) -> bool:
        """Whether somebody wrote by name that there shall be no such limit."""
        return self.number is None


def waived(name: str, source: str) -> Limit:
    """The limit that lets everything through, for a name that is acknowledged as unlimited."""
    return Limit(NO_FLOOR if name in _FLOORS else NO_CEILING, source)


@dataclass(frozen=True, slots=True)
class Rate:
    """A throttle (GCRA): `count` messages per `period_ns`, and `burst` more at once.

    A count of 0 stands for a rate that was waived: there is no throttle to ask. at_once is how many
    pass without a pause, which decisions show.
    """

    count: int
    period_ns: int
    burst: int
    source: str
    at_once: Decimal = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Count once and not at every signal."""
        object.__setattr__(self, "at_once", Decimal(self.burst + 1))

    @property
    def is_waived(self) -> bool:
        """Whether somebody wrote by name that there shall be no such rate."""
        return not self.count

    @property
    def pace(self) -> Fraction:
        """Messages per ns, exactly."""
        return Fraction(self.count, self.period_ns)

    def is_looser(self, than: Rate) -> bool:
        """Whether it lets more through, in the long run or at once, and less in neither."""
        mine, other = (self.pace, self.burst), (than.pace, than.burst)
        return mine != other and mine[0] >= other[0] and mine[1] >= other[1]

    def __str__(self) -> str:
        """As people read it: "60 per 1000 ms, burst 15"."""
        return f"{self.count} per {self.period_ns // NS_PER_MS} ms, burst {self.burst}"


def in_words(value: Decimal | Rate) -> str:
    """A limit's value as people read it."""
    return text(value) if isinstance(value, Decimal) else str(value)


def waived_rate(source: str) -> Rate:
    """The rate that stands for none, where that is acknowledged."""
    return Rate(0, 1, 0, source)


LevelKey = tuple[Level, str]
"""A level and its id: "" for the default, "strategy|symbol" for both."""


@dataclass(frozen=True, slots=True)
class Raise:
    """A number, or a rate, that takes the place of what a level sets, from from_ns until until_ns.

    It begins and ends by the clock of what is decided, so nobody has to undo it: at from_ns it
    holds, at until_ns it does not. operator is who answers for it, reason why it was given.
    """

    name: str
    limit_name: str
    level: Level
    scope_id: str
    value: Decimal | Rate
    from_ns: int
    until_ns: int
    reason: str
    operator: str

    def holds(self, now_ns: int) -> bool:
        """Whether it is in force at an instant."""
        return self.from_ns <= now_ns < self.until_ns

    def applies_to(self, account_id: str) -> bool:
        """Whether it can matter to an account; to every account where account_id is ""."""
        return not account_id or self.level is not Level.ACCOUNT or self.scope_id == account_id


LONG_AGO_NS = -(1 << 63)
NEVER_NS = 1 << 63


@dataclass(slots=True)
class Limits:
    """All limits of a configuration, immutable once made; version is the hash of its content.

    What holds is worked out once for each combination of the ids that the configuration names. Any
    other id counts as "", so that whoever makes up ids makes nothing grow. It is worked out anew
    when a raise begins or ends: between two such instants an answer is the same object.
    """

    version: str
    numbers: dict[LevelKey, dict[str, Limit]]
    rates: dict[LevelKey, dict[str, Rate]]
    raises: tuple[Raise, ...] = ()
    _since_ns: int = field(init=False, repr=False, compare=False, default=LONG_AGO_NS)
    _until_ns: int = field(init=False, repr=False, compare=False, default=NEVER_NS)
    _raised: dict[LevelKey, dict[str, Limit]] = field(init=False, repr=False, compare=False)
    _raised_rates: dict[LevelKey, dict[str, Rate]] = field(init=False, repr=False, compare=False)
    _named: frozenset[str] = field(init=False, repr=False, compare=False)
    _in_force: dict[tuple[str, str, str, str], dict[str, Limit]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    _largest: dict[str, Decimal] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    _rate: dict[tuple[str, str, str], Rate | None] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        """Note the ids that are named."""
        ids = (scope_id for _, scope_id in (*self.numbers, *self.rates))
        self._named = frozenset(name for scope_id in ids for name in scope_id.split("|"))
        self._raised, self._raised_rates = self.numbers, self.rates
        if self.raises:
            self._turn_to(LONG_AGO_NS)

    def in_force(
        self, now_ns: int, account_id: str, strategy_id: str, symbol: str, asset_class: str = ""
    ) -> dict[str, Limit]:
        """The tightest limit of each name for this account, strategy and symbol of a class."""
        if not self._since_ns <= now_ns < self._until_ns:
            self._turn_to(now_ns)
        named = self._named
        key = (
            account_id if account_id in named else "",
            strategy_id if strategy_id in named else "",
            symbol if symbol in named else "",
            asset_class if asset_class in named else "",
        )
        found = self._in_force.get(key)
        if found is None:
            found = self._in_force[key] = self._tightest(*key)
        return found

    def in_force_since_ns(self, now_ns: int) -> int:
        """Since when the limits that are in force now are: a raise may have begun or ended."""
        if not self._since_ns <= now_ns < self._until_ns:
            self._turn_to(now_ns)
        return self._since_ns

    def rates_in_force(self, now_ns: int) -> dict[LevelKey, dict[str, Rate]]:
        """The rates of every level, those that are raised then as they are raised."""
        if not self._since_ns <= now_ns < self._until_ns:
            self._turn_to(now_ns)
        return self._raised_rates

    def rate(
        self, now_ns: int, account_id: str, strategy_id: str, name: str = STRATEGY_RATE
    ) -> Rate | None:
        """The rate of this name; None when none is set.

        The tightest pace holds and the tightest burst, whichever levels they come from.
        """
        if not self._since_ns <= now_ns < self._until_ns:
            self._turn_to(now_ns)
        named = self._named
        key = (
            account_id if account_id in named else "",
            strategy_id if strategy_id in named else "",
            name,
        )
        if key not in self._rate:
            self._rate[key] = self._tightest_rate(*key)
        return self._rate[key]

    def regular(self, raised: Raise) -> Decimal | Rate:
        """What the level of a raise sets otherwise."""
        at = raised.level, raised.scope_id
        if isinstance(raised.value, Rate):
            return self.rates[at][raised.limit_name]
        return self.numbers[at][raised.limit_name].value

    def largest(self, name: str) -> Decimal:
        """The largest number that any level sets for a name; 0 where none does."""
        if name not in self._largest:
            found = (named[name].number for named in self.numbers.values() if name in named)
            self._largest[name] = max((each for each in found if each is not None), default=ZERO)
        return self._largest[name]

    @property
    def approvals_kept_ns(self) -> int:
        """How long an approval may still make another order a duplicate, wherever it is set."""
        return int(self.largest(DUPLICATE_INTERVAL.name) * NS_PER_MS)

    def _turn_to(self, now_ns: int) -> None:
        """Take the raises that hold now, until the next one begins or ends."""
        instants = {LONG_AGO_NS, NEVER_NS}
        instants |= {at_ns for each in self.raises for at_ns in (each.from_ns, each.until_ns)}
        self._since_ns = max(at_ns for at_ns in instants if at_ns <= now_ns)
        self._until_ns = min(at_ns for at_ns in instants if at_ns > now_ns)
        self._raised = {level: dict(named) for level, named in self.numbers.items()}
        self._raised_rates = {level: dict(named) for level, named in self.rates.items()}
        for each in self.raises:
            if each.holds(now_ns):
                self._take(each, each.value)
        self._in_force.clear()
        self._rate.clear()

    def _take(self, each: Raise, value: Decimal | Rate) -> None:
        """Let a raise hold; it loosens what its level sets, or does nothing."""
        level, name = (each.level, each.scope_id), each.limit_name
        if isinstance(value, Rate):
            rate = self._raised_rates.get(level, {}).get(name)
            if rate is not None and not rate.is_waived and value.is_looser(rate):
                source = f"{rate.source} raise {each.name}"
                self._raised_rates[level][name] = replace(value, source=source)
            return
        limit = self._raised.get(level, {}).get(name)
        if limit is not None:
            raised = Limit(value, f"{limit.source} raise {each.name}")
            if is_tighter(name, limit, raised):
                self._raised[level][name] = raised

    def _tightest(
        self, account_id: str, strategy_id: str, symbol: str, asset_class: str
    ) -> dict[str, Limit]:
        tightest: dict[str, Limit] = {}
        for level in (
            (Level.DEFAULT, ""),
            (Level.ACCOUNT, account_id),
            (Level.STRATEGY, strategy_id),
            (Level.ASSET_CLASS, asset_class),
            (Level.SYMBOL, symbol),
            (Level.STRATEGY_SYMBOL, f"{strategy_id}|{symbol}"),
        ):
            for name, limit in self._raised.get(level, {}).items():
                if name not in tightest or is_tighter(name, limit, tightest[name]):
                    tightest[name] = limit
        return tightest

    def _tightest_rate(self, account_id: str, strategy_id: str, name: str) -> Rate | None:
        levels = (
            (Level.DEFAULT, ""),
            (Level.ACCOUNT, account_id),
            (Level.STRATEGY, strategy_id),
        )
        raised = self._raised_rates
        found = [raised[level][name] for level in levels if name in raised.get(level, ())]
        rates = [rate for rate in found if not rate.is_waived]
        if not rates:
            return found[0] if found else None
        slowest = min(rates, key=lambda rate: (rate.pace, rate.burst))
        smallest = min(rates, key=lambda rate: rate.burst)
        if slowest.burst == smallest.burst:
            return slowest
        source = f"{slowest.source}, burst {smallest.source}"
        return replace(slowest, burst=smallest.burst, source=source)


def is_tighter(name: str, limit: Limit, than: Limit) -> bool:
    """Whether of two limits of a name the first lets less through."""
    return limit.value > than.value if name in _FLOORS else limit.value < than.value
