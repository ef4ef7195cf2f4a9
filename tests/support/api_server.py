"""A real gRPC server on a port of its own, over an engine in memory, and what talks to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry

from tests.support.memory_engine import MemoryEngine
from trade_engine.api.order_updates import HubSettings
from trade_engine.api.server import Server, ServerSettings
from trade_engine.v1 import (
    control_service_pb2_grpc,
    market_data_service_pb2_grpc,
    portfolio_service_pb2_grpc,
    signal_pb2,
    signal_service_pb2_grpc,
)

QUICK = HubSettings(poll_s=0.1, heartbeat_s=0.1, give_up_s=0.2)


@dataclass
class Serving:
    """A running server and a channel to it."""

    engine: MemoryEngine
    server: Server
    registry: CollectorRegistry
    port: int
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

    def count(self, rpc: str, code: str) -> float:
        """How many calls ended so, by the server's own metrics."""
        labels = {"rpc": rpc, "code": code}
        return self.registry.get_sample_value("trade_engine_rpc_total", labels) or 0.0


@asynccontextmanager
async def serving(
    engine: MemoryEngine | None = None,
    updates: HubSettings = QUICK,
    channel_options: list[tuple[str, Any]] | None = None,
) -> AsyncIterator[Serving]:
    """Start a server over `engine`, and stop it at the end."""
    engine = engine or MemoryEngine()
    registry = CollectorRegistry()
    server = Server(
        engine,
        engine.record,
        ServerSettings("127.0.0.1:0", "main", updates),
        clock=time.time_ns,
        new_incident_id=lambda: "incident-1",
        registry=registry,
    )
    engine.record.on_growth = server.hub.wake
    port = await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", channel_options) as channel:
            yield Serving(engine, server, registry, port, channel)
    finally:
        await server.stop(1)


def a_signal(signal_id: str = "s-1", **changes: Any) -> signal_pb2.Signal:
    """A good signal, but for `changes`; None leaves a field out."""
    fields: dict[str, Any] = {
        "signal_id": signal_id,
        "strategy_id": "momentum-v1",
        "symbol": "AAPL",
        "side": signal_pb2.Signal.BUY,
        "confidence": 0.82,
        "target_exposure": 15000.0,
        "time_horizon": signal_pb2.Signal.INTRADAY,
    } | changes
    return signal_pb2.Signal(**{name: value for name, value in fields.items() if value is not None})


@dataclass
class Told:
    """What an error told: its status and the details of the contract."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    violations: dict[str, str]
    retry_ms: int | None


def told(error: grpc.RpcError) -> Told:
    """Unpack the details that every error of the engine carries."""
    status: Any = rpc_status.from_call(cast("grpc.Call", error))
    assert status is not None, f"an error without details: {error}"
    info, bad, retry = (_detail(status, kind) for kind in (ErrorInfo, BadRequest, RetryInfo))
    assert info is not None
    assert info.domain == "trade-engine"
    return Told(
        code=next(code for code in grpc.StatusCode if code.value[0] == status.code),
        message=status.message,
        reason=info.reason,
        metadata=dict(info.metadata),
        violations={each.field: each.description for each in bad.field_violations} if bad else {},
        retry_ms=retry.retry_delay.ToMilliseconds() if retry else None,
    )


def _detail(status: Any, kind: type[Message]) -> Any:
    for packed in status.details:
        found = kind()
        if packed.Is(kind.DESCRIPTOR):
            packed.Unpack(found)
            return found
    return None


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds; the test's own time limit ends a vain wait."""
    while not condition():  # noqa: ASYNC110  # what is waited for has no event to set
        await asyncio.sleep(0.01)
