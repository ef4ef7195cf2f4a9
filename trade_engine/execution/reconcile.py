"""Reconciliation: what the broker holds against the record; orders, then fills, then positions.

It runs for whoever holds the account's lease: before the first order is sent, after every
reconnect before the next one, and from time to time. What is missing here is booked: the broker's
own reports where it can tell them, else one synthetic fill for the gap. What then still differs,
found again and again with the same numbers (a fill may be on its way while we compare), is
journaled, alerted on and holds the account (`differences`).

A question that was not answered is no answer: then nothing is compared, and the account is not
agreed upon. Nor is one whose differences never stand still: what is known of those stays. A venue
that has no such question (None) is not compared in it; of one that cannot list its open orders,
each of ours is asked about by itself on every new connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import structlog

from trade_engine.domain.clock import NS_PER_S, Clock
from trade_engine.domain.difference import Difference, DifferenceKind
from trade_engine.domain.errors import EngineError, StoreUnavailable
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.money import ZERO, text
from trade_engine.domain.order import DeliveryState, Order, order_id_of
from trade_engine.execution.account_brokers import Share
from trade_engine.execution.applying import Fenced
from trade_engine.execution.gate import AccountGate
from trade_engine.execution.observer import Alert, Observer, raise_alert
from trade_engine.execution.order_chain import AMENDMENTS
from trade_engine.execution.ports import BrokerOrder, Fence, RecordStore
from trade_engine.execution.requests import (
    Holdings,
    HoldingsRequest,
    ReconciledRequest,
    ReportsRequest,
)
from trade_engine.execution.synthetic import synthetic_fill

log = structlog.get_logger(__name__)

EVERY_S = 60.0
"""How often an account that agrees is compared again."""
AGAIN_S = 2.0
"""How soon one that does not agree is."""
POLL_S = 0.25
"""How often it is looked whether the broker reconnected."""
CONFIRMATIONS = 3
CONFIRM_S = 0.2
"""A difference must be found so often more, so long apart, to be one."""
LOOKS_MAX = 8
"""So often it is looked, at most, for differences to stand still."""
SILENT_S = 5.0
"""A broker that could not be asked for so long is a difference of its own."""
BACK_NS = 24 * 3600 * NS_PER_S
"""How far back the first comparison asks for executions; later ones ask since the last."""
MARGIN_NS = 300 * NS_PER_S
"""How much further back than the last comparison: the broker's clock is not ours."""


