"""Where a firm keeps its own books, nothing grows while they are unreachable, wrong or stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.audited import audit
from tests.support.portfolio import portfolio_service
from tests.support.trading import (
    ACCOUNT,
    SYMBOLS,
    eventually,
    patient_plan,
    quote,
    rulebook,
    signal,
    until_quiet,
)
from trade_engine.api.portfolio_client import GrpcPortfolioSource
from trade_engine.domain.decision import Decision, Outcome, Reason
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.signal import Side
from trade_engine.portfolio.comparison import Tolerance
from trade_engine.v1 import portfolio_pb2, portfolio_service_pb2, portfolio_service_pb2_grpc
from trade_engine.wiring import Plan, Running, running

pytestmark = pytest.mark.stores
BOOKS: dict[str, Any] = {"currency": "USD", "cash": "1000000", "equity": "1000000", "positions": {}}


async def wish(run: Running, target: int, side: Side = Side.BUY) -> Decision:
    return await run.engine.evaluate(signal(target, side=side))


async def test_nothing_grows_without_the_firms_books(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    books = tmp_path / "books.json"
    books.write_text(json.dumps({ACCOUNT: BOOKS}))
    with portfolio_service(books) as target:
        plan = patient_plan(database_url, redis_url, rulebook(), "replica-0")
        plan.portfolio_target, plan.portfolio_age_ms_max = target, 2_500
        async with running(plan) as run:
            await run.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])

            async def approved() -> bool:
                return (await wish(run, 30_000)).outcome is Outcome.APPROVED

            async def refused() -> bool:
                return (await wish(run, 30_000)).reasons == [Reason.PORTFOLIO_UNKNOWN]

            await eventually(approved)
            await run.engine.submit(signal(15_000))
            await until_quiet(run)
            books.write_text(json.dumps({ACCOUNT: BOOKS | {"cash": "plenty"}}))
            await eventually(refused)
            assert "answers wrongly: cash: got 'plenty'" in (await wish(run, 30_000)).message
            assert (await wish(run, 0, Side.SELL)).outcome is Outcome.APPROVED
            books.write_text("half a fil")
            await eventually(lambda: says(run, "UNAVAILABLE: the books are not at hand"))
            books.write_text(json.dumps({ACCOUNT: BOOKS}))
            await eventually(approved)


async def says(run: Running, words: str) -> bool:
    decision = await wish(run, 30_000)
    return Reason.PORTFOLIO_UNKNOWN in decision.reasons and words in decision.message


async def test_a_service_that_is_not_there_refuses_from_the_start(
    database_url: str, redis_url: str
) -> None:
    plan = patient_plan(
        database_url, redis_url, rulebook(), "replica-0", portfolio_target="127.0.0.1:1"
    )
    async with running(plan) as run:
        await run.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
        decision = await wish(run, 15_000)
        assert decision.reasons == [Reason.PORTFOLIO_UNKNOWN]
        assert "told nothing" in decision.message


async def test_what_the_books_say_otherwise_is_journaled_once_and_shown(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Two replicas look; the sender alone tells, and trading goes on."""
    books = tmp_path / "books.json"
    books.write_text(json.dumps({ACCOUNT: BOOKS | {"cash": "999000"}}))

    def plan(name: str, target: str) -> Plan:
        tolerance = Tolerance(for_ns=1_000_000)
        return patient_plan(
            database_url,
            redis_url,
            rulebook(),
            name,
            portfolio_target=target,
            portfolio_tolerance=tolerance,
        )

    with portfolio_service(books) as target:
        async with running(plan("a", target)) as run, running(plan("b", target)) as other:

            async def shown(of: Running) -> list[str]:
                [account] = (await of.engine.status(ACCOUNT)).accounts
                assert account.books is not None
                return [each.difference_id for each in account.books.differences]

            await eventually(lambda: shown(run))
            assert await shown(run) == await shown(other) == ["CASH"]
            await run.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
            await eventually(lambda: outcome(run, Outcome.APPROVED))
            [account] = (await other.engine.status(ACCOUNT)).accounts
            assert account.day is not None
            assert account.day.session
            assert (account.day.profit_and_loss, account.day.drawdown) == (0, 0)
            books.write_text(json.dumps({ACCOUNT: BOOKS}))
            await eventually(lambda: agrees(run, other))
            entries = await run.engine.queries.entries(ACCOUNT, 0, 500)
            kinds = [each.kind for each in entries]
            assert kinds.count(EntryKind.BOOKS_COMPARED) == 2
            await audit(run)


async def outcome(run: Running, wanted: Outcome) -> bool:
    return (await wish(run, 30_000)).outcome is wanted


async def agrees(*runs: Running) -> bool:
    accounts = [(await run.engine.status(ACCOUNT)).accounts[0] for run in runs]
    return all(each.books and not each.books.differences for each in accounts)


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(1_700_000_000_000, 0), (1_700_000_000_000_000_000, 0), (-1, 0), (1, -1)]
)
async def test_a_time_that_is_none_is_a_wrong_answer(seconds: int, nanos: int) -> None:
    class Books(portfolio_service_pb2_grpc.PortfolioServiceServicer):
        async def GetPortfolio(self, request: Any, context: Any) -> Any:  # noqa: N802
            told = portfolio_pb2.Portfolio(
                account_id=request.account_id, currency="USD", cash="1", equity="1"
            )
            told.as_of_time.seconds, told.as_of_time.nanos = seconds, nanos
            return portfolio_service_pb2.GetPortfolioResponse(portfolio=told)

    server = grpc.aio.server()
    portfolio_service_pb2_grpc.add_PortfolioServiceServicer_to_server(Books(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    source = GrpcPortfolioSource(f"127.0.0.1:{port}", 5.0)
    try:
        with pytest.raises(StoreUnavailable, match="answers wrongly: as_of_time: got 'seconds"):
            await source.portfolio(ACCOUNT)
    finally:
        await source.close()
        await server.stop(None)


async def test_whatever_an_answer_does_the_next_one_counts(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    books = tmp_path / "books.json"
    books.write_text(json.dumps({ACCOUNT: BOOKS}))
    answers = GrpcPortfolioSource.portfolio
    with portfolio_service(books) as target:
        plan = patient_plan(
            database_url, redis_url, rulebook(), "replica-0", portfolio_target=target
        )
        plan.portfolio_age_ms_max = 2_500
        async with running(plan) as run:
            await run.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
            await eventually(lambda: outcome(run, Outcome.APPROVED))

            async def fails(*_: object) -> None:
                raise ValueError("nobody thought of this")

            monkeypatch.setattr(GrpcPortfolioSource, "portfolio", fails)
            await eventually(lambda: says(run, "could not be read; see the log"))
            monkeypatch.setattr(GrpcPortfolioSource, "portfolio", answers)
            await eventually(lambda: outcome(run, Outcome.APPROVED))
            assert not run.engine.failed.is_set()
