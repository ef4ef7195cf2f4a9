"""A firm's books are relied on while they are fresh, and what is wrong with them is said."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trade_engine.portfolio.client import Books
from trade_engine.portfolio.view import Portfolio

NOW_NS = 1_700_000_000_000_000_000
MS_NS = 1_000_000


def told(age_ms: int) -> Portfolio:
    return Portfolio("main", "USD", Decimal(1), Decimal(1), {}, NOW_NS - age_ms * MS_NS)


@pytest.mark.parametrize("age_ms", [0, 999, 1000, -1000])
def test_fresh_books_have_no_fault_even_if_the_last_call_failed(age_ms: int) -> None:
    assert Books(told(age_ms), "").fault(NOW_NS, 1000) == ""
    assert Books(told(age_ms), "gone").fault(NOW_NS, 1000) == ""


@pytest.mark.parametrize("age_ms", [1001, -1001])
def test_stale_books_say_how_old_they_are_and_why(age_ms: int) -> None:
    silent = Books(told(age_ms), "DEADLINE_EXCEEDED").fault(NOW_NS, 1000)
    assert silent == "the portfolio is 1001 ms old, 1000 ms are allowed: DEADLINE_EXCEEDED"
    assert "the same old picture" in Books(told(age_ms), "").fault(NOW_NS, 1000)


def test_books_that_never_told_anything_are_no_books() -> None:
    assert "not asked yet" in Books().fault(NOW_NS, 1000)
    assert "UNAVAILABLE" in Books(failure="UNAVAILABLE").fault(NOW_NS, 1000)
