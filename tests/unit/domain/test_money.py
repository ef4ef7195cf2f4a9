from __future__ import annotations

import threading
import time
from decimal import Decimal, Inexact, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_engine.domain import money
from trade_engine.domain.errors import InvalidField
from trade_engine.domain.money import (
    COST_QUANTUM,
    MAX_ABS,
    MAX_DECIMALS,
    TEXT_CHARS_MAX,
    ceil_to,
    checked,
    floor_to,
    from_double,
    optional_text,
    parse,
    quotient,
    round_down,
    text,
    whole,
)

entering = st.decimals(-MAX_ABS, MAX_ABS, allow_nan=False, places=MAX_DECIMALS)
steps = st.decimals(COST_QUANTUM, 10**6, allow_nan=False, places=MAX_DECIMALS)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("150.25", "150.25"),
        ("-0.5", "-0.5"),
        ("+7", "7"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1e3", "1000"),
        ("25E-1", "2.5"),
        ("1000000000000000", "1000000000000000"),
        ("-1000000000000000", "-1000000000000000"),
        ("0.000000000001", "0.000000000001"),
        ("1000000000000000." + "0" * 40, "1000000000000000"),
        ("999999999999999.999999999999", "999999999999999.999999999999"),
        ("1000e-15", "0.000000000001"),
        ("0E+999", "0"),
        ("-0.000", "0"),
    ],
)
def test_a_decimal_is_read_exactly(written: str, value: str) -> None:
    found = parse(written, "price")
    assert found == Decimal(value)
    assert text(found) == value


DECIMAL = 'a decimal string such as "150.25"'
RANGE = "a number between -1000000000000000 and 1000000000000000"
DECIMALS = "a number with at most 12 decimals"


@pytest.mark.parametrize(
    ("written", "allowed"),
    [
        *((each, DECIMAL) for each in ("", " 5 ", "5 ", "1_0", "1,5", "0x10", "--1", ".", "e5")),
        *(
            (each, DECIMAL)
            for each in ("٥", "１２", "1\n", "1e", "NaN", "inf", "-Infinity", "sNaN")
        ),
        ("1e99999999", DECIMAL),
        ("0E+99999999", DECIMAL),
        ("1e-99999999", DECIMAL),
        ("9" * (TEXT_CHARS_MAX + 1), DECIMAL),
        ("9" * TEXT_CHARS_MAX, RANGE),
        ("1e999", RANGE),
        ("1000000000000000.000000000001", RANGE),
        ("-1000000000000001", RANGE),
        ("1000000000000000." + "0" * 46 + "1", RANGE),
        ("1e-999", DECIMALS),
        ("0.0000000000001", DECIMALS),
        ("1." + "0" * 61 + "1", DECIMALS),
    ],
)
def test_what_is_no_usable_decimal_is_refused(written: str, allowed: str) -> None:
    with pytest.raises(InvalidField) as caught:
        parse(written, "price")
    assert (caught.value.field, caught.value.allowed) == ("price", allowed)


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ("NaN", "a finite number"),
        ("-Infinity", "a finite number"),
        ("1e99999999", RANGE),
        ("-1e99999999", RANGE),
        ("1e-99999999", DECIMALS),
        ("1" + "0" * 59 + "1e-60", DECIMALS),
        ("1" + "0" * 159 + "1e-160", DECIMALS),
    ],
)
def test_a_decimal_from_elsewhere_is_held_to_the_same_bounds(value: str, allowed: str) -> None:
    with pytest.raises(InvalidField) as caught:
        checked(Decimal(value), "limit", value)
    assert caught.value.allowed == allowed


def test_a_zero_with_a_huge_exponent_is_a_plain_zero_and_costs_nothing() -> None:
    begin = time.perf_counter()
    assert text(checked(Decimal("-0E+99999999"), "limit", "")) == "0"
    assert text(Decimal("0E+99999999")) == "0"
    assert time.perf_counter() - begin < 0.1


@pytest.mark.parametrize("number", [0.1, -2.5, 1e15, 1e-12, 150.25, 123456789.012345])
def test_a_double_is_the_decimal_that_was_typed(number: float) -> None:
    assert from_double(number, "price") == Decimal(repr(number))


def test_a_negative_zero_is_zero() -> None:
    assert text(from_double(-0.0, "target_exposure")) == "0"


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), 1e300, 1.0000000000000002e15, 5e-324]
)
def test_a_double_out_of_bounds_is_refused(number: float) -> None:
    with pytest.raises(InvalidField, match=r"^price: got "):
        from_double(number, "price")


@given(value=entering)
def test_text_is_canonical_and_reads_back(value: Decimal) -> None:
    written = text(value)
    assert parse(written, "") == value
    assert text(parse(written, "")) == written
    assert "E" not in written
    assert not ("." in written and written.endswith(("0", ".")))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("0.00", "0"),
        ("1E+3", "1000"),
        ("-1.50E+1", "-15"),
        ("100", "100"),
        ("1.10", "1.1"),
        ("1.00", "1"),
        ("1E-7", "0.0000001"),
        ("1.20E-10", "0.00000000012"),
    ],
)
def test_text(value: str, written: str) -> None:
    assert text(Decimal(value)) == written
    assert optional_text(Decimal(value)) == written


def test_nothing_is_written_as_nothing() -> None:
    assert optional_text(None) == ""


@given(value=entering, step=steps)
def test_rounding_to_a_step_is_exact(value: Decimal, step: Decimal) -> None:
    exact = Fraction(value) / Fraction(step)
    down, floor, ceil = round_down(value, step), floor_to(value, step), ceil_to(value, step)
    assert Fraction(down) / Fraction(step) == int(exact)
    assert Fraction(floor) / Fraction(step) == exact.__floor__()
    assert Fraction(ceil) / Fraction(step) == exact.__ceil__()


@given(price=entering, quantity=entering, multiplier=entering, lot=st.one_of(entering, steps))
def test_the_largest_product_is_exact(
    price: Decimal, quantity: Decimal, multiplier: Decimal, lot: Decimal
) -> None:
    with localcontext() as context:
        context.traps[Inexact] = True
        assert price * quantity * multiplier * lot + price is not None


def test_a_quotient_is_rounded_half_to_even() -> None:
    assert quotient(Decimal(1), Decimal(3)) == Decimal("0.333333333333")
    assert quotient(COST_QUANTUM, Decimal(2)) == 0
    assert quotient(3 * COST_QUANTUM, Decimal(2)) == 2 * COST_QUANTUM


def test_every_thread_computes_alike_and_none_mixes_in_a_float() -> None:
    found: list[object] = []

    def compute() -> None:
        found.append(money.ONE / 3)
        try:
            found.append(money.ONE * Decimal(0.1))  # noqa: RUF032  the very mistake
        except ArithmeticError as error:
            found.append(type(error).__name__)

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    assert found == [money.ONE / 3, "FloatOperation"]


@pytest.mark.parametrize("number", [2 / 3, 1500.1234567890123, 1e-7 / 3, 0.1 + 0.2, -1 / 3])
def test_a_double_that_was_computed_is_taken_to_its_last_digit(number: float) -> None:
    assert float(from_double(number, "confidence")) == number
    assert text(from_double(number, "confidence")) == format(Decimal(repr(number)), "f")


@pytest.mark.parametrize("number", [0, 1, 1023, 1024, 10**9, -1])
def test_a_count_is_itself(number: int) -> None:
    assert whole(number) == Decimal(number)
