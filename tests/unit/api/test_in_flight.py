"""The engine's work outlives the calls that asked for it."""

from __future__ import annotations

import asyncio

import pytest

from trade_engine.api.in_flight import InFlight


async def test_work_goes_on_when_its_waiter_is_canceled() -> None:
    in_flight = InFlight()
    gate, finished = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await gate.wait()
        finished.set()

    waiter = asyncio.create_task(in_flight.finish(work()))
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    draining = asyncio.create_task(in_flight.drained())
    await asyncio.sleep(0)
    assert not draining.done()

    gate.set()
    await draining

    assert finished.is_set()


async def test_the_error_of_work_reaches_its_waiter_and_stops_no_draining() -> None:
    in_flight = InFlight()

    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_flight.finish(work())
    await in_flight.drained()


async def test_an_error_that_nobody_waits_for_any_more_is_no_warning() -> None:
    """Asyncio would complain, and a warning fails the test."""
    in_flight = InFlight()
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()
        raise ZeroDivisionError

    waiter = asyncio.create_task(in_flight.finish(work()))
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    gate.set()

    await in_flight.drained()


async def test_closing_calls_those_who_asked_and_are_still_there() -> None:
    in_flight = InFlight()
    called: list[str] = []

    with in_flight.ended_by(lambda: called.append("left")):
        pass
    with in_flight.ended_by(lambda: called.append("here")):
        in_flight.close()

    assert in_flight.closing
    assert called == ["here"]
