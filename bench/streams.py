"""`python -m bench.streams`: many subscribers on one account's order updates, paced by signals.

Signals are sent at an even pace through one stream, each of them three updates (approved, new,
filled). The subscribers sit in a process of their own and read every message: an update that is
missing, doubled or out of order fails the run. Lag is from the commit that an update is part of, as
PostgreSQL stamps it before it writes to disk, to its arrival; `since_decided` from the instant that
its batch was computed for. The last line is one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
import uvloop

from bench import load, processor, runs, servers, signals
from bench.__main__ import publish_quotes
from bench.http2 import Client, connect
from trade_engine.embedded import EmbeddedServers
from trade_engine.storage.postgres.migrate import migrate
from trade_engine.v1 import signal_service_pb2 as pb

SUBSCRIBE = "/trade_engine.v1.SignalService/StreamOrderUpdates"
UPDATES_PER_SIGNAL = 3
STREAMS_PER_CONNECTION = 50
SETTLE_S = 20.0
PARSED_MAX = 1000
SAMPLE = 10
"""Every tenth subscriber's arrivals are kept: all would be half a million numbers a second."""


@dataclass(slots=True)
class Heard:
    """What the subscribers heard; when what arrived, in seconds, at sampled ones."""

    updates: int = 0
    messages: int = 0
    faults: int = 0
    lasts: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    arrivals: list[tuple[float, tuple[int, ...]]] = field(default_factory=list)

    def lags_ms(self, since: Mapping[int, float]) -> list[float]:
        """How long after an instant, given by sequence in seconds, updates arrived; in order."""
        return sorted(
            (at - since[sequence]) * 1000 for at, told in self.arrivals for sequence in told
        )


@dataclass(slots=True)
class Parsed:
    """What a message says: of which sequences its updates are."""

    ends_snapshot: bool
    sequences: tuple[int, ...]
    faults: int


class Audience:
    """Subscribers that read all that comes, and note what does not follow on."""

    def __init__(self, size: int) -> None:
        self.heard = Heard(lasts=[0] * size, counts=[0] * size)
        self.ready = asyncio.Event()
        self._waiting = size
        self._parsed: dict[bytes, Parsed] = {}

    async def join(self, port: int) -> list[Client]:
        """Open the streams, some to a connection, and wait until each has had its snapshot."""
        clients = []
        request = pb.StreamOrderUpdatesRequest().SerializeToString()
        size = len(self.heard.lasts)
        for first in range(0, size, STREAMS_PER_CONNECTION):
            places: dict[int, int] = {}

            def message(stream: int, content: bytes, places: dict[int, int] = places) -> None:
                self._take(places[stream], content)

            client = await connect(runs.HOST, port, SUBSCRIBE, self._ended, message)
            for place in range(first, min(first + STREAMS_PER_CONNECTION, size)):
                stream = client.open_stream()
                places[stream] = place
                client.send(stream, request, end=True)
            clients.append(client)
        await asyncio.wait_for(self.ready.wait(), 60)
        return clients

    def _ended(self, _stream: int, _body: bytes, _good: bool) -> None:  # noqa: FBT001  a callback's
        self.heard.faults += 1  # nobody hung up

    def _take(self, place: int, content: bytes) -> None:
        heard, now = self.heard, time.time()
        parsed = self._parsed.get(content) or self._parse(content)
        if parsed.ends_snapshot:
            self._waiting -= 1
            if not self._waiting:
                self.ready.set()
        heard.messages += 1
        told = parsed.sequences
        if not told:
            return
        heard.faults += parsed.faults + (told[0] <= heard.lasts[place])
        heard.lasts[place] = told[-1]
        heard.counts[place] += len(told)
        if place % SAMPLE == 0:
            heard.arrivals.append((now, told))

    def _parse(self, content: bytes) -> Parsed:
        """Read a message; many subscribers get the same bytes, which say the same to each."""
        response = pb.StreamOrderUpdatesResponse.FromString(content)
        sequences = tuple(update.sequence for update in response.updates.updates)
        parsed = self._parsed[content] = Parsed(
            response.HasField("snapshot_end"),
            sequences,
            sum(after <= before for before, after in pairwise(sequences)),
        )
        if len(self._parsed) > PARSED_MAX:
            del self._parsed[next(iter(self._parsed))]
        return parsed


def listen(port: int, size: int, expected: int, begin: str) -> Heard:
    """Subscribe, say so by the file `begin`, and listen until each has heard what is expected."""
    return uvloop.run(_listen(port, size, expected, Path(begin)))


async def _listen(port: int, size: int, expected: int, begin: Path) -> Heard:
    audience = Audience(size)
    clients = await audience.join(port)
    await asyncio.to_thread(begin.touch)
    heard, quiet, before = audience.heard, 0.0, -1
    while min(heard.counts) < expected and quiet < SETTLE_S:
        await asyncio.sleep(0.1)
        quiet = quiet + 0.1 if sum(heard.counts) == before else 0.0
        before = sum(heard.counts)
    for client in clients:
        client.close()
    heard.updates = sum(heard.counts)
    return heard


