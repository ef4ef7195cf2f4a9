"""Exact decimals: how numbers enter, how they are written, how they are rounded.

Inside the engine money, prices and quantities are `decimal.Decimal`. The working precision is set
once, here, to 150 digits: what enters has at most 28 (`MAX_ABS` and `MAX_DECIMALS`), so that the
largest product in use, a price times a quantity times a multiplier times a rate of exchange times
a lot or a limit, has 140. Sums and products are exact, lots and ticks are counted by whole
division, which is exact as well, and only `quotient` ever rounds. Mixing in a binary float raises
`decimal.FloatOperation`.
"""

from __future__ import annotations

import decimal
import re
from decimal import ROUND_HALF_EVEN, Decimal

from trade_engine.domain.errors import InvalidField

ZERO = Decimal(0)
ONE = Decimal(1)
BPS = Decimal(10_000)
ONE_BPS = ONE / BPS

PRECISION_DIGITS = 150
MAX_ABS = Decimal(10) ** 15
"""No number that enters may be larger: past it lies a typing error, not an order."""
MAX_DECIMALS = 12
"""No number that enters may have more decimals."""
DECIMAL_PATTERN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
TEXT_CHARS_MAX = 64
DOUBLE_DECIMALS = 24
"""A double that a strategy computed may have more: all its 17 digits, down to a millionth."""
COST_QUANTUM = Decimal(1).scaleb(-MAX_DECIMALS)
"""Quotients (average cost, profit of a part) are rounded to this, half to even."""

for _context in (decimal.DefaultContext, decimal.getcontext()):
    _context.prec = PRECISION_DIGITS
    _context.traps[decimal.FloatOperation] = True


def parse(text: str, field: str) -> Decimal:
    """Read a decimal string such as "150.25" or "1e3".

    Raises:
        InvalidField: not a decimal in ASCII, longer than `TEXT_CHARS_MAX`, beyond `MAX_ABS` or
            finer than `MAX_DECIMALS`.
    """
    if len(text) > TEXT_CHARS_MAX or not DECIMAL_PATTERN.fullmatch(text):
        raise InvalidField(field, text, 'a decimal string such as "150.25"')
    return checked(Decimal(text), field, text)


def from_double(number: float, field: str) -> Decimal:
    """Take a double as the decimal that its author typed: the shortest form that reads back.

    Raises:
        InvalidField: NaN, infinity, beyond `MAX_ABS` or finer than `MAX_DECIMALS`.
    """
    return checked(Decimal(repr(number)), field, repr(number), DOUBLE_DECIMALS)


def checked(value: Decimal, field: str, given: str, decimals: int = MAX_DECIMALS) -> Decimal:
    """Hold a decimal to the bounds that keep all later arithmetic exact; its value never changes.

    Only comparisons and a rounding to few digits look at it: "1e99999999" is a short text, and a
    number of a hundred million digits for whoever writes it out or adds to it.

    Raises:
        InvalidField: not finite, beyond `MAX_ABS` or finer than `decimals`.
    """
    if not value.is_finite():
        raise InvalidField(field, given, "a finite number")
    if not value:
        return ZERO.copy_sign(value)
    if value.copy_abs() > MAX_ABS:
        raise InvalidField(field, given, f"a number between -{MAX_ABS:f} and {MAX_ABS:f}")
    if value.quantize(ONE.scaleb(-decimals)) != value:
        raise InvalidField(field, given, f"a number with at most {decimals} decimals")
    return value


def text(value: Decimal) -> str:
    """Write a decimal the one canonical way: plain notation, no trailing zeros, "0" for zero.

    A signal's way to its fill writes two hundred, most of them whole numbers.
    """
    written = str(value)
    if written.isdigit():
        return written
    if not value:
        return "0"
    if "E" in written:
        written = format(value, "f")
    return written.rstrip("0").rstrip(".") if "." in written else written


def optional_text(value: Decimal | None) -> str:
    """`text`, with the empty string for "there is none"."""
    return "" if value is None else text(value)


def optional(written: str | Decimal | None) -> Decimal | None:
    """Read what may not be there, as it was written or as a table has it."""
    return None if written is None else Decimal(written)


class _Whole(dict[int, Decimal]):
    """The usual counts; any other is made when it is asked for, and not kept."""

    def __missing__(self, number: int) -> Decimal:
        return Decimal(number)


whole = _Whole((number, Decimal(number)) for number in range(1024)).__getitem__
"""A count as a decimal, `whole(5)`: a look-up in C, as each signal asks for six."""


def round_down(value: Decimal, step: Decimal) -> Decimal:
    """Round toward zero to a multiple of `step` (a lot)."""
    return value // step * step


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Round down to a multiple of `step` (a tick): the safe side of a buyer's limit."""
    floored = value // step * step
    return floored if floored <= value else floored - step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """Round up to a multiple of `step` (a tick): the safe side of a seller's limit."""
    return -floor_to(-value, step)


def quotient(numerator: Decimal, denominator: Decimal, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    """Divide, rounded to `COST_QUANTUM`, half to even unless told: the only place that rounds."""
    return (numerator / denominator).quantize(COST_QUANTUM, rounding=rounding)
