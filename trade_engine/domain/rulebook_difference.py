"""What differs between two rulebooks, line by line, as people name it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trade_engine.domain.clock import rfc3339_brief
from trade_engine.domain.limits import Rate
from trade_engine.domain.rulebook import Rulebook

UNLIMITED = "acknowledged as unlimited"
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NAMED_BY = {
    "instruments": "symbol",
    "fx": "pair",
    "accounts": "account_id",
    "strategies": "strategy_id",
}
"""The lists of a rulebook whose elements have a name, and the field that holds it."""


@dataclass(frozen=True, slots=True)
class RulebookDifference:
    """One value that differs. path is as in the file (`limits.symbol.AAPL.order_notional_max`).

    before and after are "" where it is not set.
    """

    path: str
    before: str
    after: str


def differences(before: Rulebook, after: Rulebook) -> list[RulebookDifference]:
    """Every value that differs, by path; none when the content is the same."""
    old, new = dict(_values(before)), dict(_values(after))
    return [
        RulebookDifference(path, old.get(path, ""), new.get(path, ""))
        for path in sorted(old.keys() | new.keys())
        if old.get(path, "") != new.get(path, "")
    ]


def level_path(level: str, scope_id: str) -> str:
    """Where a level's limits stand in the file: `limits.symbol.AAPL`."""
    return f"limits.{level}.{_quoted(scope_id)}" if scope_id else "limits"


def _values(rulebook: Rulebook) -> Iterator[tuple[str, str]]:
    for kind, content in rulebook.content().items():
        if kind == "limits":
            for each in content:
                path = f"{level_path(each['level'], each['id'])}.{each['name']}"
                yield path, each["value"] if Decimal(each["value"]).is_finite() else UNLIMITED
        elif kind == "rates":
            for each in content:
                yield _rate(each)
        elif kind == "raises":
            for each in content:
                yield f"raises.{_quoted(each['name'])}", _raise(each)
        else:
            for each in content:
                name = each[_NAMED_BY[kind]]
                for field, value in each.items():
                    path = f"{kind}.{_quoted(name)}.{field}"
                    if isinstance(value, dict):
                        yield from ((f"{path}.{key}", each) for key, each in value.items())
                    elif field != _NAMED_BY[kind]:
                        yield path, _shown(value)


def _rate(doc: dict[str, Any]) -> tuple[str, str]:
    path = f"{level_path(doc['level'], doc['id'])}.{doc['name']}"
    return path, _pace(doc) if doc["count"] else UNLIMITED


def _pace(doc: dict[str, Any]) -> str:
    return str(Rate(doc["count"], doc["period_ns"], doc["burst"], ""))


def _raise(doc: dict[str, Any]) -> str:
    """What it raises, to what, and when it begins and ends: all in one line."""
    path, value = f"{level_path(doc['level'], doc['id'])}.{doc['limit']}", doc["value"]
    told = _pace(value) if isinstance(value, dict) else value
    return (
        f"{path} is {told} from {rfc3339_brief(doc['from_ns'])} until "
        f"{rfc3339_brief(doc['until_ns'])} ({doc['operator']}: {doc['reason']})"
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return str(value)


def _quoted(name: str) -> str:
    """As TOML writes a key."""
    return name if _BARE.fullmatch(name) else '"' + name.replace('"', '\\"') + '"'
