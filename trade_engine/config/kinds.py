"""What the value of a key may be: numbers that stay exact, names from a list, ids, switches."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trade_engine.config.faults import did_you_mean
from trade_engine.domain.errors import InvalidField
from trade_engine.domain.money import checked, parse


@dataclass(frozen=True, slots=True)
class Kind:
    """allowed says it in words; read takes what TOML gave and returns the value.

    read raises ValueError for what is not allowed; where that has a text, the text says better
    than `allowed` what would be.
    """

    allowed: str
    read: Callable[[object], Any]


def number(
    allowed: str,
    *,
    above: int | None = None,
    at_least: int | None = None,
    at_most: int | None = None,
    below: int | None = None,
) -> Kind:
    """An exact number: an integer, a float as it is written, or a decimal string; a Decimal."""

    def read(value: object) -> Decimal:
        try:
            exact = _exact(value)
        except InvalidField as fault:
            raise ValueError(f"{allowed} ({fault.allowed})") from None
        if (
            (above is not None and exact <= above)
            or (at_least is not None and exact < at_least)
            or (at_most is not None and exact > at_most)
            or (below is not None and exact >= below)
        ):
            raise ValueError
        return exact

    return Kind(allowed, read)


def _exact(value: object) -> Decimal:
    try:
        if isinstance(value, str):
            return parse(value, "")
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return checked(Decimal(value), "", "")
    except ArithmeticError:  # an exponent past all bounds
        raise ValueError from None
    raise ValueError


def whole(least: int, most: int) -> Kind:
    """An integer between two others, both allowed."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError
        return value

    return Kind(f"a whole number from {least} to {most}", read)


def switch() -> Kind:
    """Either true or false."""

    def read(value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError  # noqa: TRY004  one error for all that is not allowed
        return value

    return Kind("true or false", read)


def one_of(allowed: str, names: Callable[[str], Collection[str]]) -> Kind:
    """One of the names that `names` gives; it is told which one is looked for."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY004  one error for all that is not allowed
        known = names(value)
        if value not in known:
            raise ValueError(allowed + did_you_mean(value, known))
        return value

    return Kind(allowed, read)


def text(allowed: str, check: Callable[[str, str], object]) -> Kind:
    """A text that `check`, given it and a field's name, takes without InvalidField."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY004  one error for all that is not allowed
        try:
            check(value, "")
        except InvalidField as fault:
            raise ValueError(fault.allowed) from None
        return value

    return Kind(allowed, read)


def names_of(allowed: str, known: Collection[str] | None = None) -> Kind:
    """A list of names, each at most once; of `known` ones, where that is given. A tuple."""

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ValueError
        for name in value:
            if known is not None and name not in known:
                raise ValueError(f"{allowed} (not {name}{did_you_mean(name, known)})")
            if value.count(name) > 1:
                raise ValueError(f"{allowed}, each once (not {name} twice)")
        return tuple(value)

    return Kind(allowed, read)
