"""Several replicas, many strategies, and tight limits that nothing may ever pass."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from decimal import Decimal
from pathlib import Path

from tests.support.e2e import ACCOUNT, SYMBOLS, Client, connected
from tests.support.engine_process import engine_process
from tests.support.wide import wide_toml
from tests.workload.prefixes import violations
from trade_engine.domain.journal import JournalEntry
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.record import PostgresRecord
from trade_engine.v1 import control_service_pb2, decision_pb2, market_data_service_pb2, signal_pb2

TRADED = (*SYMBOLS, "SAP")
STRATEGIES = 16
IN_FLIGHT = 48
PRICE = 150
PAGE = 1000
TIGHT = wide_toml(
    10_000_000,
    signal_age_ms_max=600_000,
    quote_age_ms_max=3_600_000,
    order_notional_max=12_000,
    symbol_position_notional_max=40_000,
    gross_exposure_max=60_000,
)
INSTRUMENTS = "".join(
    f"""[instruments.{symbol}]
tick = 0.01
lot = 1
currency = "{currency}"
asset_class = "equity"
working_orders = "{working}"

"""
    for symbol, currency, working in (
        ("AAPL", "USD", "ADD"),
        ("IBM", "USD", "REPLACE"),
        ("SAP", "EUR", "REPLACE"),
    )
)
PAIR = """[fx.EURUSD]
age_ms_max = 3_600_000
band_bps_max = 100
"""
EURO = "1.25"
RESTING = 0.3
"""So many signals want a price that nobody gives: later ones replace their orders, or add."""
WAITS = signal_pb2.SignalConstraints(max_slippage_bps=0)
SLOW_VENUE = {"TRADE_ENGINE_PAPER_LATENCY_MS": "5"}
"""So that orders work for a while, and several replicas reserve at once."""


async def run(
    database_url: str, redis_url: str, folder: Path, replicas: int, signals: int, seed: int
) -> tuple[Counter[str], list[str]]:
    """Submit so many signals; answers with the outcomes, and every limit that was passed."""
    limits = folder / "limits.toml"
    limits.write_text(TIGHT)
    instruments = folder / "instruments.toml"
    instruments.write_text(INSTRUMENTS + PAIR)
    files = ("--limits", limits, "--instruments", instruments)
    stores = ("--database-url", database_url, "--redis-url", redis_url, *files)
    with ExitStack() as processes:
        engines = [
            processes.enter_context(
                engine_process(*stores, log=folder / f"engine-{number}.log", environment=SLOW_VENUE)
            )
            for number in range(replicas)
        ]
        async with AsyncExitStack() as channels:
            clients = [
                await channels.enter_async_context(connected(engine.target)) for engine in engines
            ]
            await clients[0].publish(PRICE)
            await _publish_abroad(clients[0])
            outcomes = await _submit_all(clients, signals, seed)
            await _cancel_what_rests(clients[0])
            await clients[0].until_quiet()
    prices = {symbol: Decimal(PRICE) for symbol in TRADED} | {"EURUSD": Decimal(EURO)}
    return outcomes, list(violations(ACCOUNT, await journal(database_url), prices))


async def _publish_abroad(client: Client) -> None:
    """A share in euros, priced like the others, and what a euro is, without a spread."""
    request = market_data_service_pb2.PublishQuotesRequest()
    request.quotes.add(symbol="SAP", bid=f"{PRICE - 1}.99", ask=f"{PRICE}.01")
    request.quotes.add(symbol="EURUSD", bid=EURO, ask=EURO)
    for quote in request.quotes:
        quote.quote_time.FromNanoseconds(time.time_ns())
    answer = await client.quotes.PublishQuotes(iter([request]), timeout=5)
    assert answer.accepted_count == len(request.quotes)


async def _cancel_what_rests(client: Client) -> None:
    request = control_service_pb2.CancelAllOrdersRequest(reason="the end")
    request.scope.account_id = ACCOUNT
    await client.control.CancelAllOrders(request, timeout=30)


async def journal(database_url: str) -> list[JournalEntry]:
    """The account's whole journal."""
    database = Database(database_url, pool_size=1)
    try:
        record = PostgresRecord(database)
        entries: list[JournalEntry] = []
        while page := await record.entries(ACCOUNT, entries[-1].sequence if entries else 0, PAGE):
            entries += page
        return entries
    finally:
        await database.close()


async def _submit_all(clients: list[Client], signals: int, seed: int) -> Counter[str]:
    draw, numbers = random.Random(seed), itertools.count()
    outcomes: Counter[str] = Counter()

    async def worker(client: Client) -> None:
        while (number := next(numbers)) < signals:
            buys = draw.random() < 0.5
            target = draw.randint(0, 80) * PRICE * (1 if buys else -1)
            decision = await client.submit(
                f"c{seed}-{number}",
                strategy_id=f"strategy-{draw.randrange(STRATEGIES):02d}",
                symbol=draw.choice(TRADED),
                side=signal_pb2.Signal.BUY if buys else signal_pb2.Signal.SELL,
                target_exposure=float(target),
                constraints=WAITS if draw.random() < RESTING else None,
                timeout_s=30,
            )
            outcomes[decision_pb2.Outcome.Name(decision.outcome)] += 1

    await asyncio.gather(*(worker(clients[number % len(clients)]) for number in range(IN_FLIGHT)))
    return outcomes
