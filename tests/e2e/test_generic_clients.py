"""Clients that know nothing of the engine but the contract: buf curl, health checks, reflection."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.support.e2e import APPROVED, Client, connected, engine_on

pytestmark = pytest.mark.stores

README = Path(__file__).resolve().parents[2] / "README.md"
PACKAGE = "trade_engine.v1"
SERVICES = {"SignalService", "ControlService", "MarketDataService", "PortfolioService"}
BUF = Path(sys.executable).with_name("buf")


@pytest.fixture
def target(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[str]:
    with engine_on(database_url, redis_url, tmp_path) as engine:
        yield engine.target


@pytest.fixture
async def client(target: str) -> AsyncIterator[Client]:
    async with connected(target) as found:
        await found.publish()
        yield found


def curl(target: str, rpc: str, request: str) -> subprocess.CompletedProcess[str]:
    """As the README has it: the types come by reflection, the request is JSON."""
    return subprocess.run(
        [BUF, "curl", "--http2-prior-knowledge", "--protocol", "grpc", "-d", request,
         f"http://{target}/{PACKAGE}.{rpc}"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def answer(target: str, rpc: str, request: str) -> Any:
    done = curl(target, rpc, request)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def block(language: str, word: str) -> str:
    """The README's code block in this language that has this word in it."""
    blocks = re.findall(
        rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE
    )
    [found] = [each for each in blocks if word in each]
    return str(found)


# ---- buf curl -------------------------------------------------------------------------------


async def test_the_readmes_command_works_as_it_stands(client: Client, target: str) -> None:
    command = block("console", "buf curl").removeprefix("$ ")
    for written, here in ((".venv/bin/buf", str(BUF)), ("127.0.0.1:50051", target)):
        assert command.count(written) == 1
        command = command.replace(written, here)
    done = await asyncio.to_thread(
        subprocess.run, command, shell=True, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    decision = json.loads(done.stdout)["decision"]
    assert (decision["signalId"], decision["outcome"]) == ("s-1", "OUTCOME_APPROVED")
    found = await client.decision("s-1")
    assert found is not None
    assert found.order_id == decision["orderId"]


async def test_the_readmes_signal_is_accepted_and_answered_alike_when_it_comes_again(
    client: Client, target: str
) -> None:
    signal = json.loads(block("json", "signal_id"))
    request = json.dumps({"signal": signal})
    first = await asyncio.to_thread(answer, target, "SignalService/SubmitSignal", request)
    assert first["decision"]["outcome"] == "OUTCOME_APPROVED"
    # 15000 at the reference price of 150, in JSON as everywhere a decimal string.
    assert first["decision"]["order"]["orderQty"] == "100"
    again = await asyncio.to_thread(answer, target, "SignalService/SubmitSignal", request)
    assert again == {"decision": first["decision"], "replayed": True}
    await client.until_quiet()
    positions = await asyncio.to_thread(answer, target, "ControlService/ListPositions", "{}")
    [position] = positions["positions"]
    assert (position["symbol"], position["quantity"]) == ("AAPL", "100")


async def test_a_halt_in_json_stops_what_comes_after_it(client: Client, target: str) -> None:
    scope: dict[str, Any] = {"scope": {"global": True}, "reason": "drill"}
    halted = await asyncio.to_thread(answer, target, "ControlService/Halt", json.dumps(scope))
    assert halted["result"] == "HALT_RESULT_DRAINED"
    refused = await client.submit("while-halted")
    assert list(refused.reasons) == ["TRADING_HALTED"]
    status = await asyncio.to_thread(answer, target, "ControlService/GetStatus", "{}")
    assert status["accounts"][0]["tradingState"] == "TRADING_STATE_HALTED"
    assert status["accounts"][0]["scopeStates"][0]["reason"] == "drill"
    await asyncio.to_thread(answer, target, "ControlService/Resume", json.dumps(scope))
    approved = await client.submit("after-it")
    assert approved.outcome == APPROVED


async def test_what_is_wrong_is_said_in_words_that_curl_shows(client: Client, target: str) -> None:
    request = '{"signal": {"signal_id": "s", "confidence": 1.2}}'
    done = await asyncio.to_thread(curl, target, "SignalService/SubmitSignal", request)
    assert done.returncode != 0
    error = json.loads(done.stderr)
    assert error["code"] == "invalid_argument"
    assert "signal.confidence: must be between 0 and 1, got 1.2" in error["message"]
    assert "signal.symbol: is required" in error["message"]
    assert {each["type"] for each in error["details"]} == {
        "google.rpc.ErrorInfo",
        "google.rpc.BadRequest",
    }


# ---- health and reflection ------------------------------------------------------------------


async def test_the_standard_health_check_knows_the_server_and_each_service(client: Client) -> None:
    health: Any = health_pb2_grpc.HealthStub(client.channel)
    for service in ("", *(f"{PACKAGE}.{each}" for each in SERVICES)):
        found = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert found.status == health_pb2.HealthCheckResponse.SERVING, service
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health.Check(health_pb2.HealthCheckRequest(service="nobody's"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_who_watches_the_health_is_told_of_a_stop(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with engine_on(database_url, redis_url, tmp_path) as engine:
        async with connected(engine.target) as client:
            health: Any = health_pb2_grpc.HealthStub(client.channel)
            watch = health.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            stopping = asyncio.create_task(asyncio.to_thread(engine.stop))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await stopping == 0


async def reflect(client: Client, **request: Any) -> reflection_pb2.ServerReflectionResponse:
    # Its types are those of a synchronous channel.
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast("Any", client.channel))
    question = reflection_pb2.ServerReflectionRequest(**request)
    found = await stub.ServerReflectionInfo(iter([question])).read()
    assert isinstance(found, reflection_pb2.ServerReflectionResponse)
    return found


async def test_reflection_lists_every_service_and_describes_its_messages(client: Client) -> None:
    listed = await reflect(client, list_services="")
    names = {each.name for each in listed.list_services_response.service}
    assert names == {f"{PACKAGE}.{each}" for each in SERVICES} | {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    found = await reflect(client, file_containing_symbol=f"{PACKAGE}.Signal")
    files = map(
        FileDescriptorProto.FromString, found.file_descriptor_response.file_descriptor_proto
    )
    fields = {
        field.name
        for file in files
        for message in file.message_type
        if message.name == "Signal"
        for field in message.field
    }
    assert {"signal_id", "target_exposure", "constraints", "time_horizon"} <= fields
