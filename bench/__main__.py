"""`make bench`: drive a real server over loopback, and hold it against floors of the same run."""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import grpc
import psycopg
import typer
from rich.console import Console
from rich.table import Table

from bench import floors, load, processor, runs, servers, signals
from trade_engine.embedded import EmbeddedServers
from trade_engine.storage.postgres.migrate import migrate
from trade_engine.v1 import market_data_service_pb2, market_data_service_pb2_grpc

IN_FLIGHT = (1, 16, 64, 256)
HERE = Path(__file__).parent
console = Console(stderr=True)


@dataclass(slots=True)
class Row:
    """The runs of one thing at one number in flight."""

    name: str
    in_flight: int
    runs: list[load.Outcome] = field(default_factory=list)
    cpu: list[dict[str, float]] = field(default_factory=list)
    """Of each run, the processor time of each part per signal, µs."""

    def median(self, of: Callable[[load.Outcome], float]) -> float:
        """The median over the runs."""
        return statistics.median(of(run) for run in self.runs)

    @property
    def per_second(self) -> float:
        """Signals, or calls, answered well per second."""
        return self.median(lambda run: run.per_second)

    @property
    def p50_ms(self) -> float:
        """Half of the answers came within this, ms."""
        return self.median(lambda run: run.latency_ms(0.5))

    @property
    def p99_ms(self) -> float:
        """All but a hundredth of the answers came within this, ms."""
        return self.median(lambda run: run.latency_ms(0.99))

    @property
    def cpu_us(self) -> dict[str, float]:
        """The processor time of each part per signal, µs."""
        return {name: statistics.median(each[name] for each in self.cpu) for name in self.cpu[0]}


def main(
    seconds: Annotated[float, typer.Option(help="length of each run")] = 4.0,
    rounds: Annotated[int, typer.Option(help="runs of each, floor and engine in turn")] = 3,
    database_url: Annotated[str, typer.Option(help="an empty database; default: embedded")] = "",
    redis_url: Annotated[str, typer.Option(help="an empty Redis; default: embedded")] = "",
) -> None:
    """Measure the path to capital. The last line is one JSON object of ratios."""
    if database_url and redis_url:
        ratios = _measure(database_url, redis_url, {}, seconds, rounds)
    else:
        with (
            tempfile.TemporaryDirectory(prefix="te-bench-") as folder,
            EmbeddedServers.start(Path(folder)) as stores,
        ):
            pids = {"postgres": stores.postgres_pid or 0, "redis": stores.valkey_pid or 0}
            ratios = _measure(stores.database_url, stores.redis_url, pids, seconds, rounds)
    (HERE / "results.json").write_text(json.dumps(ratios | _machine(), indent=2) + "\n")
    print(json.dumps(ratios))


def _measure(
    database_url: str, redis_url: str, stores: dict[str, int], seconds: float, rounds: int
) -> dict[str, Any]:
    """Stores are the pids of those that are watched."""
    migrate(database_url)
    script_ms = floors.script_ms(redis_url, 1)
    commit_ms = floors.commit_ms(database_url, 1)
    rows: dict[tuple[str, int], Row] = {}
    with (
        servers.echo_server() as echo_port,
        servers.engine(database_url, redis_url) as (port, pid),
    ):
        watched = {"engine": pid, **stores}
        publish_quotes(port)
        _run(rows, watched, "warm-up", 64, partial(runs.unary, port, 64, min(seconds, 2)))
        for _ in range(rounds):
            for count in IN_FLIGHT:
                _run(rows, {}, "echo", count, partial(runs.echo, echo_port, count, seconds / 2))
                _run(rows, watched, "unary", count, partial(runs.unary, port, count, seconds))
            for count in IN_FLIGHT[2:]:
                _run(rows, watched, "streamed", count, partial(runs.streamed, port, count, seconds))
        script_ms = min(script_ms, floors.script_ms(redis_url, 1))
        commit_ms = min(commit_ms, floors.commit_ms(database_url, 1))
        answered = sum(
            run.signals for (name, _), row in rows.items() if name != "echo" for run in row.runs
        )
        _check_rows(database_url, answered)
    _show(rows, script_ms, commit_ms)
    return _ratios(rows, script_ms, commit_ms)


