from decimal import Decimal
from typing import Any

import pytest

from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.domain.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"latency_ms": -1}, "latency_ms is -1, it must be 0 or more"),
        ({"commission_min": Decimal(-1)}, "commission_min is -1"),
        ({"commission_bps": Decimal(-1)}, "commission_bps is -1"),
        ({"commission_per_share": Decimal(-1)}, "commission_per_share is -1"),
        ({"commission_step": Decimal(0)}, "commission_step is 0, it must be above 0"),
        ({"gap_bps": Decimal(10_000)}, "gap_bps is 10000"),
        ({"gap_bps": Decimal(-1)}, "gap_bps is -1"),
        ({"reject_probability": 1.1}, "reject_probability is 1.1, it must be between 0 and 1"),
        ({"gap_probability": float("nan")}, "gap_probability is nan"),
        ({"day_end_s": 86_400}, "day_end_s is 86400, it must be from 0 to 86399, or none"),
    ],
)
def test_a_value_out_of_range_is_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PaperConfig(**values)


def test_every_fault_is_named() -> None:
    with pytest.raises(ConfigError, match=r"latency_ms.*gap_bps"):
        PaperConfig(latency_ms=-1, gap_bps=Decimal(-1))


def test_the_edges_are_allowed() -> None:
    PaperConfig(reject_probability=1.0, gap_probability=0.0, day_end_s=None)
    PaperConfig(gap_bps=Decimal(9_999), day_end_s=86_399)
