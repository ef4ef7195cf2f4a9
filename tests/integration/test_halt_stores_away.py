"""Halting while a store does not answer: within a client's patience, and it holds afterward."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.proxy import Proxy
from tests.support.holding import BROKER, Hold
from tests.support.record import address, through
from tests.support.trading import ACCOUNT, SYMBOLS, eventually, quote, rulebook, signal
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.errors import EngineError
from trade_engine.domain.trading_state import GLOBAL, TradingState
from trade_engine.execution.commands import HaltCommand, ResumeCommand
from trade_engine.execution.engine import Engine
from trade_engine.wiring import Plan, running

pytestmark = [pytest.mark.stores, pytest.mark.faults]

PATIENCE_S = 5.0
"""The deadline that the client library gives a call."""


def redis_address(redis_url: str) -> tuple[Proxy, str]:
    """A proxy before a Redis, and the rest of the URL that its clients need."""
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        return Proxy(Path(parts.path)), parts.query.removeprefix("db=")
    return Proxy((parts.hostname or "", parts.port or 6379)), parts.path.strip("/") or "0"


@asynccontextmanager
async def engine(database_url: str, redis_url: str) -> AsyncIterator[tuple[Engine, Proxy, Proxy]]:
    """An engine whose stores can be taken away: Postgres by the first proxy, Redis by the other."""
    before_redis, number = redis_address(redis_url)
    async with Proxy(address(database_url)) as postgres, before_redis as redis:
        plan = Plan(
            through(postgres.port, database_url),
            f"redis://127.0.0.1:{redis.port}/{number}",
            rulebook(),
            "replica-0",
        )
        async with running(plan) as run:
            await run.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
            yield run.engine, postgres, redis
            postgres.black_hole = redis.black_hole = False


def halt(state: TradingState = TradingState.HALTED) -> HaltCommand:
    return HaltCommand(GLOBAL, state, "a store is away", "ops", True, "")


async def refused(engine: Engine) -> bool:
    """Whether a signal is decided, and refused by the halt."""
    try:
        answer = await engine.submit(signal(15_000))
    except EngineError:
        return False
    return (answer.decision.outcome, answer.decision.reasons[0]) == (
        Outcome.REJECTED,
        Reason.TRADING_HALTED,
    )


async def test_a_halt_without_postgres_holds_and_is_drained_once_it_is_back(
    database_url: str, redis_url: str
) -> None:
    async with engine(database_url, redis_url) as (under_test, postgres, _):
        postgres.black_hole = True
        began = time.monotonic()
        result = await under_test.halt(halt())
        assert time.monotonic() - began < PATIENCE_S
        assert not result.drained
        assert result.sequences == {ACCOUNT: 0}

        postgres.black_hole = False
        await eventually(lambda: refused(under_test), within_s=20)
        again = await under_test.halt(halt())
        assert again.drained
        assert again.sequences[ACCOUNT] > 0


async def test_a_halt_without_postgres_names_what_is_on_its_way_whatever_failed_meanwhile(
    database_url: str, redis_url: str
) -> None:
    """A batch that fails lets the gate forget the account's state; not what it handed over."""
    async with engine(database_url, redis_url) as (under_test, postgres, _):
        sent = Hold(under_test._parts.brokers[BROKER], "send")
        answer = await under_test.submit(signal(15_000))
        await sent.reached.wait()
        postgres.refuse = True
        postgres.cut()
        with pytest.raises(EngineError):
            await under_test.submit(signal(30_000))
        result = await under_test.halt(halt())
        assert not result.drained
        assert answer.decision.order is not None
        assert result.in_doubt_order_ids == [answer.decision.order.order_id]

        postgres.refuse = False
        sent.let_go()
        await eventually(lambda: drained(under_test), within_s=20)


async def drained(engine: Engine) -> bool:
    result = await engine.halt(halt())
    assert result.drained or result.in_doubt_order_ids or not all(result.sequences.values())
    return result.drained


async def test_a_halt_without_redis_is_drained_and_outlives_it(
    database_url: str, redis_url: str
) -> None:
    async with engine(database_url, redis_url) as (under_test, _, redis):
        redis.black_hole = True
        began = time.monotonic()
        result = await under_test.halt(halt())
        assert time.monotonic() - began < PATIENCE_S
        assert result.drained
        assert result.sequences[ACCOUNT] > 0

        redis.black_hole = False
        await eventually(lambda: refused(under_test))
        await under_test.resume(ResumeCommand(GLOBAL, "mended", "ops", "", override=False))
        answer = await under_test.submit(signal(15_000))
        assert answer.decision.outcome is Outcome.APPROVED
