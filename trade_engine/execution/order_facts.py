"""What an order's life leaves behind: unsettled requests, and executions as they now count."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.money import ZERO, quotient
from trade_engine.domain.order import DeliveryState


class RequestKind(StrEnum):
    """Which request: FIX OrderCancelRequest or OrderCancelReplaceRequest."""

    CANCEL = "CANCEL"
    REPLACE = "REPLACE"

    @property
    def unnamed(self) -> str:
        """The key of a request that we know only by the broker's word: no ClOrdID has a "?"."""
        return f"?{self.value}"


@dataclass(slots=True)
class Request:
    """A cancel or replace request that is not settled.

    pending: the broker reported it as Pending Cancel or Pending Replace. order_qty is what a
    replace asks for. qty_before is the OrderQty to go back to if the broker, which already works
    to order_qty, refuses it after all. What the engine asks for by itself, for a signal_id, has a
    delivery state like an order, and asked_at_ns; its answer always names its ClOrdID. fx_rate is
    what one unit of the instrument's currency was counted as for it, where that is another one.
    """

    kind: RequestKind
    order_qty: Decimal | None = None
    price: Decimal | None = None
    pending: bool = False
    qty_before: Decimal | None = None
    signal_id: str = ""
    delivery: DeliveryState = DeliveryState.SENT
    asked_at_ns: int = 0
    fx_rate: Decimal | None = None


@dataclass(slots=True)
class Execution:
    """One execution as it now counts: value is the sum of quantity times price, exactly.

    exec_id is the one it was first reported under; ids holds that and every correction's, for a
    second correction names the last one. day counts trading days of the order, from 0.
    """

    exec_id: str
    last_qty: Decimal
    value: Decimal
    commission: Decimal = ZERO
    day: int = 0
    busted: bool = False
    ids: list[str] = field(default_factory=list)

    @property
    def last_px(self) -> Decimal:
        """Its price per unit; 0 when busted."""
        return quotient(self.value, self.last_qty) if self.last_qty else ZERO

    def amend(self, report: ExecutionReport) -> None:
        """Bust or correct; a correction leaves alone what it does not state (0, or no price)."""
        self.ids.append(report.exec_id)
        if report.exec_type is ExecType.TRADE_CANCEL:
            self.busted = True
            self.last_qty = self.value = self.commission = ZERO
            return
        px = self.last_px if report.last_px is None else report.last_px
        same = report.last_px is None and not report.last_qty
        self.last_qty = report.last_qty or self.last_qty
        self.value = self.value if same else self.last_qty * px
        self.commission = report.commission or self.commission
