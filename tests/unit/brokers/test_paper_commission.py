from decimal import Decimal

import pytest

from tests.support.paper import INSTRUMENTS, NOON_NS, executions, order, quote
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.brokers.paper_matching import PaperMatcher
from trade_engine.brokers.paper_order import PaperOrder
from trade_engine.domain.execution import ExecutionReport

PENNY = Decimal("0.01")


def fills(config: PaperConfig, quantity: str, sizes: list[str], symbol: str) -> list[Decimal]:
    """The commissions of a BUY that is filled by quotes of these sizes at 100."""
    matcher = PaperMatcher(config, INSTRUMENTS.get)
    reports: list[ExecutionReport] = []
    arriving = PaperOrder.arriving(order("a", quantity=quantity, symbol=symbol), NOON_NS)
    reports += executions(matcher.arrive(arriving, NOON_NS))
    for number, size in enumerate(sizes):
        market = quote("99", "100", None, size, symbol=symbol, time_ns=NOON_NS + number)
        reports += executions(matcher.on_quote(market, NOON_NS))
    return [each.commission for each in reports if each.exec_type == "TRADE"]


@pytest.mark.parametrize(
    ("config", "symbol", "expected"),
    [
        (PaperConfig(), "AAPL", ["0"]),
        (PaperConfig(commission_per_share=Decimal("0.005")), "AAPL", ["0.50"]),
        (PaperConfig(commission_bps=Decimal("1.5")), "AAPL", ["1.50"]),
        (PaperConfig(commission_bps=Decimal("1.5")), "ES", ["75.00"]),  # multiplier 50
        (PaperConfig(commission_min=Decimal(1)), "AAPL", ["1.00"]),
        (
            PaperConfig(commission_per_share=PENNY, commission_bps=Decimal(1)),
            "AAPL",
            ["2.00"],
        ),
        (
            PaperConfig(commission_per_share=PENNY, commission_min=Decimal("5.00")),
            "AAPL",
            ["5.00"],
        ),
        # 0.125 and 0.375 are halves of a step: rounded to the even one.
        (PaperConfig(commission_per_share=Decimal("0.00125")), "AAPL", ["0.12"]),
        (PaperConfig(commission_per_share=Decimal("0.00375")), "AAPL", ["0.38"]),
        (
            PaperConfig(commission_per_share=PENNY, commission_step=Decimal(5)),
            "AAPL",
            ["0"],
        ),
    ],
)
def test_what_one_fill_of_a_hundred_costs(
    config: PaperConfig, symbol: str, expected: list[str]
) -> None:
    assert fills(config, "100", ["100"], symbol) == [Decimal(each) for each in expected]


def test_the_minimum_holds_for_the_order_and_not_for_each_fill() -> None:
    config = PaperConfig(commission_per_share=PENNY, commission_min=Decimal("0.50"))
    assert fills(config, "100", ["10", "30", "40", "20"], "AAPL") == [
        Decimal("0.50"),
        Decimal("0.00"),
        Decimal("0.30"),
        Decimal("0.20"),
    ]


@pytest.mark.parametrize("sizes", [["100"], ["1"] * 100, ["33", "33", "33", "1"], ["99", "1"]])
def test_parts_cost_together_what_the_whole_costs(sizes: list[str]) -> None:
    config = PaperConfig(
        commission_per_share=Decimal("0.0033"),
        commission_bps=Decimal("0.07"),
        commission_min=Decimal("0.35"),
    )
    assert sum(fills(config, "100", sizes, "AAPL")) == Decimal("0.40")  # 0.33 + 0.07
