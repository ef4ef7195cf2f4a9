"""A broker that has a request to replace and does not answer it, by the clock that is passed in."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from tests.unit.execution.test_replacing import FENCE, RULES, acknowledged, ask
from trade_engine.domain.order import DeliveryState, Order
from trade_engine.execution.doubts import ALERT_AFTER_S
from trade_engine.execution.ports import BrokerOrder, Delivery
from trade_engine.execution.replace_sender import REPORT_WAIT_S, ReplaceSender, asked_under
from trade_engine.execution.replacing import intend_replacements, settle_replacements
from trade_engine.execution.requests import ReplaceDeliveryRequest, ReplaceIntentRequest

NOTHING = BrokerOrder("", "", Decimal(0), Decimal(50), True, [])


class Rig:
    """A sender whose gate settles in memory, whose broker is asked, and whose time is set."""

    account_id = "main"
    name = "paper"

    def __init__(self, *, remembers_all: bool) -> None:
        self.account = acknowledged()
        ask(self.account, 1, 8_000)
        self.remembers_all = remembers_all
        self.knows = True
        self.asked = 0
        self.now = 1_000.0
        self.sender = ReplaceSender(self, self, self.hand_over, lambda: FENCE, lambda: self.now)  # type: ignore[arg-type]

    async def hand_over(self, orders: Sequence[Order]) -> list[Delivery]:
        return [Delivery.SENT] * len(orders)

    def enqueue(self, request: Any) -> None:
        with self.account.batch(RULES, sender=FENCE) as batch:
            if isinstance(request, ReplaceIntentRequest):
                request.answer.set_result(intend_replacements(batch, request.order_ids))
            else:
                assert isinstance(request, ReplaceDeliveryRequest)
                settle_replacements(batch, request.outcomes)
                request.answer.set_result(None)

    async def query(self, _account_id: str, names: Sequence[str]) -> dict[str, BrokerOrder]:
        self.asked += 1
        return dict.fromkeys(names, NOTHING) if self.knows else {}

    @property
    def order(self) -> Order:
        [order] = self.account.orders.values()
        return order

    @property
    def delivery(self) -> str:
        assert self.order.replacement is not None
        return str(self.order.replacement["delivery"])

    async def look(self, after_s: float) -> list[tuple[Order, float]]:
        """One look of the router's, so long after the last one."""
        self.now += after_s
        alerted = self.sender.note([self.order])
        await self.sender.ask_about_unclear()
        return alerted


async def sent(*, remembers_all: bool = True) -> Rig:
    rig = Rig(remembers_all=remembers_all)
    rig.sender.note([rig.order])
    await rig.sender.send_queued()
    assert rig.delivery == DeliveryState.SENDING
    return rig


async def test_it_is_asked_on_until_it_answers_and_alerted_on_once() -> None:
    rig = await sent()
    await rig.look(REPORT_WAIT_S)
    assert rig.asked == 0, "it has its time"
    await rig.look(1)
    assert (rig.asked, rig.delivery) == (1, DeliveryState.SENT), "it has the request"
    since = rig.now
    alerts = []
    while rig.now < since + ALERT_AFTER_S + 20:
        alerts += [(rig.now - since, *each) for each in await rig.look(1)]
    assert rig.asked == 1 + 50 // (REPORT_WAIT_S + 1), "again and again, and not every second"
    [(at, order, seconds)] = alerts
    assert (at, seconds) == (ALERT_AFTER_S, ALERT_AFTER_S)
    assert asked_under(order) == asked_under(rig.order)
    assert rig.order.working_qty == 80, "and it holds the larger quantity"
    journaled = len(rig.account.journal)
    await rig.look(REPORT_WAIT_S + 1)
    assert len(rig.account.journal) == journaled, "what is known is not journaled again"


@pytest.mark.parametrize("remembers_all", [True, False])
async def test_one_that_was_there_and_is_not_found_any_more_proves_nothing(
    *, remembers_all: bool
) -> None:
    rig = await sent(remembers_all=remembers_all)
    await rig.look(REPORT_WAIT_S + 1)
    rig.knows = False
    for _ in range(40):
        await rig.look(REPORT_WAIT_S + 1)
    assert rig.asked == 41
    assert rig.delivery == DeliveryState.SENT, "neither sent again nor dropped"
    assert rig.order.working_qty == 80


async def test_who_takes_over_asks_at_once() -> None:
    rig = await sent()
    await rig.look(REPORT_WAIT_S + 1)
    rig.sender.forget()
    await rig.look(0.1)
    assert rig.asked == 2


async def test_one_that_never_arrived_is_asked_about_with_every_look() -> None:
    rig = await sent(remembers_all=False)
    rig.knows = False
    await rig.look(REPORT_WAIT_S + 1)
    await rig.look(1)
    assert (rig.asked, rig.delivery) == (2, DeliveryState.IN_DOUBT)
    for _ in range(60):
        if rig.order.replacement is None:
            break
        await rig.look(1)
    assert rig.order.replacement is None
    assert rig.order.working_qty == 50, "the old terms stand"


async def test_what_arrived_after_all_is_not_dropped_by_an_older_answer() -> None:
    rig = await sent()
    for delivery in (DeliveryState.SENT, DeliveryState.QUEUED, None):
        with rig.account.batch(RULES, sender=FENCE) as batch:
            settle_replacements(batch, {asked_under(rig.order): delivery})
        assert rig.delivery == DeliveryState.SENT
