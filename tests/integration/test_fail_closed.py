"""Rows of docs/fail-closed.md that no other test has: answer, alert, and heal without a restart."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tests.private_redis import PrivateRedis
from tests.support.alerts import Alerts
from tests.support.holding import sender_first
from tests.support.portfolio import portfolio_service
from tests.support.trading import ACCOUNT, SYMBOLS, eventually, quote, rulebook, signal, until_quiet
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.errors import EngineError, GateClosed, StoreUnavailable
from trade_engine.domain.limits import QUOTE_AGE
from trade_engine.execution import stores_watch
from trade_engine.execution.observer import Alert
from trade_engine.wiring import Plan, Running, running

pytest_plugins = ["tests.redis_fixtures"]
pytestmark = [pytest.mark.stores, pytest.mark.faults]

_strategies = itertools.count(1)
NS_PER_HOUR = 3_600 * 10**9


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done from time to time is done often."""
    monkeypatch.setattr(stores_watch, "WATCH_EVERY_S", 0.1)


@asynccontextmanager
async def engine(
    database_url: str, redis_url: str, alerts: Alerts, moved_ns: list[int] | None = None
) -> AsyncIterator[Running]:
    plan = Plan(database_url, redis_url, rulebook(), "replica-0", observer=alerts)
    if moved_ns is not None:
        plan.clock = lambda: time.time_ns() + moved_ns[0]
    async with running(plan) as run:
        await run.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
        await sender_first([run])
        yield run


async def approves(run: Running) -> bool:
    """Whether a new signal, of a strategy that holds nothing, is approved now."""
    try:
        answer = await run.engine.submit(signal(1_500, strategy_id=f"s-{next(_strategies)}"))
    except EngineError:
        return False
    return answer.decision.outcome is Outcome.APPROVED


async def test_a_redis_that_may_evict_closes_the_gate_until_it_may_not(
    database_url: str, private_redis: PrivateRedis
) -> None:
    """The policy is changed under a running engine that nobody asks anything."""
    alerts = Alerts()
    async with engine(database_url, private_redis.url, alerts) as run:
        with private_redis.client() as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            await eventually(lambda: Alert.GATE_CLOSED in alerts.raised)
            with pytest.raises(GateClosed, match="allkeys-lru"):
                await run.engine.submit(signal(1_500))
            client.config_set("maxmemory-policy", "noeviction")
        await eventually(lambda: approves(run))
        await until_quiet(run)


async def test_a_record_that_takes_no_writes_refuses_and_says_so_once(
    database_url: str, redis_url: str
) -> None:
    alerts = Alerts()
    async with engine(database_url, redis_url, alerts) as run:
        await set_read_only(database_url, "on")
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await run.engine.submit(signal(1_500))
        assert alerts.raised.count(Alert.RECORD_UNAVAILABLE) == 1
        await set_read_only(database_url, "off")
        await eventually(lambda: approves(run))
        await until_quiet(run)


async def set_read_only(database_url: str, value: str) -> None:
    """As a full disk or a demoted primary would: everything can be read, nothing written."""
    url = make_url(database_url).set(drivername="postgresql")
    async with await psycopg.AsyncConnection.connect(
        url.render_as_string(hide_password=False), autocommit=True
    ) as connection:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(
            f'ALTER DATABASE "{url.database}" SET default_transaction_read_only = {value}'.encode()
        )
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_jumps_refuses_until_the_market_speaks_again(
    database_url: str, redis_url: str, hours: int
) -> None:
    alerts, moved_ns = Alerts(), [0]
    async with engine(database_url, redis_url, alerts, moved_ns) as run:
        assert await approves(run)
        await until_quiet(run)
        moved_ns[0] = hours * NS_PER_HOUR
        await eventually(lambda: Alert.CLOCK_JUMPED in alerts.raised)
        what_if = await run.engine.evaluate(signal(1_500, strategy_id="what-if"))
        assert what_if.outcome is Outcome.REJECTED
        assert Reason.QUOTE_STALE in what_if.reasons
        moved_ns[0] = 0
        await eventually(lambda: approves(run))
        await until_quiet(run)


async def test_quotes_that_stop_refuse_and_are_alerted_on_once(
    database_url: str, redis_url: str
) -> None:
    alerts = Alerts()
    plan = Plan(
        database_url, redis_url, rulebook(**{QUOTE_AGE.name: 700}), "replica-0", observer=alerts
    )
    async with running(plan) as run:

        async def approves_on_a_fresh_quote() -> bool:
            await run.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
            return await approves(run)

        async def is_refused() -> bool:
            answer = await run.engine.submit(signal(1_500, strategy_id=f"s-{next(_strategies)}"))
            return Reason.QUOTE_STALE in answer.decision.reasons

        for times in (1, 2):
            await eventually(approves_on_a_fresh_quote)
            assert alerts.raised.count(Alert.QUOTES_STOPPED) == times - 1
            await eventually(is_refused)
            assert await is_refused()
            assert alerts.raised.count(Alert.QUOTES_STOPPED) == times
        await until_quiet(run)


async def test_a_portfolio_service_that_is_down_refuses_and_is_alerted_on_once(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    books = tmp_path / "books.json"
    held = {"currency": "USD", "cash": "1000000", "equity": "1000000", "positions": {}}
    books.write_text(json.dumps({ACCOUNT: held}))
    alerts = Alerts()
    plan = Plan(database_url, redis_url, rulebook(), "replica-0", observer=alerts)
    plan.portfolio_age_ms_max = 1_500
    with ExitStack() as stack:
        service = stack.enter_context(ExitStack())
        plan.portfolio_target = service.enter_context(portfolio_service(books))
        async with running(plan) as run:
            await run.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])

            async def is_refused() -> bool:
                decision = await run.engine.evaluate(signal(1_500))
                return Reason.PORTFOLIO_UNKNOWN in decision.reasons

            await eventually(lambda: approves(run))
            service.close()
            await eventually(is_refused)
            await eventually(lambda: Alert.BOOKS_UNKNOWN in alerts.raised)
            stack.enter_context(portfolio_service(books, plan.portfolio_target))
            await eventually(lambda: approves(run))
            assert alerts.raised.count(Alert.BOOKS_UNKNOWN) == 1
            await until_quiet(run)
