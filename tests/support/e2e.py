"""What tests of a whole engine share: its stubs, signals and quotes, waiting, and an audit."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil

from tests.support.api_server import a_signal
from tests.support.engine_process import EngineProcess, engine_process
from tests.support.wide import wide_toml
from trade_engine.auditing import AuditKind, audit
from trade_engine.v1 import (
    control_service_pb2,
    control_service_pb2_grpc,
    decision_pb2,
    market_data_service_pb2,
    market_data_service_pb2_grpc,
    order_pb2,
    portfolio_service_pb2_grpc,
    signal_service_pb2,
    signal_service_pb2_grpc,
)

ACCOUNT = "default"
SYMBOLS = ("AAPL", "IBM")
APPROVED = decision_pb2.OUTCOME_APPROVED
WIDE_LIMITS = wide_toml(
    100_000_000,
    signal_age_ms_max=60_000,
    quote_age_ms_max=600_000,
    order_notional_max=1_000_000,
    symbol_position_notional_max=50_000_000,
    gross_exposure_max=90_000_000,
)
_numbers = itertools.count(1)


@dataclass
class Client:
    """A channel to an engine, with the stubs of its services."""

    channel: grpc.aio.Channel
    signals: signal_service_pb2_grpc.SignalServiceAsyncStub = field(init=False)
    control: control_service_pb2_grpc.ControlServiceAsyncStub = field(init=False)
    quotes: market_data_service_pb2_grpc.MarketDataServiceAsyncStub = field(init=False)
    portfolio: portfolio_service_pb2_grpc.PortfolioServiceAsyncStub = field(init=False)

    def __post_init__(self) -> None:
        self.signals = signal_service_pb2_grpc.SignalServiceStub(self.channel)
        self.control = control_service_pb2_grpc.ControlServiceStub(self.channel)
        self.quotes = market_data_service_pb2_grpc.MarketDataServiceStub(self.channel)
        self.portfolio = portfolio_service_pb2_grpc.PortfolioServiceStub(self.channel)

    async def publish(self, price: int = 150) -> None:
        """A fresh quote of every symbol, one cent wide on each side of `price`."""
        request = market_data_service_pb2.PublishQuotesRequest()
        for symbol in SYMBOLS:
            quote = request.quotes.add(symbol=symbol, bid=f"{price - 1}.99", ask=f"{price}.01")
            quote.quote_time.FromNanoseconds(time.time_ns())
        answer = await self.quotes.PublishQuotes(iter([request]), timeout=5)
        assert answer.accepted_count == len(SYMBOLS)

    async def submit(
        self, signal_id: str = "", *, timeout_s: float = 10, **changes: Any
    ) -> decision_pb2.Decision:
        """Submit a signal; one without an id gets one of its own."""
        request = submit_request(signal_id, **changes)
        return (await self.signals.SubmitSignal(request, timeout=timeout_s)).decision

    async def decision(self, signal_id: str) -> decision_pb2.Decision | None:
        """The decision on record, if there is one."""
        request = signal_service_pb2.GetDecisionRequest(signal_id=signal_id)
        try:
            return (await self.signals.GetDecision(request, timeout=5)).decision
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise

    async def orders(self) -> list[order_pb2.Order]:
        """Every order of the account, newest first."""
        found: list[order_pb2.Order] = []
        request = signal_service_pb2.ListOrdersRequest(page_size=200)
        while True:
            page = await self.signals.ListOrders(request, timeout=5)
            found += page.orders
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def status(self) -> control_service_pb2.AccountStatus:
        request = control_service_pb2.GetStatusRequest()
        [account] = (await self.control.GetStatus(request, timeout=5)).accounts
        return account

    async def until_quiet(self) -> None:
        """Wait until no order is open."""

        async def quiet() -> bool:
            return (await self.status()).open_orders == 0

        await eventually(quiet)


@asynccontextmanager
async def connected(target: str, **options: Any) -> AsyncIterator[Client]:
    """A client with a channel of its own; `options` are the channel's, with `_` for `.`."""
    words = [("grpc." + name, value) for name, value in options.items()]
    # Else channels of one process to one target share their connection.
    words.append(("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.insecure_channel(target, words) as channel:
        yield Client(channel)


def submit_request(signal_id: str = "", **changes: Any) -> signal_service_pb2.SubmitSignalRequest:
    """A request with a good signal, but for `changes`."""
    signal = a_signal(signal_id or f"s-{next(_numbers)}", **changes)
    return signal_service_pb2.SubmitSignalRequest(signal=signal)


@contextmanager
def engine_on(
    database_url: str, redis_url: str, folder: Path, *more: str | Path
) -> Iterator[EngineProcess]:
    """An engine on stores of the test's own, with wide limits and its log in `folder`."""
    limits = folder / "limits.toml"
    limits.write_text(WIDE_LIMITS)
    stores = ("--database-url", database_url, "--redis-url", redis_url)
    with engine_process(*stores, "--limits", limits, *more, log=folder / "engine.log") as engine:
        yield engine


async def assert_clean(database_url: str) -> dict[str, int]:
    """The chain holds, the tables say what it says, every decision is made again alike.

    Answers with what was looked at, by kind.
    """
    counts: dict[str, int] = {}
    for kind in AuditKind:
        [audited] = await audit(kind, database_url, [ACCOUNT], lambda *_: None)
        assert audited.faults == []
        counts |= audited.counts
    return counts


async def eventually(holds: Callable[[], Awaitable[object]], within_s: float = 15.0) -> None:
    """Wait until a check says yes; an UNAVAILABLE engine counts as no."""
    deadline = time.monotonic() + within_s
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = await holds()
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            last = error
        if last and not isinstance(last, Exception):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {within_s} s: {last}")


def processes_of(data_dir: Path) -> list[psutil.Process]:
    """Whoever names the data directory, works in it or has a file of it open."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [
                *process.cmdline(),
                process.cwd(),
                *(each.path for each in process.open_files()),
            ]
        except psutil.Error:  # gone meanwhile, a zombie, or the kernel's own
            continue
        if any(str(data_dir) in word for word in words):
            found.append(process)
    return found
