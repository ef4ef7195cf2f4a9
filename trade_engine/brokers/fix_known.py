"""The orders of a session, as its messages are read against: recent ones at hand, others looked up.

A session's file keeps every order for ever, and a bust may come years later; memory holds some.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from trade_engine.brokers.fix_messages import Accepted, side_code
from trade_engine.brokers.fix_store import SentOrder
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.order import Order, order_id_of
from trade_engine.domain.replacement import is_replacement
from trade_engine.domain.signal import Side

AT_HAND_MAX = 100_000
"""So many orders are held in memory; what is older costs a look into the file."""

LookUp = Callable[[str], tuple[SentOrder, list[ExecutionReport]] | None]
"""An order of the file by its first ClOrdID, and what was booked of new terms, in order."""


@dataclass(slots=True)
class KnownOrder:
    """What a report of an order is held against, and what the venue accepted for it last."""

    account_id: str
    symbol: str
    side_code: str
    accepted: Accepted

    def note(self, report: ExecutionReport) -> None:
        """Learn the terms that a REPLACED or RESTATED brought."""
        before = self.accepted
        renamed = report.exec_type is ExecType.REPLACED and is_replacement(report.cl_ord_id)
        self.accepted = Accepted(
            report.cl_ord_id if renamed else before.cl_ord_id,
            before.order_qty if report.order_qty is None else report.order_qty,
        )


class KnownOrders:
    """Orders by their first ClOrdID."""

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._at_hand: dict[str, KnownOrder] = {}

    def add(self, order: Order) -> None:
        """Know an order that is about to be sent."""
        accepted = Accepted(order.cl_ord_id, order.order_qty)
        known = KnownOrder(order.account_id, order.symbol, side_code(order.side), accepted)
        self._keep(order.cl_ord_id, known)

    def __contains__(self, order_id: str) -> bool:
        return self.get(order_id) is not None

    def get(self, order_id: str) -> KnownOrder | None:
        """One order; None where the session never sent it. An old one is looked up."""
        known = self._at_hand.get(order_id)
        if known is None and (found := self._look_up(order_id)) is not None:
            known = _known(*found)
            self._keep(order_id, known)
        return known

    def note(self, report: ExecutionReport) -> None:
        """Learn new terms of an order, if it is one of ours."""
        known = self.get(order_id_of(report.cl_ord_id))
        if known is not None:
            known.note(report)

    def _keep(self, order_id: str, known: KnownOrder) -> None:
        self._at_hand[order_id] = known
        if len(self._at_hand) > AT_HAND_MAX:
            del self._at_hand[next(iter(self._at_hand))]


def _known(order: SentOrder, restated: list[ExecutionReport]) -> KnownOrder:
    terms = order.terms
    accepted = Accepted(order.cl_ord_id, Decimal(terms["order_qty"]))
    side = side_code(Side(terms["side"]))
    known = KnownOrder(order.account_id, terms["symbol"], side, accepted)
    for report in restated:
        known.note(report)
    return known
