"""One round of the paper venue for one account: what happened, and how it is written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trade_engine.brokers.paper_books import Doc
from trade_engine.brokers.paper_matching import PaperMatcher, Touches
from trade_engine.brokers.paper_order import TERMS, NewTerms, PaperOrder
from trade_engine.brokers.paper_reports import report_doc
from trade_engine.domain.execution import BrokerReport
from trade_engine.domain.order import Order
from trade_engine.domain.replacement import Replacement
from trade_engine.execution.ports import Delivery


@dataclass(slots=True)
class Write:
    """What a round writes into the books, and the reports that go out once it stands there."""

    messages: list[Doc] = field(default_factory=list)
    new_orders: list[Doc] = field(default_factory=list)
    orders: list[Doc] = field(default_factory=list)
    reports: list[Doc] = field(default_factory=list)
    last_seq: int = 0
    outgoing: list[tuple[int, BrokerReport]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened."""
        return not (self.messages or self.reports)


class Round:
    """What happened at the venue since the books were last written.

    It happens in memory first, and is then written as a whole. Should the books know one of the
    new ClOrdIDs from a time that memory does not reach back to, `arrive_again` takes the arrivals
    back, exactly, and lets them happen once more with that knowledge.
    """

    def __init__(self, matcher: PaperMatcher) -> None:
        self.answers: list[Delivery] = []
        self.new_ids: dict[str, None] = {}
        self._matcher = matcher
        self._events: list[Doc | BrokerReport] = []
        self._changed: dict[str, PaperOrder] = {}
        self._arrivals: Sequence[Order] = ()
        self._arrived_ns = 0
        self._events_before = 0
        self._touches_before: Touches = {}

    def report(self, reports: Sequence[BrokerReport]) -> None:
        """Note what quotes or time caused."""
        self._events.extend(reports)

    def arrive(self, orders: Sequence[Order], now_ns: int) -> None:
        """Let orders arrive, last of all in this round; `answers` has one answer for each."""
        self._arrivals, self._arrived_ns = orders, now_ns
        self._note_changed()
        self._events_before = len(self._events)
        self._touches_before = self._matcher.touches({order.symbol for order in orders})
        self._arrive({})

    def arrive_again(self, known: dict[str, Doc]) -> None:
        """Take the arrivals back and repeat them; known are the books' orders by ClOrdID."""
        self._note_changed()
        for cl_ord_id in self.new_ids:
            self._changed.pop(cl_ord_id, None)
        self._matcher.withdraw(list(self.new_ids), self._touches_before)
        del self._events[self._events_before :]
        self._arrive(known)

    def cancel(self, cl_ord_id: str, now_ns: int) -> None:
        """Let a request to cancel arrive."""
        is_open = cl_ord_id in self._matcher.orders
        verdict = "TAKEN" if is_open else "NOT_OPEN"
        self._events.append(_message("CANCEL", cl_ord_id, now_ns, verdict))
        self._events.extend(self._matcher.cancel(cl_ord_id, now_ns))

    def replace(self, first: PaperOrder | None, asked: Replacement, now_ns: int) -> None:
        """Let a request to replace arrive; first is the order if it closed before this round."""
        self._note_changed()
        known, terms = asked.order.cl_ord_id, asked.terms
        order = self._matcher.orders.get(known) or self._changed.get(known) or first
        new = NewTerms(terms.cl_ord_id, terms.order_qty, terms.price)
        is_copy = order is not None and terms.cl_ord_id in order.requests
        verdict = "DUPLICATE" if is_copy else "TAKEN" if order and order.is_open else "NOT_OPEN"
        message = _message("REPLACE", known, now_ns, verdict)
        message["terms"] = new.to_doc()
        self._events.append(message)
        if order is not None and not is_copy:
            self._events.extend(self._matcher.replace(order, new, now_ns))

    def write(self, last_seq: int) -> Write:
        """What is to be written, numbered on from last_seq: the same however often it is asked."""
        self._note_changed()
        write = Write()
        for event in self._events:
            last_seq += 1
            if isinstance(event, dict):
                write.messages.append({"seq": last_seq, **event})
            else:
                write.reports.append({"seq": last_seq, **report_doc(event)})
                write.outgoing.append((last_seq, event))
        for order in self._changed.values():
            kind = write.new_orders if order.cl_ord_id in self.new_ids else write.orders
            kind.append(order.to_doc())
        write.last_seq = last_seq
        return write

    def _arrive(self, known: dict[str, Doc]) -> None:
        self.answers = []
        self.new_ids = {}
        terms_here: dict[str, dict[str, str]] = {}
        for order in self._arrivals:
            arriving = PaperOrder.arriving(order, self._arrived_ns)
            cl_ord_id = arriving.cl_ord_id
            first = terms_here.get(cl_ord_id) or self._known_terms(cl_ord_id, known)
            verdict, answer = _judge(arriving.terms, first)
            self.answers.append(answer)
            message = _message("ORDER", cl_ord_id, self._arrived_ns, verdict)
            message["terms"] = arriving.terms
            self._events.append(message)
            if first is None:
                terms_here[cl_ord_id] = arriving.terms
                self.new_ids[cl_ord_id] = None
                self._events.extend(self._matcher.arrive(arriving, self._arrived_ns))

    def _known_terms(self, cl_ord_id: str, known: dict[str, Doc]) -> dict[str, str] | None:
        """The terms of the first order of this ClOrdID: open, closed in this round, or known."""
        order = self._matcher.orders.get(cl_ord_id) or self._changed.get(cl_ord_id)
        if order is not None:
            return order.terms
        doc = known.get(cl_ord_id)
        return {name: doc[name] for name in TERMS} if doc else None

    def _note_changed(self) -> None:
        for order in self._matcher.take_changed():
            self._changed[order.cl_ord_id] = order


def _judge(terms: dict[str, str], first: dict[str, str] | None) -> tuple[str, Delivery]:
    """Weigh an order against the first one of its ClOrdID: the log's word, and the answer."""
    if first is None:
        return "TAKEN", Delivery.SENT
    if first == terms:
        return "DUPLICATE", Delivery.SENT
    return "CONFLICT", Delivery.IN_DOUBT


def _message(kind: str, cl_ord_id: str, now_ns: int, verdict: str) -> Doc:
    return {
        "kind": kind,
        "cl_ord_id": cl_ord_id,
        "received_at_ns": now_ns,
        "verdict": verdict,
        "terms": {},
    }
