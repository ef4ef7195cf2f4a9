"""Seeded runs against a hostile broker: after each one the two sides must say the same.

A run is one account with a broker of its own: signals, moving quotes, cancels, disconnects and
silences, all drawn from the seed, with every misdeed of `HostileBroker` in between. At the end the
venue behaves again, everything open is canceled, and the paper venue's own log (the schema
`paper`) is held against the record: orders, CumQty, fills, positions, cash. Several runs share an
engine on real stores, so that waiting costs nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any, NamedTuple

import psycopg
import sqlalchemy
from psycopg.rows import dict_row

from tests.support.hostile_broker import HostileBroker, Hostility
from tests.support.trading import quote, rulebook, signal
from trade_engine.brokers.paper import PaperBroker
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.config.calendars import ExchangeCalendars
from trade_engine.config.rulebook_text import TomlRulebooks
from trade_engine.domain.errors import EngineError, GateClosed, StoreUnavailable
from trade_engine.domain.execution import ExecType
from trade_engine.domain.market import Instrument
from trade_engine.domain.order import OrdStatus, WorkingOrders
from trade_engine.domain.rulebook import AccountTerms, Rulebook
from trade_engine.domain.signal import Side
from trade_engine.execution import doubts, order_router, reconcile, replace_sender
from trade_engine.execution.engine import Engine
from trade_engine.execution.limits_at_start import LimitsAtStart, OnOtherLimits
from trade_engine.execution.observer import Alert, Observer
from trade_engine.execution.parts import EngineParts, GateStores
from trade_engine.execution.rulebooks import Rulebooks
from trade_engine.storage.postgres.controls import PostgresControls
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.leases import PostgresLeases
from trade_engine.storage.postgres.limits import PostgresLimits
from trade_engine.storage.postgres.paper_venue import PaperVenueBooks
from trade_engine.storage.postgres.record import PostgresRecord
from trade_engine.storage.postgres.requests import PostgresRequests
from trade_engine.storage.redis.connect import RedisLink
from trade_engine.storage.redis.doorbell import RedisDoorbell
from trade_engine.storage.redis.risk_store import RedisRiskStore

NEW, PARTIALLY_FILLED = OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED
OPENING_CASH = Decimal(1_000_000)
SETTLE_S = 45.0
TOGETHER = 20
"""Runs that share an engine."""
QUICK = {
    (reconcile, "EVERY_S"): 0.5,
    (reconcile, "AGAIN_S"): 0.1,
    (reconcile, "POLL_S"): 0.05,
    (reconcile, "CONFIRM_S"): 0.1,
    (doubts, "NOT_FOUND_S"): 0.5,
    (order_router, "LOOK_EVERY_S"): 0.15,
    (order_router, "REPORT_WAIT_S"): 0.5,
    (replace_sender, "REPORT_WAIT_S"): 0.5,
}


@dataclass
class Outcome:
    """What came of one run."""

    seed: int
    faults: list[str]
    misdeeds: Counter[str]
    orders: int = 0
    fills: int = 0
    replaced: int = 0


@dataclass
class Alerts(Observer):
    """Counts alerts."""

    seen: Counter[Alert] = field(default_factory=Counter)

    def alerted(self, alert: Alert) -> None:
        self.seen[alert] += 1


@dataclass
class Run:
    """One account, its venue and the broker between the two."""

    seed: int
    engine: Engine
    paper: PaperBroker
    broker: HostileBroker

    @property
    def account_id(self) -> str:
        return account_of(self.seed)

    async def live(self) -> None:
        """Trade, with everything going wrong; then let the venue behave, and come to rest."""
        chance = Random(self.seed)
        async with asyncio.timeout(SETTLE_S):
            while self.account_id not in self.paper._accounts:  # noqa: ASYNC110  no event tells
                await asyncio.sleep(0.01)
        await self.show(chance)
        for number in range(chance.randint(15, 40)):
            await self.act(chance, number)
            await asyncio.sleep(chance.random() * 0.03)
        self.broker.muted = False
        self.broker.reconnect()
        async with asyncio.timeout(SETTLE_S):
            while not await self.is_at_rest():  # noqa: ASYNC110  the sum of two sides
                await asyncio.sleep(0.05)

    async def act(self, chance: Random, number: int) -> None:
        match chance.choices(
            ["signal", "reprice", "quotes", "cancel", "amend", "disconnect", "reconnect", "mute"],
            [40, 25, 25, 8, 8, 4, 6, 3],
        ):
            case ["signal"]:
                await self.submit(chance, number)
            case ["reprice"]:
                await self.reprice(chance, number)
            case ["quotes"]:
                await self.show(chance)
            case ["cancel"]:
                await self.cancel_open(chance.random() < 0.5)
            case ["amend"]:
                await self.amend(chance)
            case ["disconnect"]:
                self.broker.disconnect()
            case ["reconnect"]:
                self.broker.muted = False
                self.broker.reconnect()
            case _:
                self.broker.muted = True

    async def submit(self, chance: Random, number: int) -> None:
        target = chance.choice([-30, -15, -5, 0, 5, 10, 15, 30]) * 1_000
        strategy_id = chance.choice(["one", "two", "three"])
        symbol = chance.choice(symbols_of(self.seed))
        rests = chance.random() < 0.4
        for side in Side:  # the one that leads away from the target asks for nothing
            await self.wish(target, side, strategy_id, symbol, number, rests=rests)

    async def reprice(self, chance: Random, number: int) -> None:
        """A strategy whose order works wants another exposure on its side; or one begins to."""
        _, orders = await self.engine.queries.open_orders(self.account_id)
        replaced = symbols_of(self.seed)[1]
        working = [
            each
            for each in orders
            if each.symbol == replaced and each.ord_status in (NEW, PARTIALLY_FILLED)
        ]
        side, strategy_id, rests = chance.choice([*Side]), "one", True
        if working:
            order = chance.choice(working)
            side, strategy_id, rests = order.side, order.strategy_id, chance.random() < 0.7
        target = chance.choice([5, 10, 20, 30, 45]) * (1_000 if side is Side.BUY else -1_000)
        await self.wish(target, side, strategy_id, replaced, number, rests=rests)

    async def wish(
        self,
        target: int,
        side: Side,
        strategy_id: str,
        symbol: str,
        number: int,
        *,
        rests: bool,
    ) -> None:
        """Submit a signal; one that rests asks for the middle of the market."""
        signal_id = f"{self.seed}-{number}-{side}"
        wish = signal(
            target, signal_id=signal_id, side=side, strategy_id=strategy_id, symbol=symbol
        )
        wish.account_id = self.account_id
        if rests:
            wish.max_slippage_bps = Decimal(0)
        await patiently(partial(self.engine.submit, wish))

    async def show(self, chance: Random) -> None:
        shown = []
        for symbol in symbols_of(self.seed):
            seen = quote(symbol, str(150 + chance.randint(-40, 40) / Decimal(20)))
            size = chance.choice([None, Decimal(10), Decimal(40)])
            shown.append(replace(seen, bid_size=size, ask_size=size))
        await patiently(lambda: self.engine.publish_quotes(shown))
        self.paper.on_quotes(shown)

    async def cancel_open(self, every: bool) -> None:  # noqa: FBT001
        _, orders = await self.engine.queries.open_orders(self.account_id)
        for order in orders if every else orders[:1]:
            try:
                await self.engine.cancel_order(self.account_id, order.order_id, "", "enough", "me")
            except EngineError:
                continue  # it closed meanwhile

    async def amend(self, chance: Random) -> None:
        """The venue busts or corrects one of its executions, of an order open or closed."""
        told = await self.paper.executions(self.account_id, 0)
        trades = [each for each in told if each.exec_type is ExecType.TRADE]
        if not trades:
            return
        one = chance.choice(trades)
        less = chance.choice([Decimal(0), one.last_qty, (one.last_qty / 2).to_integral_value()])
        px = (one.last_px or Decimal(1)) + Decimal("0.05")
        if await self.paper.amend(self.account_id, one.exec_id, less, px):
            self.broker.done["busted" if not less else "corrected"] += 1

    async def is_at_rest(self) -> bool:
        """Nothing is open here, and the venue knows that everything it told was booked."""
        await self.cancel_open(every=True)
        _, orders = await self.engine.queries.open_orders(self.account_id)
        router = self.engine._routers[self.account_id]
        account = self.paper._accounts.get(self.account_id)
        if orders or account is None or account._delivery._waiting:
            return False
        return router.agrees


async def patiently(call: Callable[[], Awaitable[object]]) -> None:
    """Ask again, as a client does, while a store of a busy machine does not answer."""
    async with asyncio.timeout(SETTLE_S):
        while True:
            try:
                await call()
            except (GateClosed, StoreUnavailable):
                await asyncio.sleep(0.2)
            else:
                return


def account_of(seed: int) -> str:
    return f"run-{seed}"


def symbols_of(seed: int) -> list[str]:
    """No run beside it has them; each engine has to know what the accounts before it hold."""
    return [f"A{seed % TOGETHER}", f"B{seed % TOGETHER}"]


def hostility_of(seed: int) -> Hostility:
    """Each misdeed never, sometimes or often."""
    chance = Random(f"hostility-{seed}")
    names = Hostility.__dataclass_fields__
    return Hostility(**{name: chance.choice([0.0, 0.1, 0.3]) for name in names})


def rules(seeds: list[int]) -> Rulebook:
    wide = rulebook()
    return replace(
        wide,
        version=f"{wide.version}-{seeds[0]}",
        instruments={
            symbol: Instrument(
                symbol,
                Decimal("0.01"),
                Decimal(1),
                "USD",
                "EQUITY",
                working_orders=list(WorkingOrders)[number % 2],
            )
            for seed in seeds
            for number, symbol in enumerate(symbols_of(seed))
        },
        accounts={
            account_of(seed): AccountTerms(account_of(seed), "USD", OPENING_CASH, f"hostile-{seed}")
            for seed in seeds
        },
    )


@contextmanager
def quick() -> Iterator[None]:
    """What is done from time to time is done often."""
    before = {(module, name): getattr(module, name) for module, name in QUICK}
    for (module, name), value in QUICK.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name), value in before.items():
            setattr(module, name, value)


@asynccontextmanager
async def fleet(
    database_url: str, redis_url: str, seeds: list[int], alerts: Alerts
) -> AsyncIterator[list[Run]]:
    """An engine with one account and one hostile broker for each seed."""
    async with AsyncExitStack() as stack:
        database, reading, link = (
            Database(database_url),
            Database(database_url),
            RedisLink(redis_url),
        )
        for each in (database, reading, link):
            stack.push_async_callback(each.close)
        rulebook_ = rules(seeds)
        papers = {
            seed: PaperBroker(
                PaperConfig(seed=seed),
                books=PaperVenueBooks(database),
                find_instrument=rulebook_.instruments.get,
                clock=time.time_ns,
                holder="hostile",
            )
            for seed in seeds
        }
        brokers = {
            seed: HostileBroker(papers[seed], hostility_of(seed), seed, name=f"hostile-{seed}")
            for seed in seeds
        }
        doorbell = RedisDoorbell(link, "hostile")
        limits = PostgresLimits(database)
        starting = LimitsAtStart(limits, PostgresRecord(reading), time.time_ns, "hostile")
        engine = Engine(
            EngineParts(
                stores=GateStores(
                    PostgresRecord(database),
                    RedisRiskStore(link, "hostile"),
                    PostgresControls(database),
                    ExchangeCalendars(),
                ),
                leases=PostgresLeases(database),
                queries=PostgresRecord(reading),
                ledger=PostgresRequests(database),
                doorbell=doorbell,
                brokers={each.name: each for each in brokers.values()},
                rulebooks=Rulebooks(limits, await starting.agree(rulebook_, OnOtherLimits.APPLY)),
                limits=limits,
                rulebook_text=TomlRulebooks(),
                clock=time.time_ns,
                uptime=time.monotonic,
                new_epoch=lambda: "hostile",
                replica_id="hostile",
                version="test",
                observer=alerts,
            )
        )
        await link.run(("FLUSHDB",))  # quotes of an earlier engine's runs
        await engine.start()
        stack.push_async_callback(engine.stop, 2.0)
        yield [Run(seed, engine, papers[seed], brokers[seed]) for seed in seeds]


async def run_all(
    database_url: str, redis_url: str, seeds: list[int], alerts: Alerts
) -> AsyncIterator[Outcome]:
    """Run the seeds, so many together; gives the outcome of each."""
    with quick():
        for first in range(0, len(seeds), TOGETHER):
            some = seeds[first : first + TOGETHER]
            async with fleet(database_url, redis_url, some, alerts) as runs:
                ends = await asyncio.gather(*(run.live() for run in runs), return_exceptions=True)
                open_ends = [await _still_open(run) for run in runs]
            for run, end, is_open in zip(runs, ends, open_ends, strict=True):
                outcome = await compare(database_url, run)
                if end is not None:
                    outcome.faults.insert(0, f"it did not come to rest: {end!r}; {is_open}")
                yield outcome


async def _still_open(run: Run) -> str:
    account = (await run.engine.status(run.account_id)).accounts[0]
    _, orders = await run.engine.queries.open_orders(run.account_id)
    told = [f"{each.order_id} {each.ord_status} {each.delivery}" for each in orders]
    return f"open: {told}; differences: {[each.message for each in account.differences]}"


# ---- both sides ---------------------------------------------------------------------------------


class Terms(NamedTuple):
    """An order as one side has it."""

    cum_qty: Decimal
    is_open: bool
    order_qty: Decimal
    price: Decimal | None


@dataclass
class Told:
    """What one side says, per order and per execution (order, quantity, price, fee)."""

    orders: dict[str, Terms]
    fills: dict[str, tuple[str, Decimal, Decimal, Decimal]]
    positions: dict[str, Decimal]
    cash: Decimal


async def compare(database_url: str, run: Run) -> Outcome:
    """Hold the venue's own log against the record."""
    url = sqlalchemy.make_url(database_url).set(drivername="postgresql")
    connection = await psycopg.AsyncConnection.connect(
        url.render_as_string(hide_password=False), row_factory=dict_row
    )
    async with connection:
        venue = await _venue_side(connection, run.account_id)
        record, unsent = await _record_side(connection, run.account_id)
        replaced = await _replaced(connection, run.account_id)
    faults = [
        f"order {each}: at the venue {venue.orders.get(each)}, "
        f"in the record {record.orders.get(each)}"
        for each in sorted(venue.orders.keys() | record.orders.keys() - unsent)
        if venue.orders.get(each) != record.orders.get(each)
    ]
    faults += [
        f"execution {each}: at the venue {venue.fills.get(each)}, booked {record.fills.get(each)}"
        for each in sorted(venue.fills.keys() | record.fills.keys())
        if venue.fills.get(each) != record.fills.get(each)
    ]
    if venue.positions != record.positions:
        faults.append(
            f"positions: at the venue {venue.positions}, in the record {record.positions}"
        )
    if venue.cash != record.cash:
        faults.append(f"cash: by the venue's fills {venue.cash}, in the record {record.cash}")
    return Outcome(run.seed, faults, run.broker.done, len(venue.orders), len(venue.fills), replaced)


