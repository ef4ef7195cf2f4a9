"""New terms for an order that works: FIX OrderCancelReplaceRequest."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NewType

from trade_engine.domain.money import optional, text
from trade_engine.domain.order import Order


@dataclass(frozen=True, slots=True)
class Terms:
    """What a decision wants an order to be from now on.

    order_qty is FIX OrderQty: all of it, what is filled already included. cl_ord_id is the
    request's own ClOrdID, under which it is asked about. cancels: nothing more of the order is
    wanted (order_qty is what was filled by then), so that it is to be canceled. fx_rate is what one
    unit of the instrument's currency was counted as when they were approved; None where that is the
    account's own.
    """

    order_id: str
    cl_ord_id: str
    order_qty: Decimal
    price: Decimal
    cancels: bool = False
    fx_rate: Decimal | None = None

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the journal; fx_rate is there only where there is one."""
        doc = {
            "order_id": self.order_id,
            "cl_ord_id": self.cl_ord_id,
            "order_qty": text(self.order_qty),
            "price": text(self.price),
            "cancels": self.cancels,
        }
        return doc if self.fx_rate is None else doc | {"fx_rate": text(self.fx_rate)}

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> Terms:
        """Read what `to_json` wrote."""
        return cls(
            order_id=doc["order_id"],
            cl_ord_id=doc["cl_ord_id"],
            order_qty=Decimal(doc["order_qty"]),
            price=Decimal(doc["price"]),
            cancels=doc["cancels"],
            fx_rate=optional(doc.get("fx_rate")),
        )


def terms_asked(order: Order) -> Terms | None:
    """The terms that the engine asks for, and that are not answered yet."""
    asked = order.replacement
    if asked is None:
        return None
    return Terms(
        order.order_id,
        asked["cl_ord_id"],
        Decimal(asked["order_qty"]),
        Decimal(asked["price"]),
        fx_rate=optional(asked.get("fx_rate")),
    )


@dataclass(frozen=True, slots=True)
class Replacement:
    """A request to replace: the order as it stands, and its new terms.

    orig_cl_ord_id is FIX OrigClOrdID: the last ClOrdID that the broker accepted for the order. The
    order's own `cl_ord_id` stays the first one.
    """

    order: Order
    terms: Terms
    orig_cl_ord_id: str


ApprovedReplacement = NewType("ApprovedReplacement", Replacement)
"""A replacement that a committed decision approved: the only thing that `Broker.replace` takes."""


def request_cl_ord_id(order_id: str, sequence: int) -> str:
    """The ClOrdID of the request that the decision at a sequence makes; never used before.

    `order_id_of` finds the order again.
    """
    return f"{order_id}.r{sequence}"


def is_replacement(cl_ord_id: str) -> bool:
    """Whether a ClOrdID is one that `request_cl_ord_id` made."""
    return cl_ord_id.partition(".")[2][:1] == "r"
