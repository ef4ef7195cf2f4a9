"""One contract for every portfolio service: the reference server's and the engine's own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from pathlib import Path

import grpc
import pytest
from prometheus_client import CollectorRegistry

from tests.support.trading import ACCOUNT, quote, replicas, signal, until_quiet
from trade_engine.api.server import Server, ServerSettings
from trade_engine.v1 import portfolio_service_pb2, portfolio_service_pb2_grpc

pytestmark = pytest.mark.stores
SERVER = Path(__file__).parents[2] / "examples" / "portfolio_server.py"
FRESH_S = 10
HELD = Decimal(100)


@contextmanager
def reference(folder: Path) -> Iterator[str]:
    """The server of examples/, as a process."""
    books = folder / "books.json"
    held = {"AAPL": [str(HELD), "150"]}
    account = {"currency": "USD", "cash": "985000", "equity": "1000000", "positions": held}
    books.write_text(json.dumps({ACCOUNT: account}))
    command = [sys.executable, str(SERVER), str(books), "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{process.stdout.readline().split()[-1]}"
        finally:
            process.terminate()


@asynccontextmanager
async def ledger(database_url: str, redis_url: str) -> AsyncIterator[str]:
    """The engine's own service, on an account that bought a hundred shares."""
    async with replicas(1, database_url, redis_url) as (run,):
        server = Server(
            run.engine,
            run.record,
            ServerSettings("127.0.0.1:0", ACCOUNT),
            clock=time.time_ns,
            new_incident_id=lambda: "incident-1",
            registry=CollectorRegistry(),
        )
        port = await server.start()
        await run.engine.submit(signal(15_000))
        await until_quiet(run)
        await run.engine.publish_quotes([quote()])
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(1)


@pytest.fixture(params=["reference", "ledger"])
async def service(
    request: pytest.FixtureRequest, tmp_path: Path, database_url: str, redis_url: str
) -> AsyncIterator[str]:
    """The address of a portfolio service that knows the account."""
    if request.param == "reference":
        with reference(tmp_path) as target:
            yield target
        return
    async with ledger(database_url, redis_url) as target:
        yield target


def get(account_id: str) -> portfolio_service_pb2.GetPortfolioRequest:
    return portfolio_service_pb2.GetPortfolioRequest(account_id=account_id)


async def test_a_portfolio_service_keeps_the_contract(service: str) -> None:
    async with grpc.aio.insecure_channel(service) as channel:
        stub: portfolio_service_pb2_grpc.PortfolioServiceAsyncStub
        stub = portfolio_service_pb2_grpc.PortfolioServiceStub(channel)
        told = (await stub.GetPortfolio(get(ACCOUNT), timeout=5)).portfolio
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await stub.GetPortfolio(get("nobody"), timeout=5)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    assert (told.account_id, told.currency) == (ACCOUNT, "USD")
    assert abs(time.time() - told.as_of_time.ToSeconds()) < FRESH_S
    [held] = told.positions
    assert (held.symbol, Decimal(held.quantity)) == ("AAPL", HELD)
    value = Decimal(told.equity) - Decimal(told.cash)
    assert abs(value - HELD * Decimal(held.avg_px)) <= HELD * Decimal("0.02"), (
        "one moment's picture"
    )
