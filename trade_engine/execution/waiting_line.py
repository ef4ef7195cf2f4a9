"""The line before the gate: what waits for the next batch, and when the batch begins.

A batch costs a transaction whatever it holds, so it pays to let those join who are about to come.
Clients that wait for their answers send again as soon as they have them: as many signals as stood
open lately will be here in a moment. The line waits for nine tenths of them, two milliseconds at
most; with a single client it waits for nobody. Reports alone wait as long for a signal to share
their transaction with. What an operator or the router asks is never kept waiting, nor does it
queue behind signals.
"""

from __future__ import annotations

import asyncio
from collections import deque

from trade_engine.execution.requests import (
    EvaluateRequest,
    ReportsRequest,
    Request,
    SubmitRequest,
)

BATCH_MAX = 128
"""Requests per batch: enough to fill a transaction, few enough to answer soon."""
LINGER_S = 0.002
EXPECTED_SHARE = 0.9
FADING = 0.8
"""How the number of signals that stood open fades with each batch."""


class WaitingLine:
    """Requests in order of arrival, those of operators and of the router first."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque()
        self._hurried: deque[Request] = deque()
        self._signals = 0
        self._stood_open = 0.0
        self._wanted: int | None = None
        self._begin = asyncio.Event()

    def __len__(self) -> int:
        return len(self._hurried) + len(self._requests)

    def join(self, request: Request) -> None:
        """Let a request wait for the next batch."""
        if is_signal(request):
            self._requests.append(request)
            self._signals += 1
            begins = self._wanted is None or self._signals >= self._wanted
        elif isinstance(request, ReportsRequest):
            self._requests.append(request)
            begins = self._wanted is None
        else:
            self._hurried.append(request)
            begins = True
        if begins:
            self._begin.set()

    async def arrival(self) -> None:
        """Wait until there is something."""
        while not len(self):
            self._begin.clear()
            await self._begin.wait()

    async def next_batch(self) -> list[Request]:
        """Let those join who are about to come; answers with the batch. The line is not empty."""
        expected = min(max(int(self._stood_open * EXPECTED_SHARE), 1), BATCH_MAX)
        if not self._hurried and self._signals < expected:
            self._wanted = expected
            self._begin.clear()
            try:
                async with asyncio.timeout(LINGER_S):
                    await self._begin.wait()
            except TimeoutError:
                pass  # who is not here by now comes with the next batch
            finally:
                self._wanted = None
        return self._take()

    def settled(self, batch: list[Request]) -> None:
        """A batch is through: whoever sent its signals is about to send again."""
        open_now = sum(map(is_signal, batch)) + self._signals
        self._stood_open = max(open_now, self._stood_open * FADING)

    def _take(self) -> list[Request]:
        batch = [self._hurried.popleft() for _ in range(min(len(self._hurried), BATCH_MAX))]
        count = min(len(self._requests), BATCH_MAX - len(batch))
        batch += [self._requests.popleft() for _ in range(count)]
        self._signals -= sum(map(is_signal, batch))
        return batch


def is_signal(request: Request) -> bool:
    """Whether a client waits for its answer before it sends the next: a signal, or a what-if."""
    return isinstance(request, SubmitRequest | EvaluateRequest)
