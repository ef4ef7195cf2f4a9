"""Orders out against decisions approved: the last step before the broker.

It knows nothing of how an order came to be handed over. It keeps what the record committed (the
bytes of the decision's journal entry), and lets an order go only if such an entry approved exactly
this one, and only once: a second time needs a committed return to QUEUED in between. One order too
many goes nowhere, nor does anything handed over with it; whoever asked is told, and halts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from trade_engine.domain.errors import EngineError
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.money import optional_text, text
from trade_engine.domain.order import ApprovedOrder, DeliveryState, Order
from trade_engine.domain.replacement import ApprovedReplacement
from trade_engine.execution.ports import Commit, Delivery, OrderEntry, RecordStore
from trade_engine.execution.replacing import replacement_of

Terms = dict[str, str | None]
_ORDER = b'"order":{'


class OrdersOutExceed(EngineError):
    """An order was about to go out that no committed decision approved, or a second time."""

    reason = "ORDERS_OUT_EXCEED"


class OrdersOut:
    """The only way from the engine to a broker, for the orders of one account."""

    def __init__(self, broker: OrderEntry, record: RecordStore) -> None:
        self._broker = broker
        self._record = record
        self._approved: dict[str, bytes] = {}
        self._out: set[str] = set()
        self._replacing: dict[str, str] = {}

    def take(self, commit: Commit) -> None:
        """Learn what was committed: approvals, and orders that certainly did not leave."""
        approving = {row.sequence: row.order_id for row in commit.decisions if row.order_id}
        if approving:
            for entry in commit.entries:
                if entry.kind is EntryKind.DECISION and entry.sequence in approving:
                    self._approved[approving[entry.sequence]] = entry.payload
        for order in commit.orders:
            if order.delivery is DeliveryState.QUEUED or not order.is_open:
                self._out.discard(order.order_id)
            if not order.is_open:
                self._approved.pop(order.order_id, None)
            if self._replacing and _may_replace_again(order):
                self._replacing.pop(order.order_id, None)

    def forget(self) -> None:
        """The lease is gone: who holds it now learns what is out by asking the broker."""
        self._approved.clear()
        self._out.clear()
        self._replacing.clear()

    async def send(
        self, orders: Sequence[Order], may_go: Callable[[Order], bool]
    ) -> list[Delivery]:
        """Hand orders to the broker, if all of them were approved and none has gone before.

        may_go is asked of each after everything else; where it says no, the order is NOT_SENT.

        Raises:
            OrdersOutExceed: one was not, or has; nothing was handed over.
            StoreUnavailable: an approval of another process could not be read; nor was anything.
        """
        asked: set[str] = set()
        for order in orders:
            if order.order_id in self._out or order.order_id in asked:
                raise _exceeds(order, self._broker.name, "a second time")
            asked.add(order.order_id)
            _compare(order, await self._approval(order))
        going = [order for order in orders if may_go(order)]
        gone = {order.order_id for order in going}
        for order_id in gone:
            self._approved.pop(order_id, None)
        self._out |= gone
        sent = await self._broker.send([ApprovedOrder(order) for order in going]) if going else []
        deliveries = iter(sent)
        return [
            next(deliveries) if order.order_id in gone else Delivery.NOT_SENT for order in orders
        ]

    async def replace(
        self, orders: Sequence[Order], may_go: Callable[[Order], bool]
    ) -> list[Delivery]:
        """Hand over the open requests to replace these orders, by the same rules as orders.

        Raises:
            OrdersOutExceed: one was not approved, or has gone before; nothing was handed over.
            StoreUnavailable: an approval could not be read; nor was anything.
        """
        requests = []
        for order in orders:
            request = await self._approved_replacement(order)
            if self._replacing.get(order.order_id) == request.terms.cl_ord_id:
                raise _exceeds(order, self._broker.name, "a second time, in a request to replace")
            requests.append(request)
        going = [each for each in requests if may_go(each.order)]
        self._replacing |= {each.order.order_id: each.terms.cl_ord_id for each in going}
        answers = iter(await self._broker.replace(going) if going else [])
        return [next(answers) if each in going else Delivery.NOT_SENT for each in requests]

    async def _approved_replacement(self, order: Order) -> ApprovedReplacement:
        """The order's open request, if it is what the journal says was approved."""
        request, asked = replacement_of(order), order.replacement or {}
        signal_id = asked.get("signal_id", "")
        decisions = await self._record.find_decisions(order.account_id, [signal_id])
        decision = decisions.get(signal_id)
        if request is None or decision is None or decision.replacement != request.terms:
            raise _exceeds(order, self._broker.name, "with terms that no decision approved")
        return ApprovedReplacement(request)

    async def _approval(self, order: Order) -> Terms | None:
        """What the journal says was approved under this order's id; None: nothing."""
        payload = self._approved.get(order.order_id)
        if payload is not None:
            return approved_terms(payload)
        decisions = await self._record.find_decisions(order.account_id, [order.signal_id])
        decision = decisions.get(order.signal_id)
        return decision.order.to_json() if decision and decision.order else None


def approved_terms(payload: bytes) -> Terms | None:
    """The order in a decision's journal entry; None where there is none.

    Thirty checks and the whole context stand there too, and nobody asks for them here. No text of
    canonical JSON holds `_ORDER`, for its quotes would be escaped; the decision's order is the last
    object of that name, and a flat one, whose first brace ends it, unless a text in it has one.
    """
    begin = payload.rfind(_ORDER)
    if begin < 0:
        return None
    begin += len(_ORDER) - 1
    try:
        return orjson.loads(payload[begin : payload.index(b"}", begin) + 1])  # type: ignore[no-any-return]
    except orjson.JSONDecodeError:
        return orjson.loads(payload)["decision"]["order"]  # type: ignore[no-any-return]


def _compare(order: Order, approved: Terms | None) -> None:
    going: Terms = {
        "order_id": order.order_id,
        "account_id": order.account_id,
        "symbol": order.symbol,
        "side": str(order.side),
        "ord_type": str(order.ord_type),
        "time_in_force": str(order.time_in_force),
        "order_qty": text(order.order_qty),
        "price": optional_text(order.price),
        "broker": order.broker,
    }
    differs = [name for name in going if approved is None or approved[name] != going[name]]
    if differs:
        what = (
            "that no decision approved"
            if approved is None
            else "with other terms than were approved: "
            + ", ".join(f"{name} {going[name]}, not {approved[name]}" for name in differs)
        )
        raise _exceeds(order, order.broker, what)


def _exceeds(order: Order, broker: str, what: str) -> OrdersOutExceed:
    return OrdersOutExceed(
        f"order {order.order_id} was about to be handed to {broker} {what}",
        account_id=order.account_id,
        order_id=order.order_id,
    )


def _may_replace_again(order: Order) -> bool:
    """Whether the request that was handed over certainly did not leave, or is answered."""
    asked = order.replacement
    return asked is None or asked["delivery"] == DeliveryState.QUEUED
