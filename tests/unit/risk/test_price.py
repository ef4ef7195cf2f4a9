from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.cases import MS, NOW_NS, quote
from trade_engine.domain.signal import Side
from trade_engine.risk.price import limit_price, quote_age_ms, worst_unit_value

BUY, SELL = Side.BUY, Side.SELL


@pytest.mark.parametrize(
    ("side", "reference", "bps", "limit"),
    [
        (BUY, "100", "0", "100"),
        (BUY, "100", "10", "100.10"),
        (BUY, "100", "9.99", "100.09"),
        (BUY, "100.005", "0", "100"),
        (SELL, "100", "0", "100"),
        (SELL, "100", "10", "99.90"),
        (SELL, "100", "9.99", "99.91"),
        (SELL, "100.005", "0", "100.01"),
        # near zero
        (BUY, "0.01", "0", "0.01"),
        (BUY, "0.0099", "0", "0"),
        (BUY, "0.0099", "101.02", "0.01"),
        (SELL, "0.0001", "0", "0.01"),
        # slippage near 100 % and past it
        (BUY, "100", "10000", "200"),
        (SELL, "100", "9999", "0.01"),
        (SELL, "100", "9998", "0.02"),
        (SELL, "100", "10000", "0.01"),
        (SELL, "100", "25000", "0.01"),
    ],
)
def test_limit_price_is_on_the_tick_and_within_the_bound(
    side: Side, reference: str, bps: str, limit: str
) -> None:
    found = limit_price(side, Decimal(reference), Decimal(bps), Decimal("0.01"))
    assert found == Decimal(limit)


@pytest.mark.parametrize(("limit", "worth"), [("99", 1000), ("100", 1000), ("101", 1010)])
def test_a_unit_is_worth_the_larger_of_limit_and_reference(limit: str, worth: int) -> None:
    assert worst_unit_value(Decimal(limit), Decimal(100), Decimal(10)) == worth


@pytest.mark.parametrize(("ahead_ns", "age_ms"), [(0, "0"), (-1, "0.000001"), (5 * MS, "5")])
def test_a_quote_ahead_of_the_clock_is_as_far_away_as_one_behind(
    ahead_ns: int, age_ms: str
) -> None:
    for sign in (1, -1):
        made = quote(time_ns=NOW_NS + sign * ahead_ns)
        assert quote_age_ms(made, NOW_NS) == Decimal(age_ms)
