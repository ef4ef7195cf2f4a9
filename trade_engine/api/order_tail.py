"""The live end of an account's order updates: one reader of the journal, many subscribers.

`position` is how far the journal was read, `floor` where `recent` begins: recent holds every
entry with floor < sequence <= position.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice

from trade_engine.api.update_batch import Batch, UpdateFilter, View
from trade_engine.domain.errors import EngineError

OFFERED_AT_ONCE = 500
"""Subscribers that are woken in one turn of the loop: each writes a message before others run."""


class Subscriber:
    """One live stream: what it was offered and did not take yet."""

    def __init__(self, which: UpdateFilter, after_sequence: int, lag_max: int) -> None:
        self._which = which
        self._lag_max = lag_max
        self._offered = after_sequence
        self._views: deque[View] = deque()
        self._undelivered = 0
        self.woken = asyncio.Event()
        """Set when there is something to take, a heartbeat is due, or the stream has to end."""
        self.lagged = False
        self.ended: EngineError | None = None
        self.beat_due: int | None = None
        """The position of the tail that a heartbeat is due to tell."""

    def offer(self, batch: Batch) -> None:
        """Note what is wanted of a batch, unless it was offered before; never waits."""
        if self.lagged or batch.last <= self._offered:
            return
        view = batch.view(self._which, self._offered)
        self._offered = batch.last
        if view is None:
            return
        self._views.append(view)
        self._undelivered += view.count
        if self._undelivered > self._lag_max:
            self.lagged = True
            self._views.clear()
        self.woken.set()

    def take(self, count_max: int) -> list[View]:
        """What to send next, as one message; nothing when there is nothing."""
        taken: list[View] = []
        count = 0
        while self._views and (not taken or count + self._views[0].count <= count_max):
            taken.append(self._views.popleft())
            count += taken[-1].count
        self._undelivered -= count
        return taken

    def end(self, error: EngineError) -> None:
        """Have the stream end with an error, once what was offered is sent."""
        self.ended = self.ended or error
        self.woken.set()

    def beat(self, position: int) -> None:
        """Have the stream send a heartbeat, if it has nothing better to send.

        All that is wanted up to position was offered.
        """
        self.beat_due = position
        self.woken.set()


class Tail:
    """The end of one account's journal, and those who follow it."""

    def __init__(self, account_id: str, position: int, recent_max: int) -> None:
        self.account_id = account_id
        self.position = position
        self.floor = position
        self.users = 0
        """Streams that need the tail, those that are still catching up included."""
        self.woken = asyncio.Event()
        self.subscribers: set[Subscriber] = set()
        self._over: EngineError | None = None
        self._recent: deque[Batch] = deque()
        self._recent_count = 0
        self._recent_max = recent_max

    async def publish(self, batch: Batch) -> None:
        """Offer what was read next to everybody, and keep it for those who join.

        Subscribers write as soon as the loop gets to them. It gets to some at a time, so that the
        path to capital takes its turns in between, however many they are.
        """
        self.position = batch.last
        self._recent.append(batch)
        self._recent_count += batch.size
        while self._recent_count > self._recent_max:
            oldest = self._recent.popleft()
            self._recent_count -= oldest.size
            self.floor = oldest.last
        everybody = iter(tuple(self.subscribers))
        while some := tuple(islice(everybody, OFFERED_AT_ONCE)):
            for subscriber in some:
                subscriber.offer(batch)
            await asyncio.sleep(0)

    def passed(self, head: int) -> None:
        """Note that the journal was read up to `head`, where there was nothing about orders."""
        self.position = max(self.position, head)

    def join(self, subscriber: Subscriber) -> None:
        """Offer what is recent, and from now on everything. The subscriber is at or past floor."""
        for batch in self._recent:
            subscriber.offer(batch)
        self.subscribers.add(subscriber)
        if self._over is not None:
            subscriber.end(self._over)

    def end(self, error: EngineError, *, for_good: bool) -> None:
        """End every live stream; for good means also those that join from now on."""
        if for_good:
            self._over = error
        for subscriber in self.subscribers:
            subscriber.end(error)

    def beat(self) -> None:
        """Have every idle stream send a heartbeat."""
        for subscriber in self.subscribers:
            subscriber.beat(self.position)
