"""What a firm's books say other than the ledger: at the tolerance and one unit past it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trade_engine.domain.difference import Difference, DifferenceKind
from trade_engine.portfolio.comparison import NAMED_MAX, Ledgered, Tolerance, differing, is_same
from trade_engine.portfolio.view import Holding, Portfolio

D = Decimal
TOLERANCE = Tolerance(D("0.5"), D(10))
OURS = Ledgered("USD", D(900), D(1000), {"AAPL": D(10), "MSFT": D(-5), "OLD": D(0)})
AGREED = {"AAPL": "10", "MSFT": "-5"}


def told(
    cash: str = "900",
    equity: str = "1000",
    currency: str = "USD",
    held: dict[str, str] | None = None,
) -> Portfolio:
    positions = AGREED if held is None else held
    holdings = {symbol: Holding(D(quantity), D(1)) for symbol, quantity in positions.items()}
    return Portfolio("main", currency, D(cash), D(equity), holdings, 5)


def named(ours: Ledgered, books: Portfolio) -> dict[str, str]:
    return {each.difference_id: each.gap for each in differing(ours, books, TOLERANCE, 7)}


@pytest.mark.parametrize(
    ("books", "expected"),
    [
        (told(), {}),
        (told(cash="900.5"), {}),
        (told(cash="899.5"), {}),
        (told(cash="900.51"), {"CASH": "0.51"}),
        (told(cash="899.49"), {"CASH": "-0.51"}),
        (told(equity="1001.001001001"), {}),
        (told(equity="1001.01"), {"EQUITY": "1.01"}),
        (told(equity="998.99"), {"EQUITY": "-1.01"}),
        (told(held=AGREED | {"AAPL": "11"}), {"POSITION:AAPL": "1"}),
        (told(held=AGREED | {"MSFT": "5"}), {"POSITION:MSFT": "10"}),
        (told(held={"AAPL": "10"}), {"POSITION:MSFT": "5"}),
        (told(held=AGREED | {"TSLA": "0.1"}), {"POSITION:TSLA": "0.1"}),
        (told(held=AGREED | {"TSLA": "0", "OLD": "0"}), {}),
        (told("1", "1", "EUR", {"MSFT": "-5"}), {"POSITION:AAPL": "-10", "CURRENCY": ""}),
    ],
)
def test_what_differs(books: Portfolio, expected: dict[str, str]) -> None:
    assert named(OURS, books) == expected


def test_an_equity_that_we_do_not_know_is_not_compared() -> None:
    unpriced = Ledgered("USD", D(900), None, OURS.quantities)
    assert named(unpriced, told(equity="5")) == {}


def test_a_difference_has_both_sides_in_words() -> None:
    [found] = differing(OURS, told(held=AGREED | {"AAPL": "7"}), TOLERANCE, 7)
    assert (found.ours, found.theirs, found.found_at_ns) == ("10", "7", 7)
    assert found.message == "10 AAPL are held here, and 7 by the firm's books"


def test_no_more_symbols_are_named_than_a_state_should_hold() -> None:
    held = AGREED | {f"S{number:03}": "1" for number in range(NAMED_MAX + 3)}
    found = named(OURS, told(held=held))
    assert len(found) == NAMED_MAX + 1
    assert found["MORE"] == "3"
    held.popitem()
    held.popitem()
    held.popitem()
    assert "MORE" not in named(OURS, told(held=held))


def difference(kind: DifferenceKind, gap: str, theirs: str = "") -> Difference:
    return Difference(kind, "", "", theirs, gap, "", 1)


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        (DifferenceKind.POSITION, "5", "5", True),
        (DifferenceKind.POSITION, "5", "5.1", False),
        (DifferenceKind.CASH, "5", "5.5", True),
        (DifferenceKind.CASH, "5", "5.51", False),
        (DifferenceKind.EQUITY, "5", "500", True),
        (DifferenceKind.EQUITY, "5", "-5", False),
        (DifferenceKind.MORE, "5", "6", False),
    ],
)
def test_what_is_the_same_again(
    kind: DifferenceKind,
    one: str,
    other: str,
    same: bool,  # noqa: FBT001  a column of the table
) -> None:
    assert is_same(difference(kind, one), difference(kind, other), TOLERANCE) is same


def test_another_currency_is_another_difference() -> None:
    euro, again, yen = (
        difference(DifferenceKind.CURRENCY, "", name) for name in ("EUR", "EUR", "JPY")
    )
    assert is_same(euro, again, TOLERANCE)
    assert not is_same(euro, yen, TOLERANCE)