class Reconciler:
    """Compares one account with a broker that it uses, while this process is its sender."""

    def __init__(
        self,
        gate: AccountGate,
        share: Share,
        record: RecordStore,
        clock: Clock,
        claim: Callable[[], Fence | None],
        on_change: Callable[[], None],
        observer: Observer,
    ) -> None:
        """Say what is compared with what; on_change is called when `agrees` may have changed."""
        self.account_id = gate.account_id
        self._gate = gate
        self._share = share
        self._broker = share.broker
        self._record = record
        self._clock = clock
        self._claim = claim
        self._on_change = on_change
        self._observer = observer
        self._agreed_on = 0
        self._compared_ns = 0

    @property
    def agrees(self) -> bool:
        """Whether record and broker agreed when last compared, on the connection of now."""
        return self._agreed_on != 0 and self._agreed_on == self._broker.connection

    def forget(self) -> None:
        """The lease is gone: what was agreed says nothing any more."""
        self._agreed_on = 0

    async def run(self) -> None:
        """Compare now, after every reconnect and from time to time, until canceled or fenced."""
        loop = asyncio.get_running_loop()
        silent_since: float | None = None
        while True:
            connection, began = self._broker.connection, loop.time()
            try:
                await self.compare()
                silent_since = None
            except Fenced:
                return
            except Exception as error:  # noqa: BLE001  # the account must not lose its watch for good
                self._not_compared(error)
                # Since it was first asked in vain: it may have been heard last a minute before.
                silent_since = began if silent_since is None else silent_since
                if not self.agrees and loop.time() - silent_since > SILENT_S:
                    await self._say_silent(str(error))
            self._on_change()
            await self._until_due(connection)

    async def _until_due(self, connection: int) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + (EVERY_S if self.agrees else AGAIN_S)
        while loop.time() < due and self._broker.connection == connection:  # noqa: ASYNC110
            await asyncio.sleep(min(POLL_S, AGAIN_S))

    def _not_compared(self, error: Exception) -> None:
        if isinstance(error, EngineError):
            log.warning("not_reconciled", account_id=self.account_id, why=error.message)
            return
        raise_alert(
            self._observer, Alert.RECONCILER_FAILED, account_id=self.account_id, exc_info=error
        )

    async def compare(self) -> list[Difference]:
        """Compare once; answers with the differences that stand.

        Raises:
            StoreUnavailable: the broker or a store did not answer. Nothing was concluded.
            Fenced: another replica is the account's sender now.
        """
        connection = self._broker.connection
        if not connection:
            raise StoreUnavailable(f"{self._broker.name} is not connected")
        began_ns = self._clock()
        found, moving = await self._find_what_stays()
        if any(each.kind is DifferenceKind.CUM_QTY for each in found):
            await self._fill_gaps(found)
            found, moving = await self._find_what_stays()
        known = (await self._holdings()).differences if moving else {}
        standing = await self._conclude(
            [*found, *(known[name] for name in moving if name in known)]
        )
        self._compared_ns = began_ns
        if standing:
            self._agreed_on = 0
        elif not moving:
            self._agreed_on = connection
        elif not self.agrees:
            raise StoreUnavailable(
                f"{', '.join(sorted(moving))} differed by another number each time that "
                f"{self._broker.name} was asked"
            )
        return standing

    async def _find_what_stays(self) -> tuple[list[Difference], set[str]]:
        """Look again and again; answers with the differences that say the same each time.

        And with the names of those that were there to the last and never stood still: that is no
        agreement, nor is it known what differs. What was known of them stays as it was.
        """
        seen: dict[str, tuple[Difference, int]] = {}
        for look in range(LOOKS_MAX):
            if look:
                await asyncio.sleep(CONFIRM_S)
            before, seen = seen, {}
            for each in await self._find():
                first, times = before.get(each.difference_id, (each, 0))
                seen[each.difference_id] = (each, times + 1 if first.is_as(each) else 1)
            if all(times > CONFIRMATIONS for _, times in seen.values()):
                break
        found = [each for each, times in seen.values() if times > CONFIRMATIONS]
        return found, seen.keys() - {each.difference_id for each in found}

    async def _conclude(self, found: Sequence[Difference]) -> list[Difference]:
        claim = self._claim()
        if claim is None:
            raise Fenced("the lease is given up; who holds it now compares")
        request = ReconciledRequest(
            self._broker.name, found, claim, _future(), mark=self._share.mark
        )
        standing: list[Difference] = await self._ask(request)
        return standing

    async def _say_silent(self, why: str) -> None:
        """Nobody could be asked: that is what is known of the account, and it holds it."""
        silent = self._difference(
            DifferenceKind.UNRECONCILED,
            "",
            message=f"{self._broker.name} could not be compared: {why}",
        )
        try:
            known = (await self._holdings()).differences.values()
            others = [each for each in known if each.kind is not DifferenceKind.UNRECONCILED]
            await self._conclude([*others, silent])
        except EngineError as error:
            log.warning("not_reconciled", account_id=self.account_id, why=error.message)

    # ---- orders, fills, positions -----------------------------------------------------------

    async def _find(self) -> list[Difference]:
        """Ask, book what is missing here, and name what differs all the same."""
        return [
            *await self._compare_orders(),
            *await self._compare_executions(),
            *await self._compare_positions(),
        ]

    async def _compare_orders(self) -> list[Difference]:
        ours = (await self._holdings()).orders
        resting = await self._broker.open_orders(self.account_id)
        if resting is None and self.agrees:
            return []  # one question for each order is for a new connection, not for every minute
        theirs = {each.cl_ord_id: each for each in resting or ()}
        sent = {each for each, order in ours.items() if order.delivery is DeliveryState.SENT}
        gone = sorted(sent - theirs.keys())
        if gone:
            theirs |= await self._broker.query(self.account_id, gone)
        await self._book_reports(theirs.values(), ours)
        return await self._name_orders(theirs, [ours[each] for each in gone if each not in theirs])

    async def _book_reports(self, theirs: Iterable[BrokerOrder], ours: dict[str, Order]) -> None:
        """Book what the broker reported of orders that it sees further than we do."""
        reports = [
            report
            for each in theirs
            if each.cl_ord_id in ours and _is_further(each, ours[each.cl_ord_id])
            for report in each.reports
        ]
        await self._book(reports)

    async def _name_orders(
        self, theirs: dict[str, BrokerOrder], unknown_there: Iterable[Order]
    ) -> list[Difference]:
        found = [
            self._difference(
                DifferenceKind.ORDER_UNKNOWN_THERE,
                order.order_id,
                ours=order.ord_status,
                theirs="unknown",
                message=f"order {order.order_id} is {order.ord_status} here, and "
                f"{self._broker.name} does not know it any more",
            )
            for order in await self._still_open(unknown_there)
        ]
        known = await self._sent_here(theirs) if theirs else {}
        for cl_ord_id, seen in sorted(theirs.items()):
            order = known.get(cl_ord_id)
            if order is None:
                found.append(self._unknown_here(seen))
            else:
                found += self._name_order(order, seen)
        return found

    async def _sent_here(self, cl_ord_ids: Iterable[str]) -> dict[str, Order]:
        """Those of the record that went to this broker."""
        known = await self._record.find_orders(self.account_id, sorted(cl_ord_ids))
        return {each: order for each, order in known.items() if self._share.has_order(order)}

    async def _still_open(self, orders: Iterable[Order]) -> list[Order]:
        """Those that nothing has closed since they were looked at."""
        order_ids = [order.order_id for order in orders]
        if not order_ids:
            return []
        known = await self._record.find_orders(self.account_id, order_ids)
        return [each for each in known.values() if each.is_open]

    def _unknown_here(self, seen: BrokerOrder) -> Difference:
        return self._difference(
            DifferenceKind.ORDER_UNKNOWN_HERE,
            seen.cl_ord_id,
            ours="unknown",
            theirs=f"open, {text(seen.leaves_qty)} left",
            message=f"{self._broker.name} works order {seen.cl_ord_id} "
            f"({text(seen.leaves_qty)} left), which no decision of this account approved",
        )

    def _name_order(self, order: Order, seen: BrokerOrder) -> list[Difference]:
        found = []
        if seen.is_open and not order.is_open:
            found.append(
                self._difference(
                    DifferenceKind.ORDER_CLOSED_HERE,
                    order.order_id,
                    ours=order.ord_status,
                    theirs=f"open, {text(seen.leaves_qty)} left",
                    message=f"order {order.order_id} is {order.ord_status} here, and "
                    f"{self._broker.name} works it: {text(seen.leaves_qty)} left",
                )
            )
        works = order.is_open and order.leaves_qty > 0  # else only its replacement is open
        if works and not seen.is_open and order.cum_qty == seen.cum_qty:
            found.append(
                self._difference(
                    DifferenceKind.ORDER_CLOSED_THERE,
                    order.order_id,
                    ours=order.ord_status,
                    theirs="closed",
                    message=f"order {order.order_id} is {order.ord_status} here, and "
                    f"{self._broker.name} has closed it",
                )
            )
        if order.cum_qty != seen.cum_qty:
            found.append(
                self._difference(
                    DifferenceKind.CUM_QTY,
                    order.order_id,
                    ours=text(order.cum_qty),
                    theirs=text(seen.cum_qty),
                    gap=seen.cum_qty - order.cum_qty,
                    message=f"of order {order.order_id} {text(order.cum_qty)} is filled here, and "
                    f"{text(seen.cum_qty)} at {self._broker.name}",
                )
            )
        return found

    async def _compare_executions(self) -> list[Difference]:
        since_ns = (self._compared_ns - MARGIN_NS) if self._compared_ns else self._clock() - BACK_NS
        told = await self._broker.executions(self.account_id, since_ns)
        fills = [each for each in told or () if each.exec_type is ExecType.TRADE]
        missing = await self._not_booked(fills)
        amendments = [each for each in told or () if each.exec_type in AMENDMENTS]
        if not missing and not amendments:
            return []
        refused = (await self._holdings()).differences
        news = [
            each
            for each in [
                *missing,
                *amendments,
            ]  # an amendment that is known already changes nothing
            if self._unbooked(each).difference_id not in refused
        ]
        orders = await self._sent_here({order_id_of(each.cl_ord_id) for each in news})
        await self._book([each for each in news if order_id_of(each.cl_ord_id) in orders])
        return [self._unbooked(each) for each in await self._not_booked(missing)]

    async def _not_booked(self, fills: Sequence[ExecutionReport]) -> list[ExecutionReport]:
        if not fills:
            return []
        exec_ids = [each.exec_id for each in fills]
        booked = await self._record.booked(self.account_id, self._broker.name, exec_ids)
        return [each for each in fills if each.exec_id not in booked]

    def _unbooked(self, report: ExecutionReport) -> Difference:
        filled = f"{text(report.last_qty)} at {text(report.last_px or ZERO)}"
        return self._difference(
            DifferenceKind.EXECUTION,
            report.exec_id,
            ours="not booked",
            theirs=filled,
            message=f"{self._broker.name} filled {filled} of order {report.cl_ord_id} "
            f"(execution {report.exec_id}), which cannot be booked here",
        )

    async def _compare_positions(self) -> list[Difference]:
        theirs = await self._broker.positions(self.account_id)
        if theirs is None:
            return []
        ours = (await self._holdings()).quantities
        found = []
        for symbol in sorted(ours.keys() | theirs.keys()):
            here, there = ours.get(symbol, ZERO), theirs.get(symbol, ZERO)
            if here != there:
                found.append(
                    self._difference(
                        DifferenceKind.POSITION,
                        symbol,
                        ours=text(here),
                        theirs=text(there),
                        gap=there - here,
                        message=f"{text(here)} {symbol} are held here, and {text(there)} at "
                        f"{self._broker.name}",
                    )
                )
        return found

    # ---- what is missing here ---------------------------------------------------------------

    async def _fill_gaps(self, found: Iterable[Difference]) -> None:
        """Book one synthetic fill where the broker filled more than it told executions of."""
        order_ids = [each.subject for each in found if each.kind is DifferenceKind.CUM_QTY]
        seen = await self._broker.query(self.account_id, order_ids)
        orders = await self._record.find_orders(self.account_id, order_ids)
        fills = [
            synthetic_fill(orders[order_id], seen[order_id], self._clock())
            for order_id in order_ids
            if order_id in seen and order_id in orders
        ]
        await self._book([each for each in fills if each is not None])

    async def _book(self, reports: Sequence[ExecutionReport]) -> None:
        if reports:
            await self._ask(ReportsRequest(self._broker.name, reports, _future()))

    # ---- asking our own ---------------------------------------------------------------------

    async def _holdings(self) -> Holdings:
        """What of the account is at this broker."""
        every: Holdings = await self._ask(HoldingsRequest(_future()))
        share = self._share
        return Holdings(
            {each: order for each, order in every.orders.items() if share.has_order(order)},
            {each: held for each, held in every.quantities.items() if share.has_symbol(each)},
            {
                each: known
                for each, known in every.differences.items()
                if known.broker == share.mark
            },
        )

    def _ask(self, request: ReportsRequest | HoldingsRequest | ReconciledRequest) -> Awaitable[Any]:
        self._gate.enqueue(request)
        return request.answer

    def _difference(
        self,
        kind: DifferenceKind,
        subject: str,
        *,
        message: str,
        ours: str = "",
        theirs: str = "",
        gap: Decimal | None = None,
    ) -> Difference:
        apart = text(gap) if gap is not None else ""
        return Difference(
            kind, subject, str(ours), theirs, apart, message, self._clock(), broker=self._share.mark
        )


def _is_further(seen: BrokerOrder, order: Order) -> bool:
    return (
        seen.cum_qty != order.cum_qty
        or seen.is_open != order.is_open
        or seen.leaves_qty != order.leaves_qty
        or not order.broker_order_id
    )


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()
