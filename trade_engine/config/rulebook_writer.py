"""A rulebook written as the two files that would be read to it again.

What was a comment is gone, and what stood anywhere stands in its place: accounts, then the limits
of every level, then the levels, then the raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from trade_engine.config.instruments import FX_KEYS, INSTRUMENT_KEYS
from trade_engine.config.limits import ACCOUNT_KEYS, WAIVER
from trade_engine.config.toml_file import dotted
from trade_engine.domain.clock import NS_PER_MS, rfc3339
from trade_engine.domain.limits import Level, LevelKey, Limits, Raise, Rate
from trade_engine.domain.market import Instrument
from trade_engine.domain.money import text
from trade_engine.domain.rulebook import AccountTerms, Rulebook, StrategyTerms

Values = Iterator[tuple[str, Any]]
"""The keys of a table, and their values."""


def write_limits(rulebook: Rulebook, account_id: str = "") -> str:
    """Write accounts, strategies and limits; an account_id leaves out the other accounts."""
    lines: list[str] = []
    for each in sorted(rulebook.accounts):
        if not account_id or each == account_id:
            lines += _table(("accounts", each), _account(rulebook.accounts[each]))
    for each in sorted(rulebook.strategies):
        terms = rulebook.strategies[each]
        if not account_id or not terms.accounts or account_id in terms.accounts:
            lines += _table(("strategies", each), _strategy(terms, account_id))
    levels = {(Level.DEFAULT, ""), *rulebook.limits.numbers, *rulebook.limits.rates}
    for level, scope_id in sorted(levels, key=_order):
        if account_id and level is Level.ACCOUNT and scope_id != account_id:
            continue
        path = ("limits", level.value, scope_id) if scope_id else ("limits",)
        lines += _table(path, _level(rulebook.limits, (level, scope_id)))
    for raised in rulebook.limits.raises:
        if raised.applies_to(account_id):
            lines += _table(("raises", raised.name), _raise(raised))
    return "\n".join(lines)


def _account(terms: AccountTerms) -> Values:
    for name in ACCOUNT_KEYS:
        yield name, getattr(terms, name)


def _strategy(terms: StrategyTerms, account_id: str) -> Values:
    """Lists that restrict nothing are left out; of accounts, those that are written too."""
    accounts = tuple(each for each in terms.accounts if account_id in ("", each))
    for name, names in (
        ("accounts", accounts),
        ("symbols", terms.symbols),
        ("asset_classes", terms.asset_classes),
    ):
        if names:
            yield name, names


def _level(limits: Limits, key: LevelKey) -> Values:
    """Waived ones by name, for nothing else makes one unlimited."""
    numbers, rates = limits.numbers.get(key, {}), limits.rates.get(key, {})
    waivers = [name for name, limit in numbers.items() if limit.number is None]
    waivers += [name for name, rate in rates.items() if rate.is_waived]
    if waivers:
        yield WAIVER, tuple(sorted(waivers))
    for name in sorted(numbers.keys() - waivers):
        yield name, numbers[name].value
    for name in sorted(rates.keys() - waivers):
        yield name, rates[name]


def _raise(raised: Raise) -> Values:
    yield "limit", raised.limit_name
    yield "level", raised.level
    if raised.scope_id:
        yield "id", raised.scope_id
    yield "value", raised.value
    yield "from", datetime.fromisoformat(rfc3339(raised.from_ns))
    yield "until", datetime.fromisoformat(rfc3339(raised.until_ns))
    yield "reason", raised.reason
    yield "operator", raised.operator


def write_instruments(rulebook: Rulebook) -> str:
    """Write the instruments, and what converts their currencies."""
    lines: list[str] = []
    for symbol in sorted(rulebook.instruments):
        lines += _table(("instruments", symbol), _instrument(rulebook.instruments[symbol]))
    for pair in sorted(rulebook.fx.values(), key=lambda each: each.name):
        lines += _table(("fx", pair.name), ((name, getattr(pair, name)) for name in FX_KEYS))
    return "\n".join(lines)


def _instrument(instrument: Instrument) -> Values:
    for name in INSTRUMENT_KEYS:
        value = getattr(instrument, name)
        if value != "":
            yield name, value


def _order(key: LevelKey) -> tuple[int, str]:
    level, scope_id = key
    return list(Level).index(level), scope_id


def _table(path: tuple[str, ...], values: Values) -> list[str]:
    return [f"[{dotted(path)}]", *(f"{name} = {_value(each)}" for name, each in values), ""]


def _value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat()
        case Decimal():
            return text(value)
        case tuple():
            return f"[{', '.join(map(_value, value))}]"
        case Rate():
            return (
                f"{{ count = {value.count}, per_ms = {value.period_ns // NS_PER_MS}, "
                f"burst = {value.burst} }}"
            )
        case _:
            return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
