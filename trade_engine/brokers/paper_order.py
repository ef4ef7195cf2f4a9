"""An order as the paper venue sees it, and its document in the venue's books."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from trade_engine.domain.money import ONE, ZERO, optional_text, text
from trade_engine.domain.order import Order, OrdType, TimeInForce
from trade_engine.domain.signal import Side

TERMS = ("symbol", "side", "ord_type", "time_in_force", "order_qty", "price")
"""What was ordered: two orders of one ClOrdID are the same order when these are equal."""


@dataclass(frozen=True, slots=True)
class NewTerms:
    """A request to replace, under its own ClOrdID."""

    cl_ord_id: str
    order_qty: Decimal
    price: Decimal

    def to_doc(self) -> dict[str, str]:
        """Its form in the books."""
        return {
            "cl_ord_id": self.cl_ord_id,
            "order_qty": text(self.order_qty),
            "price": text(self.price),
        }


@dataclass(slots=True, eq=False)
class PaperOrder:
    """One order at the venue. Times are in ns; 0 stands for "no such time".

    price is the limit, None for a market order. due_at_ns is when it becomes active (0 once it
    is), cancel_at_ns when a cancel under way takes effect, expires_at_ns when it expires. priority
    numbers the arrivals of the account. lot and multiplier are the instrument's when the order
    became active. commission is what the fills so far cost, before the minimum and rounding.
    terms are what was ordered, in the words of the books; order_qty and price are those in force.
    requests are the ClOrdIDs of the requests to replace it that arrived, replacing the one that is
    on its way through the venue, taking effect at replace_at_ns.
    """

    cl_ord_id: str
    terms: dict[str, str]
    symbol: str
    side: Side
    ord_type: OrdType
    time_in_force: TimeInForce
    order_qty: Decimal
    price: Decimal | None
    arrived_at_ns: int
    leaves_qty: Decimal
    priority: int = 0
    lot: Decimal = ONE
    multiplier: Decimal = ONE
    due_at_ns: int = 0
    cancel_at_ns: int = 0
    expires_at_ns: int = 0
    cum_qty: Decimal = ZERO
    commission: Decimal = ZERO
    report_count: int = 0
    is_open: bool = True
    requests: list[str] = field(default_factory=list)
    replacing: NewTerms | None = None
    replace_at_ns: int = 0

    @classmethod
    def arriving(cls, order: Order, now_ns: int) -> PaperOrder:
        """Take an order as it comes in; the matcher gives it its priority."""
        return cls(
            cl_ord_id=order.cl_ord_id,
            terms={
                "symbol": order.symbol,
                "side": str(order.side),
                "ord_type": str(order.ord_type),
                "time_in_force": str(order.time_in_force),
                "order_qty": text(order.order_qty),
                "price": optional_text(order.price),
            },
            symbol=order.symbol,
            side=order.side,
            ord_type=order.ord_type,
            time_in_force=order.time_in_force,
            order_qty=order.order_qty,
            price=order.price if order.ord_type is OrdType.LIMIT else None,
            arrived_at_ns=now_ns,
            leaves_qty=order.order_qty,
        )

    @property
    def broker_order_id(self) -> str:
        """FIX OrderID(37): the venue's own name for the order."""
        return f"P-{self.cl_ord_id}"

    @property
    def rank(self) -> tuple[int, Decimal, int]:
        """Price-time priority among the orders of one side and symbol: the smallest is first."""
        if self.price is None:
            return (0, ZERO, self.priority)
        return (1, -self.price if self.side is Side.BUY else self.price, self.priority)

    def reaches(self, touch: Decimal) -> bool:
        """Whether the order would trade at `touch`."""
        if self.price is None:
            return True
        return touch <= self.price if self.side is Side.BUY else touch >= self.price

    def to_doc(self) -> dict[str, Any]:
        """The order's document in the books; what came of requests is there when there were any."""
        doc = {
            **self.terms,
            "cl_ord_id": self.cl_ord_id,
            "broker_order_id": self.broker_order_id,
            "lot": text(self.lot),
            "multiplier": text(self.multiplier),
            "priority": self.priority,
            "arrived_at_ns": self.arrived_at_ns,
            "due_at_ns": self.due_at_ns,
            "cancel_at_ns": self.cancel_at_ns,
            "expires_at_ns": self.expires_at_ns,
            "cum_qty": text(self.cum_qty),
            "leaves_qty": text(self.leaves_qty),
            "commission": text(self.commission),
            "report_count": self.report_count,
            "is_open": self.is_open,
        }
        if self.requests:
            doc["requests"] = self.requests
            doc["in_force"] = {
                "order_qty": text(self.order_qty),
                "price": optional_text(self.price),
            }
            doc["replacing"] = self.replacing.to_doc() if self.replacing else None
            doc["replace_at_ns"] = self.replace_at_ns
        return doc

    @classmethod
    def from_doc(cls, doc: dict[str, Any]) -> PaperOrder:
        """Read what `to_doc` wrote."""
        is_limit = doc["ord_type"] == OrdType.LIMIT
        in_force = doc.get("in_force", doc)
        replacing = doc.get("replacing")
        return cls(
            cl_ord_id=doc["cl_ord_id"],
            terms={name: doc[name] for name in TERMS},
            symbol=doc["symbol"],
            side=Side(doc["side"]),
            ord_type=OrdType(doc["ord_type"]),
            time_in_force=TimeInForce(doc["time_in_force"]),
            order_qty=Decimal(in_force["order_qty"]),
            price=Decimal(in_force["price"]) if is_limit and in_force["price"] else None,
            arrived_at_ns=doc["arrived_at_ns"],
            leaves_qty=Decimal(doc["leaves_qty"]),
            priority=doc["priority"],
            lot=Decimal(doc["lot"]),
            multiplier=Decimal(doc["multiplier"]),
            due_at_ns=doc["due_at_ns"],
            cancel_at_ns=doc["cancel_at_ns"],
            expires_at_ns=doc["expires_at_ns"],
            cum_qty=Decimal(doc["cum_qty"]),
            commission=Decimal(doc["commission"]),
            report_count=doc["report_count"],
            is_open=doc["is_open"],
            requests=list(doc.get("requests", ())),
            replacing=NewTerms(
                replacing["cl_ord_id"], Decimal(replacing["order_qty"]), Decimal(replacing["price"])
            )
            if replacing
            else None,
            replace_at_ns=doc.get("replace_at_ns", 0),
        )
