"""A scenario carried out on engines over real stores, with a clock of the workload's own."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from decimal import Decimal

from tests.support.trading import until_quiet
from tests.support.wide import wide_toml
from tests.workload.scenario import (
    ACCOUNT,
    TIGHT,
    CancelSome,
    Halt,
    NewLimits,
    Night,
    Quotes,
    Resume,
    Signals,
    Step,
)
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.config.rulebook import read_rulebook
from trade_engine.domain.clock import NS_PER_MS, rfc3339
from trade_engine.domain.errors import EngineError
from trade_engine.domain.limits_change import FileText
from trade_engine.domain.market import Quote
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.signal import Signal
from trade_engine.execution.commands import HaltCommand, ResumeCommand, UpdateLimitsCommand
from trade_engine.execution.limits_at_start import OnOtherLimits
from trade_engine.wiring import Plan, Running, running

DAY_NS = 86_400 * 10**9
OPERATOR = "workload"
VENUE = PaperConfig(
    seed=7,
    commission_bps=Decimal("0.5"),
    reject_probability=0.02,
    gap_probability=0.2,
    gap_bps=Decimal(60),
)
"""Some orders are refused, and some miss their price and rest until a quote comes to them."""


INSTRUMENTS = """
[instruments.AAPL]
tick = 0.01
lot = 1
currency = "USD"
asset_class = "equity"
working_orders = "REPLACE"

[instruments.FB]
tick = 0.05
lot = 10
currency = "USD"
asset_class = "equity"

[instruments.GOOG]
tick = 0.01
lot = 0.001
currency = "USD"
asset_class = "equity"
shortable = false

[instruments.IBM]
tick = 0.25
lot = 1
multiplier = 5
currency = "USD"
asset_class = "future"
working_orders = "REPLACE"

[instruments.MSFT]
tick = 0.01
lot = 1
currency = "USD"
asset_class = "equity"
restricted = true

[instruments.SAP]
tick = 0.02
lot = 1
currency = "EUR"
asset_class = "equity"

[fx.EURUSD]
age_ms_max = 600_000
band_bps_max = 1500
"""
"""One of each kind, two whose working orders are replaced; MSFT may only be looked at, and SAP is
in euros."""


class WorkloadClock:
    """The time of day, plus the nights that were skipped. ns since the epoch."""

    def __init__(self) -> None:
        self._skipped_ns = 0

    def __call__(self) -> int:
        return time.time_ns() + self._skipped_ns

    def skip(self, ns: int) -> None:
        """Move on by so much."""
        self._skipped_ns += ns

    def skip_to_next_day(self) -> None:
        """Move on to a minute past midnight UTC."""
        self.skip(DAY_NS - self() % DAY_NS + 60 * 10**9)


RAISE = """
[raises.busy]
limit = "order_notional_max"
level = "default"
value = {value}
from = {begins}
until = {ends}
reason = "by plan"
operator = "workload"

