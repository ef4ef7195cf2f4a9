"""StreamOrderUpdates: every change of an account's orders, in order, without gap or repetition.

Theory of operation. The journal is the source; nothing else is. For each account with subscribers
one *tail* reads new entries, once for all of them: soon after a wake (a local commit, or the
doorbell of another replica), and every `poll_s` in any case, since a wake may be lost. What it
reads becomes a batch, kept for a while, and offered to every subscriber.

A subscriber that begins at sequence N first catches up from the record by itself, page by page
(`catching_up`), until what the tail still keeps begins at or before N; then, without waiting in
between, it takes what the tail keeps after N, and follows it. So there is no gap; and since a
subscriber remembers what it was offered, nothing comes twice.

A subscriber that does not read does not hold up the tail: what it did not take yet is counted, and
past `lag_max` updates it is forgotten, and its stream ended with the sequence to resume after.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import structlog

from trade_engine.api.answers import heartbeat, order_snapshot, snapshot_end
from trade_engine.api.catching_up import CatchingUp
from trade_engine.api.errors import SequenceAhead
from trade_engine.api.order_tail import Subscriber, Tail
from trade_engine.api.update_batch import Batch, UpdateFilter, framed
from trade_engine.domain.clock import Clock
from trade_engine.domain.errors import (
    EngineError,
    ShuttingDown,
    StoreUnavailable,
    SubscriberLagged,
)
from trade_engine.execution.ports import RecordQueries
from trade_engine.v1 import signal_service_pb2 as pb

log = structlog.get_logger("trade_engine.order_updates")

Response = pb.StreamOrderUpdatesResponse | bytes
"""A message, or one that is serialized already."""


@dataclass(frozen=True, slots=True)
class HubSettings:
    """How the hub paces itself; `*_s` are seconds.

    poll_s: how often the record is asked without a wake. coalesce_s: how long a tail rests after a
    read at least, so that what is committed meanwhile is read together. It rests for half as long
    as the writing took where that is more: a message costs gRPC the same whatever is in it, and so
    many subscribers leave a third of the loop's time to others. give_up_s: for how long the record
    may fail before streams end with UNAVAILABLE. page: entries read at once, and updates in a
    message at most. lag_max: undelivered updates that a subscriber may have. recent_max: entries
    kept for those who join. readers_max: catch-ups that may ask the record at once, so that a crowd
    of them leaves it to the path to capital too.
    """

    poll_s: float = 1.0
    coalesce_s: float = 0.005
    heartbeat_s: float = 5.0
    give_up_s: float = 5.0
    page: int = 100
    lag_max: int = 10_000
    recent_max: int = 1000
    readers_max: int = 4


class OrderUpdateHub:
    """Feeds the streams of every account."""

    def __init__(
        self,
        queries: RecordQueries,
        clock: Clock,
        incident: Callable[[str, BaseException], EngineError],
        settings: HubSettings | None = None,
    ) -> None:
        self._queries = queries
        self._clock = clock
        self._incident = incident
        self._settings = settings or HubSettings()
        self._tails: dict[str, Tail] = {}
        self._tasks: dict[Tail, asyncio.Task[None]] = {}
        self._catching_up = CatchingUp(queries, self._settings.page, self._settings.readers_max)
        self._closed = False

    def wake(self, account_id: str, sequence: int) -> None:
        """Hint that an account's journal has grown to `sequence`; never blocks, never raises."""
        self._catching_up.committed()
        tail = self._tails.get(account_id)
        if tail is not None and sequence > tail.position:
            tail.woken.set()

    def close(self) -> None:
        """End every stream, once what was read is sent."""
        self._closed = True
        self._catching_up.close()
        for tail, task in self._tasks.items():
            task.cancel()
            tail.end(_shutting_down(), for_good=True)

    async def follow(
        self, account_id: str, which: UpdateFilter, after_sequence: int | None
    ) -> AsyncGenerator[Response, None]:
        """Give out what a stream sends, without an end.

        Raises:
            SequenceAhead: the journal has not come to after_sequence yet.
            SubscriberLagged: the stream was read too slowly; carries resume_sequence.
            StoreUnavailable: the record does not answer.
            ShuttingDown: the server stops.
        """
        if self._closed:
            raise _shutting_down()
        async with self._tail(account_id) as tail:
            if after_sequence is None:
                sent, orders = await self._queries.open_orders(account_id)
                wanted = [order for order in orders if which.lets_through(order)]
                for order in wanted:
                    yield order_snapshot(order)
                yield snapshot_end(sent, len(wanted))
            else:
                sent = after_sequence
                head = await self._queries.head(account_id) or 0
                if sent > head:
                    raise SequenceAhead(sent, head)
            pages = 0
            while sent < tail.floor:
                if self._closed:
                    raise _shutting_down()
                message, sent = await self._catching_up.read(tail, which, sent, pages)
                pages += 1
                if message:
                    yield message
            async with aclosing(self._live(tail, which, sent)) as responses:
                async for response in responses:
                    yield response

    async def _live(
        self, tail: Tail, which: UpdateFilter, sent: int
    ) -> AsyncGenerator[Response, None]:
        subscriber = Subscriber(which, sent, self._settings.lag_max)
        tail.join(subscriber)
        try:
            while True:
                await subscriber.woken.wait()
                subscriber.woken.clear()
                while views := subscriber.take(self._settings.page):
                    subscriber.beat_due = None
                    yield framed(views)
                    sent = views[-1].last
                if subscriber.lagged:
                    raise _lagged(sent, self._settings.lag_max)
                if subscriber.ended is not None:
                    raise subscriber.ended
                if subscriber.beat_due is not None:
                    sent, subscriber.beat_due = max(sent, subscriber.beat_due), None
                    yield heartbeat(sent, self._clock())
        finally:
            tail.subscribers.discard(subscriber)

    # ---- the tails --------------------------------------------------------------------------

    @asynccontextmanager
    async def _tail(self, account_id: str) -> AsyncIterator[Tail]:
        """The account's tail, which lives for as long as somebody uses it."""
        if account_id not in self._tails:
            head = await self._queries.head(account_id) or 0
            if self._closed:
                raise _shutting_down()
            if account_id not in self._tails:  # nobody else was quicker
                made = Tail(account_id, head, self._settings.recent_max)
                self._tails[account_id] = made
                self._tasks[made] = asyncio.create_task(self._run(made))
        tail = self._tails[account_id]
        tail.users += 1
        try:
            yield tail
        finally:
            tail.users -= 1
            if tail.users == 0:
                self._drop(tail)

    def _drop(self, tail: Tail) -> None:
        if self._tails.get(tail.account_id) is tail:
            del self._tails[tail.account_id]
        self._tasks.pop(tail).cancel()

    async def _run(self, tail: Tail) -> None:
        """Read the end of the journal until the tail is dropped."""
        loop = asyncio.get_running_loop()
        answered_s = beaten_s = loop.time()
        writing_s = 0.0
        while True:
            hinted = await self._rested(tail, writing_s)
            try:
                writing_s = await self._advance(tail, hinted=hinted)
            except StoreUnavailable as error:
                if loop.time() - answered_s > self._settings.give_up_s:
                    log.warning("streams ended", account_id=tail.account_id, cause=error.message)
                    tail.end(error, for_good=False)
                await asyncio.sleep(self._settings.poll_s)
                continue
            except Exception as error:  # noqa: BLE001  # a fault of ours must not stop it in silence
                self._tails.pop(tail.account_id, None)
                tail.end(self._incident("StreamOrderUpdates", error), for_good=True)
                return
            answered_s = loop.time()
            if answered_s - beaten_s >= self._settings.heartbeat_s:
                beaten_s = answered_s
                tail.beat()

    async def _rested(self, tail: Tail, writing_s: float) -> bool:
        """Rest, then wait for a wake, or for the time to look anyway; say whether it was a wake."""
        await asyncio.sleep(max(self._settings.coalesce_s, writing_s / 2))
        try:
            async with asyncio.timeout(self._settings.poll_s):
                await tail.woken.wait()
        except TimeoutError:
            return False
        tail.woken.clear()
        return True

    async def _advance(self, tail: Tail, *, hinted: bool) -> float:
        """Read what is new and publish it; say for how long that was written, in seconds."""
        loop, head, writing_s = asyncio.get_running_loop(), 0, 0.0
        if not hinted:  # only now, and before the entries: all up to it are then seen below
            head = await self._queries.head(tail.account_id) or 0
            if head <= tail.position:
                return writing_s
        while entries := await self._catching_up.entries(tail.account_id, tail.position):
            began_s = loop.time()
            await tail.publish(Batch(entries))
            writing_s += loop.time() - began_s
            if len(entries) < self._settings.page:
                break
        tail.passed(head)
        return writing_s


def _lagged(sent: int, lag_max: int) -> SubscriberLagged:
    return SubscriberLagged(
        f"the stream was read too slowly: more than {lag_max} updates were waiting. "
        f"Subscribe again with after_sequence {sent}.",
        resume_sequence=str(sent),
        lag_max=str(lag_max),
    )


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("this replica is stopping. Subscribe again with the last sequence.")
