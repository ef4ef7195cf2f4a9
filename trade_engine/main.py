"""The program: from settings to a serving engine, and back to nothing left running.

`python -m trade_engine.main` and `trade-engine serve` are the same.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from trade_engine import __version__, grpc_core  # noqa: F401  before grpc
from trade_engine.api.listening import check_free
from trade_engine.api.server import Server, ServerSettings
from trade_engine.brokers.fix_config import FixConfig
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.config.brokers import load_brokers
from trade_engine.config.rulebook import load_rulebook, unset_limits
from trade_engine.config.settings import Settings
from trade_engine.config.whereabouts import Whereabouts, noted
from trade_engine.domain.clock import NS_PER_MS
from trade_engine.domain.errors import EngineError, StoreUnavailable
from trade_engine.domain.rulebook import Rulebook
from trade_engine.embedded import EmbeddedServers, ServerDidNotStart
from trade_engine.execution.limits_at_start import OnOtherLimits
from trade_engine.execution.observer import Alert
from trade_engine.logs import configure_logs
from trade_engine.observing import PrometheusObserver, serve_metrics
from trade_engine.portfolio.comparison import Tolerance
from trade_engine.reloading import Reloader
from trade_engine.storage.postgres.migrate import migrate
from trade_engine.wiring import Plan, Running, ask_to_join, running

log = structlog.get_logger(__name__)

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2

GRACE_S = 5.0
"""How long calls under way may take to end once a stop was asked for."""
EMBEDDED_REPLICA = "local"
"""The replica on private servers: never two of it, since the data directory is locked."""

Say = Callable[[str], None]


def say_at_once(text: str) -> None:
    """Print; whoever started the engine through a pipe waits for these lines."""
    print(text, flush=True)  # noqa: T201  the ready line is for standard output


def serve(settings: Settings, say: Say = say_at_once) -> int:
    """Serve until SIGINT or SIGTERM; answers with the exit code.

    What cannot be started is said in one line: 2 for what the user can mend (configuration, a port
    or a data directory in use), 1 for what broke.
    """
    configure_logs(settings.log_level, settings.log_format)
    try:
        _check_addresses(settings)
        sessions = load_brokers(settings.brokers_file, settings.data_dir)
        rulebook = load_rulebook(settings.limits_file, settings.instruments_file, sessions)
        with stores(settings) as (database_url, redis_url):
            plan = _plan(settings, rulebook, database_url, redis_url)
            plan.fix = [FixConfig(name=name, **terms) for name, terms in sessions.items()]
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                if not plan.join_other_versions:
                    runner.run(ask_to_join(plan))
                migrate(database_url)
                failed = runner.run(_serve(settings, plan, say))
    except EngineError as error:
        broke = isinstance(error, StoreUnavailable | ServerDidNotStart)
        code = EXIT_FAILED if broke else EXIT_USAGE
        _say_not_started(settings, error, code)
        return code
    return EXIT_FAILED if failed else EXIT_OK


def _say_not_started(settings: Settings, error: EngineError, code: int) -> None:
    """One line, for people or for machines, under a name that is always the same."""
    if settings.log_format == "json":
        log.error(Alert.NOT_STARTED.value, why=str(error), exit_code=code)
    else:
        line = f"trade-engine: {Alert.NOT_STARTED}: {error}"
        print(line, file=sys.stderr)  # noqa: T201  people read it on a terminal


def _check_addresses(settings: Settings) -> None:
    check_free(settings.listen)
    if settings.metrics_listen:
        check_free(settings.metrics_listen, "TRADE_ENGINE_METRICS_LISTEN")


@contextmanager
def stores(settings: Settings) -> Iterator[tuple[str, str]]:
    """The two stores: those of the settings, or private ones that live as long as this."""
    if settings.database_url and settings.redis_url:
        yield settings.database_url, settings.redis_url
        return
    with EmbeddedServers.start(settings.data_dir, say=log.info) as servers:
        yield servers.database_url, servers.redis_url


def _plan(settings: Settings, rulebook: Rulebook, database_url: str, redis_url: str) -> Plan:
    replica_id = f"replica-{secrets.token_hex(4)}" if settings.database_url else EMBEDDED_REPLICA
    return Plan(
        database_url=database_url,
        redis_url=redis_url,
        rulebook=rulebook,
        replica_id=settings.replica_id or replica_id,
        other_limits=_on_other_limits(settings),
        join_other_versions=settings.join_other_versions,
        paper=PaperConfig(**settings.paper_settings()),
        queue_cap=settings.queue_cap,
        database_pool_size=settings.database_pool_size,
        database_limit_s=settings.database_time_limit_ms / 1000,
        redis_connections=settings.redis_connections,
        redis_limit_s=settings.redis_time_limit_ms / 1000,
        portfolio_target=settings.portfolio_target,
        portfolio_limit_s=settings.portfolio_time_limit_ms / 1000,
        portfolio_age_ms_max=settings.portfolio_age_ms_max,
        portfolio_tolerance=Tolerance(
            settings.portfolio_cash_tolerance,
            settings.portfolio_equity_tolerance_bps,
            settings.portfolio_confirm_ms * NS_PER_MS,
        ),
    )


def _on_other_limits(settings: Settings) -> OnOtherLimits:
    """Files that were given have to be those in force; without any, it is what is in force."""
    if settings.apply_limits:
        return OnOtherLimits.APPLY
    given = settings.limits_file or settings.instruments_file
    return OnOtherLimits.REFUSE if given else OnOtherLimits.TAKE


async def _serve(settings: Settings, plan: Plan, say: Say) -> bool:
    """Serve until asked to stop, or until the engine cannot go on: says whether it was that."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    registry = CollectorRegistry()
    plan.observer = PrometheusObserver(registry, __version__, plan.replica_id)
    async with running(plan) as run:
        server = _server(settings, run, registry)
        reloader = Reloader(settings, run.engine, plan.replica_id, plan.observer)
        loop.add_signal_handler(signal.SIGHUP, reloader.ask)
        run.doorbell.subscribe(server.hub.wake)
        with ExitStack() as while_serving:
            try:
                address = _address(settings.listen, await server.start())
                while_serving.enter_context(noted(_whereabouts(address, plan), time.time_ns))
                if settings.metrics_listen:
                    serve_metrics(settings.metrics_listen, registry)
                _settle_memory()
                say(_ready(settings, run.engine.rulebook, address))
                await _first_of(stop, run.engine.failed)
                log.info("stopping")
                loop.remove_signal_handler(signal.SIGHUP)
            finally:
                await server.stop(GRACE_S)
        return run.engine.failed.is_set()


