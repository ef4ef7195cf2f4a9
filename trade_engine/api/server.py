"""The gRPC server: its options, its services, how it starts and how it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from trade_engine.api.auth import ANONYMOUS, Caller
from trade_engine.api.engine import EnginePort, Finder
from trade_engine.api.health import AccountHealth, Health
from trade_engine.api.in_flight import InFlight
from trade_engine.api.interceptors import Handler, Metrics, Surroundings
from trade_engine.api.kill_switch import ControlService
from trade_engine.api.listening import bind_failure, checked_address
from trade_engine.api.market_data import MarketDataService
from trade_engine.api.order_updates import HubSettings, OrderUpdateHub
from trade_engine.api.portfolio import PortfolioService
from trade_engine.api.signal_ingest import SignalService
from trade_engine.domain.clock import Clock
from trade_engine.v1 import (
    control_service_pb2,
    control_service_pb2_grpc,
    market_data_service_pb2,
    market_data_service_pb2_grpc,
    portfolio_service_pb2,
    portfolio_service_pb2_grpc,
    signal_service_pb2,
    signal_service_pb2_grpc,
)

log = structlog.get_logger("trade_engine.server")

SERVICES = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in (
        (signal_service_pb2, "SignalService"),
        (control_service_pb2, "ControlService"),
        (market_data_service_pb2, "MarketDataService"),
        (portfolio_service_pb2, "PortfolioService"),
    )
)

REQUEST_BYTES_MAX = 64 * 1024
METADATA_BYTES_MAX = 8 * 1024
STALLED_S = 1.0
"""How long a stop waits for a client that does not read."""
QUIET_S = 0.1
REFUSING_S = 1.0
"""A stop goes on refusing calls until none has come for QUIET_S, but not for longer than this."""

OPTIONS: Sequence[tuple[str, int]] = (
    # By default a second engine would bind the same port in silence, and take half the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.max_concurrent_streams", 1024),
    # A client may ping every 10 s, between calls too, to notice a dead connection; by default the
    # server would hang up on one that pings more than every 5 minutes. It pings by itself as well,
    # so that the streams of a client that vanished end.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 9_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """address is `HOST:PORT` or `unix:PATH`; default_account is that of callers who name none."""

    address: str
    default_account: str
    updates: HubSettings = field(default_factory=HubSettings)


class Server:
    """Serves one engine over gRPC."""

    def __init__(
        self,
        engine: EnginePort,
        finder: Finder,
        settings: ServerSettings,
        *,
        clock: Clock,
        new_incident_id: Callable[[], str],
        registry: CollectorRegistry,
    ) -> None:
        self._address = settings.address
        self._in_flight = InFlight()
        self._surroundings = Surroundings(self._in_flight, Metrics(registry), new_incident_id)
        self._health = Health(SERVICES)
        self._accounts = AccountHealth(self._health, engine)
        incident = self._surroundings.incident
        self.hub = OrderUpdateHub(engine.queries, clock, incident, settings.updates)
        """Wants to be woken when an account's journal grows."""
        caller = Caller(ANONYMOUS, settings.default_account)
        self._signals = SignalService(engine, finder, self.hub, self._in_flight, caller, incident)
        self._control = ControlService(engine, self._in_flight, caller)
        self._quotes = MarketDataService(engine, self._in_flight, clock)
        self._portfolio = PortfolioService(engine)
        self._server: grpc.aio.Server | None = None

    async def start(self) -> int:
        """Listen and serve; return the port (0 for a Unix socket).

        Raises:
            CannotListen: with what to do about it, in one line.
        """
        address = checked_address(self._address)
        server = grpc.aio.server(options=OPTIONS)
        self._register(server)
        try:
            port = server.add_insecure_port(address)
        except RuntimeError:
            raise bind_failure(address) from None
        await self._health.set_serving(serving=True)
        await self._accounts.start()
        await server.start()
        self._server = server
        return 0 if address.startswith("unix:") else port

    async def stop(self, grace_s: float) -> None:
        """Refuse what is new, end the streams, and let what is under way finish.

        What has not finished after `grace_s` seconds is cut off; the engine's work is not, since
        it belongs to the engine. Harmless when the server was never started.
        """
        await self._accounts.stop()
        await self._health.stop()
        self._in_flight.close()
        self.hub.close()
        try:
            async with asyncio.timeout(grace_s):
                await self._surroundings.cut_stalled(STALLED_S)
                await self._surroundings.drained()
                await self._in_flight.drained()
                await self._refuse_for_a_while()
        except TimeoutError:
            log.warning("calls cut off: they did not end in time", grace_s=grace_s)
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def _refuse_for_a_while(self) -> None:
        with suppress(TimeoutError):  # some go on asking, whatever they are told
            async with asyncio.timeout(REFUSING_S):
                await self._surroundings.quiet(QUIET_S)

    def _register(self, server: grpc.aio.Server) -> None:
        ours = cast("grpc.aio.Server", _Registrar(server, self._surroundings))
        signal_service_pb2_grpc.add_SignalServiceServicer_to_server(self._signals, ours)
        control_service_pb2_grpc.add_ControlServiceServicer_to_server(self._control, ours)
        market_data_service_pb2_grpc.add_MarketDataServiceServicer_to_server(self._quotes, ours)
        portfolio_service_pb2_grpc.add_PortfolioServiceServicer_to_server(self._portfolio, ours)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, server)
        names = (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)


class _Registrar:
    """Stands between generated code and the server, to wrap the handlers on their way."""

    def __init__(self, server: grpc.aio.Server, surroundings: Surroundings) -> None:
        self._server = server
        self._surroundings = surroundings

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Nothing: the same handlers come once more, by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Wrap and register the handlers of a service."""
        wrapped: dict[str, Any] = self._surroundings.wrapped(handlers)
        generic = grpc.method_handlers_generic_handler(service, wrapped)
        self._server.add_generic_rpc_handlers((generic,))
        self._server.add_registered_method_handlers(service, wrapped)
