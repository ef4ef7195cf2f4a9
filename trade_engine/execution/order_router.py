"""The router of an account: sends what was approved, once, and asks about what is unclear.

Only the holder of the account's lease sends. The intent to send (SENDING) is committed through the
gate, fenced by the lease, before the broker is spoken to: with the approval itself where the
approving process is the sender, by a request of its own otherwise. A halt journaled by any replica
comes either before it, and then the order is canceled instead, or after it, and then the halt
knows which orders are in flight. The router takes one more look at this process's halts at the
last step before the broker.

A lease runs out in the record's time, and whoever was stopped or cut off does not hear of it. So
the sender also reckons by a clock of its own, from before it asked: what it has in hand after that
goes back to QUEUED, if the record still takes its word, and to no broker.

Whoever takes the lease over starts by asking the broker about every order in SENDING or IN_DOUBT;
nothing unclear is ever sent again on a guess.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import structlog

from trade_engine.domain.clock import Clock
from trade_engine.domain.errors import EngineError, StoreUnavailable
from trade_engine.domain.order import DeliveryState, Order
from trade_engine.domain.trading_state import TradingState
from trade_engine.execution.account_brokers import AccountBrokers
from trade_engine.execution.applying import Fenced
from trade_engine.execution.doubts import Doubts
from trade_engine.execution.gate import AccountGate
from trade_engine.execution.observer import UNOBSERVED, Alert, Observer, raise_alert
from trade_engine.execution.orders_out import OrdersOut, OrdersOutExceed
from trade_engine.execution.ports import (
    BrokerOrder,
    Commit,
    Delivery,
    Fence,
    Lease,
    LeaseStore,
    RecordStore,
)
from trade_engine.execution.reconcile import Reconciler
from trade_engine.execution.replace_sender import ReplaceSender, asked_under
from trade_engine.execution.requests import (
    CloseUnknownRequest,
    DeliveryRequest,
    IntentRequest,
    PendingRequest,
    ReportsRequest,
)

log = structlog.get_logger(__name__)

LEASE_TTL_MS = 5000
LEASE_SHARE = 0.9
"""How much of a lease's time may be used to send: what is handed over takes time."""
RENEW_EVERY_S = 1.5
LOOK_EVERY_S = 1.0
"""How often the open orders are looked through for what no doorbell announced."""
REPORT_WAIT_S = 5.0
"""How long a broker that has an order may take to report it before it is asked."""
SAY_AGAIN_S = 10.0
"""What the router waits for is said this often while it stays the same."""
SEND_MAX = 64
"""Orders per handover to the broker."""


