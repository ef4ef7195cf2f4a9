"""The soak: `make soak MINUTES=60`, an engine under clients that hang up and come back.

    python -m tests.faults.soak [--minutes 2] [--pause-ms 0] [--folder build/soak]

The product's own engine on its private stores, and for so long: strategies that call again at
once, or after a pause, and give calls up in the middle, channels that are thrown away, subscribers
that leave and resume, one that never reads, cancels, quotes. Each interval tells memory, open
connections, file descriptors, threads and latency; soak.csv and soak.svg hold them all. Exit code
1: something grows that should not.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import grpc
import psutil

from tests.faults.plot import Curve, svg
from tests.support.e2e import WIDE_LIMITS, Client, connected, submit_request
from tests.support.engine_process import EngineProcess, engine_process
from trade_engine.v1 import signal_service_pb2

STRATEGIES = 6
SUBSCRIBERS = 4
GIVE_UP_S = 0.004
CALLS_PER_CHANNEL = 40
SAMPLES = 120
GROWTH_MAX = 0.3
"""Of memory, from the middle of the soak to its end; caches fill before."""
SPARE = 20
"""File descriptors and connections come and go: so many more at the end are no leak."""


@dataclass(frozen=True)
class Sample:
    """How the engine stood at the end of an interval, and how it answered in it."""

    at_s: float
    rss_mb: float
    fds: int
    connections: int
    threads: int
    answers: int
    given_up: int
    p50_ms: float
    p99_ms: float


class Soak:
    """Clients without end, and what they count."""

    def __init__(self, target: str, pause_s: float) -> None:
        self._target = target
        self._pause_s = pause_s
        self._numbers = itertools.count()
        self._latencies_ms: list[float] = []
        self._given_up = 0
        self._chance = random.Random(1)

    async def run(self, engine: EngineProcess, seconds: float) -> list[Sample]:
        tasks = [
            *(asyncio.create_task(self._strategy(n)) for n in range(STRATEGIES)),
            *(asyncio.create_task(self._subscriber()) for _ in range(SUBSCRIBERS)),
            asyncio.create_task(self._deaf_subscriber()),
            asyncio.create_task(self._feed()),
        ]
        try:
            return await self._sample(psutil.Process(engine.process.pid), seconds, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _sample(
        self, process: psutil.Process, seconds: float, tasks: Sequence[asyncio.Task[None]]
    ) -> list[Sample]:
        began, samples = time.monotonic(), list[Sample]()
        every_s = max(1.0, seconds / SAMPLES)
        while time.monotonic() - began < seconds:
            await asyncio.sleep(every_s)
            for task in tasks:
                if task.done():
                    task.result()  # a client that died says why
            taken, self._latencies_ms = sorted(self._latencies_ms), []
            given_up, self._given_up = self._given_up, 0
            sample = Sample(
                at_s=round(time.monotonic() - began, 1),
                rss_mb=round(process.memory_info().rss / 1e6, 1),
                fds=process.num_fds(),
                connections=len(process.net_connections()),
                threads=process.num_threads(),
                answers=len(taken),
                given_up=given_up,
                p50_ms=_quantile(taken, 0.5),
                p99_ms=_quantile(taken, 0.99),
            )
            samples.append(sample)
            print(
                "  ".join(f"{name} {value}" for name, value in asdict(sample).items()), flush=True
            )
        return samples

    async def _strategy(self, number: int) -> None:
        """Call, give some calls up in the middle, cancel orders; a new channel now and then."""
        while True:
            async with connected(self._target) as client:
                for _ in range(CALLS_PER_CHANNEL):
                    await self._call(client, number)
                    await asyncio.sleep(self._pause_s)

    async def _call(self, client: Client, number: int) -> None:
        at = next(self._numbers)
        up = at // 50 % 2 == 0
        request = submit_request(
            f"soak-{at}",
            strategy_id=f"s{number}",
            side="BUY" if up else "SELL",
            target_exposure=15_000.0 if up else 0.0,
        )
        gives_up = at % 7 == 0
        began = time.perf_counter()
        try:
            answer = await client.signals.SubmitSignal(
                request, timeout=GIVE_UP_S if gives_up else 10
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
            self._given_up += 1
            return
        self._latencies_ms.append((time.perf_counter() - began) * 1000)
        if answer.decision.order_id and at % 5 == 0:
            cancel = signal_service_pb2.CancelOrderRequest(order_id=answer.decision.order_id)
            with suppress(grpc.aio.AioRpcError):  # it has filled already
                await client.signals.CancelOrder(cancel, timeout=10)

    async def _subscriber(self) -> None:
        last = 0
        while True:
            async with connected(self._target) as client:
                request = signal_service_pb2.StreamOrderUpdatesRequest(after_sequence=last)
                call = client.signals.StreamOrderUpdates(request)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._chance.uniform(0.3, 2.0)):
                        async for response in call:
                            for update in response.updates.updates:
                                assert update.sequence > last, "an update came twice"
                                last = update.sequence
                call.cancel()

    async def _deaf_subscriber(self) -> None:
        """Reads one message, and then never again, until it leaves."""
        while True:
            async with connected(self._target) as client:
                call = client.signals.StreamOrderUpdates(
                    signal_service_pb2.StreamOrderUpdatesRequest(after_sequence=0)
                )
                with suppress(grpc.aio.AioRpcError):
                    await call.read()
                await asyncio.sleep(5)
                call.cancel()

    async def _feed(self) -> None:
        async with connected(self._target) as client:
            while True:
                await client.publish()
                await asyncio.sleep(0.2)


def _quantile(taken: Sequence[float], part: float) -> float:
    return round(taken[min(len(taken) - 1, int(len(taken) * part))], 2) if taken else 0.0


def slope_per_hour(samples: Sequence[Sample]) -> float:
    """How fast memory grows in the second half of the samples, MB an hour, by least squares."""
    half = samples[len(samples) // 2 :]
    middle_s = sum(each.at_s for each in half) / len(half)
    mean = sum(each.rss_mb for each in half) / len(half)
    spread = sum((each.at_s - middle_s) ** 2 for each in half)
    together = sum((each.at_s - middle_s) * (each.rss_mb - mean) for each in half)
    return 3600 * together / spread if spread else 0.0


def grows(samples: Sequence[Sample]) -> list[str]:
    """What grows that should not, in words."""
    quarter = max(1, len(samples) // 4)
    first, last = samples[:quarter], samples[-quarter:]
    found = []
    for name in ("fds", "connections", "threads"):
        before = max(getattr(each, name) for each in first)
        after = min(getattr(each, name) for each in last)
        if after > before + SPARE:
            found.append(f"{name} from {before} to {after}")
    middle, end = samples[len(samples) // 2].rss_mb, samples[-1].rss_mb
    if end > middle * (1 + GROWTH_MAX):
        found.append(f"memory from {middle} MB to {end} MB")
    return found


def soak(seconds: float, folder: Path, pause_s: float = 0) -> tuple[list[Sample], list[str]]:
    """Soak for so long; the folder has soak.csv and soak.svg afterward."""
    folder.mkdir(parents=True, exist_ok=True)
    limits = folder / "limits.toml"
    limits.write_text(WIDE_LIMITS)
    with tempfile.TemporaryDirectory(prefix="te-soak-") as data_dir:
        arguments = ("--data-dir", data_dir, "--limits", limits)
        with engine_process(*arguments, log=folder / "engine.log") as engine:
            samples = asyncio.run(Soak(engine.target, pause_s).run(engine, seconds))
    _write(samples, folder)
    return samples, grows(samples)


def _write(samples: list[Sample], folder: Path) -> None:
    with (folder / "soak.csv").open("w", newline="") as file:
        rows = csv.DictWriter(file, [each.name for each in fields(Sample)])
        rows.writeheader()
        rows.writerows(map(asdict, samples))
    curves = [
        Curve("resident memory", "MB", [each.rss_mb for each in samples]),
        Curve("file descriptors", "open", [each.fds for each in samples]),
        Curve("connections", "open", [each.connections for each in samples]),
        Curve("answer, 99th percentile", "ms", [each.p99_ms for each in samples]),
        Curve("answers", "per interval", [each.answers for each in samples]),
    ]
    heading = f"Soak: {sum(each.answers for each in samples)} answers in {samples[-1].at_s:.0f} s"
    (folder / "soak.svg").write_text(svg(heading, [each.at_s for each in samples], curves))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--pause-ms", type=float, default=0, help="between a strategy's calls")
    parser.add_argument("--folder", type=Path, default=Path("build/soak"))
    asked = parser.parse_args()
    samples, growing = soak(asked.minutes * 60, asked.folder, asked.pause_ms / 1000)
    last = samples[-1]
    print(
        f"\n{sum(each.answers for each in samples)} answers,"
        f" {sum(each.given_up for each in samples)} calls given up in {last.at_s:.0f} s."
        f" Memory {samples[0].rss_mb} to {last.rss_mb} MB,"
        f" {slope_per_hour(samples):+.1f} MB an hour over the second half;"
        f" descriptors {samples[0].fds} to {last.fds},"
        f" connections {samples[0].connections} to {last.connections};"
        f" p99 {min(each.p99_ms for each in samples)} to"
        f" {max(each.p99_ms for each in samples)} ms. Plot: {asked.folder / 'soak.svg'}"
    )
    print(f"GROWS: {'; '.join(growing)}" if growing else "Nothing grows that should not.")
    return 1 if growing else 0


if __name__ == "__main__":
    sys.exit(main())
