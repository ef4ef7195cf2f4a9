"""The limits file: which accounts there are, and what may not be exceeded, level by level.

    [accounts.default]          an account: currency, opening cash, broker
    [strategies.ID]             a strategy: where it may trade, and what
    [limits]                    for every account, strategy and symbol
    [limits.account.ID]         for one account, and so on: a level can only tighten
    [raises.NAME]               a limit loosened for a time; see `raises`

The names and units of limits are those of `domain.limits`; a limit that is not set refuses when it
is needed, unless `acknowledged_unlimited` names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from trade_engine.config.calendars import CALENDAR
from trade_engine.config.currencies import CURRENCY
from trade_engine.config.faults import did_you_mean
from trade_engine.config.instruments import ASSET_CLASSES
from trade_engine.config.kinds import Kind, names_of, number, text
from trade_engine.config.raises import read_raises
from trade_engine.config.rates import RATE_LEVELS, read_rate
from trade_engine.config.toml_file import Key, TomlFile
from trade_engine.config.toml_places import KeyPath
from trade_engine.domain.errors import InvalidField
from trade_engine.domain.limits import (
    BORROWING,
    CONFIDENCE,
    LIMIT_NAMES,
    NUMERIC_LIMITS,
    RATES,
    Level,
    LevelKey,
    Limit,
    LimitSpec,
    Raise,
    Rate,
    waived,
    waived_rate,
)
from trade_engine.domain.money import BPS
from trade_engine.domain.rulebook import AccountTerms, Route, StrategyTerms
from trade_engine.domain.signal import checked_id
from trade_engine.domain.trading_state import TradingState


def _breach(value: object) -> TradingState:
    if value == TradingState.ACTIVE:
        raise ValueError
    return TradingState(str(value))


BROKER = text("paper, or the name of a session in the brokers file", checked_id)
ROUTED_BY = {Level.SYMBOL: "a symbol", Level.ASSET_CLASS: "an asset class"}
BREACH = Kind("REDUCE_ONLY or HALTED", _breach)
ACCOUNT_KEYS = {
    "currency": Key(CURRENCY, "what its cash, exposures and limits are counted in", required=True),
    "opening_cash": Key(
        number("an amount of money, 0 or more", at_least=0),
        "the cash that its ledger starts with; later changes here have no effect on it",
        required=True,
    ),
    "broker": Key(BROKER, "where its orders go that no route sends elsewhere", required=True),
    "calendar": Key(CALENDAR, 'whose sessions end its trading day; "24/7", by UTC, unless set'),
    "on_daily_loss": Key(BREACH, "what a breach of daily_loss_max does; REDUCE_ONLY unless set"),
    "on_drawdown": Key(BREACH, "what a breach of drawdown_max does; HALTED unless set"),
    "mark_band_bps": Key(
        number("a number of bps above 0", above=0),
        "how far a quote may be from the mark before and replace it at once; 1000 unless set",
    ),
    "overfill_bps_max": Key(
        number("a number of bps, 0 or more", at_least=0),
        "how much more than an order's quantity its broker may fill before the account is halted; "
        "0 unless set",
    ),
}

STRATEGY_KEYS = {
    "accounts": Key(
        names_of("a list of accounts of this file"), "where it may trade; everywhere unless set"
    ),
    "symbols": Key(names_of("a list of instruments"), "what it may trade; everything unless set"),
    "asset_classes": Key(
        names_of(f"a list of {', '.join(ASSET_CLASSES)}", ASSET_CLASSES),
        "which classes it may trade; all unless set",
    ),
}


def _limit_kind(spec: LimitSpec) -> Kind:
    if spec.unit == "bps":
        return number(f"a number of bps above 0 and below {BPS}", above=0, below=int(BPS))
    if spec is CONFIDENCE:
        return number("a number from 0 to 1", at_least=0, at_most=1)
    if spec is BORROWING:
        return number("an amount of money, 0 or more", at_least=0)
    if spec.unit == "money":
        return number("an amount of money above 0", above=0)
    if spec.unit == "equity":
        return number("a multiple of equity above 0", above=0)
    return number(f"a number of {spec.unit} above 0", above=0)


LIMIT_KEYS = {spec.name: Key(_limit_kind(spec), spec.meaning) for spec in NUMERIC_LIMITS}

WAIVER = "acknowledged_unlimited"
WAIVER_KEY = Key(
    names_of("a list of names of limits", LIMIT_NAMES),
    "the limits to go without, by name: nothing else makes one unlimited",
)
LEVEL_KEYS = LIMIT_KEYS | {WAIVER: WAIVER_KEY}


@dataclass(slots=True)
class LimitsFile:
    """What a limits file says."""

    accounts: dict[str, AccountTerms] = field(default_factory=dict)
    numbers: dict[LevelKey, dict[str, Limit]] = field(default_factory=dict)
    rates: dict[LevelKey, dict[str, Rate]] = field(default_factory=dict)
    strategies: dict[str, StrategyTerms] = field(default_factory=dict)
    raises: tuple[Raise, ...] = ()


def read_limits(file: TomlFile) -> LimitsFile:
    """Read a limits file; what is wrong with it piles up in `file.faults`."""
    found = LimitsFile()
    file.read((), {}, tables=("accounts", "strategies", "limits", "raises"))
    accounts = file.tables(("accounts",), at_least_one="[accounts.ID]")
    for account_id in accounts:
        _read_account(file, found, account_id)
    for strategy_id in file.tables(("strategies",)):
        _read_strategy(file, found, strategy_id, accounts)
    _read_level(file, found, Level.DEFAULT, "", ("limits",))
    for level, check in _SCOPED.items():
        for scope_id in file.tables(("limits", level.value)):
            path = ("limits", level.value, scope_id)
            _check(file, path, check)
            if level is Level.ACCOUNT and scope_id not in accounts:
                hint = did_you_mean(scope_id, accounts)
                file.fault(path, f"an account of this file: {', '.join(accounts)}{hint}")
            _read_level(file, found, level, scope_id, path)
    found.raises = read_raises(file, _levels(found), LIMIT_KEYS)
    return found


def _levels(found: LimitsFile) -> dict[LevelKey, dict[str, Limit | Rate]]:
    """What each level sets."""
    numbers, rates = found.numbers, found.rates
    return {each: {**numbers.get(each, {}), **rates.get(each, {})} for each in {*numbers, *rates}}


def _read_account(file: TomlFile, found: LimitsFile, account_id: str) -> None:
    path = ("accounts", account_id)
    _check(file, path, _check_id)
    values = file.read(path, ACCOUNT_KEYS, tables=("routes",))
    if values is not None:
        routes = tuple(_read_routes(file, (*path, "routes")))
        found.accounts[account_id] = AccountTerms(account_id, **values, routes=routes)


def _read_routes(file: TomlFile, path: KeyPath) -> Iterator[Route]:
    """`symbol.AAPL = "street"`; the most specific first."""
    file.read(path, {}, tables=[level.value for level in ROUTED_BY])
    for level, what in ROUTED_BY.items():
        names = file.names((*path, level.value))
        keys = {name: Key(BROKER, f"where the orders of {what} go") for name in names}
        for scope_id, broker in (file.read((*path, level.value), keys) or {}).items():
            _check(file, (*path, level.value, scope_id), _SCOPED[level])
            yield Route(level, scope_id, broker)


def _read_strategy(
    file: TomlFile, found: LimitsFile, strategy_id: str, accounts: list[str]
) -> None:
    path = ("strategies", strategy_id)
    _check(file, path, _check_id)
    values = file.read(path, STRATEGY_KEYS)
    if values is None:
        return
    found.strategies[strategy_id] = StrategyTerms(strategy_id, **values)
    for account_id in values.get("accounts", ()):
        if account_id not in accounts:
            hint = did_you_mean(account_id, accounts)
            file.fault((*path, "accounts"), f"accounts of this file: {', '.join(accounts)}{hint}")


def _read_level(
    file: TomlFile, found: LimitsFile, level: Level, scope_id: str, path: KeyPath
) -> None:
    rates = [name for name, levels in RATE_LEVELS.items() if level in levels]
    scopes = [each.value for each in _SCOPED] if level is Level.DEFAULT else []
    source = f"{file.base_name}:{level} {scope_id}".rstrip()
    values = file.read(path, LEVEL_KEYS, [*rates, *scopes]) or {}
    numbers, throttles = found.numbers.setdefault, found.rates.setdefault
    waivers = values.pop(WAIVER, ())
    for name, value in values.items():
        numbers((level, scope_id), {})[name] = Limit(value, source)
    for name in rates:
        if name in file.names(path):
            rate = read_rate(file, (*path, name), source)
            if rate is not None:
                throttles((level, scope_id), {})[name] = rate
    for name in waivers:
        if name in file.names(path):
            file.fault((*path, WAIVER), f"limits that are not set beside it (not {name})")
        elif name not in RATES:
            numbers((level, scope_id), {})[name] = waived(name, f"{source} {WAIVER}")
        elif name in rates:
            throttles((level, scope_id), {})[name] = waived_rate(f"{source} {WAIVER}")
        else:
            file.fault((*path, WAIVER), f"limits that this level may set (not {name})")


def _check(file: TomlFile, path: KeyPath, check: Callable[[str], None]) -> None:
    try:
        check(path[-1])
    except InvalidField as fault:
        file.fault(path, fault.allowed)


def _check_id(scope_id: str) -> None:
    checked_id(scope_id, "")


def _check_asset_class(scope_id: str) -> None:
    if scope_id not in ASSET_CLASSES:
        hint = did_you_mean(scope_id, ASSET_CLASSES)
        raise InvalidField("", scope_id, f"one of {', '.join(ASSET_CLASSES)}{hint}")


def _check_strategy_symbol(scope_id: str) -> None:
    strategy_id, bar, _ = scope_id.partition("|")
    if not bar:
        raise InvalidField("", scope_id, 'a strategy and a symbol, as in "momentum-v1|AAPL"')
    _check_id(strategy_id)


_SCOPED: dict[Level, Callable[[str], None]] = {
    Level.ACCOUNT: _check_id,
    Level.STRATEGY: _check_id,
    Level.ASSET_CLASS: _check_asset_class,
    Level.SYMBOL: lambda _: None,
    Level.STRATEGY_SYMBOL: _check_strategy_symbol,
}
"""The levels below the default, and how their ids are checked; that a symbol is an instrument is
seen when both files are at hand."""