[raises.faster]
limit = "strategy_signal_rate"
level = "default"
value = {{ count = 200_000, per_ms = 1000, burst = 200_000 }}
from = {begins}
until = {ends}
reason = "by plan"
operator = "workload"
"""


def raise_toml(per_cent: int, now_ns: int) -> str:
    """Twice the value of an order and twice the rate, from a moment on and for a moment."""
    return RAISE.format(
        value=400 * per_cent,
        begins=rfc3339(now_ns + 100 * NS_PER_MS),
        ends=rfc3339(now_ns + 400 * NS_PER_MS),
    )


def limits_toml(per_cent: int = 100, tight: str = "nothing") -> str:
    """Limits that a workload runs into all the time, scaled, and one that is tight."""
    values: dict[str, float | str | None] = {
        "signal_age_ms_max": 60_000,
        "quote_age_ms_max": 600_000,
        "slippage_bps_max": 100,
        "order_notional_max": 200 * per_cent,
        "symbol_position_notional_max": 600 * per_cent,
        "gross_exposure_max": 1_500 * per_cent,
    }
    return wide_toml(1_000_000, "default", **(values | TIGHT[tight]))


@asynccontextmanager
async def engines(
    count: int, database_url: str, redis_url: str, clock: WorkloadClock
) -> AsyncIterator[list[Running]]:
    """Replicas over the same stores, on one clock."""
    async with AsyncExitStack() as stack:
        started = []
        for number in range(count):
            plan = Plan(
                database_url,
                redis_url,
                rules(limits_toml()),
                f"replica-{number}",
                other_limits=OnOtherLimits.APPLY,
                paper=VENUE,
                clock=clock,
            )
            started.append(await stack.enter_async_context(running(plan)))
        yield started


class Player:
    """Carries out steps, each on the next replica; counts what became of them."""

    def __init__(self, replicas: list[Running], clock: WorkloadClock) -> None:
        self.counts: Counter[str] = Counter()
        self._replicas = itertools.cycle(replicas)
        self._clock = clock
        self._prices: dict[str, Decimal | None] = {}
        self._ids = itertools.count()

    async def play(
        self, steps: Iterable[Step], progress: Callable[[Counter[str]], None] = lambda _: None
    ) -> None:
        """Carry out all steps, and wait until no order is open but those that rest."""
        for step in steps:
            await self._carry_out(step)
            progress(self.counts)

    async def _carry_out(self, step: Step) -> None:
        match step:
            case Signals(signals):
                await asyncio.gather(*map(self._submit, signals))
            case Quotes(prices):
                self._prices = prices
                await self._publish()
            case Night():
                self._clock.skip_to_next_day()
                self.counts["nights"] += 1
                await self._publish()
            case Halt(scope, state, cancel):
                command = HaltCommand(scope, state, "by plan", OPERATOR, cancel, self._id())
                await next(self._replicas).engine.halt(command)
                self.counts["halts"] += 1
            case Resume(scope):
                await self._resume(ResumeCommand(scope, "by plan", OPERATOR, self._id(), True))
            case CancelSome(count):
                await self._cancel(count)
            case NewLimits(per_cent, tight):
                await self._change_limits(per_cent, tight)

    async def _submit(self, signal: Signal) -> None:
        signal = replace(signal, created_at_ns=None)
        answer = await next(self._replicas).engine.submit(signal)
        self.counts["repeats" if answer.replayed else "signals"] += 1
        self.counts[answer.decision.outcome] += not answer.replayed

    async def _publish(self) -> None:
        now_ns = self._clock()
        quotes = [
            Quote(
                symbol=symbol,
                bid=price - Decimal("0.01"),
                ask=price + Decimal("0.01"),
                bid_size=None,
                ask_size=None,
                last=None,
                time_ns=now_ns,
                source=OPERATOR,
            )
            for symbol, price in self._prices.items()
            if price is not None
        ]
        await next(self._replicas).engine.publish_quotes(quotes)

    async def _resume(self, command: ResumeCommand) -> None:
        await next(self._replicas).engine.resume(command)
        self.counts["resumes"] += 1

    async def _cancel(self, count: int) -> None:
        engine = next(self._replicas).engine
        _, orders = await engine.queries.open_orders(ACCOUNT)
        for order in orders[:count]:
            try:
                await engine.cancel_order(ACCOUNT, order.order_id, self._id(), "by plan", OPERATOR)
            except EngineError:
                continue  # it was filled meanwhile
            self.counts["cancels"] += 1

    async def _change_limits(self, per_cent: int, tight: str) -> None:
        engine = next(self._replicas).engine
        command = UpdateLimitsCommand(
            limits=_file(limits_toml(per_cent, tight) + raise_toml(per_cent, self._clock())),
            instruments=None,
            etag=(await engine.limits("")).change.etag,
            validate_only=False,
            reason="by plan",
            operator=OPERATOR,
            request_id=self._id(),
        )
        await engine.update_limits(command)
        self.counts["limit changes"] += 1

    def _id(self) -> str:
        return f"request-{next(self._ids)}"


async def settle(run: Running) -> None:
    """Cancel what rests, and wait until nothing is open."""
    _, orders = await run.engine.queries.open_orders(ACCOUNT)
    for number, order in enumerate(orders):
        try:
            await run.engine.cancel_order(
                ACCOUNT, order.order_id, f"settle-{number}", "the end", OPERATOR
            )
        except EngineError:
            continue
    await until_quiet(run)


def _file(text: str) -> FileText:
    return FileText("workload.toml", text)


def rules(limits: str, instruments: str = INSTRUMENTS) -> Rulebook:
    """A rulebook from the texts of its files."""
    return read_rulebook(_file(limits), FileText("instruments.toml", instruments), (), ())
