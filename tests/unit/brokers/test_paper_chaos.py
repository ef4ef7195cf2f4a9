"""The paper broker on books that fail at random, with restarts and a second process.

However it went, what was told is what the books say, and no order was made twice.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from random import Random

import pytest

from tests.support.memory_books import MemoryBooks
from tests.support.paper import INSTRUMENTS, ManualClock, eventually, order, quote
from trade_engine.brokers import base, paper_account
from trade_engine.brokers.paper import PaperBroker
from trade_engine.brokers.paper_books import Doc
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.execution import BrokerReport, ExecutionReport
from trade_engine.domain.order import ApprovedOrder, TimeInForce
from trade_engine.domain.signal import Side
from trade_engine.execution.ports import BrokerOrder, Delivery

STEPS = 60


class Run:
    """One seeded run: what was sent, what was answered, what was told."""

    def __init__(self, seed: int, *, restarts: bool) -> None:
        self.random = Random(seed)
        self.restarts = restarts
        self.trouble = 0.15
        self.clock = ManualClock()
        self.books = MemoryBooks(self.fault)
        self.answers: dict[str, Delivery] = {}
        self.orders: dict[str, ApprovedOrder] = {}
        self.told: dict[str, ExecutionReport] = {}
        self.sizes: dict[Decimal, Decimal] = {}
        self.process = 0
        self.config = PaperConfig(seed=seed, latency_ms=seed % 3, reject_probability=0.1)
        self.broker = self.connect()

    def fault(self, _method: str) -> str:
        if self.random.random() >= self.trouble:
            return ""
        return self.random.choice(["lost", "unclear"])

    def connect(self) -> PaperBroker:
        self.process += 1
        return PaperBroker(
            self.config,
            books=self.books,
            find_instrument=INSTRUMENTS.get,
            clock=self.clock,
            holder=f"process-{self.process}",
        )

    async def sink(self, _account_id: str, reports: Sequence[BrokerReport]) -> None:
        if self.random.random() < self.trouble:
            raise ConnectionError("the sink does not take it now")
        for each in reports:
            assert isinstance(each, ExecutionReport), "this venue refuses no cancel"
            known = self.told.setdefault(each.exec_id, each)
            assert known == each, "an exec_id named two executions"

    async def open(self) -> None:
        await self.broker.start(self.sink)
        while True:
            try:
                return await self.broker.open_account("main")
            except StoreUnavailable:
                await asyncio.sleep(0)

    async def step(self) -> None:
        self.clock.advance_ms(1)
        match self.random.choice(["send"] * 3 + ["quote"] * 3 + ["cancel", "restart"]):
            case "send":
                await self.send()
            case "quote":
                self.quote()
            case "cancel" if self.orders:
                name = self.random.choice(list(self.orders))
                await self.broker.cancel([self.orders[name]])
            case "restart" if self.restarts:
                await self.restart()
            case _:
                await asyncio.sleep(0)
        if self.random.random() < 0.3:
            await asyncio.sleep(0.001)

    async def restart(self) -> None:
        """Another process takes over: the old one stops before, after, or has to find out."""
        old = self.broker
        order_of_things = self.random.choice(["stop first", "stop after", "never stop"])
        if order_of_things == "stop first":
            await old.stop()
        self.broker = self.connect()
        await self.open()
        if order_of_things == "stop after":
            await old.stop()

    async def send(self) -> None:
        """New orders, those that were not sent, and now and then one that should not come again."""
        batch = [self.new_order() for _ in range(self.random.randint(1, 4))]
        for name, answer in self.answers.items():
            if answer is Delivery.NOT_SENT or self.random.random() < 0.05:
                batch.append(self.orders[name])
        answers = await self.broker.send(batch)
        for each, answer in zip(batch, answers, strict=True):
            if self.answers.get(each.cl_ord_id, Delivery.NOT_SENT) is Delivery.NOT_SENT:
                self.answers[each.cl_ord_id] = answer

    def new_order(self) -> ApprovedOrder:
        made = order(
            f"o-{len(self.orders)}",
            self.random.choice(list(Side)),
            str(self.random.randint(1, 50)),
            self.random.choice([None, "99.00", "100.00", "101.00"]),
            tif=self.random.choice(list(TimeInForce)),
        )
        self.orders[made.cl_ord_id] = made
        return made

    def quote(self) -> None:
        """A market whose prices no other quote has, so that a price tells the quote."""
        number = len(self.sizes) // 2 + 1
        bid = Decimal(self.random.randint(98, 101)) + Decimal(number) / 100_000
        ask = bid + Decimal("0.5")
        self.sizes[bid] = Decimal(self.random.randint(0, 60))
        self.sizes[ask] = Decimal(self.random.randint(0, 60))
        self.broker.on_quotes(
            [
                quote(
                    str(bid), str(ask), str(self.sizes[bid]), str(self.sizes[ask]),
                    time_ns=self.clock() + number,
                )
            ]
        )  # fmt: skip

    async def settle(self) -> dict[str, Doc]:
        """Let the trouble end, and wait until everything is told; the books' orders."""
        self.trouble = 0.0
        self.clock.advance_ms(1_000)
        if not self.broker._accounts["main"].is_open:
            await self.broker.open_account("main")
        found = await self.ask()
        await eventually(self.is_quiet)
        docs = await self.books.find("main", list(self.orders))
        assert found.keys() == docs.keys()
        return docs

    def is_quiet(self) -> bool:
        """Nothing is on its way, to the venue or from it."""
        account = self.broker._accounts["main"]
        last_report = max(self.books.seqs("main"), default=0)
        return (
            not account._pending
            and not account._lock.locked()
            and not 0 < account._matcher.next_due_ns <= self.clock()
            and self.books.accounts["main"].acknowledged_seq >= last_report
        )

    async def ask(self) -> dict[str, BrokerOrder]:
        """What the broker knows of all orders, once it does."""
        while True:
            try:
                return await self.broker.query("main", list(self.orders))
            except StoreUnavailable:
                await asyncio.sleep(0.001)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("restarts", [False, True])
