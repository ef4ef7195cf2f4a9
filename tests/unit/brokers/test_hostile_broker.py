"""The hostile broker does what it is there for, and the venue's truth survives it."""

import asyncio
from dataclasses import fields
from typing import Self

import pytest

from tests.support.hostile_broker import HostileBroker, Hostility
from tests.support.memory_books import MemoryBooks
from tests.support.paper import INSTRUMENTS, ManualClock, RecordingSink, eventually, order, quote
from trade_engine.brokers.paper import PaperBroker
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.execution import ExecutionReport
from trade_engine.domain.order import TimeInForce
from trade_engine.execution.ports import Broker, Delivery


class Hostile:
    def __init__(self, hostility: Hostility, seed: int = 1) -> None:
        self.books = MemoryBooks()
        self.sink = RecordingSink()
        self.paper = PaperBroker(
            PaperConfig(),
            books=self.books,
            find_instrument=INSTRUMENTS.get,
            clock=ManualClock(),
            holder="one",
        )
        self.broker = HostileBroker(self.paper, hostility, seed, late_s=0.001)
        self.port: Broker = self.broker

    async def __aenter__(self) -> Self:
        await self.port.start(self.sink)
        await self.port.open_account("main")
        self.paper.on_quotes([quote("99.00", "100.00", None, None)])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.port.stop()


@pytest.mark.parametrize(
    ("misdeed", "answer", "arrives"),
    [
        ("lost_ack", Delivery.IN_DOUBT, True),
        ("swallowed", Delivery.IN_DOUBT, False),
        ("not_sent", Delivery.NOT_SENT, False),
        ("late_order", Delivery.IN_DOUBT, False),
    ],
)
async def test_what_can_become_of_an_order(
    misdeed: str, answer: Delivery, *, arrives: bool
) -> None:
    async with Hostile(Hostility(**{misdeed: 1.0})) as the:
        assert await the.port.send([order("a")]) == [answer]
        assert ("a" in await the.port.query("main", ["a"])) == arrives
        assert the.port.remembers_all == (misdeed != "late_order")
        if misdeed == "late_order":
            await eventually(lambda: len(the.sink.reports()) == 2)
        # Nothing goes wrong with an order in the same way twice.
        assert await the.port.send([order("a")]) == [Delivery.SENT]
        await eventually(lambda: the.sink.seen() == ["a NEW", "a TRADE 100@100"])


async def test_a_lost_cancel_and_an_unanswered_query() -> None:
    async with Hostile(Hostility(lost_cancel=1.0, unanswered=1.0)) as the:
        resting = order("a", price="50.00")
        await the.port.send([resting])
        assert await the.port.cancel([resting]) == [Delivery.IN_DOUBT]
        with pytest.raises(StoreUnavailable):
            await the.port.query("main", ["a"])
        await eventually(lambda: the.sink.seen() == ["a NEW"])


async def test_a_disconnect_loses_nothing() -> None:
    async with Hostile(Hostility()) as the:
        await the.port.send([order("a", price="50.00")])
        await eventually(lambda: the.sink.seen() == ["a NEW"])
        the.broker.disconnect()
        assert await the.port.send([order("b")]) == [Delivery.NOT_SENT]
        assert await the.port.cancel([order("a")]) == [Delivery.NOT_SENT]
        with pytest.raises(StoreUnavailable):
            await the.port.query("main", ["a"])
        the.paper.on_quotes([quote("49.00", "50.00", time_ns=2**62)])
        await asyncio.sleep(0.02)
        assert the.sink.seen() == ["a NEW"]
        the.broker.reconnect()
        await eventually(lambda: the.sink.seen() == ["a NEW", "a TRADE 100@50"])


@pytest.mark.parametrize("seed", range(5))
async def test_every_report_arrives_whatever_is_done_to_it(seed: int) -> None:
    async with Hostile(Hostility.everything(0.3), seed) as the:
        for number in range(40):
            orders = [order(f"o-{number}-{each}", tif=TimeInForce.IOC) for each in range(3)]
            await the.port.send(orders)
            await the.port.cancel(orders[:1])
            await asyncio.sleep(0)
        await the.port.send([order("last")])
        truth = the.books.accounts["main"]
        await eventually(lambda: truth.acknowledged_seq == truth.last_seq)
        told: dict[str, ExecutionReport] = {}
        for each in the.sink.reports():
            assert told.setdefault(each.exec_id, each) == each
        assert told.keys() == truth.exec_ids | the.broker.unknown_exec_ids
        assert len(the.sink.reports()) > len(told)
        idle = {each.name for each in fields(Hostility) if not the.broker.done[each.name]}
        assert idle <= {"claims_closed", "unanswered"}