def _address(listen: str, port: int) -> str:
    """Where the engine listens, with the port that it was given."""
    return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"


def _whereabouts(address: str, plan: Plan) -> Whereabouts:
    return Whereabouts(address, os.getpid(), plan.database_url, plan.redis_url)


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def _server(settings: Settings, run: Running, registry: CollectorRegistry) -> Server:
    accounts = sorted(run.engine.rulebook.accounts)
    default = "default" if "default" in accounts else accounts[0]
    return Server(
        run.engine,
        run.record,
        ServerSettings(settings.listen, default),
        clock=time.time_ns,
        new_incident_id=lambda: secrets.token_hex(6),
        registry=registry,
    )


def _settle_memory() -> None:
    """Take what start-up made out of the collector's sight: it cut the tail latency by a third."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _ready(settings: Settings, rulebook: Rulebook, address: str) -> str:
    where = "your servers" if settings.database_url else f"data in {settings.data_dir}"
    unset = unset_limits(rulebook)
    lines = [
        f"Trade Engine {__version__} is ready on {address} ({where}). Next, in another terminal:",
        "  trade-engine quotes set AAPL --bid 149.99 --ask 150.01",
        "  trade-engine submit examples/signal.json",
        "  trade-engine watch",
    ]
    if unset:
        lines.append(f"Limits that are not set, and so refuse: {', '.join(unset)}")
    return "\n".join(lines)


if __name__ == "__main__":
    from trade_engine.cli import main

    sys.exit(main(["serve", *sys.argv[1:]]))
