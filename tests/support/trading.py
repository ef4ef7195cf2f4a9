"""An engine on real stores, with a rulebook and signals to try it with."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from functools import partial

from tests.support.wide import each_rate, wide_limits
from trade_engine.domain.limits import (
    GROSS_EXPOSURE,
    ORDER_NOTIONAL,
    QUOTE_AGE,
    SIGNAL_AGE,
    SLIPPAGE,
    SYMBOL_POSITION,
    Level,
    Limits,
    Rate,
)
from trade_engine.domain.market import Instrument, Quote
from trade_engine.domain.rulebook import AccountTerms, Rulebook
from trade_engine.domain.signal import Side, Signal, TimeHorizon
from trade_engine.execution.limits_at_start import OnOtherLimits
from trade_engine.wiring import Plan, Running, running

ACCOUNT = "default"
SYMBOLS = ("AAPL", "IBM")
patient_plan = partial(Plan, redis_limit_s=10.0, database_limit_s=30.0)
"""For tests in which no store is silent on purpose: on a slow machine each has its time."""
_numbers = itertools.count(1)


def rulebook(**limits: int) -> Rulebook:
    """Wide limits, and narrower ones by name (`order_notional_max=1000`)."""
    wide = {
        SIGNAL_AGE.name: 5_000,
        QUOTE_AGE.name: 60_000,
        SLIPPAGE.name: 50,
        ORDER_NOTIONAL.name: 1_000_000,
        SYMBOL_POSITION.name: 10_000_000,
        GROSS_EXPOSURE.name: 20_000_000,
    }
    numbers = wide_limits("test:default", **(wide | limits))
    version = "-".join(str(value) for value in (wide | limits).values())
    rate = Rate(count=100_000, period_ns=1_000_000_000, burst=100_000, source="test:default")
    return Rulebook(
        version=version,
        limits=Limits(
            version, {(Level.DEFAULT, ""): numbers}, {(Level.DEFAULT, ""): each_rate(rate)}
        ),
        instruments={
            symbol: Instrument(symbol, Decimal("0.01"), Decimal(1), "USD", "EQUITY")
            for symbol in SYMBOLS
        },
        accounts={ACCOUNT: AccountTerms(ACCOUNT, "USD", Decimal(1_000_000), "paper")},
    )


def signal(
    target: int | str,
    *,
    signal_id: str = "",
    side: Side = Side.BUY,
    strategy_id: str = "momentum-v1",
    symbol: str = "AAPL",
    max_notional: int | None = None,
) -> Signal:
    """A signal with an id of its own, unless one is given."""
    return Signal(
        signal_id=signal_id or f"s-{next(_numbers)}",
        account_id=ACCOUNT,
        strategy_id=strategy_id,
        symbol=symbol,
        side=side,
        confidence=Decimal("0.8"),
        target_exposure=Decimal(target),
        time_horizon=TimeHorizon.INTRADAY,
        max_notional=None if max_notional is None else Decimal(max_notional),
    )


def quote(symbol: str = "AAPL", price: int | str = 150, *, time_ns: int = 0) -> Quote:
    """A fresh quote, one cent wide on each side."""
    middle, cent = Decimal(price), Decimal("0.01")
    return Quote(
        symbol=symbol,
        bid=middle - cent,
        ask=middle + cent,
        bid_size=None,
        ask_size=None,
        last=middle,
        time_ns=time_ns or time.time_ns(),
        source="test",
    )


@asynccontextmanager
async def replicas(
    count: int,
    database_url: str,
    redis_url: str,
    rules: Rulebook | None = None,
    other_limits: OnOtherLimits = OnOtherLimits.REFUSE,
) -> AsyncIterator[list[Running]]:
    """Engines over the same stores, with a fresh quote of every symbol."""
    async with AsyncExitStack() as stack:
        started = []
        for number in range(count):
            plan = patient_plan(
                database_url,
                redis_url,
                rules or rulebook(),
                f"replica-{number}",
                other_limits=other_limits,
            )
            started.append(await stack.enter_async_context(running(plan)))
        await started[0].engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
        yield started


async def eventually(holds: Callable[[], object], within_s: float = 10.0) -> None:
    """Wait until an awaitable check returns something true; fail with what it last said."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        found = holds()
        said = await found if asyncio.iscoroutine(found) else found
        if said:
            return
        assert asyncio.get_running_loop().time() < deadline, f"still not so: {holds}"
        await asyncio.sleep(0.02)


async def until_quiet(run: Running, account_id: str = ACCOUNT) -> None:
    """Wait until every order of an account is closed."""

    async def quiet() -> bool:
        return not (await run.engine.queries.open_orders(account_id))[1]

    await eventually(quiet)
