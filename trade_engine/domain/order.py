"""An order: FIX's words for its state, and ours for how far its sending has come."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, NewType

from trade_engine.domain.money import ZERO, optional, optional_text, quotient, text
from trade_engine.domain.signal import Side


class OrdType(StrEnum):
    """FIX OrdType(40)."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"


class TimeInForce(StrEnum):
    """FIX TimeInForce(59)."""

    DAY = "DAY"
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class OrderPolicy(StrEnum):
    """How an instrument's orders are priced, and how long they stand.

    MARKETABLE_LIMIT: up to the slippage bound, for as long as the signal's horizon says. IOC: the
    same price, at once or not at all. LIMIT: at the reference price, so that it may have to wait.
    """

    MARKETABLE_LIMIT = "MARKETABLE_LIMIT"
    IOC = "IOC"
    LIMIT = "LIMIT"


class WorkingOrders(StrEnum):
    """What a signal does about a working order of its strategy, on its side of the instrument.

    ADD: it leaves that be, and orders what is missing. REPLACE: it gives the order new terms.
    """

    ADD = "ADD"
    REPLACE = "REPLACE"


class OrdStatus(StrEnum):
    """FIX 4.4 OrdStatus(39), all of it."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    DONE_FOR_DAY = "DONE_FOR_DAY"
    CANCELED = "CANCELED"
    REPLACED = "REPLACED"
    PENDING_CANCEL = "PENDING_CANCEL"
    STOPPED = "STOPPED"
    REJECTED = "REJECTED"
    SUSPENDED = "SUSPENDED"
    PENDING_NEW = "PENDING_NEW"
    CALCULATED = "CALCULATED"
    EXPIRED = "EXPIRED"
    ACCEPTED_FOR_BIDDING = "ACCEPTED_FOR_BIDDING"
    PENDING_REPLACE = "PENDING_REPLACE"


class DeliveryState(StrEnum):
    """How far the sending of an order has come: beside OrdStatus, never instead of it.

    QUEUED: approved, not yet handed to the broker. SENDING: the intent is committed, the bytes may
    be on their way. SENT: the broker answered for it. IN_DOUBT: nobody knows whether it arrived.
    """

    QUEUED = "QUEUED"
    SENDING = "SENDING"
    SENT = "SENT"
    IN_DOUBT = "IN_DOUBT"


UNCLEAR = frozenset({DeliveryState.SENDING, DeliveryState.IN_DOUBT})
ENDED_NAMES = frozenset({"CANCELED", "EXPIRED", "REJECTED"})
"""The marks of an order that its broker ended: no request about it takes effect any more."""

CLOSED = frozenset(
    {
        OrdStatus.FILLED,
        OrdStatus.CANCELED,
        OrdStatus.REJECTED,
        OrdStatus.EXPIRED,
        OrdStatus.DONE_FOR_DAY,
        OrdStatus.CALCULATED,
        OrdStatus.REPLACED,
    }
)


@dataclass(slots=True)
class Order:
    """One order as the journal knows it at `last_sequence`.

    Quantities are in units of the instrument. cum_value is the exact sum of LastQty times LastPx,
    so that AvgPx needs a single division. Times are in ns. chain is what the order machine must
    remember beyond the visible state (open requests, ClOrdIDs of replacements, states that a
    higher one hides), in its own canonical form; it is empty for nearly every order.
    """

    order_id: str
    account_id: str
    strategy_id: str
    symbol: str
    signal_id: str
    side: Side
    ord_type: OrdType
    time_in_force: TimeInForce
    order_qty: Decimal
    price: Decimal | None
    broker: str
    created_at_ns: int
    ord_status: OrdStatus = OrdStatus.PENDING_NEW
    delivery: DeliveryState = DeliveryState.QUEUED
    cum_qty: Decimal = ZERO
    leaves_qty: Decimal = ZERO
    cum_value: Decimal = ZERO
    broker_order_id: str = ""
    cancel_requested: bool = False
    text: str = ""
    updated_at_ns: int = 0
    last_sequence: int = 0
    chain: dict[str, Any] = field(default_factory=dict)
    fx_rate: Decimal | None = None
    """What one unit of the instrument's currency was counted as when its terms were approved; None
    where that is the account's own."""

    def copy(self) -> Order:
        """The order as it is now, for whoever must not see it change. Much on the hot path."""
        return Order(
            self.order_id,
            self.account_id,
            self.strategy_id,
            self.symbol,
            self.signal_id,
            self.side,
            self.ord_type,
            self.time_in_force,
            self.order_qty,
            self.price,
            self.broker,
            self.created_at_ns,
            self.ord_status,
            self.delivery,
            self.cum_qty,
            self.leaves_qty,
            self.cum_value,
            self.broker_order_id,
            self.cancel_requested,
            self.text,
            self.updated_at_ns,
            self.last_sequence,
            self.chain,
            self.fx_rate,
        )

    @property
    def cl_ord_id(self) -> str:
        """FIX ClOrdID(11), derived from the order's id: the same whoever sends it."""
        return self.order_id

    @property
    def is_open(self) -> bool:
        """Whether it may still fill, as far as is known: it then holds its reservation."""
        if self.ord_status not in CLOSED or self.leaves_qty > 0:  # done for the day, but GTC
            return True
        return bool(self.chain) and self.working_qty > 0  # filled, and asked to be for more

    @property
    def working_qty(self) -> Decimal:
        """What may still fill at worst: LeavesQty, or what an open request to replace would leave.

        Until the broker has answered, nobody knows which of the two terms it works on.
        """
        if not self.chain or not ENDED_NAMES.isdisjoint(self.chain["marks"]):
            return self.leaves_qty
        asked = [
            Decimal(each["order_qty"]) - self.cum_qty
            for each in self.chain["requests"]
            if each["kind"] == "REPLACE" and each["order_qty"]
        ]
        return max(self.leaves_qty, *asked) if asked else self.leaves_qty

    @property
    def replacement(self) -> dict[str, Any] | None:
        """The engine's own request to replace that the broker has not answered, if there is one."""
        requests = self.chain["requests"] if self.chain else ()
        return next((each for each in requests if "signal_id" in each), None)

    @property
    def is_unclear(self) -> bool:
        """Whether it, or its replacement, may be on its way to the broker without our knowing."""
        if self.delivery in UNCLEAR:
            return True
        asked = self.replacement if self.chain else None
        return asked is not None and DeliveryState(asked["delivery"]) in UNCLEAR

    @property
    def avg_px(self) -> Decimal:
        """FIX AvgPx(6): 0 while nothing is filled."""
        return quotient(self.cum_value, self.cum_qty) if self.cum_qty else ZERO

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the journal and in Redis: decimals as strings, times in ns.

        chain and fx_rate are there only where there is something to say.
        """
        doc: dict[str, Any] = {
            "order_id": self.order_id,
            "account_id": self.account_id,
            "strategy_id": self.strategy_id,
            "symbol": self.symbol,
            "signal_id": self.signal_id,
            "side": str(self.side),
            "ord_type": str(self.ord_type),
            "time_in_force": str(self.time_in_force),
            "order_qty": text(self.order_qty),
            "price": optional_text(self.price),
            "broker": self.broker,
            "created_at_ns": self.created_at_ns,
            "ord_status": str(self.ord_status),
            "delivery": str(self.delivery),
            "cum_qty": text(self.cum_qty),
            "leaves_qty": text(self.leaves_qty),
            "cum_value": text(self.cum_value),
            "broker_order_id": self.broker_order_id,
            "cancel_requested": self.cancel_requested,
            "text": self.text,
            "updated_at_ns": self.updated_at_ns,
            "last_sequence": self.last_sequence,
        }
        if self.chain:
            doc["chain"] = self.chain
        if self.fx_rate is not None:
            doc["fx_rate"] = text(self.fx_rate)
        return doc

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> Order:
        """Read what `to_json` wrote, or a row of the orders table under the same names."""
        return cls(
            order_id=doc["order_id"],
            account_id=doc["account_id"],
            strategy_id=doc["strategy_id"],
            symbol=doc["symbol"],
            signal_id=doc["signal_id"],
            side=Side(doc["side"]),
            ord_type=OrdType(doc["ord_type"]),
            time_in_force=TimeInForce(doc["time_in_force"]),
            order_qty=Decimal(doc["order_qty"]),
            price=Decimal(doc["price"]) if doc["price"] else None,
            broker=doc["broker"],
            created_at_ns=int(doc["created_at_ns"]),
            ord_status=OrdStatus(doc["ord_status"]),
            delivery=DeliveryState(doc["delivery"]),
            cum_qty=Decimal(doc["cum_qty"]),
            leaves_qty=Decimal(doc["leaves_qty"]),
            cum_value=Decimal(doc["cum_value"]),
            broker_order_id=doc["broker_order_id"],
            cancel_requested=doc["cancel_requested"],
            text=doc["text"],
            updated_at_ns=int(doc["updated_at_ns"]),
            last_sequence=int(doc["last_sequence"]),
            chain=doc.get("chain") or {},
            fx_rate=optional(doc.get("fx_rate")),
        )


ApprovedOrder = NewType("ApprovedOrder", Order)
"""An order that a committed decision approved: the only thing a broker adapter takes."""


def order_id_of(cl_ord_id: str) -> str:
    """The order that a ClOrdID is about: a request's own is the order's, a dot, and a number."""
    return cl_ord_id.partition(".")[0]


def order_id_for(account_id: str, signal_id: str) -> str:
    """Derive the order's id from its signal, so that one signal can never have two orders."""
    digest = hashlib.sha256(f"{account_id}\x00{signal_id}".encode()).hexdigest()
    return f"o-{digest[:24]}"