async def _venue_side(connection: psycopg.AsyncConnection[dict[str, Any]], account: str) -> Told:
    found = await connection.execute(
        'SELECT "order" AS doc FROM paper.orders WHERE account_id = %s', (account,)
    )
    docs = {row["doc"]["cl_ord_id"]: row["doc"] for row in await found.fetchall()}
    found = await connection.execute(
        "SELECT report FROM paper.reports WHERE account_id = %s ORDER BY seq", (account,)
    )
    fills: dict[str, tuple[str, Decimal, Decimal, Decimal]] = {}
    for row in await found.fetchall():
        report = row["report"]
        numbers = [Decimal(report.get(name) or 0) for name in ("last_qty", "last_px", "commission")]
        match report.get("exec_type"):
            case "TRADE":
                fills[report["exec_id"]] = (report["cl_ord_id"], *numbers)
            case "TRADE_CORRECT" | "TRADE_CANCEL":
                fills[report["exec_ref_id"]] = (report["cl_ord_id"], *numbers)
            case _:
                pass
    positions: dict[str, Decimal] = {}
    cash = OPENING_CASH
    for cl_ord_id, quantity, price, commission in fills.values():
        doc = docs[cl_ord_id]
        signed = quantity if doc["side"] == "BUY" else -quantity
        positions[doc["symbol"]] = positions.get(doc["symbol"], Decimal(0)) + signed
        cash -= signed * price + commission
    orders = {each: _terms(doc) for each, doc in docs.items()}
    return Told(orders, fills, _held(positions), cash)


