"""Raises: limits loosened for a time, which end by themselves.

    [raises.quarter-end]        a name of your own, which decisions show
    limit = "order_notional_max"
    level = "symbol"            the level that sets the limit, and its id
    id = "AAPL"
    value = 200000
    from = 2026-12-31T14:30:00Z
    until = 2026-12-31T21:00:00Z
    reason = "index rebalancing"
    operator = "ann"

A raise only loosens: it takes the place of what its level sets, and no level lends it to another.
Of one limit there is one raise at a time. The value of a rate is written as its level writes it:
`{ count = 100, per_ms = 1000, burst = 200 }`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from trade_engine.config.faults import did_you_mean
from trade_engine.config.kinds import Kind, number, one_of, text
from trade_engine.config.rates import read_rate
from trade_engine.config.toml_file import Key, TomlFile
from trade_engine.config.toml_places import KeyPath
from trade_engine.domain.clock import NS_PER_S, rfc3339_brief
from trade_engine.domain.errors import InvalidField
from trade_engine.domain.limits import (
    LIMIT_NAMES,
    RATES,
    Level,
    LevelKey,
    Limit,
    Raise,
    Rate,
    in_words,
    is_tighter,
)
from trade_engine.domain.rulebook_difference import level_path
from trade_engine.domain.signal import checked_id

Levels = Mapping[LevelKey, Mapping[str, Limit | Rate]]
"""What each level sets."""

RAISE_DAYS_MAX = 92
"""A raise for longer than a quarter is no raise but a limit: write that."""
WORDS_MAX = 200

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _instant(value: object) -> int:
    if not isinstance(value, datetime) or value.tzinfo is None or value < _EPOCH:
        raise ValueError
    return (value - _EPOCH) // timedelta(microseconds=1) * 1000


def _words(given: str, field: str) -> None:
    if not given.strip() or len(given) > WORDS_MAX or not given.isprintable():
        raise InvalidField(field, given, f"1 to {WORDS_MAX} printable characters")


def _number_or_rate(value: object) -> object:
    return value if isinstance(value, dict) else _NUMBER.read(value)


_NUMBER = number("a number")
INSTANT = Kind("a time with its offset from UTC, such as 2026-12-31T21:00:00Z", _instant)
RAISE_KEYS = {
    "limit": Key(
        one_of("the name of a limit", lambda _: LIMIT_NAMES),
        "which limit",
        required=True,
    ),
    "level": Key(
        one_of(f"one of {', '.join(Level)}", lambda _: tuple(Level)),
        "the level that sets it; that must be written in this file, and not be waived",
        required=True,
    ),
    "id": Key(
        text("the id of the level, as its table has it", lambda given, _: given),
        "of which account, strategy, asset class, symbol or both; not for `default`",
    ),
    "value": Key(
        Kind("what the limit may have, looser than what is set", _number_or_rate),
        "what holds instead: a number, or a rate as its level writes it",
        required=True,
    ),
    "from": Key(INSTANT, "from when on, to the microsecond", required=True),
    "until": Key(
        INSTANT,
        f"when it ends: at this time it does not hold any more; at most {RAISE_DAYS_MAX} days "
        "after from",
        required=True,
    ),
    "reason": Key(text(f"1 to {WORDS_MAX} printable characters", _words), "why", required=True),
    "operator": Key(
        text(f"1 to {WORDS_MAX} printable characters", _words),
        "who answers for it",
        required=True,
    ),
}


def read_raises(file: TomlFile, levels: Levels, keys: Mapping[str, Key]) -> tuple[Raise, ...]:
    """Read all raises, by name; keys say how limits are written that are numbers."""
    found = []
    for name in file.tables(("raises",)):
        path = ("raises", name)
        try:
            checked_id(name, "")
        except InvalidField as fault:
            file.fault(path, fault.allowed)
        values = file.read(path, RAISE_KEYS)
        if values is not None:
            values["value"] = _read_value(file, path, values, keys)
            if _fits(file, name, values, levels):
                found.append(_raise(name, values))
    _check_overlaps(file, found)
    return tuple(sorted(found, key=lambda each: each.name))


def _raise(name: str, values: dict[str, Any]) -> Raise:
    return Raise(
        name=name,
        limit_name=values["limit"],
        level=Level(values["level"]),
        scope_id=values.get("id", ""),
        value=values["value"],
        from_ns=values["from"],
        until_ns=values["until"],
        reason=values["reason"],
        operator=values["operator"],
    )


def _read_value(
    file: TomlFile, path: KeyPath, values: dict[str, Any], keys: Mapping[str, Key]
) -> Decimal | Rate | None:
    """The value as the limit has it; None where it may not have that."""
    limit_name = values["limit"]
    if limit_name in RATES:
        return read_rate(file, (*path, "value"), "")
    try:
        read: Decimal = keys[limit_name].kind.read(values["value"])
    except ValueError as better:
        file.fault((*path, "value"), str(better) or keys[limit_name].kind.allowed)
        return None
    return read


def _fits(file: TomlFile, name: str, values: dict[str, Any], levels: Levels) -> bool:
    """Whether it loosens a limit that is there, for a time that passes; else its faults say so."""
    path, before = ("raises", name), len(file.faults)
    limit_name, level, scope_id = values["limit"], Level(values["level"]), values.get("id", "")
    lasts_ns = values["until"] - values["from"]
    if not 0 < lasts_ns <= RAISE_DAYS_MAX * 86_400 * NS_PER_S:
        file.fault((*path, "until"), f"a time after from, by at most {RAISE_DAYS_MAX} days")
    limit = levels.get((level, scope_id), {}).get(limit_name)
    where, value = level_path(level, scope_id), values["value"]
    if limit is None:
        of_level = [each for kind, each in levels if kind is level]
        hint = did_you_mean(scope_id, of_level) if scope_id not in of_level else ""
        file.fault((*path, "limit"), f"a limit that [{where}] sets{hint}")
    elif limit.is_waived:
        file.fault((*path, "limit"), f"a limit that [{where}] sets, not a waived one")
    elif value is not None and not _loosens(limit_name, limit, value):
        allowed = f"looser than what [{where}] sets, {_set(limit)}: a raise only loosens"
        file.fault((*path, "value"), allowed)
    return value is not None and len(file.faults) == before


def _set(limit: Limit | Rate) -> str:
    return in_words(limit if isinstance(limit, Rate) else limit.value)


def _loosens(name: str, limit: Limit | Rate, value: Decimal | Rate) -> bool:
    if isinstance(limit, Rate):
        return isinstance(value, Rate) and value.is_looser(limit)
    return isinstance(value, Decimal) and is_tighter(name, limit, Limit(value, ""))


def _check_overlaps(file: TomlFile, raises: list[Raise]) -> None:
    """Two at a time on one limit would leave open which of them was meant."""
    of_limit: dict[tuple[Level, str, str], list[Raise]] = defaultdict(list)
    for each in raises:
        of_limit[each.level, each.scope_id, each.limit_name].append(each)
    for same in of_limit.values():
        same.sort(key=lambda each: each.from_ns)
        for first, second in pairwise(same):
            if second.from_ns < first.until_ns:
                allowed = (
                    f"a time when no other raise of this limit holds ({first.name} does until "
                    f"{rfc3339_brief(first.until_ns)})"
                )
                file.fault(("raises", second.name, "from"), allowed)
