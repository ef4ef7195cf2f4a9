"""The demo's main loop: a day's quotes, what the strategies make of them, the next day."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from trade_engine.cli.demo.prices import Close, Day
from trade_engine.cli.demo.screen import Screen
from trade_engine.cli.demo.strategy import moving_average
from trade_engine.cli.demo.tally import Tally
from trade_engine.cli.output import OUTCOME_STYLES, outcome
from trade_engine.client import (
    Failed,
    OrderUpdate,
    Position,
    Result,
    TradeEngineClient,
    TradeEngineError,
)

AVERAGES = ((10, 50), (20, 100))
"""The strategies' averages, in days."""
BEGIN_S = 10.0
ANSWER_S = 1.0
"""How long a day waits for its orders' first executions."""
SETTLE_S = 10.0
POLL_S = 0.002


class DemoRun:
    """One replay through one engine, with a thread that follows the orders beside it.

    suffix tells the strategies of this run from those of others on the same engine.
    """

    def __init__(self, engine: TradeEngineClient, screen: Screen, suffix: str) -> None:
        self.tally = Tally()
        self._engine = engine
        self._screen = screen
        self._lock = threading.Lock()
        module = moving_average()
        self._strategies: dict[str, Any] = {
            f"ma-{short}-{long}{suffix}": module.MovingAverages(short, long)
            for short, long in AVERAGES
        }
        self._date = ""
        self._watching = threading.Event()

    def replay(self, days: Sequence[Day]) -> None:
        """Replay the days, and wait until every order has come to rest."""
        threading.Thread(target=self._watch, daemon=True).start()
        if not self._watching.wait(BEGIN_S):
            self.tally.faults.append("the stream of order updates did not begin")
        for date, closes in days:
            self._day(date, closes)
        for order_id in self.tally.open_orders():
            self._engine.cancel_order(order_id, reason="the demo is over")
        if not _wait_for(lambda: not self.tally.open_orders(), SETTLE_S):
            self.tally.faults.append(f"still open: {', '.join(self.tally.open_orders())}")

    def positions(self) -> list[Position]:
        """What the strategies hold now."""
        return [
            position
            for strategy_id in self._strategies
            for position in self._engine.positions(strategy_id=strategy_id)
        ]

    def check(self) -> None:
        """Hold what was told along the way against what the engine says at the end."""
        orders = (
            self._engine.list_orders(strategy_id=each, page_size=200) for each in self._strategies
        )
        self.tally.check(chain.from_iterable(orders), self.positions())

    def _day(self, date: str, closes: Sequence[Close]) -> None:
        self._date = date
        told = self._engine.publish_quotes(close.quote() for close in closes)
        self.tally.quotes += told.accepted_count
        for refused in told.rejections:
            self.tally.faults.append(f"{date}: a quote was refused: {refused.message}")
        wishes = [wish for close in closes for wish in self._wishes(date, close)]
        if wishes:
            for result in self._engine.submit_many(wishes):
                self._decided(date, result)
            if not _wait_for(lambda: not self.tally.unanswered(), ANSWER_S):
                self.tally.rest()
        self.tally.days += 1
        self._screen.day(date, self.tally)

    def _wishes(self, date: str, close: Close) -> Iterator[dict[str, Any]]:
        for strategy_id, strategy in self._strategies.items():
            with self._lock:
                wish = strategy.on_price(close.symbol, close.price)
            if wish is not None:
                name = f"{strategy_id}-{close.symbol}-{date}"
                yield wish.signal(strategy_id) | {"signal_id": name}

    def _decided(self, date: str, result: Result) -> None:
        self.tally.decided(result)
        if isinstance(result, Failed):
            self._screen.event(date, "ERROR", str(result.error), "red")
            return
        name, signal = outcome(result.decision), result.decision.signal
        text = f"{signal.strategy_id} {signal.symbol}: {result.decision.message}"
        if name == "REJECTED":
            self._strategies[signal.strategy_id].on_refusal(signal.symbol)
        self._screen.event(date, name, text, OUTCOME_STYLES.get(name, ""))

    def _watch(self) -> None:
        try:
            for event in self._engine.watch():
                self._watching.set()
                if isinstance(event, OrderUpdate) and event.order.strategy_id in self._strategies:
                    self._changed(event)
        except (TradeEngineError, ValueError) as error:  # ValueError: the channel was closed
            self.tally.watch_ended(str(error))

    def _changed(self, update: OrderUpdate) -> None:
        order = update.order
        filled = self.tally.changed(update)
        if not filled:
            return
        with self._lock:
            self._strategies[order.strategy_id].on_fill(order.symbol, float(filled))
        report = update.execution_report
        text = (
            f"{order.strategy_id} {order.symbol}: {filled:+f} at {report.last_px}, "
            f"{order.cum_qty} of {order.order_qty}"
        )
        self._screen.event(self._date, "fill", text, "cyan")


def _wait_for(condition: Any, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