def _run(
    rows: dict[tuple[str, int], Row],
    watched: dict[str, int],
    name: str,
    in_flight: int,
    measure: Callable[[], load.Outcome],
) -> None:
    before = processor.seconds(watched)
    outcome = measure()
    after = processor.seconds(watched)
    if outcome.failed:
        raise SystemExit(f"{name} at {in_flight} in flight: {outcome.failed} calls failed")
    row = rows.setdefault((name, in_flight), Row(name, in_flight))
    row.runs.append(outcome)
    row.cpu.append({each: (after[each] - before[each]) / outcome.signals * 1e6 for each in after})
    console.print(f"  {name:9} {in_flight:4} in flight  {outcome.per_second:9,.0f}/s")


def publish_quotes(port: int) -> None:
    """Give the engine on this port a fresh quote of every symbol."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = market_data_service_pb2_grpc.MarketDataServiceStub(channel)
        request = market_data_service_pb2.PublishQuotesRequest()
        for symbol in signals.SYMBOLS:
            quote = request.quotes.add(symbol=symbol, bid="99.99", ask="100.01", source="bench")
            quote.quote_time.FromNanoseconds(time.time_ns())
        stub.PublishQuotes(iter([request]))


def _check_rows(database_url: str, answered: int) -> None:
    """Every answered signal is a decision, and every approval has been filled."""
    url = database_url.replace("postgresql+psycopg://", "postgresql://")
    query = "SELECT count(*), count(*) FILTER (WHERE outcome = 'APPROVED') FROM decisions"
    with psycopg.connect(url, autocommit=True) as connection:
        deadline = time.monotonic() + 30
        while True:
            decisions, approved = connection.execute(query).fetchone() or (0, 0)
            [fills] = connection.execute("SELECT count(*) FROM fills").fetchone() or (0,)
            if (decisions, approved) == (answered, fills) or time.monotonic() > deadline:
                break
            time.sleep(0.2)
    if decisions != answered or approved != fills:
        raise SystemExit(
            f"answered {answered} signals, but Postgres has {decisions} decisions, "
            f"{approved} approvals and {fills} fills"
        )
    console.print(f"  {answered:,} answers are {decisions:,} decisions and {fills:,} fills")


def _show(rows: dict[tuple[str, int], Row], script_ms: float, commit_ms: float) -> None:
    table = Table(title=f"one script {script_ms:.3f} ms, one commit {commit_ms:.3f} ms")
    for heading in ("what", "in flight", "per second", "p50 ms", "p99 ms", "of the echo"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for (name, count), row in sorted(rows.items()):
        latency = ("", "")
        if name != "streamed":
            latency = (f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}")
        echo = rows.get(("echo", count))
        share = f"{row.per_second / echo.per_second:.2f}" if echo else ""
        table.add_row(name, str(count), f"{row.per_second:,.0f}", *latency, share)
    console.print(table)
    _show_processor(rows)


def _show_processor(rows: dict[tuple[str, int], Row]) -> None:
    parts = list(rows["unary", 64].cpu_us)
    if not parts:
        return
    table = Table(title="processor time per signal, µs")
    for heading in ("what", "in flight", *parts):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for (name, count), row in sorted(rows.items()):
        if row.cpu_us:
            table.add_row(name, str(count), *(f"{row.cpu_us[part]:,.0f}" for part in parts))
    console.print(table)


def _ratios(rows: dict[tuple[str, int], Row], script_ms: float, commit_ms: float) -> dict[str, Any]:
    def rate(name: str, count: int) -> float:
        return rows[name, count].per_second

    unary_64 = rows["unary", 64]
    floors_ms = rows["echo", 1].p50_ms + script_ms + commit_ms
    best_stream = max(rate("streamed", count) for count in IN_FLIGHT[2:])
    ratios = {
        f"unary_{count}_over_echo": rate("unary", count) / rate("echo", count)
        for count in IN_FLIGHT
    }
    ratios |= {
        "streamed_over_echo": best_stream / max(rate("echo", count) for count in IN_FLIGHT),
        "p50_1_over_floors": rows["unary", 1].p50_ms / floors_ms,
        "p99_over_p50_64": unary_64.p99_ms / unary_64.p50_ms,
    }
    ratios |= {f"{part}_us_64": spent for part, spent in unary_64.cpu_us.items()}
    return {name: round(value, 3) for name, value in ratios.items()}


def _machine() -> dict[str, Any]:
    packages = ("grpcio", "psycopg", "redis", "sqlalchemy", "uvloop", "orjson")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in packages},
    }


if __name__ == "__main__":
    typer.run(main)
