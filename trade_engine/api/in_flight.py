"""What is under way, and how it ends: the engine's work outlives the calls that asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Result = TypeVar("Result")


class InFlight:
    """Work handed to the engine, and streams that must be told when the server stops.

    gRPC cancels a handler as soon as its client hangs up or its deadline passes. Work runs in
    tasks of its own, so that it is never cut off; stopping waits for them.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_closing: set[Callable[[], object]] = set()
        self.closing = False

    def start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Run `work` to its end, whatever becomes of whoever asked for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def finish(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Wait for `work`; when the waiter is canceled, the work goes on."""
        return await asyncio.shield(self.start(work))

    @contextmanager
    def ended_by(self, callback: Callable[[], object]) -> Iterator[None]:
        """Call back when the server stops, from now until the block is left."""
        self._on_closing.add(callback)
        try:
            yield
        finally:
            self._on_closing.discard(callback)

    def close(self) -> None:
        """Take nothing new: tell every stream that it ends."""
        self.closing = True
        for callback in list(self._on_closing):
            callback()

    async def drained(self) -> None:
        """Wait until no work is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)
