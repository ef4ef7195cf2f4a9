"""What one decision costs: `python -m bench.decide` prints µs, the median of many rounds.

`decide` is the whole pure function; of that, `open_case` sizes the order, `judge` is the full set
of checks, and the rest makes order and words. The last line is JSON.

It is an approval, on which no check is spared: limits on all six levels, listed strategies, working
orders on both sides, a target that needs the account's equity, earlier orders to be told apart.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from decimal import Decimal

from trade_engine.audit.chain import canonical
from trade_engine.config import load_rulebook
from trade_engine.domain.account import AccountState
from trade_engine.domain.day import Day
from trade_engine.domain.limits import Level, LevelKey, Limit, Limits
from trade_engine.domain.market import Quote
from trade_engine.domain.money import text
from trade_engine.domain.order import Order, OrdType, TimeInForce
from trade_engine.domain.position import Position
from trade_engine.domain.rulebook import Rulebook, StrategyTerms
from trade_engine.domain.signal import ExposureUnit, Side, Signal, TimeHorizon
from trade_engine.execution.batch import Batch
from trade_engine.execution.decisions import context_json, gather
from trade_engine.execution.ports import ThrottleVerdict, Verdicts
from trade_engine.risk.case import open_case
from trade_engine.risk.pre_trade import CHECKS, decide, judge

NOW_NS = 1_700_000_000_000_000_000
ROUNDS, CALLS = 200, 50


def cost_us(call: Callable[[], object]) -> float:
    """Return the median cost of one call, in µs of this thread: others on the machine count not."""
    rounds = []
    for _ in range(ROUNDS):
        begin_ns = time.thread_time_ns()
        for _ in range(CALLS):
            call()
        rounds.append((time.thread_time_ns() - begin_ns) / CALLS / 1000)
    return statistics.median(rounds)


def on_every_level(rulebook: Rulebook) -> Rulebook:
    """The same limits on all levels, a hundredth apart, and a strategy that is listed."""
    default = rulebook.limits.numbers[Level.DEFAULT, ""]
    numbers: dict[LevelKey, dict[str, Limit]] = {(Level.DEFAULT, ""): default}
    for each, (level, scope_id) in enumerate(
        (
            (Level.ACCOUNT, "default"),
            (Level.STRATEGY, "momentum-v1"),
            (Level.ASSET_CLASS, rulebook.instruments["AAPL"].asset_class),
            (Level.SYMBOL, "AAPL"),
            (Level.STRATEGY_SYMBOL, "momentum-v1|AAPL"),
        )
    ):
        part = Decimal(101 + each) / 100 if each % 2 else Decimal(99 - each) / 100
        numbers[level, scope_id] = {
            name: Limit(limit.value * part, f"bench:{level} {scope_id}")
            for name, limit in default.items()
        }
    return Rulebook(
        rulebook.version,
        Limits(rulebook.limits.version, numbers, rulebook.limits.rates),
        rulebook.instruments,
        rulebook.accounts,
        {"momentum-v1": StrategyTerms("momentum-v1", ("default",), ("AAPL", "IBM", "MSFT"))},
    )


def working(number: int, strategy_id: str, symbol: str, side: Side) -> Order:
    """An order that may still fill."""
    order = Order(
        f"o-{number}",
        "default",
        strategy_id,
        symbol,
        f"signal-0-{number}",
        side,
        OrdType.LIMIT,
        TimeInForce.DAY,
        Decimal(5),
        Decimal("150.00"),
        "paper",
        NOW_NS,
    )
    order.leaves_qty = order.order_qty
    return order


def main() -> None:
    """Measure the steps of an approval on an account that holds three symbols."""
    rulebook = on_every_level(load_rulebook(None, None))
    state = AccountState("default", "USD", "epoch", 1, bytes(32), Decimal(1_000_000))
    start = Decimal(1_000_000)
    state.day = Day("2023-11-14", NOW_NS + 10**12, start_equity=start, peak_equity=start)
    quotes = {}
    for symbol in ("AAPL", "IBM", "MSFT"):
        held = Position("momentum-v1", symbol, Decimal(20), Decimal("3001.40"))
        state.positions["momentum-v1", symbol] = held
        bid, ask = Decimal("150.05"), Decimal("150.09")
        quotes[symbol] = Quote(symbol, bid, ask, None, None, None, NOW_NS - 1_000_000, "bench")
    for each, (strategy_id, symbol, side) in enumerate(
        (
            ("momentum-v1", "AAPL", Side.BUY),
            ("reversion-v1", "AAPL", Side.SELL),
            ("momentum-v1", "IBM", Side.BUY),
            ("momentum-v1", "MSFT", Side.SELL),
        )
    ):
        order = working(each, strategy_id, symbol, side)
        state.orders[order.order_id] = order
        state.activity.approve(strategy_id, symbol, side, order.order_qty, NOW_NS, 10**9)
    signal = Signal(
        signal_id="signal-1",
        account_id="default",
        strategy_id="momentum-v1",
        symbol="AAPL",
        side=Side.BUY,
        confidence=Decimal("0.82"),
        target_exposure=Decimal("0.015"),
        exposure_unit=ExposureUnit.EQUITY_FRACTION,
        time_horizon=TimeHorizon.INTRADAY,
        max_slippage_bps=Decimal(10),
        max_notional=Decimal(20_000),
        created_at_ns=NOW_NS - 2_000_000,
    )
    batch = Batch(state, rulebook, NOW_NS, quotes, {}, earlier_quotes=quotes)
    verdict = ThrottleVerdict(allowed=True, limit=61, remaining=3, retry_after_ns=0)
    verdicts = Verdicts(verdict, verdict)
    inputs = gather(batch, signal, verdicts)
    decision = decide(inputs)
    assert decision.order is not None, decision.message
    print(f"approved: {decision.message}; {len(decision.checks)} of {len(CHECKS)} checks judged")
    entry = {"decision": decision.to_json(), "context": context_json(batch, inputs)}
    price = Decimal("150.0700")
    case, costs = open_case(inputs), {}
    for name, call in {
        "gather": lambda: gather(batch, signal, verdicts),
        "decide": lambda: decide(inputs),
        "  open_case": lambda: open_case(inputs),
        "  judge": lambda: judge(case, CHECKS),
        "decision.to_json": decision.to_json,
        "context_json": lambda: context_json(batch, inputs),
        "canonical": lambda: canonical(entry),
        "money.text": lambda: text(price),
    }.items():
        costs[name.strip()] = round(cost_us(call), 2)
        print(f"{name:17} {costs[name.strip()]:7.2f} µs")
    print(json.dumps({"us": costs}))


if __name__ == "__main__":
    main()
