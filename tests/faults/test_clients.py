"""The harness's clients go on whatever a call ends with: one that went would look like a fault."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from tests.faults.client_log import ClientLog
from tests.faults.clients import Clients
from tests.faults.plan import plan_of
from tests.faults.replica import Replica
from trade_engine.v1 import market_data_service_pb2_grpc


class _Client:
    """A client whose one call ends as grpc.aio ends a call whose requests it could not write."""

    def __init__(self) -> None:
        self.quotes = self
        self.asked = asyncio.Semaphore(0)

    async def PublishQuotes(self, *_: Any, **__: Any) -> None:  # noqa: N802
        self.asked.release()
        raise asyncio.CancelledError


def clients(tmp_path: Path, client: _Client) -> tuple[Clients, ClientLog]:
    log = ClientLog(tmp_path / "client.jsonl")
    replica = cast("Replica", type("Named", (), {"name": "engine-0"})())
    made = Clients(plan_of(1), [replica], log)
    vars(made)["_clients"].append(client)
    return made, log


async def test_a_feed_whose_call_is_canceled_by_grpc_publishes_on(tmp_path: Path) -> None:
    client = _Client()
    made, log = clients(tmp_path, client)
    feed = asyncio.create_task(made._publish_forever())
    for _ in range(2):
        asked = asyncio.create_task(client.asked.acquire())
        await asyncio.wait({feed, asked}, return_when=asyncio.FIRST_COMPLETED)
        assert not feed.done()
    assert log.events[0]["code"] == "CANCELLED"
    feed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await feed
    log.close()


async def test_a_client_that_ended_by_itself_is_told_of(tmp_path: Path) -> None:
    made, log = clients(tmp_path, _Client())
    made._feed = asyncio.create_task(asyncio.sleep(0))
    await made._feed
    with pytest.raises(AssertionError, match="ended by themselves"):
        await made.close()
    log.close()


async def test_grpc_cancels_a_call_whose_requests_cannot_be_written() -> None:
    """The trap itself: an error in writing looks like a cancel of the task that waits."""
    unwritable = map(int, ["no number"])
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        stub: Any = market_data_service_pb2_grpc.MarketDataServiceStub(channel)
        with pytest.raises(asyncio.CancelledError):
            await stub.PublishQuotes(unwritable, timeout=10)
