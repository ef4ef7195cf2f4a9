"""An instrument's order policy: what it does to the price and the life of an approved order."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.support.cases import STOCK, signal
from tests.support.ledgered import ALLOWED, Ledgered, market, rulebook
from trade_engine.audit.replay import Replay
from trade_engine.domain.order import OrderPolicy, TimeInForce
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.signal import Side, TimeHorizon
from trade_engine.execution.decisions import decide_again, decide_signal

D = Decimal


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(
    ("policy", "horizon", "tif", "slips"),
    [
        (OrderPolicy.MARKETABLE_LIMIT, TimeHorizon.INTRADAY, TimeInForce.DAY, True),
        (OrderPolicy.MARKETABLE_LIMIT, TimeHorizon.LONG, TimeInForce.GTC, True),
        (OrderPolicy.IOC, TimeHorizon.INTRADAY, TimeInForce.IOC, True),
        (OrderPolicy.IOC, TimeHorizon.LONG, TimeInForce.IOC, True),
        (OrderPolicy.LIMIT, TimeHorizon.INTRADAY, TimeInForce.DAY, False),
        (OrderPolicy.LIMIT, TimeHorizon.SWING, TimeInForce.GTC, False),
    ],
)
def test_a_policy_says_at_which_price_and_for_how_long(
    side: Side, policy: OrderPolicy, horizon: TimeHorizon, tif: TimeInForce, *, slips: bool
) -> None:
    rules = rulebook()
    rules.instruments["AAPL"] = replace(STOCK, order_policy=policy)
    account = Ledgered()
    wish = signal(
        1000 * side.sign, side, signal_id="s-1", time_horizon=horizon, max_slippage_bps=D(20)
    )
    with account.batch(rules, market(AAPL=100)) as batch:
        order = decide_signal(batch, wish, ALLOWED).order
    assert order is not None
    assert order.time_in_force is tif
    assert order.price == (100 + side.sign * D("0.2") if slips else 100)
    replay = Replay(decide_again)
    for entry in account.journal:
        replay.take(entry)
    assert replay.findings.faults == []
    assert Rulebook.from_json(rules.to_json()) == rules


def test_a_rulebook_from_before_there_were_policies_reads_as_it_was() -> None:
    doc = rulebook().to_json()
    assert all("order_policy" not in each for each in doc["instruments"])
    assert Rulebook.from_json(doc) == rulebook()
