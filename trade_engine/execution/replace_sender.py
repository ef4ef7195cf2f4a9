"""Sending the engine's requests to replace, as the router sends orders: once, and asked about.

The intent is committed before the broker is spoken to. An answer that is unclear is IN_DOUBT, holds
its reservation, and is asked about by the request's own ClOrdID; nothing unclear is sent again.

Having a request is no answer to it: until the broker took the new terms or refused them, nobody
knows on which ones the order works. So a request that the broker has, and says no more of, is asked
about as well, and alerted on after the same bound. Not finding it any more proves nothing then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from trade_engine.domain.order import DeliveryState, Order
from trade_engine.execution.doubts import Doubts
from trade_engine.execution.gate import AccountGate
from trade_engine.execution.ports import BrokerOrder, Delivery, Fence, OrderEntry
from trade_engine.execution.requests import (
    ReplaceDeliveryRequest,
    ReplaceIntentRequest,
    ReportsRequest,
)

REPORT_WAIT_S = 5.0
"""How long a broker that has a request may take to answer before it is asked, and asked again."""


class ReplaceSender:
    """The requests to replace of one account, while this process is its sender."""

    def __init__(
        self,
        gate: AccountGate,
        broker: OrderEntry,
        hand_over: Callable[[Sequence[Order]], Awaitable[list[Delivery]]],
        claim: Callable[[], Fence | None],
        uptime: Callable[[], float],
    ) -> None:
        """hand_over gives the open requests of orders to the broker, past the last look.

        uptime is in seconds, and never set back.
        """
        self._gate = gate
        self._broker = broker
        self._hand_over = hand_over
        self._claim = claim
        self._uptime = uptime
        self._queued: dict[str, None] = {}
        self._sending: set[str] = set()
        self._handed: dict[str, float] = {}
        self._asked: dict[str, float] = {}
        self._to_ask: list[Order] = []
        self._doubts = Doubts()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be sent and nothing is on its way."""
        return not (self._queued or self._sending)

    def forget(self) -> None:
        """The lease is gone."""
        self._queued.clear()
        self._handed.clear()
        self._asked.clear()
        self._doubts.forget()

    def note(self, orders: Sequence[Order]) -> list[tuple[Order, float]]:
        """Take what a look through the open orders found; answers with doubts to alert on."""
        now = self._uptime()
        unclear = []
        known = set()
        for order in orders:
            asked = order.replacement
            if asked is None:
                continue
            cl_ord_id = asked["cl_ord_id"]
            known.add(cl_ord_id)
            if asked["delivery"] == DeliveryState.QUEUED:
                self._queued[order.order_id] = None
            elif cl_ord_id not in self._sending and _is_past(self._handed, cl_ord_id, now):
                unclear.append(order)
        self._to_ask = [
            order
            for order in unclear
            if not _is_with_broker(order) or _is_past(self._asked, asked_under(order), now)
        ]
        self._handed = {each: at for each, at in self._handed.items() if each in known}
        self._asked = {each: at for each, at in self._asked.items() if each in known}
        return self._doubts.note(unclear, now)

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
        names = [asked_under(order) for order in orders]
        self._sending.update(names)
        try:
            deliveries = await self._hand_over(orders)
            now = self._uptime()
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
        to_ask, self._to_ask = self._to_ask, []
        if not to_ask:
            return
        names = {asked_under(order): order for order in to_ask}
        known = await self._broker.query(self._gate.account_id, list(names))
        now = self._uptime()
        outcomes: dict[str, DeliveryState | None] = {}
        for cl_ord_id, order in names.items():
            self._asked[cl_ord_id] = now
            found = known.get(cl_ord_id)
            if found is not None:
                await self._book(order, found)
                outcomes[cl_ord_id] = DeliveryState.SENT
            elif _is_with_broker(order):
                continue
            elif self._broker.remembers_all:
                outcomes[cl_ord_id] = DeliveryState.QUEUED
            elif self._doubts.not_found(order, now):
                await self._ask_a_last_time(cl_ord_id, order)
            else:
                outcomes[cl_ord_id] = DeliveryState.IN_DOUBT
        await self._settle(outcomes)

    async def _ask_a_last_time(self, cl_ord_id: str, order: Order) -> None:
        """Ask about one request alone; one that is not found now either never arrived."""
        known = await self._broker.query(self._gate.account_id, [cl_ord_id])
        found = known.get(cl_ord_id)
        if found is not None:
            await self._book(order, found)
        await self._settle({cl_ord_id: DeliveryState.SENT if found is not None else None})

    async def _settle(self, outcomes: dict[str, DeliveryState | None]) -> None:
        claim = self._claim()
        if not outcomes or claim is None:
            return  # who holds the lease now asks the broker
        request = ReplaceDeliveryRequest(outcomes, claim, _future())
        self._gate.enqueue(request)
        await request.answer

    async def _book(self, order: Order, found: BrokerOrder) -> None:
        if found.reports:
            request = ReportsRequest(order.broker, found.reports, _future())
            self._gate.enqueue(request)
            await request.answer


def asked_under(order: Order) -> str:
    """The ClOrdID of an order's open request; empty where there is none."""
    asked = order.replacement
    return asked["cl_ord_id"] if asked else ""


def _is_with_broker(order: Order) -> bool:
    """Whether its broker has said that it has the request."""
    asked = order.replacement
    return asked is not None and asked["delivery"] == DeliveryState.SENT


def _is_past(times: Mapping[str, float], cl_ord_id: str, now: float) -> bool:
    """Whether the broker had its time since then; so it had where nothing is known of it."""
    at = times.get(cl_ord_id)
    return at is None or now - at > REPORT_WAIT_S


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()