def _terms(doc: dict[str, Any]) -> Terms:
    in_force = doc.get("in_force", doc)
    price = in_force["price"]
    return Terms(
        Decimal(doc["cum_qty"]),
        doc["is_open"],
        Decimal(in_force["order_qty"]),
        None if price is None else Decimal(price),
    )


async def _replaced(connection: psycopg.AsyncConnection[dict[str, Any]], account: str) -> int:
    """How many times the venue gave an order new terms."""
    found = await connection.execute(
        "SELECT count(*) AS n FROM paper.reports"
        " WHERE account_id = %s AND report->>'exec_type' = 'REPLACED'",
        (account,),
    )
    row = await found.fetchone()
    return int(row["n"]) if row else 0


async def _record_side(
    connection: psycopg.AsyncConnection[dict[str, Any]], account: str
) -> tuple[Told, set[str]]:
    """The record's side, and the orders of it that were canceled before any venue had them."""
    found = await connection.execute("SELECT * FROM orders WHERE account_id = %s", (account,))
    rows = await found.fetchall()
    orders = {
        str(row["order_id"]): Terms(row["cum_qty"], row["is_open"], row["order_qty"], row["price"])
        for row in rows
    }
    unsent = {
        str(row["order_id"])
        for row in rows
        if row["ord_status"] == OrdStatus.CANCELED and row["delivery"] != "SENT"
    }
    found = await connection.execute("SELECT * FROM fills WHERE account_id = %s", (account,))
    fills = {
        str(row["exec_id"]): (row["order_id"], row["last_qty"], row["last_px"], row["commission"])
        for row in await found.fetchall()
    }
    found = await connection.execute(
        "SELECT symbol, sum(quantity) AS held FROM positions WHERE account_id = %s GROUP BY symbol",
        (account,),
    )
    positions = {str(row["symbol"]): row["held"] for row in await found.fetchall()}
    found = await connection.execute(
        "SELECT summary->>'cash' AS cash FROM accounts WHERE account_id = %s", (account,)
    )
    row = await found.fetchone()
    assert row is not None
    return Told(orders, fills, _held(positions), Decimal(str(row["cash"]))), unsent


def _held(positions: dict[str, Decimal]) -> dict[str, Decimal]:
    return {symbol: quantity for symbol, quantity in positions.items() if quantity}
