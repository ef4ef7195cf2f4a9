"""The server itself: where it listens, what it tells of itself, how it stops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry

from tests.support.api_server import Serving, a_signal, serving, told, until
from tests.support.memory_engine import MemoryEngine
from trade_engine.api.listening import CannotListen
from trade_engine.api.server import SERVICES, Server, ServerSettings
from trade_engine.v1 import decision_pb2, signal_service_pb2_grpc
from trade_engine.v1 import signal_service_pb2 as pb


@pytest.fixture
async def api() -> AsyncIterator[Serving]:
    async with serving() as running:
        yield running


def a_server(address: str) -> Server:
    engine = MemoryEngine()
    return Server(
        engine,
        engine.record,
        ServerSettings(address, "main"),
        clock=lambda: 0,
        new_incident_id=lambda: "incident-1",
        registry=CollectorRegistry(),
    )


def health_of(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


# ---- listening ------------------------------------------------------------------------------


async def test_a_second_engine_on_the_port_is_told_so_in_one_line(api: Serving) -> None:
    second = a_server(f"127.0.0.1:{api.port}")

    with pytest.raises(CannotListen) as caught:
        await second.start()

    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{api.port}: address already in use. Stop what listens there "
        "(another engine?), or choose another address with --listen."
    )
    await second.stop(1)


async def test_a_port_that_anything_else_holds_is_refused_too() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(CannotListen, match="address already in use"):
            await a_server(f"127.0.0.1:{other.getsockname()[1]}").start()


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
async def test_it_listens_on_this_machine(address: str) -> None:
    if address.startswith("[") and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    server = a_server(address)
    port = await server.start()
    host = address.rpartition(":")[0]

    async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        answer = await health_of(channel).Check(health_pb2.HealthCheckRequest())

    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await server.stop(1)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_it_listens_on_a_unix_socket(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/api.sock"
    server = a_server(address)
    assert await server.start() == 0

    async with grpc.aio.insecure_channel(address) as channel:
        answer = await signal_service_pb2_grpc.SignalServiceStub(channel).SubmitSignal(
            pb.SubmitSignalRequest(signal=a_signal())
        )

    assert answer.decision.outcome == decision_pb2.OUTCOME_APPROVED
    await server.stop(1)


async def test_a_unix_socket_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotListen, match="cannot listen on unix:"):
        await a_server(f"unix:{tmp_path}/missing/api.sock").start()


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051", "example.com:1"])
async def test_it_refuses_to_listen_beyond_this_machine(address: str) -> None:
    with pytest.raises(CannotListen, match="no TLS and no authentication"):
        await a_server(address).start()


@pytest.mark.parametrize("address", ["", "50051", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999"])
async def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(CannotListen, match="HOST:PORT"):
        await a_server(address).start()


# ---- health, reflection, metrics ------------------------------------------------------------


@pytest.mark.parametrize("service", ["", *SERVICES])
async def test_the_health_of_every_service_is_told(api: Serving, service: str) -> None:
    stub = health_of(api.channel)

    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_health_of_an_account_says_whether_it_may_trade(api: Serving) -> None:
    """Told to who watches as soon as it changes; when nobody can say, it is not serving."""
    name = health_pb2.HealthCheckRequest(service="account/main")
    watch = health_of(api.channel).Watch(name)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    api.engine.trading["main"] = False
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    api.engine.trading["main"] = True
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    api.engine.may_trade = broken  # type: ignore[method-assign]
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()


async def broken() -> dict[str, bool]:
    raise RuntimeError("no idea")


async def test_reflection_knows_every_service_and_its_comments_are_not_needed(
    api: Serving,
) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast("grpc.Channel", api.channel))
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="trade_engine.v1.SignalService"
        ),
    ]

    services, file = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]

    names = {each.name for each in services.list_services_response.service}
    assert names >= {
        *SERVICES,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    descriptor = FileDescriptorProto.FromString(
        file.file_descriptor_response.file_descriptor_proto[0]
    )
    assert descriptor.package == "trade_engine.v1"


async def test_calls_are_counted_by_their_codes_and_timed(api: Serving) -> None:
    await api.signals.SubmitSignal(pb.SubmitSignalRequest(signal=a_signal()))
    with pytest.raises(grpc.RpcError):
        await api.signals.SubmitSignal(pb.SubmitSignalRequest())

    assert api.count("SubmitSignal", "OK") == 1
    assert api.count("SubmitSignal", "INVALID_ARGUMENT") == 1
    timed = api.registry.get_sample_value("trade_engine_rpc_seconds_count", {"rpc": "SubmitSignal"})
    assert timed == 1
    assert api.registry.get_sample_value("trade_engine_rpc_in_flight") == 0


# ---- stopping -------------------------------------------------------------------------------


async def test_stopping_lets_what_is_under_way_finish_and_takes_nothing_new(
    api: Serving,
) -> None:
    gate = api.engine.gate = asyncio.Event()
    early = asyncio.ensure_future(
        api.signals.SubmitSignal(pb.SubmitSignalRequest(signal=a_signal("early")))
    )
    await until(lambda: api.engine.submitted)

    stopping = asyncio.create_task(api.server.stop(10))
    await asyncio.sleep(0.1)
    health = await health_of(api.channel).Check(health_pb2.HealthCheckRequest())
    with pytest.raises(grpc.RpcError) as caught:
        await api.signals.SubmitSignal(pb.SubmitSignalRequest(signal=a_signal("late")))
    gate.set()
    await stopping

    assert (await early).decision.outcome == decision_pb2.OUTCOME_APPROVED
    assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
    error = told(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    assert error.retry_ms == 500
    assert [signal.signal_id for signal in api.engine.submitted] == ["early"]


async def test_stopping_answers_what_a_stream_submitted_and_ends_it(api: Serving) -> None:
    gate = api.engine.gate = asyncio.Event()
    call = api.signals.SubmitSignals()
    await call.write(pb.SubmitSignalsRequest(signals=[a_signal("early")]))
    await until(lambda: api.engine.submitted)

    stopping = asyncio.create_task(api.server.stop(10))
    await asyncio.sleep(0.1)
    gate.set()
    response = await call.read()
    with pytest.raises(grpc.RpcError) as caught:
        await call.read()
    await stopping

    assert isinstance(response, pb.SubmitSignalsResponse)
    assert response.results[0].decision.outcome == decision_pb2.OUTCOME_APPROVED
    assert told(caught.value).reason == "SHUTTING_DOWN"


async def test_stopping_does_not_wait_longer_than_its_grace(api: Serving) -> None:
    api.engine.gate = asyncio.Event()
    call = api.signals.SubmitSignal(pb.SubmitSignalRequest(signal=a_signal()))
    await until(lambda: api.engine.submitted)
    loop = asyncio.get_running_loop()
    started = loop.time()

    await api.server.stop(0.3)

    assert 0.3 <= loop.time() - started < 2
    with pytest.raises(grpc.RpcError):
        await call
    api.engine.gate.set()
    await until(lambda: api.engine.record.decisions)  # cut off was the call, not the decision


async def test_a_stream_that_watches_health_does_not_hold_up_stopping(api: Serving) -> None:
    watch = health_of(api.channel).Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    loop = asyncio.get_running_loop()
    started = loop.time()

    await api.server.stop(10)

    assert loop.time() - started < 2


async def test_stopping_twice_is_harmless(api: Serving) -> None:
    await api.server.stop(1)

    await api.server.stop(1)