def pace(port: int, per_second: float, count: int, every_s: float) -> load.Outcome:
    """Send so many signals on one stream, those that are due in one message after each pause."""
    return uvloop.run(_pace(port, per_second, count, every_s))


async def _pace(port: int, per_second: float, count: int, every_s: float) -> load.Outcome:
    outcome, done = load.Outcome(), asyncio.Event()

    def message(_stream: int, content: bytes) -> None:
        for result in pb.SubmitSignalsResponse.FromString(content).results:
            good = result.HasField("decision") and result.decision.order_id != ""
            outcome.signals += good
            outcome.failed += not good
        if outcome.signals + outcome.failed >= count:
            done.set()

    source = signals.signals(secrets.token_hex(4))
    client = await connect(runs.HOST, port, runs.STREAM, lambda *_: done.set(), message)
    stream, sent, start = client.open_stream(), 0, time.perf_counter()
    while sent < count:
        due = min(int((time.perf_counter() - start) * per_second) + 1, count) - sent
        if due > 0:
            batch = [next(source) for _ in range(min(due, 64))]
            client.send(stream, pb.SubmitSignalsRequest(signals=batch).SerializeToString())
            sent += len(batch)
        await asyncio.sleep(every_s)
    await asyncio.wait_for(done.wait(), 60)
    outcome.seconds = time.perf_counter() - start
    client.close()
    return outcome


def main(
    subscribers: Annotated[int, typer.Option(help="how many, all on one account")] = 500,
    updates: Annotated[int, typer.Option(help="updates per second that signals make")] = 1000,
    seconds: Annotated[float, typer.Option(help="for how long")] = 10.0,
    every_ms: Annotated[float, typer.Option(help="between two messages with signals")] = 10.0,
) -> None:
    """Measure what subscribers get of the updates that signals make, and how late."""
    count = int(updates / UPDATES_PER_SIGNAL * seconds)
    with (
        tempfile.TemporaryDirectory(prefix="te-bench-") as folder,
        _stamping(Path(folder)) as stores,
    ):
        migrate(stores.database_url)
        with servers.engine(stores.database_url, stores.redis_url) as (port, pid):
            publish_quotes(port)
            before = processor.seconds({"engine": pid})
            heard, sent = _measure(
                port, subscribers, updates, count, every_ms / 1000, Path(folder) / "begin"
            )
            spent = processor.seconds({"engine": pid})
        committed, decided = _instants(stores.database_url)
    head = len(committed)
    expected = head * subscribers
    lags, since_decided = heard.lags_ms(committed), heard.lags_ms(decided)
    told = {
        "subscribers": subscribers,
        "updates_per_second": round(head / sent.seconds),
        "delivered_per_second": round(heard.updates / sent.seconds),
        "delivered_share": round(heard.updates / expected, 4),
        "updates_per_message": round(heard.updates / heard.messages, 1),
        "engine_cores": round(sum(spent[each] - before[each] for each in before) / sent.seconds, 2),
        "lag_p50_ms": _quantile(lags, 0.5),
        "lag_p99_ms": _quantile(lags, 0.99),
        "since_decided_p50_ms": _quantile(since_decided, 0.5),
        "since_decided_p99_ms": _quantile(since_decided, 0.99),
    }
    print(json.dumps(told))
    if heard.updates != expected or heard.faults or sent.failed:
        raise SystemExit(
            f"{heard.updates} of {expected} updates came, {heard.faults} out of order, "
            f"{sent.failed} signals failed"
        )


def _measure(
    port: int, subscribers: int, updates: int, count: int, every_s: float, begin: Path
) -> tuple[Heard, load.Outcome]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context) as pool:
        expected = count * UPDATES_PER_SIGNAL
        listening = pool.submit(listen, port, subscribers, expected, str(begin))
        while not begin.exists() and not listening.done():
            time.sleep(0.05)
        sent = pool.submit(pace, port, updates / UPDATES_PER_SIGNAL, count, every_s).result()
        return listening.result(), sent


@contextmanager
def _stamping(folder: Path) -> Iterator[EmbeddedServers]:
    """Stores of which PostgreSQL remembers when it committed; a setting that needs a restart."""
    with EmbeddedServers.start(folder) as stores, _connected(stores.database_url) as connection:
        connection.execute("ALTER SYSTEM SET track_commit_timestamp = on")
    with EmbeddedServers.start(folder) as stores:
        yield stores


def _instants(database_url: str) -> tuple[dict[int, float], dict[int, float]]:
    """When each update of the record was committed, and what it was computed for, in seconds."""
    query = """
        SELECT sequence, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8,
               recorded_at_ns / 1e9::float8
          FROM journal WHERE kind IN ('DECISION', 'EXECUTION')"""
    with _connected(database_url) as connection:
        rows = connection.execute(query).fetchall()
    return {row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows}


def _connected(database_url: str) -> psycopg.Connection[tuple[Any, ...]]:
    url = database_url.replace("postgresql+psycopg://", "postgresql://")
    return psycopg.connect(url, autocommit=True)


def _quantile(ordered: list[float], share: float) -> float:
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 1)


if __name__ == "__main__":
    typer.run(main)
