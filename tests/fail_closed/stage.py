"""What every row plays on: one engine, its stores and its neighbours, and a client that asks.

The engine is the whole program in a process of its own (`tests.faults.engine_main`, whose clock can
be moved). Proxies stand before PostgreSQL, Redis and the FIX venue; the firm's portfolio service is
the one of examples/. Account `default` trades on the paper venue, `street` on the FIX venue.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from tests.faults.replica import START_S, Replica, free_port
from tests.faults.servers import Servers
from tests.proxy import Proxy
from tests.support.api_server import told
from tests.support.e2e import Client, connected, submit_request
from tests.support.fix_venue import FixVenue
from tests.support.wide import wide_toml
from trade_engine.v1 import decision_pb2, order_pb2, signal_service_pb2

DEADLINE_S = 2.0
"""Of every call; its answer may come `OVER_S` later."""
FEED_EVERY_S = 0.2
PAPER, STREET = "default", "street"
DATABASE = "fail_closed"
LIMITS = (
    '[accounts.street]\ncurrency = "USD"\nopening_cash = 1000000000\nbroker = "street"\n\n'
    + wide_toml(1_000_000_000, signal_age_ms_max=60_000, quote_age_ms_max=1_500)
)
BROKERS = """[fix.street]
version = "FIX.4.4"
host = "127.0.0.1"
port = {port}
sender_comp_id = "ENGINE"
target_comp_id = "VENUE"
store = "{store}"
heartbeat_s = 1
live = false
"""
BOOKS = {"currency": "USD", "cash": "1000000000", "equity": "1000000000", "positions": {}}
PORTFOLIO_SERVER = Path(__file__).parents[2] / "examples" / "portfolio_server.py"
_numbers = itertools.count()


@dataclass(frozen=True)
class Answer:
    """What one signal was told: a word (an outcome's reason, or an error's), and when."""

    code: str
    word: str
    seconds: float
    order_id: str = ""

    @property
    def over_s(self) -> float:
        """How much later than the call's deadline it came."""
        return max(0.0, self.seconds - DEADLINE_S)


@dataclass
class Books:
    """The firm's portfolio service, as a process that can be ended and started again."""

    file: Path
    target: str
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, str(PORTFOLIO_SERVER), str(self.file), self.target]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Stage:
    """The pieces, and how to ask them."""

    servers: Servers
    folder: Path
    engine: Replica
    postgres: Proxy
    redis: Proxy
    street: Proxy
    books: Books
    client: Client
    feeding: asyncio.Event = field(default_factory=asyncio.Event)
    """Quotes are published while it is set."""
    asked: set[asyncio.Task[Answer]] = field(default_factory=set)
    """Signals that a fault asked by itself, so that something is on its way when it strikes."""

    async def ask(self, account_id: str = PAPER) -> Answer:
        """One more signal, of a strategy that holds nothing."""
        name = f"probe-{next(_numbers)}"
        request = submit_request(
            name, account_id=account_id, strategy_id=name, target_exposure=1_500.0
        )
        began = time.monotonic()
        try:
            answer = await self.client.signals.SubmitSignal(request, timeout=DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            seconds = time.monotonic() - began
            return Answer(code, code if _is_bare(error) else told(error).reason, seconds)
        decision = answer.decision
        word = ", ".join(decision.reasons) or decision_pb2.Outcome.Name(decision.outcome)
        word = word.removeprefix("OUTCOME_")
        return Answer("OK", word, time.monotonic() - began, decision.order_id)

    def ask_meanwhile(self, account_id: str = PAPER) -> None:
        """Ask without waiting for the answer."""
        self.asked.add(asyncio.ensure_future(self.ask(account_id)))

    async def order(self, order_id: str, account_id: str) -> order_pb2.Order:
        """How an order stands; an empty one while the engine does not tell."""
        request = signal_service_pb2.GetOrderRequest(account_id=account_id, order_id=order_id)
        with suppress(grpc.aio.AioRpcError):
            return (await self.client.signals.GetOrder(request, timeout=DEADLINE_S)).order
        return order_pb2.Order()

    async def alerts(self) -> dict[str, float]:
        """How often each alert was raised, by the engine's own metrics."""
        text = await asyncio.to_thread(self._metrics)
        found = re.findall(r'^trade_engine_alerts_total\{name="(\w+)"\} (\S+)', text, re.MULTILINE)
        return {name: float(count) for name, count in found}

    def _metrics(self) -> str:
        url = f"http://127.0.0.1:{self.engine.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def log(self) -> str:
        """What the engine logged so far."""
        return self.engine.log.read_text(errors="replace")

    async def feed(self) -> None:
        """Fresh quotes without an end, while they are wanted."""
        while True:
            await self.feeding.wait()
            with suppress(grpc.aio.AioRpcError):
                await self.client.publish()
            await asyncio.sleep(FEED_EVERY_S)


def _is_bare(error: grpc.aio.AioRpcError) -> bool:
    """Whether the library itself said so, not the engine."""
    return not any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())


@asynccontextmanager
async def staged(servers: Servers, folder: Path) -> AsyncIterator[Stage]:
    """Everything started and ready."""
    await asyncio.to_thread(servers.create, DATABASE)
    async with AsyncExitStack() as stack:
        venue = FixVenue()
        await venue.start()
        stack.push_async_callback(venue.stop)
        venue.show("149.99", "150.01", None, None)
        postgres = await stack.enter_async_context(Proxy(servers.postgres_socket))
        redis = await stack.enter_async_context(Proxy(servers.redis_socket))
        street = await stack.enter_async_context(Proxy(("127.0.0.1", venue.port)))
        books = Books(folder / "books.json", f"127.0.0.1:{free_port()}")
        books.file.write_text(json.dumps({PAPER: BOOKS, STREET: BOOKS}))
        books.start()
        stack.callback(books.end)
        engine = Replica(
            "engine",
            _arguments(servers, folder, postgres.port, redis.port, street.port),
            [],
            _environment(books.target),
            folder / "engine.log",
            lambda _: None,
            lambda *_: None,
            clock_jumps=True,
        )
        engine.start()
        stack.push_async_callback(engine.end)
        await asyncio.wait_for(engine.ready.wait(), START_S)
        client = await stack.enter_async_context(connected(engine.target))
        stage = Stage(servers, folder, engine, postgres, redis, street, books, client)
        feeding = asyncio.create_task(stage.feed())
        stack.callback(feeding.cancel)
        stage.feeding.set()
        yield stage


def _arguments(servers: Servers, folder: Path, *ports: int) -> list[str]:
    postgres, redis, street = ports
    limits, brokers = folder / "limits.toml", folder / "brokers.toml"
    limits.write_text(LIMITS)
    brokers.write_text(BROKERS.format(port=street, store=folder / "street.sqlite"))
    return [
        *("--database-url", servers.database_url(DATABASE, postgres)),
        *("--redis-url", servers.redis_url(redis)),
        *("--limits", str(limits), "--brokers", str(brokers)),
    ]


def _environment(books: str) -> dict[str, str]:
    """As by default, but for the books: those here never learn what was filled."""
    clean = {name: value for name, value in os.environ.items() if "TRADE_ENGINE" not in name}
    return clean | {
        "TRADE_ENGINE_PORTFOLIO_TARGET": books,
        "TRADE_ENGINE_PORTFOLIO_AGE_MS_MAX": "1500",
        "TRADE_ENGINE_PORTFOLIO_CONFIRM_MS": "3600000",
    }