async def test_whatever_fails_the_books_and_the_told_agree(
    seed: int, *, restarts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (paper_account, base):
        monkeypatch.setattr(module, "RETRY_S_MIN", 0.0005)
        monkeypatch.setattr(module, "RETRY_S_MAX", 0.001)
    logging.disable(logging.WARNING)
    run = Run(seed, restarts=restarts)
    try:
        await run.open()
        for _ in range(STEPS):
            await run.step()
        docs = await run.settle()
    finally:
        await run.broker.stop()
        logging.disable(logging.NOTSET)
    check_told(run)
    check_orders(run, docs)
    if not restarts:
        check_sizes(run)


def check_told(run: Run) -> None:
    """Every report of the books was told, as it stands there, and nothing else was."""
    told = {exec_id: each.to_json() for exec_id, each in run.told.items()}
    written = {doc["exec_id"]: doc for doc in run.books.reports("main")}
    assert told == {
        exec_id: {name: value for name, value in doc.items() if name != "seq"}
        for exec_id, doc in written.items()
    }


def check_orders(run: Run, docs: dict[str, Doc]) -> None:
    """An order is in the books if it should be; it lived once, and never past its quantity."""
    for name, answer in run.answers.items():
        if answer is Delivery.SENT:
            assert name in docs
        elif answer is Delivery.NOT_SENT:
            assert name not in docs
    taken = Counter(
        each["cl_ord_id"]
        for each in run.books.messages("main")
        if (each["kind"], each["verdict"]) == ("ORDER", "TAKEN")
    )
    assert taken == Counter(docs.keys())
    for name, doc in docs.items():
        exec_types = [each["exec_type"] for each in doc["reports"]]
        assert [each["exec_id"] for each in doc["reports"]] == [
            f"{name}-{number + 1}" for number in range(len(exec_types))
        ]
        assert exec_types.count("NEW") + exec_types.count("REJECTED") == 1
        filled = sum(Decimal(each["last_qty"]) for each in doc["reports"])
        assert filled == Decimal(doc["cum_qty"]) <= run.orders[name].order_qty


def check_sizes(run: Run) -> None:
    """No more was traded at a price than its one quote offered."""
    traded: Counter[Decimal] = Counter()
    for each in run.told.values():
        if each.last_px is not None:
            traded[each.last_px] += each.last_qty  # type: ignore[assignment]
    assert all(traded[price] <= size for price, size in run.sizes.items())
    assert sum(traded.values()) > 0
