"""Limits of time that hold on a machine which others use too.

What a run promises within so many seconds, it promises for a machine that is its own. On one that
gives it a tenth of a core a second is worth a tenth of one: so the seconds are counted by what a
piece of fixed work could get done in them. Whatever is stuck is still so when they have run out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LOOK_EVERY_S = 0.2
WORK = range(500_000)
WORK_S = 0.02
"""How long the work takes at least on two cores of their own; a faster machine is as one."""
SHARE_MIN = 0.05


def machine_share() -> float:
    """The part of such a machine that this process gets just now, from SHARE_MIN to 1."""
    began = time.monotonic()
    sum(WORK)
    return max(SHARE_MIN, min(1.0, WORK_S / (time.monotonic() - began)))


@asynccontextmanager
async def patience(
    limit_s: float, share: Callable[[], float] = machine_share
) -> AsyncIterator[None]:
    """Like `asyncio.timeout`, with each second counted for the share of the machine that it had."""
    async with asyncio.timeout(None) as limit:
        watch = asyncio.create_task(_run_out(limit, limit_s, share))
        try:
            yield
        finally:
            watch.cancel()


async def _run_out(limit: asyncio.Timeout, limit_s: float, share: Callable[[], float]) -> None:
    counted_s, then = 0.0, time.monotonic()
    while counted_s < limit_s:
        await asyncio.sleep(LOOK_EVERY_S)
        had = share()
        now = time.monotonic()
        counted_s, then = counted_s + had * (now - then), now
    limit.reschedule(asyncio.get_running_loop().time())
