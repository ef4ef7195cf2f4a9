"""Load: so many calls in flight against a server, each timed. Runs in a process of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import uvloop

from bench.http2 import Client, connect
from trade_engine.v1 import signal_service_pb2


@dataclass(slots=True)
class Outcome:
    """What a load saw. Times are in seconds; signals counts what was answered well."""

    seconds: float = 0.0
    signals: int = 0
    failed: int = 0
    latencies: list[float] = field(default_factory=list)

    def latency_ms(self, share: float) -> float:
        """A quantile of the latencies, in ms."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000

    @property
    def per_second(self) -> float:
        """Signals answered well per second."""
        return self.signals / self.seconds


def unary(
    host: str, port: int, path: str, bodies: Iterator[bytes], in_flight: int, seconds: float
) -> Outcome:
    """Keep `in_flight` unary calls open for so long."""
    return uvloop.run(_unary(host, port, path, bodies, in_flight, seconds))


async def _unary(
    host: str, port: int, path: str, bodies: Iterator[bytes], in_flight: int, seconds: float
) -> Outcome:
    outcome, clock = Outcome(), time.perf_counter
    begun: dict[int, float] = {}
    idle = asyncio.Event()

    def ended(stream: int, _body: bytes, good: bool) -> None:  # noqa: FBT001  a callback's
        now = clock()
        outcome.latencies.append(now - begun.pop(stream))
        outcome.signals += good
        outcome.failed += not good
        if now < deadline:
            begin()
        elif not begun:
            idle.set()

    def begin() -> None:
        at = clock()
        begun[client.request(next(bodies))] = at

    client: Client = await connect(host, port, path, ended)
    start = clock()
    deadline = start + seconds
    for _ in range(in_flight):
        begin()
    await asyncio.wait_for(idle.wait(), seconds + 30)
    outcome.seconds = clock() - start
    client.close()
    return outcome


def streamed(
    host: str,
    port: int,
    path: str,
    batches: Iterator[bytes],
    per_message: int,
    in_flight: int,
    seconds: float,
) -> Outcome:
    """Keep `in_flight` signals open on one bidirectional stream, several per message."""
    return uvloop.run(_streamed(host, port, path, batches, per_message, in_flight, seconds))


async def _streamed(
    host: str,
    port: int,
    path: str,
    batches: Iterator[bytes],
    per_message: int,
    in_flight: int,
    seconds: float,
) -> Outcome:
    outcome, clock = Outcome(), time.perf_counter
    idle = asyncio.Event()
    open_signals = 0
    parse: Callable[[bytes], signal_service_pb2.SubmitSignalsResponse]
    parse = signal_service_pb2.SubmitSignalsResponse.FromString

    def message(_stream: int, content: bytes) -> None:
        nonlocal open_signals
        for result in parse(content).results:
            good = result.HasField("decision")
            outcome.signals += good
            outcome.failed += not good
            open_signals -= 1
        while clock() < deadline and open_signals + per_message <= in_flight:
            begin()
        if not open_signals:
            idle.set()

    def begin() -> None:
        nonlocal open_signals
        open_signals += per_message
        client.send(stream, next(batches))

    client = await connect(host, port, path, lambda *_: idle.set(), message)
    stream = client.open_stream()
    start = clock()
    deadline = start + seconds
    while open_signals + per_message <= in_flight:
        begin()
    await asyncio.wait_for(idle.wait(), seconds + 30)
    outcome.seconds = clock() - start
    client.close()
    return outcome
