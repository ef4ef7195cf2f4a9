"""Limits of time on a slow machine: counted by what it could do, and run out all the same."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.patience import machine_share, patience

STARVED = 5


async def test_seconds_without_the_machine_do_not_count() -> None:
    shares = iter([0.0] * STARVED)
    asked = 0

    def share() -> float:
        nonlocal asked
        asked += 1
        return next(shares, 1.0)

    with pytest.raises(TimeoutError):
        async with patience(0.001, share):
            await asyncio.Event().wait()
    assert asked == STARVED + 1


async def test_what_is_done_in_time_goes_on() -> None:
    async with patience(1000, lambda: 1.0):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) <= 2, "the watch is still there"
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


def test_a_machine_has_a_share_of_itself() -> None:
    assert 0 < machine_share() <= 1
