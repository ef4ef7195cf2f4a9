"""How an account stands around an order: what the checks look at beyond the symbol itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from trade_engine.domain.activity import Approval
from trade_engine.domain.money import ZERO, text
from trade_engine.domain.signal import Side


@dataclass(frozen=True, slots=True)
class Replaceable:
    """The one working order of the strategy that a signal on its side would give new terms.

    cl_ord_id is what the request would be asked under. leaves_qty is all of it that may still fill.
    """

    order_id: str
    cl_ord_id: str
    cum_qty: Decimal
    leaves_qty: Decimal
    price: Decimal

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the journal."""
        return {
            "order_id": self.order_id,
            "cl_ord_id": self.cl_ord_id,
            "cum_qty": text(self.cum_qty),
            "leaves_qty": text(self.leaves_qty),
            "price": text(self.price),
        }

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> Replaceable:
        """Read what `to_json` wrote."""
        return cls(
            doc["order_id"],
            doc["cl_ord_id"],
            Decimal(doc["cum_qty"]),
            Decimal(doc["leaves_qty"]),
            Decimal(doc["price"]),
        )


@dataclass(slots=True)
class Standing:
    """Values are worst cases in the account's currency, over all symbols but the signal's own.

    net_long is what is held if every buy fills and no sell does; net_short the same with its sign
    turned if every sell fills. funds is what working buys, and buying back what is short, would
    cost. working is the value of all working orders. asset_gross and class_gross are gross
    exposure in other symbols of the signal's asset and asset class. traded is what was traded
    since the day began. executions are the strategy's orders since it was last enabled; approvals
    its latest in the symbol. opposite_order_id is a working order of the strategy in the symbol on
    the other side than the signal's; empty if there is none. replaceable is None where the signal
    would not replace, but add. forgotten_ns is when the last order of the account was approved that
    is not remembered any more although a rule may ask for it; 0 for none.
    """

    cash: Decimal = ZERO
    net_long: Decimal = ZERO
    net_short: Decimal = ZERO
    funds: Decimal = ZERO
    working: Decimal = ZERO
    asset_gross: Decimal = ZERO
    class_gross: Decimal = ZERO
    traded: Decimal = ZERO
    open_orders: int = 0
    executions: int = 0
    opposite_order_id: str = ""
    approvals: list[Approval] = field(default_factory=list)
    replaceable: Replaceable | None = None
    forgotten_ns: int = 0

    def to_json(self) -> dict[str, Any]:
        """The canonical form in the journal; the last two are there only when there is one."""
        doc: dict[str, Any] = {
            "cash": text(self.cash),
            "net_long": text(self.net_long),
            "net_short": text(self.net_short),
            "funds": text(self.funds),
            "working": text(self.working),
            "asset_gross": text(self.asset_gross),
            "class_gross": text(self.class_gross),
            "traded": text(self.traded),
            "open_orders": self.open_orders,
            "executions": self.executions,
            "opposite_order_id": self.opposite_order_id,
            "approvals": [[each.side, text(each.quantity), each.at_ns] for each in self.approvals],
        }
        if self.replaceable is not None:
            doc["replaceable"] = self.replaceable.to_json()
        if self.forgotten_ns:
            doc["forgotten_ns"] = self.forgotten_ns
        return doc

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> Standing:
        """Read what `to_json` wrote."""
        return cls(
            cash=Decimal(doc["cash"]),
            net_long=Decimal(doc["net_long"]),
            net_short=Decimal(doc["net_short"]),
            funds=Decimal(doc["funds"]),
            working=Decimal(doc["working"]),
            asset_gross=Decimal(doc["asset_gross"]),
            class_gross=Decimal(doc["class_gross"]),
            traded=Decimal(doc["traded"]),
            open_orders=int(doc["open_orders"]),
            executions=int(doc["executions"]),
            opposite_order_id=doc["opposite_order_id"],
            approvals=[
                Approval(Side(side), Decimal(quantity), int(at_ns))
                for side, quantity, at_ns in doc["approvals"]
            ],
            replaceable=Replaceable.from_json(doc["replaceable"]) if "replaceable" in doc else None,
            forgotten_ns=int(doc.get("forgotten_ns", 0)),
        )
