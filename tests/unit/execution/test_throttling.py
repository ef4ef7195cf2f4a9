"""Which throttles a message asks, and what of."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.cases import MS, NOW_NS, signal
from trade_engine.domain.limits import (
    ACCOUNT_RATE,
    CANCEL_RATE,
    STRATEGY_RATE,
    Level,
    Limits,
    Rate,
    waived_rate,
)
from trade_engine.execution.ports import Verdicts
from trade_engine.execution.requests import CancelRequest
from trade_engine.execution.throttling import Throttles

RATE = Rate(1, 1000 * MS, 0, "limits.toml:default")


def limits(**rates: Rate) -> Limits:
    named = {STRATEGY_RATE: RATE, ACCOUNT_RATE: RATE, CANCEL_RATE: RATE} | rates
    return Limits("v", {}, {(Level.DEFAULT, ""): named})


def test_a_signal_takes_from_both_throttles_or_from_neither() -> None:
    throttles = Throttles(limits(), "main", NOW_NS)
    throttles.ask_for_signal(signal())
    assert [(each.key, each.with_next) for each in throttles.requests] == [
        ("strategy:momentum", True),
        ("account", False),
    ]


async def test_a_cancel_whose_rate_is_not_set_asks_no_throttle_and_so_passes() -> None:
    request = CancelRequest("o-1", "r-1", "a test", "olga", asyncio.Future())
    throttles = Throttles(Limits("v", {}, {}), "main", NOW_NS)
    throttles.ask_for_cancel(request)
    assert throttles.requests == []
    assert throttles.answers([]) == {id(request): Verdicts(None, None)}


@pytest.mark.parametrize(
    ("name", "asked"), [(STRATEGY_RATE, "account"), (ACCOUNT_RATE, "strategy:momentum")]
)
def test_where_one_is_waived_only_the_other_is_asked(name: str, asked: str) -> None:
    throttles = Throttles(limits(**{name: waived_rate("w")}), "main", NOW_NS)
    throttles.ask_for_signal(signal())
    assert [(each.key, each.with_next) for each in throttles.requests] == [(asked, False)]
