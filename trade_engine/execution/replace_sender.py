"""Sending the engine's requests to replace, as the router sends orders: once, and asked about.

The intent is committed before the broker is spoken to. An answer that is unclear is IN_DOUBT, holds
its reservation, and is asked about by the request's own ClOrdID; nothing unclear is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from trade_engine.domain.order import DeliveryState, Order
from trade_engine.execution.doubts import Doubts
from trade_engine.execution.gate import AccountGate
from trade_engine.execution.ports import Broker, BrokerOrder, Delivery, Fence
from trade_engine.execution.requests import (
    ReplaceDeliveryRequest,
    ReplaceIntentRequest,
    ReportsRequest,
)

REPORT_WAIT_S = 5.0
"""How long a broker that has a request may take to answer it before it is asked."""


class ReplaceSender:
    """The requests to replace of one account, while this process is its sender."""

    def __init__(
        self,
        gate: AccountGate,
        broker: Broker,
        hand_over: Callable[[Sequence[Order]], Awaitable[list[Delivery]]],
        claim: Callable[[], Fence | None],
    ) -> None:
        """hand_over gives the open requests of orders to the broker, past the last look."""
        self._gate = gate
        self._broker = broker
        self._hand_over = hand_over
        self._claim = claim
        self._queued: dict[str, None] = {}
        self._sending: set[str] = set()
        self._handed: dict[str, float] = {}
        self._unclear: list[Order] = []
        self._doubts = Doubts()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be sent and nothing is on its way."""
        return not (self._queued or self._sending)

    def forget(self) -> None:
        """The lease is gone."""
        self._queued.clear()
        self._handed.clear()
        self._doubts.forget()

    def note(self, orders: Sequence[Order], now: float) -> list[tuple[Order, float]]:
        """Take what a look through the open orders found; answers with doubts to alert on."""
        self._unclear = []
        known = set()
        for order in orders:
            asked = order.replacement
            if asked is None:
                continue
            cl_ord_id = asked["cl_ord_id"]
            known.add(cl_ord_id)
            if asked["delivery"] == DeliveryState.QUEUED:
                self._queued[order.order_id] = None
            elif self._is_unclear(cl_ord_id, asked["delivery"], now):
                self._unclear.append(order)
        self._handed = {each: at for each, at in self._handed.items() if each in known}
        return self._doubts.note(self._unclear, now)

    def _is_unclear(self, cl_ord_id: str, delivery: str, now: float) -> bool:
        """Whether to ask about it: nobody has it in hand, and the broker had its time to answer."""
        waited = now - self._handed.get(cl_ord_id, -REPORT_WAIT_S) > REPORT_WAIT_S
        return delivery != DeliveryState.SENT and cl_ord_id not in self._sending and waited

    async def send_queued(self) -> None:
        """Commit the intent to send what is queued, send it, and record what is not proven."""
        order_ids = list(self._queued)
        if not order_ids:
            return
        request = ReplaceIntentRequest(order_ids, _future())
        self._gate.enqueue(request)
        cleared: list[Order] = await request.answer  # the intent is committed from here on
        for order_id in order_ids:
            self._queued.pop(order_id, None)
        if cleared:
            await self._send(cleared)

    async def _send(self, orders: Sequence[Order]) -> None:
        names = [_asked_under(order) for order in orders]
        self._sending.update(names)
        try:
            deliveries = await self._hand_over(orders)
            now = asyncio.get_running_loop().time()
            outcomes: dict[str, DeliveryState | None] = {}
            for cl_ord_id, delivery in zip(names, deliveries, strict=True):
                if delivery is Delivery.SENT:
                    self._handed[cl_ord_id] = now
                elif delivery is Delivery.IN_DOUBT:
                    outcomes[cl_ord_id] = DeliveryState.IN_DOUBT
                else:
                    outcomes[cl_ord_id] = DeliveryState.QUEUED
            await self._settle(outcomes)
        finally:
            self._sending.difference_update(names)

    async def ask_about_unclear(self) -> None:
        """Ask the broker by ClOrdID; what it never saw may be sent, or never arrived."""
        unclear, self._unclear = self._unclear, []
        if not unclear:
            return
        names = {_asked_under(order): order for order in unclear}
        known = await self._broker.query(self._gate.account_id, list(names))
        now = asyncio.get_running_loop().time()
        outcomes: dict[str, DeliveryState | None] = {}
        for cl_ord_id, order in names.items():
            found = known.get(cl_ord_id)
            if found is not None:
                await self._book(found)
                outcomes[cl_ord_id] = DeliveryState.SENT
            elif self._broker.remembers_all:
                outcomes[cl_ord_id] = DeliveryState.QUEUED
            elif self._doubts.not_found(order, now):
                await self._ask_a_last_time(cl_ord_id)
            else:
                outcomes[cl_ord_id] = DeliveryState.IN_DOUBT
        await self._settle(outcomes)

    async def _ask_a_last_time(self, cl_ord_id: str) -> None:
        """Ask about one request alone; one that is not found now either never arrived."""
        known = await self._broker.query(self._gate.account_id, [cl_ord_id])
        found = known.get(cl_ord_id)
        if found is not None:
            await self._book(found)
        await self._settle({cl_ord_id: DeliveryState.SENT if found is not None else None})

    async def _settle(self, outcomes: dict[str, DeliveryState | None]) -> None:
        claim = self._claim()
        if not outcomes or claim is None:
            return  # who holds the lease now asks the broker
        request = ReplaceDeliveryRequest(outcomes, claim, _future())
        self._gate.enqueue(request)
        await request.answer

    async def _book(self, found: BrokerOrder) -> None:
        if found.reports:
            request = ReportsRequest(self._broker.name, found.reports, _future())
            self._gate.enqueue(request)
            await request.answer


def _asked_under(order: Order) -> str:
    asked = order.replacement
    return asked["cl_ord_id"] if asked else ""


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()
