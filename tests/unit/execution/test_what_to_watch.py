"""When the engine looks at an account that nobody asks about, and when it looks again."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from tests.support.cases import NOW_NS, RATE
from tests.support.ledgered import DAY, change_to, rulebook
from tests.support.wide import each_rate, wide_limits
from trade_engine.config.calendars import ExchangeCalendars
from trade_engine.domain.account import AccountState
from trade_engine.domain.clock import NS_PER_S
from trade_engine.domain.day import Day
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.limits import Level, Limits, Raise
from trade_engine.domain.rulebook import Rulebook
from trade_engine.execution.gate import AccountGate
from trade_engine.execution.parts import GateStores
from trade_engine.execution.requests import WatchRequest
from trade_engine.execution.rulebooks import Rulebooks

BEGINS_NS, ENDS_NS = NOW_NS + NS_PER_S, NOW_NS + 2 * NS_PER_S
LOOKED, CLOSED = True, False
UNUSED: Any = None
"""In the place of a store: to know what there is to look at takes none."""


def raised() -> Rulebook:
    """An account that may lose 500 in a day, and 5,000 for a second."""
    rules = rulebook("raised")
    numbers = {(Level.DEFAULT, ""): wide_limits("test:default", daily_loss_max=500)}
    wide = Raise(
        "wide", "daily_loss_max", Level.DEFAULT, "", Decimal(5_000), BEGINS_NS, ENDS_NS, "", "ann"
    )
    rates = {(Level.DEFAULT, ""): each_rate(RATE)}
    rules.limits = Limits("raised", numbers, rates, (wide,))
    return rules


class Watched:
    """The gate of an account that holds nothing, open, and no writer that takes its requests."""

    def __init__(self) -> None:
        stores = GateStores(UNUSED, UNUSED, UNUSED, ExchangeCalendars())
        rulebooks = Rulebooks(UNUSED, change_to(raised()))
        self.gate = AccountGate(
            "main", stores, rulebooks, lambda: NOW_NS, "one", lambda _: None, lambda: None
        )
        self.gate._head.closed_because = ""
        self.state = AccountState("main", "USD", "epoch", 7, bytes(32), limits_number=1)
        self.state.day = Day("2023-11-14", DAY.closes_ns)
        self.gate._head.keep(self.state)

    def wants(self, now_ns: int = NOW_NS) -> WatchRequest | None:
        """What the gate asks of the writer when time has passed."""
        self.gate.watch(now_ns)
        line = self.gate._line
        if not len(line):
            return None
        request = line._hurried.popleft()
        assert isinstance(request, WatchRequest)
        return request

    async def looks(self, now_ns: int = NOW_NS, *, answer: bool | Exception = LOOKED) -> bool:
        """Let the gate have its look, if it wants one; answers with whether it did."""
        request = self.wants(now_ns)
        if request is None:
            return False
        if isinstance(answer, Exception):
            request.answer.set_exception(answer)
        else:
            request.answer.set_result(answer)
        await asyncio.sleep(0)  # so that the gate hears of it
        return True


async def test_what_holds_nothing_is_looked_at_once() -> None:
    account = Watched()
    assert [await account.looks(NOW_NS + each) for each in range(3)] == [True, False, False]
    account.state.sequence += 1
    assert [await account.looks(NOW_NS + each) for each in range(3)] == [True, False, False]


async def test_a_raise_that_begins_or_ends_is_looked_at_though_nothing_is_held() -> None:
    account = Watched()
    await account.looks()
    found = {
        now_ns: await account.looks(now_ns)
        for now_ns in (BEGINS_NS - 1, BEGINS_NS, BEGINS_NS + 1, ENDS_NS - 1, ENDS_NS, ENDS_NS + 1)
    }
    assert [now_ns for now_ns, looked in found.items() if looked] == [BEGINS_NS, ENDS_NS]


async def test_a_raise_that_began_and_ended_between_two_looks_is_looked_at() -> None:
    account = Watched()
    await account.looks()
    assert await account.looks(ENDS_NS)


async def test_a_look_that_failed_is_tried_again() -> None:
    account = Watched()
    assert await account.looks(answer=StoreUnavailable("away"))
    assert await account.looks(answer=CLOSED)
    assert await account.looks()
    assert not await account.looks()


async def test_a_look_that_was_canceled_is_tried_again() -> None:
    account = Watched()
    request = account.wants()
    assert request is not None
    request.answer.cancel()
    await asyncio.sleep(0)
    assert await account.looks()


async def test_what_changed_while_it_was_looked_at_is_looked_at_again() -> None:
    account = Watched()
    request = account.wants()
    assert request is not None
    account.state.sequence += 1
    assert account.wants() is None, "one look at a time"
    request.answer.set_result(LOOKED)
    await asyncio.sleep(0)
    assert await account.looks()
    assert not await account.looks()


async def test_a_closed_gate_looks_at_nothing_and_then_at_what_it_missed() -> None:
    account = Watched()
    account.gate.close("a store is away")
    assert account.wants() is None
    account.gate._head.closed_because = ""
    assert account.wants() is not None
