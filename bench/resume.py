"""`python -m bench.resume`: signals, while a subscriber resumes from 0 over a million entries.

Blocks with the subscriber and blocks without it take turns on one engine, so that a machine whose
speed varies is the same for both; a block's subscriber goes on where the last one's was hung up.
At the end it reads the rest alone: every entry has to come once, in order. The last line is one
JSON object; `gate_with_over_without` is the ratio of signals answered a second.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Annotated

import psutil
import psycopg
import typer

from bench import load, runs, servers
from bench.__main__ import publish_quotes
from bench.http2 import connect
from bench.streams import SUBSCRIBE
from trade_engine.embedded import EmbeddedServers
from trade_engine.storage.postgres.migrate import migrate
from trade_engine.v1 import signal_service_pb2 as pb

IN_FLIGHT = 64
MODELS = 60
"""So many real entries are repeated."""
ACCOUNT = "default"
FILL = """
    WITH head AS (SELECT sequence, head_hash FROM accounts WHERE account_id = %(account)s),
    model AS (
        SELECT row_number() OVER (ORDER BY sequence) - 1 AS at, * FROM journal
         WHERE account_id = %(account)s AND kind = 'EXECUTION' ORDER BY sequence LIMIT %(models)s
    )
    INSERT INTO journal (account_id, sequence, recorded_at_ns, kind, payload, prev_hash, hash)
    SELECT %(account)s, head.sequence + n, recorded_at_ns, kind, payload, prev_hash,
           CASE WHEN n = %(count)s THEN head.head_hash ELSE hash END
      FROM generate_series(1, %(count)s) n
      JOIN model ON at = n %% %(models)s, head
"""
MOVE = "UPDATE accounts SET sequence = sequence + %(count)s WHERE account_id = %(account)s"
EXPECTED = """
    SELECT count(*), max(sequence) FROM journal WHERE account_id = %(account)s
       AND (kind = 'EXECUTION' OR payload->'decision'->>'outcome' = 'APPROVED')
"""


@dataclass(slots=True)
class Heard:
    """How far a subscriber has come, over all its connections."""

    last: int = 0
    updates: int = 0
    out_of_order: int = 0
    blocks_per_s: list[float] = field(default_factory=list)


class Resuming:
    """A subscriber in a thread of its own, from where it stopped until it is hung up."""

    def __init__(self, port: int, heard: Heard, until: int = 0) -> None:
        self._port, self._heard, self._until = port, heard, until
        self._hang_up: Callable[[], object] = int
        self._thread = Thread(target=lambda: asyncio.run(self._read()))

    def __enter__(self) -> None:
        self._began, self._before = time.perf_counter(), self._heard.updates
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._hang_up()
        self._thread.join()
        seconds = time.perf_counter() - self._began
        self._heard.blocks_per_s.append((self._heard.updates - self._before) / seconds)

    def wait(self) -> None:
        """Until it has come to where it should."""
        self._thread.join()

    async def _read(self) -> None:
        heard, loop = self._heard, asyncio.get_running_loop()
        ended = asyncio.Event()
        self._hang_up = partial(loop.call_soon_threadsafe, ended.set)

        def take(_stream: int, content: bytes) -> None:
            for update in pb.StreamOrderUpdatesResponse.FromString(content).updates.updates:
                heard.out_of_order += update.sequence <= heard.last
                heard.last = update.sequence
                heard.updates += 1
            if self._until and heard.last >= self._until:
                ended.set()

        client = await connect(runs.HOST, self._port, SUBSCRIBE, lambda *_: ended.set(), take)
        request = pb.StreamOrderUpdatesRequest(after_sequence=heard.last)
        client.send(client.open_stream(), request.SerializeToString(), end=True)
        await ended.wait()
        client.close()


def fill(database_url: str, count: int) -> None:
    """Give the account so many more entries: real ones, over and over."""
    asked = {"account": ACCOUNT, "count": count, "models": MODELS}
    with _connected(database_url) as connection:
        connection.execute(FILL, asked)
        connection.execute(MOVE, asked)
        connection.execute("ANALYZE journal")


def main(
    entries: Annotated[int, typer.Option(help="how many lie behind")] = 1_000_000,
    seconds: Annotated[float, typer.Option(help="of each block")] = 5.0,
    rounds: Annotated[int, typer.Option(help="blocks of each kind")] = 6,
) -> None:
    """Measure what a subscriber that resumes from 0 costs those who send signals."""
    with (
        tempfile.TemporaryDirectory(prefix="te-bench-") as folder,
        EmbeddedServers.start(Path(folder)) as stores,
    ):
        migrate(stores.database_url)
        with servers.engine(stores.database_url, stores.redis_url) as (port, _):
            publish_quotes(port)
            runs.unary(port, IN_FLIGHT, 2)
        began = time.perf_counter()
        fill(stores.database_url, entries)
        print(f"{entries} entries filled in {time.perf_counter() - began:.0f} s", flush=True)
        with servers.engine(stores.database_url, stores.redis_url) as (port, pid):
            publish_quotes(port)
            told = _measure(stores.database_url, port, pid, seconds, rounds)
    print(json.dumps(told))


def _measure(
    database_url: str, port: int, pid: int, seconds: float, rounds: int
) -> dict[str, float]:
    heard, engine = Heard(), psutil.Process(pid)
    without: list[load.Outcome] = []
    beside: list[load.Outcome] = []
    runs.unary(port, IN_FLIGHT, seconds)  # warm
    rss_before = engine.memory_info().rss
    for number in range(rounds):
        publish_quotes(port)
        without.append(runs.unary(port, IN_FLIGHT, seconds))
        publish_quotes(port)
        with Resuming(port, heard):
            beside.append(runs.unary(port, IN_FLIGHT, seconds))
        told = f"{without[-1].per_second:.0f} signals/s, {beside[-1].per_second:.0f} beside"
        print(f"{number + 1}/{rounds}: {told} {heard.blocks_per_s[-1]:.0f} updates/s", flush=True)
    rss_after = engine.memory_info().rss
    with _connected(database_url) as connection:
        asked = {"account": ACCOUNT}
        [expected, last] = connection.execute(EXPECTED, asked).fetchone() or (0, 0)
    beside_per_s = statistics.median(heard.blocks_per_s)
    alone = Resuming(port, heard, until=last)
    with alone:
        alone.wait()
    if heard.updates != expected or heard.out_of_order or any(each.failed for each in beside):
        raise SystemExit(
            f"{heard.updates} of {expected} updates came, {heard.out_of_order} out of order"
        )
    ratios = [b.per_second / a.per_second for a, b in zip(without, beside, strict=True)]
    return {
        "entries": expected,
        "gate_with_over_without": round(statistics.median(ratios), 3),
        "p99_with_over_without": round(
            statistics.median(
                b.latency_ms(0.99) / a.latency_ms(0.99)
                for a, b in zip(without, beside, strict=True)
            ),
            2,
        ),
        "updates_per_s_beside": round(beside_per_s),
        "updates_per_s_alone": round(heard.blocks_per_s[-1]),
        "rss_before_mb": round(rss_before / 1e6),
        "rss_after_mb": round(rss_after / 1e6),
    }


def _connected(database_url: str) -> psycopg.Connection:
    url = database_url.replace("postgresql+psycopg://", "postgresql://")
    return psycopg.connect(url, autocommit=True)


if __name__ == "__main__":
    typer.run(main)
