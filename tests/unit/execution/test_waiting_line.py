"""The line before the gate: who is waited for, and who is never kept waiting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.trading import signal
from trade_engine.execution import waiting_line
from trade_engine.execution.requests import (
    IntentRequest,
    ReportsRequest,
    Request,
    SubmitRequest,
)
from trade_engine.execution.waiting_line import BATCH_MAX, WaitingLine


def future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def a_signal() -> Request:
    return SubmitRequest(signal(100), future())


def a_report() -> Request:
    return ReportsRequest("paper", [], future())


def an_intent() -> Request:
    return IntentRequest([], future())


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linger so long that a test which waits for the whole of it would hang."""
    monkeypatch.setattr(waiting_line, "LINGER_S", 60)


def line_of(*requests: Request, stood_open: int = 0) -> WaitingLine:
    """A line in which so many signals stood open lately."""
    line = WaitingLine()
    if stood_open:
        line.settled([a_signal() for _ in range(stood_open)])
    for request in requests:
        line.join(request)
    return line


async def test_a_single_client_waits_for_nobody() -> None:
    line = line_of(a_signal(), stood_open=1)
    assert len(await line.next_batch()) == 1


async def test_a_batch_waits_for_those_who_stood_open_lately() -> None:
    line = line_of(a_signal(), stood_open=10)
    batch = asyncio.ensure_future(line.next_batch())
    for _ in range(7):
        line.join(a_signal())
        line.join(a_report())
        await asyncio.sleep(0)
    assert not batch.done()
    line.join(a_signal())
    assert len(await batch) == 16


async def test_reports_alone_wait_for_a_signal_to_share_their_transaction() -> None:
    line = line_of(a_report())
    batch = asyncio.ensure_future(line.next_batch())
    line.join(a_report())
    await asyncio.sleep(0)
    assert not batch.done()
    line.join(a_signal())
    assert len(await batch) == 3


async def test_nobody_waits_longer_than_the_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_line, "LINGER_S", 0.001)
    line = line_of(a_report(), stood_open=50)
    assert len(await line.next_batch()) == 1


@pytest.mark.parametrize("first", [True, False])
async def test_an_operator_and_the_router_are_never_kept_waiting(*, first: bool) -> None:
    line = line_of(a_signal(), stood_open=50)
    if first:
        line.join(an_intent())
    batch = asyncio.ensure_future(line.next_batch())
    await asyncio.sleep(0)
    if not first:
        line.join(an_intent())
    assert len(await batch) == 2
    line.join(a_signal())
    again = asyncio.ensure_future(line.next_batch())
    await asyncio.sleep(0)
    assert not again.done()
    line.join(an_intent())
    await again


async def test_what_stood_open_fades() -> None:
    line = line_of(stood_open=50)
    for _ in range(30):
        line.settled([a_signal()])
    line.join(a_signal())
    assert len(await line.next_batch()) == 1


async def test_a_batch_has_its_bounds_and_keeps_the_order() -> None:
    requests = [a_signal() for _ in range(BATCH_MAX + 5)]
    line = line_of(*requests, stood_open=1000)
    assert await line.next_batch() == requests[:BATCH_MAX]
    assert len(line) == 5


async def test_an_arrival_is_noticed_whenever_it_comes() -> None:
    line = WaitingLine()
    arrival = asyncio.ensure_future(line.arrival())
    await asyncio.sleep(0)
    assert not arrival.done()
    line.join(a_report())
    await arrival
    await line.arrival()
