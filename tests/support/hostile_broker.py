"""A broker that behaves as badly as brokers do, around one that behaves well.

What happens at the venue is what the inner broker did, so its books stay the truth to compare with;
what goes wrong is on the way. Every misdeed of an order is drawn from (seed, ClOrdID), so it does
not depend on how things interleave. The inner broker hears that a report was taken only when all
that was made of it has been.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from random import Random

from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.execution import BrokerReport, ExecType, ExecutionReport
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import ApprovedOrder, Order
from trade_engine.domain.replacement import ApprovedReplacement
from trade_engine.execution.ports import Broker, BrokerOrder, Delivery, ReportSink


@dataclass(frozen=True, slots=True)
class Hostility:
    """How often each thing goes wrong, from 0 to 1.

    lost_ack: the order arrived, the answer is IN_DOUBT. swallowed: it did not arrive, and the
    answer is IN_DOUBT. late_order: the answer is IN_DOUBT, and it arrives some time later, maybe
    after a query did not find it. not_sent: NOT_SENT, truly. lost_cancel: a cancel does not arrive
    and answers IN_DOUBT. duplicate: a report comes twice, the second time with a later batch.
    shuffled: a batch of reports comes in another order (a fill before its NEW, a CANCELED before
    the fill that came first). split: each report of a batch by itself. late: a batch comes late.
    unknown: with a batch comes a report of an order that nobody sent. claims_closed: with a batch
    comes a CANCELED again for an order that ended. unanswered: a query is not answered.
    """

    lost_ack: float = 0.0
    swallowed: float = 0.0
    late_order: float = 0.0
    not_sent: float = 0.0
    lost_cancel: float = 0.0
    duplicate: float = 0.0
    shuffled: float = 0.0
    split: float = 0.0
    late: float = 0.0
    unknown: float = 0.0
    claims_closed: float = 0.0
    unanswered: float = 0.0

    @classmethod
    def everything(cls, often: float) -> Hostility:
        """All of it, each this often."""
        return cls(**{each.name: often for each in fields(cls)})


class HostileBroker:
    """The port `Broker`, with misdeeds; `done` counts them by name.

    A disconnect is `disconnect` and `reconnect`: in between nothing arrives and nothing is told.
    While `muted` that is so too, and nothing shows it: what is handed over is swallowed.
    """

    def __init__(
        self, inner: Broker, hostility: Hostility, seed: int, late_s: float = 0.01, name: str = ""
    ) -> None:
        self.name = name or inner.name
        self.muted = False
        self.remembers_all = inner.remembers_all and not hostility.late_order
        self.is_live = inner.is_live
        self.can_replace = inner.can_replace
        self._connections = 1
        self.done: Counter[str] = Counter()
        self.unknown_exec_ids: set[str] = set()
        self._inner = inner
        self._hostility = hostility
        self._seed = seed
        self._late_s = late_s
        self._sink: ReportSink | None = None
        self._batches = 0
        self._again: list[BrokerReport] = []
        self._ended: list[ExecutionReport] = []
        self._online = asyncio.Event()
        self._online.set()
        self._on_their_way: set[asyncio.Task[None]] = set()

    # ---- the port ---------------------------------------------------------------------------

    async def start(self, sink: ReportSink) -> None:
        self._sink = sink
        await self._inner.start(self._tell)

    async def stop(self) -> None:
        self._online.set()
        await asyncio.gather(*self._on_their_way)
        await self._inner.stop()

    async def open_account(self, account_id: str) -> None:
        await self._inner.open_account(account_id)

    async def close_account(self, account_id: str) -> None:
        await self._inner.close_account(account_id)

    async def send(self, orders: Sequence[ApprovedOrder]) -> list[Delivery]:
        if self.muted:
            self.done["muted"] += len(orders)
            return [Delivery.IN_DOUBT] * len(orders)
        if not self._online.is_set():
            return [Delivery.NOT_SENT] * len(orders)
        fates = {order.cl_ord_id: self._fate(order.cl_ord_id) for order in orders}
        arriving = [each for each in orders if fates[each.cl_ord_id] in ("", "lost_ack")]
        answered = dict(zip(
            [each.cl_ord_id for each in arriving], await self._inner.send(arriving), strict=True
        ))  # fmt: skip
        late = [each for each in orders if fates[each.cl_ord_id] == "late_order"]
        if late:
            self._later(self._inner.send(late))
        return [self._answer(fates[each.cl_ord_id], answered, each.cl_ord_id) for each in orders]

    async def cancel(self, orders: Sequence[Order]) -> list[Delivery]:
        if self.muted:
            return [Delivery.IN_DOUBT] * len(orders)
        if not self._online.is_set():
            return [Delivery.NOT_SENT] * len(orders)
        attempt = self._next()  # a cancel is asked for again, and arrives in the end
        lost = {
            each.cl_ord_id
            for each in orders
            if self._strikes("lost_cancel", f"{each.cl_ord_id}:{attempt}")
        }
        arriving = [each for each in orders if each.cl_ord_id not in lost]
        answers = iter(await self._inner.cancel(arriving))
        return [Delivery.IN_DOUBT if each.cl_ord_id in lost else next(answers) for each in orders]

    async def replace(self, asked: Sequence[ApprovedReplacement]) -> list[Delivery]:
        if self.muted:
            self.done["muted"] += len(asked)
            return [Delivery.IN_DOUBT] * len(asked)
        if not self._online.is_set():
            return [Delivery.NOT_SENT] * len(asked)
        deliveries = []
        for each in asked:
            fate = self._fate(each.terms.cl_ord_id)
            answered = {}
            if fate in ("", "lost_ack"):
                answered = dict(zip(["it"], await self._inner.replace([each]), strict=True))
            elif fate == "late_order":
                self._later(self._inner.replace([each]))
            deliveries.append(self._answer(fate, answered, "it"))
        return deliveries

    async def query(self, account_id: str, cl_ord_ids: Sequence[str]) -> dict[str, BrokerOrder]:
        self._answer_or_not()
        return await self._inner.query(account_id, cl_ord_ids)

    @property
    def connection(self) -> int:
        return self._connections if self._online.is_set() else 0

    async def open_orders(self, account_id: str) -> list[BrokerOrder] | None:
        self._answer_or_not()
        return await self._inner.open_orders(account_id)

    async def executions(self, account_id: str, since_ns: int) -> list[ExecutionReport] | None:
        self._answer_or_not()
        return await self._inner.executions(account_id, since_ns)

    async def positions(self, account_id: str) -> dict[str, Decimal] | None:
        self._answer_or_not()
        return await self._inner.positions(account_id)

    def _answer_or_not(self) -> None:
        silent = self.muted or not self._online.is_set()
        if silent or self._strikes("unanswered", self._next()):
            raise StoreUnavailable("the venue does not answer")

    # ---- disconnects ------------------------------------------------------------------------

    def disconnect(self) -> None:
        """Nothing arrives and nothing is told until `reconnect`."""
        self.done["disconnected"] += 1
        self._online.clear()

    def reconnect(self) -> None:
        """What the venue wanted to tell meanwhile is told now."""
        self._connections += 1
        self._online.set()

    # ---- misdeeds ---------------------------------------------------------------------------

    def _fate(self, cl_ord_id: str) -> str:
        """What becomes of an order, or of a request to replace one, on its way.

        Each at most once, so that it arrives in the end.
        """
        for misdeed in ("lost_ack", "swallowed", "late_order", "not_sent"):
            key = f"{misdeed}:{cl_ord_id}"
            if not self.done[key] and self._strikes(misdeed, cl_ord_id):
                self.done[key] += 1
                return misdeed
        return ""

    def _answer(self, fate: str, answered: dict[str, Delivery], cl_ord_id: str) -> Delivery:
        if fate == "not_sent":
            return Delivery.NOT_SENT
        return Delivery.IN_DOUBT if fate else answered[cl_ord_id]

    def _later(self, arriving: Awaitable[object]) -> None:
        async def arrive() -> None:
            await asyncio.sleep(self._late_s)
            await arriving

        task = asyncio.create_task(arrive())
        self._on_their_way.add(task)
        task.add_done_callback(self._on_their_way.discard)

    async def _tell(self, account_id: str, told_now: Sequence[BrokerReport]) -> None:
        """Pass a batch on, worse than it was."""
        assert self._sink is not None
        await self._online.wait()
        key = self._next()
        told = [*told_now, *self._again]
        reports = [each for each in told_now if isinstance(each, ExecutionReport)]
        self._again = [
            each
            for each in told_now
            if self._strikes(
                "duplicate", each.exec_id if isinstance(each, ExecutionReport) else each.cl_ord_id
            )
        ]
        if reports and self._strikes("unknown", key):
            told.append(self._unknown(reports[0]))
        if self._ended and self._strikes("claims_closed", key):
            told.append(self._ended[-1])
        self._ended += [each for each in reports if each.exec_type is ExecType.CANCELED]
        if self._strikes("shuffled", key):
            Random(f"{self._seed}:{key}").shuffle(told)
        if self._strikes("late", key):
            await asyncio.sleep(self._late_s)
        if self._strikes("split", key):
            for each in told:
                await self._sink(account_id, [each])
        else:
            await self._sink(account_id, told)

    def _unknown(self, like: ExecutionReport) -> ExecutionReport:
        """A report of an order that nobody sent; it adds no fill to any that somebody did."""
        name = f"stranger-{self._batches}"
        self.unknown_exec_ids.add(f"{name}-1")
        return replace(
            like, cl_ord_id=name, exec_id=f"{name}-1", broker_order_id=f"P-{name}",
            exec_type=ExecType.NEW, last_qty=ZERO, last_px=None, commission=ZERO,
        )  # fmt: skip

    def _strikes(self, misdeed: str, key: str) -> bool:
        often: float = getattr(self._hostility, misdeed)
        struck = Random(f"{self._seed}:{misdeed}:{key}").random() < often
        self.done[misdeed] += struck
        return struck

    def _next(self) -> str:
        self._batches += 1
        return str(self._batches)