class OrderRouter:
    """Sends one account's orders while this process holds its lease."""

    def __init__(
        self,
        gate: AccountGate,
        brokers: AccountBrokers,
        leases: LeaseStore,
        holder: str,
        record: RecordStore,
        clock: Clock,
        halt: Callable[[str, str], None],
        uptime: Callable[[], float],
        observer: Observer = UNOBSERVED,
    ) -> None:
        """Say for which gate, through which brokers, and under which name the lease is held.

        halt is asked to halt the account (its id, why), and must not block. uptime is in
        seconds, and never set back.
        """
        self.account_id = gate.account_id
        self._gate = gate
        self._broker = brokers.entry
        self._brokers = brokers.names
        self._leases = leases
        self._holder = holder
        self._uptime = uptime
        self._send_until = 0.0
        self._observer = observer
        self._work = asyncio.Event()
        self._reconcilers = [
            Reconciler(gate, share, record, clock, lambda: self.claim, self._work.set, observer)
            for share in brokers.shares
        ]
        observer.sender(self.account_id, is_here=False)
        self._lease: Lease | None = None
        self._given: Lease | None = None
        self._asking: asyncio.Task[Lease | None] | None = None
        self._ready: dict[str, Order] = {}
        self._queued: dict[str, None] = {}
        self._cancels: dict[str, Order] = {}
        self._sending: set[str] = set()
        self._orders_out = OrdersOut(self._broker, record)
        self._replaces = ReplaceSender(
            gate, self._broker, self._send_replacements, lambda: self.claim, uptime
        )
        self._doubts = Doubts()
        self._halt = halt
        self._handed: dict[str, float] = {}
        self._look_due = False
        self._looked_at = 0.0
        self._said = "", 0.0
        self._open = False

    # ---- what others say; none of these waits -----------------------------------------------

    def offer(self, commit: Commit, approved: Iterable[Order], to_cancel: Iterable[Order]) -> None:
        """Take what a batch of this process committed, approved, and wants canceled.

        Where the intent to send was committed under another claim than the one now in force, the
        batch took longer than the lease: another sender may have had it since, and have sent the
        orders. They are left to the look through, which asks the broker.
        """
        if self._lease is None:
            return
        self._orders_out.take(commit)
        for order in approved:
            if order.delivery is not DeliveryState.SENDING:
                self._queued[order.order_id] = None
            elif commit.fence == self.claim:
                self._ready[order.order_id] = order
        self._cancels.update((order.order_id, order) for order in to_cancel)
        self._work.set()

    def look(self) -> None:
        """Another replica wrote: look through the open orders for some to send or to cancel."""
        self._look_due = True
        self._work.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be sent and nothing is on its way.

        What waits for the account to agree with its broker may wait for long, and is durable.
        """
        sendable = self._queued and self.agrees
        works = self._ready or sendable or self._sending or self._cancels
        return not works and self._replaces.is_idle

    @property
    def agrees(self) -> bool:
        """Whether the account agrees with every broker that it uses: else nothing is sent."""
        return all(each.agrees for each in self._reconcilers)

    @property
    def claim(self) -> Fence | None:
        """The claim under which this process sends; None when it does not."""
        lease = self._lease
        return Fence(lease.broker, lease.holder, lease.token) if lease and self._open else None

    @property
    def holds_lease(self) -> bool:
        """Whether this process is the account's sender."""
        return self._lease is not None

    # ---- the lease --------------------------------------------------------------------------

    async def run(self) -> None:
        """Acquire the lease, send while it holds, and again; until canceled."""
        while True:
            asked_at = self._uptime()
            try:
                self._asking = asyncio.create_task(self._acquire())
                lease = await asyncio.shield(self._asking)
                if lease is not None:
                    self._holds_from(asked_at)
                    await self._serve(lease)
            except EngineError as error:
                self._say_waits(error.message)
            except Exception:  # noqa: BLE001  # an account must not lose its sender for good
                self._alert_failure()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _acquire(self) -> Lease | None:
        """Ask for the lease; what is given is noted, whoever still waits for it."""
        lease = await self._leases.acquire(
            self.account_id, self._broker.name, self._holder, LEASE_TTL_MS
        )
        self._given = lease or self._given
        return lease

    async def _serve(self, lease: Lease) -> None:
        """Be the account's sender until the lease is lost."""
        self._lease = lease
        log.info("lease_acquired", account_id=self.account_id, token=lease.token)
        self._observer.sender(self.account_id, is_here=True)
        renewing = asyncio.create_task(self._renew(lease))
        try:
            if self._may_have_run_out():
                raise Fenced("the lease was given too long ago")
            await self._broker.open_account(self.account_id)
            self._open = True
            await self._look_first()
            working = asyncio.create_task(self._send_forever())
            reconciling = [asyncio.create_task(each.run()) for each in self._reconcilers]
            try:
                await asyncio.wait(
                    {working, *reconciling, renewing}, return_when=asyncio.FIRST_COMPLETED
                )
                raise_alert(self._observer, Alert.LEASE_LOST, account_id=self.account_id)
            finally:
                for each in (*reconciling, working):
                    await _end(each)
        finally:
            self._open = False
            self._lease = None
            for reconciler in self._reconcilers:
                reconciler.forget()
            self._orders_out.forget()
            self._doubts.forget()
            self._replaces.forget()
            await _end(renewing)
            await self._broker.close_account(self.account_id)
            for waiting in (self._ready, self._queued, self._cancels, self._handed):
                waiting.clear()
            log.warning("lease_given_up", account_id=self.account_id, token=lease.token)
            self._observer.sender(self.account_id, is_here=False)
            self._observer.unsent(self.account_id, {})

    async def _look_first(self) -> None:
        """Ask about what is unclear before anything else; without an answer, cancels still pass."""
        try:
            await self._look_through()
        except Fenced:
            raise
        except EngineError as error:
            self._say_waits(error.message)
            self.look()

    def _say_waits(self, why: str) -> None:
        """In the log, and again now and then while it lasts: it is tried many times a second."""
        said, at = self._said
        now = self._uptime()
        if why != said or now - at > SAY_AGAIN_S:
            self._said = why, now
            log.warning("router_waits", account_id=self.account_id, why=why)

    def _alert_failure(self) -> None:
        raise_alert(self._observer, Alert.ROUTER_FAILED, account_id=self.account_id, exc_info=True)

    async def _renew(self, lease: Lease) -> None:
        """Prolong the lease; return once it is lost, or may be."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            asked_at = self._uptime()
            try:
                if not await self._leases.renew(lease, LEASE_TTL_MS):
                    return
                self._holds_from(asked_at)
            except StoreUnavailable:
                if self._may_have_run_out():
                    return

    def _holds_from(self, asked_at: float) -> None:
        """The lease was given after `asked_at`: so long at least it is ours."""
        self._send_until = asked_at + LEASE_TTL_MS / 1000 * LEASE_SHARE

    def _may_have_run_out(self) -> bool:
        return self._uptime() > self._send_until

    async def release(self) -> None:
        """Give the lease back, once nothing acts under it: another replica need not wait.

        It may have been given while this stopped, or have been lost here and stand in the record.
        """
        if self._asking is not None:
            await asyncio.gather(self._asking, return_exceptions=True)
        if self._given is not None:
            try:
                await self._leases.release(self._given)
            except StoreUnavailable as error:
                log.warning("lease_not_released", account_id=self.account_id, why=error.message)

    # ---- sending ----------------------------------------------------------------------------

    async def _send_forever(self) -> None:
        while True:
            try:
                # Not wait_for: on Python 3.11 it loses a cancel that comes together with work,
                # and a stop would wait for this task for ever.
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._work.wait()
            except TimeoutError:
                self._look_due = True
            self._work.clear()
            try:
                await self._step()
            except Fenced:
                return
            except EngineError as error:
                self._say_waits(error.message)
                await asyncio.sleep(0.1)
                self._look_due = True
            except Exception:  # noqa: BLE001  # the sender must outlive any fault of a single step
                self._alert_failure()
                await asyncio.sleep(LOOK_EVERY_S)
                self._look_due = True

    async def _step(self) -> None:
        """Do all that is there to do now; nothing is sent that was not reconciled before.

        A question that stays without an answer holds up what is queued, and never a cancel.
        """
        await self._hand_over_ready()
        now = self._uptime()
        if self._look_due or now - self._looked_at > LOOK_EVERY_S:
            self._look_due, self._looked_at = False, now
            try:
                await self._look_through()
            except Fenced:
                raise
            except EngineError:
                await self._cancel_after_orders()
                raise
        while self._queued and self.agrees:
            order_ids = list(self._queued)[:SEND_MAX]
            request = IntentRequest(order_ids, _future())
            self._gate.enqueue(request)
            cleared = await request.answer  # the intent is committed from here on
            for order_id in order_ids:
                self._queued.pop(order_id, None)
            await self._hand_over(cleared)
        if self.agrees:
            await self._replaces.send_queued()
        await self._cancel_after_orders()

    async def _hand_over_ready(self) -> None:
        if self._ready and not self.agrees:
            unsent = dict.fromkeys(self._ready, (DeliveryState.QUEUED, ""))
            await self._deliver(unsent)
            for order_id in unsent:
                self._ready.pop(order_id, None)
                self._queued[order_id] = None
        while self._ready:
            await self._hand_over([self._ready[each] for each in list(self._ready)[:SEND_MAX]])

    async def _hand_over(self, orders: Sequence[Order]) -> None:
        """Hand orders to the broker whose intent to send is committed: here, and only here."""
        self._sending.update(order.order_id for order in orders)
        for order in orders:
            self._ready.pop(order.order_id, None)
        try:
            deliveries = await self._send(orders)
            for delivery, count in Counter(deliveries).items():
                self._observer.handed_over(delivery, count)
            now = self._uptime()
            self._handed.update((order.order_id, now) for order in orders)
            await self._settle(orders, deliveries)
            if self._may_have_run_out():
                raise Fenced("the lease may have run out")
        finally:
            self._sending.difference_update(order.order_id for order in orders)

    async def _send(self, orders: Sequence[Order]) -> list[Delivery]:
        return await self._counted(self._orders_out.send(orders, self._may_go))

    async def _send_replacements(self, orders: Sequence[Order]) -> list[Delivery]:
        return await self._counted(self._orders_out.replace(orders, self._may_go))

    async def _counted(self, sending: Awaitable[list[Delivery]]) -> list[Delivery]:
        """What is one too many halts the account."""
        try:
            return await sending
        except OrdersOutExceed as excess:
            self._halt(self.account_id, excess.message)
            raise_alert(self._observer, Alert.ORDERS_OUT_EXCEED, why=excess.message)
            raise

    def _may_go(self, order: Order) -> bool:
        """The last look, with nothing between it and the broker.

        An order for a broker that this process does not have (the limits changed, and it was not
        started with them) goes nowhere else.
        """
        ours = order.broker in self._brokers
        return ours and self.agrees and not self._may_have_run_out() and not self._is_halted(order)

    def _is_halted(self, order: Order) -> bool:
        """Whether a halt reached this process a moment ago."""
        return any(
            latched.state is TradingState.HALTED
            and scope.covers(order.account_id, order.strategy_id, order.symbol)
            for scope, latched in self._gate.latched.items()
        )

    async def _settle(self, handed: Sequence[Order], deliveries: Sequence[Delivery]) -> None:
        """Record what is not proven by reports: doubt, and what did not leave after all."""
        outcomes: dict[str, tuple[DeliveryState, str]] = {}
        for order, delivery in zip(handed, deliveries, strict=True):
            if delivery is not Delivery.SENT:
                self._handed.pop(order.order_id, None)
            if delivery is Delivery.IN_DOUBT:
                outcomes[order.order_id] = (
                    DeliveryState.IN_DOUBT,
                    "the broker's answer is unclear",
                )
            elif delivery is Delivery.NOT_SENT:
                outcomes[order.order_id] = (DeliveryState.QUEUED, "")
        if outcomes:
            await self._deliver(outcomes)
        if any(outcomes.get(each.order_id) and self._is_halted(each) for each in handed):
            self.look()  # to be canceled; what the broker could not take waits for the next look

    async def _deliver(self, outcomes: dict[str, tuple[DeliveryState, str]]) -> None:
        claim = self.claim
        if claim is None:
            raise Fenced("the lease is given up; who holds it now asks the broker")
        request = DeliveryRequest(outcomes, claim, _future())
        self._gate.enqueue(request)
        await request.answer

    async def _cancel_after_orders(self) -> None:
        """Ask for cancels: again with each look through, until what came of them is reported.

        A cancel must not reach the broker before its order: what is ready goes first, and between
        the two there is no pause.
        """
        await self._hand_over_ready()
        orders = list(self._cancels.values())
        self._cancels.clear()
        if orders:
            await self._broker.cancel(orders)

    # ---- what is unclear --------------------------------------------------------------------

    async def _look_through(self) -> None:
        """Look through the open orders: queue what waits, ask about what is unclear.

        The gate answers between two batches, so an order of ours in SENDING is either one that we
        were offered and have in hand, or one that a broker was given, or truly unclear.

        The account is opened at the broker again, which is nothing where it is open: a process that
        was stopped while it had the lease may have opened it, and so have closed it here.
        """
        await self._broker.open_account(self.account_id)
        request = PendingRequest(_future())
        self._gate.enqueue(request)
        orders = await request.answer
        self._observer.unsent(
            self.account_id,
            Counter(each.delivery for each in orders if each.delivery is not DeliveryState.SENT),
        )
        now = self._uptime()
        unclear = []
        for order in orders:
            order_id = order.order_id
            if order.delivery is DeliveryState.QUEUED:
                self._queued[order_id] = None
            elif order.delivery is not DeliveryState.SENT:
                in_hand = order_id in self._ready or order_id in self._sending
                if not in_hand and now - self._handed.get(order_id, -REPORT_WAIT_S) > REPORT_WAIT_S:
                    unclear.append(order)
            if order.cancel_requested and order.delivery is not DeliveryState.QUEUED:
                self._cancels[order_id] = order
        for order, seconds in self._replaces.note(orders):
            self._alert_doubt(order, asked_under(order), seconds)
        known = {order.order_id for order in orders}
        self._handed = {each: at for each, at in self._handed.items() if each in known}
        for order, seconds in self._doubts.note(unclear, now):
            self._alert_doubt(order, order.cl_ord_id, seconds)
        if unclear:
            await self._ask_about(unclear)
        await self._replaces.ask_about_unclear()

    def _alert_doubt(self, order: Order, cl_ord_id: str, seconds: float) -> None:
        """Of the order, or of the request to replace it, under its own ClOrdID."""
        raise_alert(
            self._observer,
            Alert.ORDER_IN_DOUBT,
            account_id=self.account_id,
            order_id=order.order_id,
            cl_ord_id=cl_ord_id,
            seconds=round(seconds),
        )

    async def _ask_about(self, orders: Sequence[Order]) -> None:
        """Ask the broker by ClOrdID; what it says is booked, what it never saw may be sent.

        That another broker than its own does not know an order says nothing of it.
        """
        orders = [order for order in orders if order.broker in self._brokers]
        known = await self._broker.query(self.account_id, [order.cl_ord_id for order in orders])
        outcomes: dict[str, tuple[DeliveryState, str]] = {}
        never_seen = []
        now = self._uptime()
        for order in orders:
            found = known.get(order.cl_ord_id)
            if found is not None:
                await self._book(order, found)
                outcomes[order.order_id] = (DeliveryState.SENT, "")
            elif self._broker.remembers_all:
                outcomes[order.order_id] = (DeliveryState.QUEUED, "")
                self.look()
            elif self._doubts.not_found(order, now):
                never_seen.append(order)
            elif order.delivery is not DeliveryState.IN_DOUBT:
                outcomes[order.order_id] = (
                    DeliveryState.IN_DOUBT,
                    "the broker does not know it yet",
                )
        if outcomes:
            log.info(
                "orders_asked_about",
                account_id=self.account_id,
                outcomes={order_id: delivery.value for order_id, (delivery, _) in outcomes.items()},
            )
            await self._deliver(outcomes)
        for order in never_seen:
            await self._ask_a_last_time(order)

    async def _ask_a_last_time(self, order: Order) -> None:
        """Ask about one order alone; one that is not found now either never arrived."""
        known = await self._broker.query(self.account_id, [order.cl_ord_id])
        found, claim = known.get(order.cl_ord_id), self.claim
        if found is not None:
            await self._book(order, found)
            await self._deliver({order.order_id: (DeliveryState.SENT, "")})
        elif claim is not None:
            why = f"{self._broker.name} never saw it, however often it was asked"
            request = CloseUnknownRequest([order.order_id], why, claim, _future())
            self._gate.enqueue(request)
            await request.answer

    async def _book(self, order: Order, found: BrokerOrder) -> None:
        if found.reports:
            request = ReportsRequest(order.broker, found.reports, _future())
            self._gate.enqueue(request)
            await request.answer


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
