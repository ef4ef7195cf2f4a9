"""A venue that speaks FIX 4.2 or 4.4, as a broker of the engine.

One broker is one FIX session, kept up while any account is open here (`fix_session`), with a file
of its own for what must survive (`fix_store`). The session protocol itself answers what became of
an order whose sending was unclear: once the venue has answered a TestRequest, it has read every
number before that, or has asked for those that it lacks. So an order that `query` does not find
certainly never arrived.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from decimal import Decimal
from functools import partial

from fixcore.message.message import Message

from trade_engine.brokers.base import ReportDelivery
from trade_engine.brokers.fix_config import FixConfig
from trade_engine.brokers.fix_link import RESTATING, FixLink
from trade_engine.brokers.fix_messages import new_order_single, order_cancel_replace_request
from trade_engine.brokers.fix_reports import StatusAnswer
from trade_engine.brokers.fix_store import SentOrder, terms_of
from trade_engine.domain.clock import Clock
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import ApprovedOrder, Order, order_id_of
from trade_engine.domain.replacement import ApprovedReplacement, Replacement
from trade_engine.execution.observer import UNOBSERVED, Observer
from trade_engine.execution.ports import BrokerOrder, Delivery, ReportSink

_log = logging.getLogger(__name__)

OPEN_S = 15.0
"""How long opening an account waits for the session to be in step."""
_CLOSING = frozenset(
    {ExecType.CANCELED, ExecType.REJECTED, ExecType.EXPIRED, ExecType.DONE_FOR_DAY}
)


class FixBroker:
    """The adapter of one FIX session; see `base` for what it promises."""

    remembers_all = True  # see above: absent from `query` is proof

    def __init__(self, config: FixConfig, *, clock: Clock, observer: Observer = UNOBSERVED) -> None:
        self.name = config.name
        self._config = config
        self._clock = clock
        self._observer = observer
        self._sink: ReportSink | None = None
        self._link: FixLink | None = None
        self.is_live = config.is_live
        self.can_replace = config.can_replace
        self._connections = 0
        self._open: dict[str, asyncio.Task[None]] = {}
        self._lock = asyncio.Lock()

    @property
    def connection(self) -> int:
        """Which connection to the venue this is; 0 while the session is not in step."""
        link = self._link
        if link is None or not link.session.in_step.is_set():
            return 0
        return self._connections + link.session.connections

    async def start(self, sink: ReportSink) -> None:
        """Take the sink; the session is connected when the first account is opened."""
        self._sink = sink

    async def stop(self) -> None:
        """Close every account, and log out."""
        for account_id in list(self._open):
            await self.close_account(account_id)
        async with self._lock:
            await self._disconnect()
            self._sink = None

    async def open_account(self, account_id: str) -> None:
        """Trade this account here, once the session is in step with the venue.

        Raises:
            StoreUnavailable: the venue or the store cannot be had now, or the broker is not
                started, or stopped already, as it is while an engine ends; says why.
        """
        async with self._lock:
            if self._sink is None:
                raise StoreUnavailable(f"FIX broker {self.name} is not started, or stopped")
            if account_id in self._open:
                return
            link = self._link or await self._connect()
            try:
                async with asyncio.timeout(OPEN_S):
                    await link.session.in_step.wait()
            except TimeoutError:
                raise StoreUnavailable(
                    f"FIX session {self.name} is not in step: {link.session.why_not}"
                ) from None
            delivery = ReportDelivery(account_id, self._sink, partial(link.taken, account_id))
            link.attach(account_id, delivery)
            self._open[account_id] = asyncio.create_task(
                delivery.run(), name=f"fix reports {account_id}"
            )

    async def _connect(self) -> FixLink:
        self._link = await asyncio.to_thread(FixLink, self._config, self._clock, self._observer)
        self._link.start()
        return self._link

    async def close_account(self, account_id: str) -> None:
        """Stop working for an account; the session ends with the last one."""
        async with self._lock:
            delivering = self._open.pop(account_id, None)
            if delivering is not None:
                delivering.cancel()
                await asyncio.wait({delivering})
            if self._link is not None:
                self._link.detach(account_id)
            if not self._open:
                await self._disconnect()

    async def _disconnect(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._connections += link.session.connections
            await link.stop()

    # ---- orders -----------------------------------------------------------------------------

    def _link_of(self, account_id: str) -> FixLink | None:
        """The link, if this account is open and its session in step."""
        link = self._link
        if link is None or account_id not in self._open or not link.session.in_step.is_set():
            return None
        return link

    async def send(self, orders: Sequence[ApprovedOrder]) -> list[Delivery]:
        """Hand over orders of one account: stored, then written, one by one."""
        link = self._link_of(orders[0].account_id) if orders else None
        if link is None:
            return [Delivery.NOT_SENT] * len(orders)
        try:
            sent = await asyncio.to_thread(
                link.store.find_orders, orders[0].account_id, [each.cl_ord_id for each in orders]
            )
        except Exception as error:  # noqa: BLE001  # nothing was handed over
            _log.warning("FIX %s: its store does not answer: %r", self.name, error)
            return [Delivery.NOT_SENT] * len(orders)
        known = {each: order.terms for each, order in sent.items() if not order.withheld}
        deliveries = []
        for order in orders:
            terms = terms_of(order)
            if order.cl_ord_id in known:
                is_same = known[order.cl_ord_id] == terms
                deliveries.append(Delivery.SENT if is_same else Delivery.IN_DOUBT)
                continue
            deliveries.append(await self._send_one(link, order))
            if deliveries[-1] is not Delivery.NOT_SENT:
                known[order.cl_ord_id] = terms
        return deliveries

    async def _send_one(self, link: FixLink, order: Order) -> Delivery:
        link.about_to_send(order)
        message = new_order_single(self._config, order, self._clock())
        return await self._hand_over(link, message, f"order {order.order_id}")

    async def _hand_over(self, link: FixLink, message: Message, what: str) -> Delivery:
        try:
            await link.session.send(message)
        except StoreUnavailable as error:
            _log.warning("FIX %s: %s waits: %s", self.name, what, error.message)
            return Delivery.NOT_SENT
        except Exception as error:  # noqa: BLE001  # stored or not, written or not: ask
            _log.warning("FIX %s: %s is in doubt: %r", self.name, what, error)
            return Delivery.IN_DOUBT
        return Delivery.SENT

    async def cancel(self, orders: Sequence[Order]) -> list[Delivery]:
        """Ask to cancel orders of one account."""
        return [await self._cancel_one(order) for order in orders]

    async def _cancel_one(self, order: Order) -> Delivery:
        link = self._link_of(order.account_id)
        if link is None:
            return Delivery.NOT_SENT
        try:
            await link.cancel(order)
        except StoreUnavailable:
            return Delivery.NOT_SENT
        except Exception as error:  # noqa: BLE001  # stored or not, written or not
            _log.warning("FIX %s: a cancel is in doubt: %r", self.name, error)
            return Delivery.IN_DOUBT
        return Delivery.SENT

    async def replace(self, asked: Sequence[ApprovedReplacement]) -> list[Delivery]:
        """Ask for new terms of orders of one account: stored, then written, one by one."""
        return [await self._replace_one(each) for each in asked]

    async def _replace_one(self, asked: Replacement) -> Delivery:
        account_id, cl_ord_id = asked.order.account_id, asked.terms.cl_ord_id
        link = self._link_of(account_id)
        if link is None or not self.can_replace:
            return Delivery.NOT_SENT
        try:
            sent = await asyncio.to_thread(link.store.find_requests, account_id, [cl_ord_id])
        except Exception as error:  # noqa: BLE001  # nothing was handed over
            _log.warning("FIX %s: its store does not answer: %r", self.name, error)
            return Delivery.NOT_SENT
        before = sent.get(cl_ord_id)
        if before is not None and not before.withheld:
            return Delivery.SENT if before.asks_for(asked) else Delivery.IN_DOUBT
        link.about_to_replace(asked)
        message = order_cancel_replace_request(self._config, asked, self._clock())
        return await self._hand_over(link, message, f"request {cl_ord_id}")

    async def query(self, account_id: str, cl_ord_ids: Sequence[str]) -> dict[str, BrokerOrder]:
        """What the venue and the store know of these orders; an absent one never arrived.

        Raises:
            StoreUnavailable: the session is away, or the venue does not answer.
        """
        link = self._used(account_id)
        order_ids = list(dict.fromkeys(map(order_id_of, cl_ord_ids)))
        if not await asyncio.to_thread(link.store.find_orders, account_id, order_ids):
            return {}
        await link.session.round_trip()
        orders = await self._orders(link, account_id, order_ids)
        requests = await asyncio.to_thread(link.store.find_requests, account_id, cl_ord_ids)
        for each in requests.values():
            order = orders.get(each.order_id)
            is_open = order is not None and order.is_open
            if is_open and each.era != link.store.era and not each.answered:
                raise StoreUnavailable(
                    f"request {each.cl_ord_id} was sent before the sequence numbers were reset, "
                    f"and {self.name} has not answered it: settle it by hand"
                )
        arrived = {each for each, request in requests.items() if not request.withheld}
        return {
            each: orders[order_id_of(each)]
            for each in cl_ord_ids
            if order_id_of(each) in orders and (each in orders or each in arrived)
        }

    async def _orders(
        self, link: FixLink, account_id: str, order_ids: Sequence[str]
    ) -> dict[str, BrokerOrder]:
        """What the venue and the store know of orders; everything sent has been read there."""
        found = await asyncio.to_thread(link.store.find_orders, account_id, order_ids)
        arrived = {each: order for each, order in found.items() if not order.withheld}
        reports = {each: await asyncio.to_thread(link.reports_of, each) for each in arrived}
        unsettled = [order for each, order in arrived.items() if not _is_closed(reports[each])]
        answers = await link.ask(unsettled)
        for order in unsettled:
            if order.era != link.store.era and order.cl_ord_id not in answers:
                raise StoreUnavailable(
                    f"order {order.cl_ord_id} was sent before the sequence numbers were reset, and "
                    f"{self.name} answers no OrderStatusRequest: settle it by hand"
                )
        reports = {each: await asyncio.to_thread(link.reports_of, each) for each in arrived}
        return {
            each: _as_seen(order, reports[each], answers.get(each))
            for each, order in arrived.items()
        }

    async def open_orders(self, account_id: str) -> list[BrokerOrder] | None:
        """Not asked of these venues: FIX asks about one order at a time."""
        self._used(account_id)
        return None

    async def executions(self, account_id: str, since_ns: int) -> list[ExecutionReport] | None:  # noqa: ARG002  the port's
        """Not asked of these venues: the session itself brings what was missed."""
        self._used(account_id)
        return None

    async def positions(self, account_id: str) -> dict[str, Decimal] | None:
        """Not asked of these venues."""
        self._used(account_id)
        return None

    def _used(self, account_id: str) -> FixLink:
        link = self._link_of(account_id)
        if link is None:
            raise StoreUnavailable(
                f"account {account_id} is not open at {self.name}, or it is away"
            )
        return link


def _is_closed(reports: Sequence[ExecutionReport]) -> bool:
    return any(each.exec_type in _CLOSING for each in reports)


def _as_seen(
    order: SentOrder, reports: list[ExecutionReport], answer: StatusAnswer | None
) -> BrokerOrder:
    """The venue's own words where it answered, else what its reports add up to."""
    broker_order_id = next((each.broker_order_id for each in reports if each.broker_order_id), "")
    cum_qty = _cum_qty(reports)
    leaves_qty = _order_qty(order, reports) - cum_qty
    is_open = leaves_qty > 0 and not _is_closed(reports)
    if answer is not None and answer.known and answer.broker_order_id:
        broker_order_id, cum_qty = answer.broker_order_id, answer.cum_qty
        leaves_qty, is_open = answer.leaves_qty, answer.is_open
    elif answer is not None and not reports:
        is_open = False  # read by the venue, and unknown to it: for reconciliation to show
    return BrokerOrder(
        cl_ord_id=order.cl_ord_id,
        broker_order_id=broker_order_id,
        cum_qty=cum_qty,
        leaves_qty=leaves_qty if is_open else ZERO,
        is_open=is_open,
        reports=reports,
    )


def _order_qty(order: SentOrder, reports: Sequence[ExecutionReport]) -> Decimal:
    """As it was sent, or as the venue replaced or restated it last."""
    stated = [
        each.order_qty
        for each in reports
        if each.exec_type in RESTATING and each.order_qty is not None
    ]
    return stated[-1] if stated else Decimal(order.terms["order_qty"])


def _cum_qty(reports: Sequence[ExecutionReport]) -> Decimal:
    """The sum of the executions that stand: the last word on each counts."""
    standing: dict[str, Decimal] = {}
    first_name: dict[str, str] = {}
    for report in reports:
        root = first_name.get(report.exec_ref_id, report.exec_ref_id) or report.exec_id
        match report.exec_type:
            case ExecType.TRADE:
                standing.setdefault(report.exec_id, report.last_qty)
            case ExecType.TRADE_CORRECT:
                first_name[report.exec_id] = root
                standing[root] = report.last_qty
            case ExecType.TRADE_CANCEL:
                standing[root] = ZERO
            case _:
                pass
    return sum(standing.values(), ZERO)
