"""The order machine: the facts that events leave behind, and the state derived from them.

An `OrderChain` is one order through all its versions: OrderQty, CumQty, LeavesQty and AvgPx run
over the whole chain of ClOrdIDs. It holds

- marks: the states that a broker set (CANCELED, SUSPENDED, …), each of which may hide another;
- requests: our cancel and replace requests that the broker has not settled yet;
- executions: what was filled, each with its present numbers after corrections, or busted;
- amendments that arrived before the execution they are about, and wait for it.

Nothing that a broker claims about OrdStatus, CumQty or LeavesQty is taken over. Which event may
come in which state stands in `order_table`; `refusal` asks it before anything is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from trade_engine.domain.execution import (
    SYNTHETIC,
    CancelReject,
    ExecRestatementReason,
    ExecType,
    ExecutionReport,
)
from trade_engine.domain.money import ZERO, quotient, text
from trade_engine.domain.order import DeliveryState, OrdStatus, TimeInForce
from trade_engine.domain.replacement import is_replacement
from trade_engine.execution.order_facts import Execution, Request, RequestKind
from trade_engine.execution.order_table import DAY_ENDED, ENDED, RANK, Event, may_come

AMENDMENTS = frozenset({ExecType.TRADE_CORRECT, ExecType.TRADE_CANCEL})
_EVENT_OF = {exec_type: Event(exec_type.value) for exec_type in ExecType}
_ENDINGS = frozenset({Event.CANCELED, Event.EXPIRED})
_STANDS_ASIDE = frozenset({OrdStatus.STOPPED, OrdStatus.SUSPENDED})
_PROVES_NOTHING = frozenset({ExecType.PENDING_NEW, ExecType.ORDER_STATUS, ExecType.REJECTED})
"""Reports that do not say that the broker has accepted the order."""


@dataclass(slots=True)
class OrderChain:
    """The facts about one order. Change it through `OrderMachine`'s events only."""

    cl_ord_id: str
    """The last ClOrdID that the broker accepted."""
    order_qty: Decimal
    price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.DAY
    sent: bool = False
    """We sent it; else it is known by the broker's reports only, or not at all."""
    cash_order: bool = False
    """Ordered by amount (CashOrderQty): what the broker states is the OrderQty."""
    acknowledged: bool = False
    """The broker spoke of it as an order that it has."""
    duplicates: int = 0
    """How often it was sent again under its ClOrdID without an answer yet."""
    day: int = 0
    marks: set[OrdStatus] = field(default_factory=set)
    requests: dict[str, Request] = field(default_factory=dict)
    cl_ord_ids: list[str] = field(default_factory=list)
    """Every ClOrdID that was ever used for it, in order."""
    executions: list[Execution] = field(default_factory=list)
    waiting: list[ExecutionReport] = field(default_factory=list)
    """Busts and corrections of executions that have not arrived."""
    synthetic: bool = False
    """One of its executions was made by reconciliation, and may have to make room."""
    unlisted_qty: Decimal = ZERO
    """Filled by executions that are known as a sum only; unlisted_value is their value."""
    unlisted_value: Decimal = ZERO
    fx_rate: Decimal | None = None
    """What one unit of its currency was counted as when its present terms were approved."""

    # ---- what follows from the facts --------------------------------------------------------

    @property
    def ord_status(self) -> OrdStatus:
        """FIX OrdStatus(39): of the states that hold, the one of highest precedence."""
        if self.sent and not self.marks and not self.requests:
            return self._outstanding()  # as nearly every order is
        return min(self._holding(), key=RANK.__getitem__)

    @property
    def cum_qty(self) -> Decimal:
        """FIX CumQty(14): what is filled by the executions that survive."""
        filled = self.unlisted_qty
        for each in self.executions:
            filled += each.last_qty
        return filled

    @property
    def cum_value(self) -> Decimal:
        """What CumQty cost, before fees and multiplier."""
        paid = self.unlisted_value
        for each in self.executions:
            paid += each.value
        return paid

    @property
    def leaves_qty(self) -> Decimal:
        """FIX LeavesQty(151): 0 when the order can't fill any more, else what is left."""
        return ZERO if self._inactive() else max(self.order_qty - self.cum_qty, ZERO)

    @property
    def day_cum_qty(self) -> Decimal:
        """FIX DayCumQty(425): the part of CumQty that was filled today."""
        today = (each.last_qty for each in self.executions if each.day == self.day)
        return sum(today, ZERO)

    @property
    def day_order_qty(self) -> Decimal:
        """FIX DayOrderQty(424): OrderQty less what earlier days filled."""
        return self.order_qty - (self.cum_qty - self.day_cum_qty)

    @property
    def orig_cl_ord_id(self) -> str:
        """FIX OrigClOrdID(41) for our next request: the last ClOrdID that was not rejected."""
        named = [cl_ord_id for cl_ord_id in self.requests if cl_ord_id in self.cl_ord_ids]
        return named[-1] if named else self.cl_ord_id

    def _holding(self) -> Iterator[OrdStatus]:
        if not self.sent and not self.acknowledged:
            yield OrdStatus.REJECTED  # how FIX spells an order that nobody knows
            return
        yield from self.marks
        ended = bool(self.marks & ENDED)
        for request in self.requests.values():
            if request.pending and not ended:  # what the end overtook is moot
                cancel = request.kind is RequestKind.CANCEL
                yield OrdStatus.PENDING_CANCEL if cancel else OrdStatus.PENDING_REPLACE
        by_quantity = self._outstanding()
        if by_quantity is OrdStatus.FILLED or not ended:
            yield by_quantity

    def _outstanding(self) -> OrdStatus:
        """The state that the quantities give; FIX: New, Partially Filled are "outstanding"."""
        filled = self.cum_qty
        if not filled:
            return OrdStatus.NEW if self.acknowledged else OrdStatus.PENDING_NEW
        if filled >= self.order_qty and not self._unquantified():
            return OrdStatus.FILLED
        return OrdStatus.PARTIALLY_FILLED

    def _inactive(self) -> bool:
        if not self.sent and not self.acknowledged:
            return True
        if not self.marks:
            return False
        overnight = self.time_in_force is TimeInForce.GTC
        return bool(self.marks & ENDED) or (bool(self.marks & DAY_ENDED) and not overnight)

    def _unquantified(self) -> bool:
        """Whether it was ordered by amount, and nobody said yet how many units that is."""
        return self.cash_order and not self.order_qty

    # ---- may it come? -----------------------------------------------------------------------

    def event_of(self, report: ExecutionReport) -> Event:
        """The event that a report is, in the order's present state."""
        if report.exec_type is ExecType.REJECTED and self.duplicates:
            return Event.DUPLICATE_REJECTED
        return _EVENT_OF[report.exec_type]

    def refusal(self, report: ExecutionReport) -> str:
        """Why the report cannot be folded in; empty when it can."""
        event, status = self.event_of(report), self.ord_status
        if not may_come(status, event) and not self._introduces(report):
            return f"{event} cannot come while the order is {status}"
        if event is Event.REPLACED and self._is_replaced(report):
            return f"the request {report.cl_ord_id} was answered already"
        if event is Event.REJECTED and self.cum_qty:
            return f"REJECTED cannot come with {text(self.cum_qty)} filled: it can only be canceled"
        if event in _ENDINGS and self.marks & ENDED:
            return f"{event} cannot come after the order's end, though a fill hides that"
        if event is Event.TRADE:
            if report.last_qty <= 0 or report.last_px is None:
                return "a TRADE must state a LastQty above 0 and a LastPx"
            if self._execution(report.exec_id) is not None:
                return f"the execution {report.exec_id} is booked already"
        return self._amendment_refusal(report) if report.exec_type in AMENDMENTS else ""

    def repeats(self, report: ExecutionReport) -> bool:
        """Whether an illegal report tells what is known, or what the order's end overtook.

        A broker tells again what it is not sure that we heard, after a reconnect and after a crash
        of either side. Nothing in that contradicts what is known.
        """
        match report.exec_type:
            case ExecType.NEW | ExecType.PENDING_NEW:
                return self.acknowledged
            case ExecType.CANCELED | ExecType.EXPIRED | ExecType.REJECTED:
                return OrdStatus(report.exec_type.value) in self.marks
            case ExecType.PENDING_CANCEL | ExecType.PENDING_REPLACE:
                return bool(self.marks & ENDED)
            case ExecType.REPLACED:
                return self._is_replaced(report)
            case ExecType.TRADE | ExecType.TRADE_CORRECT | ExecType.TRADE_CANCEL:
                return self._execution(report.exec_id) is not None or report in self.waiting
            case _:
                return False

    def _is_replaced(self, report: ExecutionReport) -> bool:
        """Whether it tells again what a request of the engine's own led to: later terms may hold.

        Only such a request is named by its ClOrdID for certain.
        """
        known = report.cl_ord_id in self.cl_ord_ids and report.cl_ord_id not in self.requests
        return known and is_replacement(report.cl_ord_id)

    def _introduces(self, report: ExecutionReport) -> bool:
        """Whether this is the first word of an order that we never sent (a telephoned one)."""
        unheard = not self.sent and not self.acknowledged
        return unheard and may_come(OrdStatus.PENDING_NEW, self.event_of(report))

    def _amendment_refusal(self, report: ExecutionReport) -> str:
        if not report.exec_ref_id:
            return f"a {report.exec_type} must name its execution in ExecRefID"
        if self._execution(report.exec_id) is not None or report in self.waiting:
            return f"the report {report.exec_id} was folded in already"
        amended = self._execution(report.exec_ref_id)
        if amended is not None and amended.busted:
            return f"the execution {report.exec_ref_id} is busted: nothing can amend it any more"
        if amended is None and self.unlisted_qty:
            return f"{report.exec_type} needs the order's executions, which are not at hand"
        return ""

    def request_refusal(self, kind: RequestKind, cl_ord_id: str) -> str:
        """Why we cannot make this request; empty when we can."""
        event = Event.CANCEL_REQUEST if kind is RequestKind.CANCEL else Event.REPLACE_REQUEST
        heard_of = self.sent or self.acknowledged  # else the broker may know what we do not
        if heard_of and not may_come(self.ord_status, event):
            return f"{event} cannot come while the order is {self.ord_status}"
        if cl_ord_id in self.cl_ord_ids:
            return f"the ClOrdID {cl_ord_id} was used before"
        return ""

    def reject_refusal(self, reject: CancelReject) -> str:
        """Why the broker's refusal of a request cannot be folded in; empty when it can."""
        if self._refused(reject) is None:
            return f"no request {reject.cl_ord_id} of this order is open"
        return ""

    # ---- events: each is legal when it is called --------------------------------------------

    def send(self, cl_ord_id: str) -> None:
        """We send the order; once more under its ClOrdID if we did so before."""
        self._use(cl_ord_id)
        if self.sent or self.acknowledged:
            self.duplicates += 1
        self.sent = True

    def request(
        self,
        kind: RequestKind,
        cl_ord_id: str,
        order_qty: Decimal | None = None,
        price: Decimal | None = None,
        signal_id: str = "",
        asked_at_ns: int = 0,
        fx_rate: Decimal | None = None,
    ) -> None:
        """We ask to cancel or replace. Nothing else changes before the broker answers.

        What is asked for a signal has to be sent yet.
        """
        self._use(cl_ord_id)
        asked = self.requests[cl_ord_id] = Request(kind, order_qty, price)
        if signal_id:
            asked.signal_id, asked.asked_at_ns = signal_id, asked_at_ns
            asked.delivery, asked.fx_rate = DeliveryState.QUEUED, fx_rate

    def reject_request(self, reject: CancelReject) -> None:
        """The broker refuses a request: the order stands as it did before."""
        cl_ord_id = self._refused(reject)
        refused = self.requests.pop(cl_ord_id) if cl_ord_id is not None else None
        if refused is not None and refused.signal_id and cl_ord_id in self.cl_ord_ids:
            self.cl_ord_ids.remove(cl_ord_id)  # should it take effect all the same, that is news
        if refused is not None and refused.qty_before is not None:
            self.order_qty = refused.qty_before
        if refused is not None and refused.kind is RequestKind.REPLACE:
            self.requests.pop(RequestKind.REPLACE.unnamed, None)
        if self.sent and not reject.unknown_order:
            self.acknowledged = True  # it has the order whose request it refuses

    def turn_day(self) -> None:
        """A new trading day: a good-till-canceled order that was done for the day stands again."""
        self.day += 1
        if self.time_in_force is TimeInForce.GTC and self.cum_qty < self.order_qty:
            self.marks -= DAY_ENDED

    def fold(self, report: ExecutionReport) -> Execution | None:
        """Fold a report in; answers with the execution that it made or amended, if any."""
        first_word = not self.sent and not self.acknowledged
        if report.exec_type not in _PROVES_NOTHING:
            self.acknowledged = True
        if report.order_qty is not None and (first_word or self.cash_order):
            self.order_qty = report.order_qty
        match report.exec_type:  # in the order of how often they come
            case ExecType.TRADE:
                return self._trade(report)
            case ExecType.NEW:
                self.marks.discard(OrdStatus.SUSPENDED)
            case ExecType.PENDING_NEW | ExecType.ORDER_STATUS:
                self.duplicates = 0  # the broker told of the order instead of refusing its copy
            case ExecType.REJECTED:
                self._reject()
            case ExecType.CANCELED:
                self._end(OrdStatus.CANCELED, report)
            case ExecType.EXPIRED:
                self._end(OrdStatus.EXPIRED, report)
            case ExecType.DONE_FOR_DAY:
                self._mark(OrdStatus.DONE_FOR_DAY)
            case ExecType.CALCULATED:
                self._mark(OrdStatus.CALCULATED)
            case ExecType.STOPPED:
                self._mark(OrdStatus.STOPPED)
            case ExecType.SUSPENDED:
                self._mark(OrdStatus.SUSPENDED)
            case ExecType.PENDING_CANCEL:
                self._pend(RequestKind.CANCEL, report)
            case ExecType.PENDING_REPLACE:
                self._pend(RequestKind.REPLACE, report)
            case ExecType.REPLACED:
                self._replace(report)
            case ExecType.RESTATED:
                self._restate(report)
            case ExecType.TRADE_CORRECT | ExecType.TRADE_CANCEL:
                return self._amend(report)
        return None

    def _mark(self, state: OrdStatus) -> None:
        """The broker sets a state; on an order that ended, though a fill hides it, none holds."""
        if not self.marks & ENDED:
            self.marks.add(state)

    def _reject(self) -> None:
        if self.duplicates:
            self.duplicates -= 1
        else:
            self._end(OrdStatus.REJECTED, None)

    def _end(self, how: OrdStatus, report: ExecutionReport | None) -> None:
        """The order ends. What the broker has not settled may still be refused, but is moot.

        Where all is filled that shows first: the end then tells of a bust or a correction that is
        on its way, and holds when that has made room.
        """
        self.acknowledged = True
        self.marks -= _STANDS_ASIDE | DAY_ENDED
        self.marks.add(how)
        answered = self.requests.get(report.cl_ord_id) if report is not None else None
        if report is not None and answered is not None and answered.kind is RequestKind.CANCEL:
            self.cl_ord_id = report.cl_ord_id
        self.requests = {
            cl_ord_id: each
            for cl_ord_id, each in self.requests.items()
            if each is not answered and cl_ord_id in self.cl_ord_ids
        }

    def _pend(self, kind: RequestKind, report: ExecutionReport) -> None:
        found = self._requested(report.cl_ord_id, kind)
        if found is None:
            found = kind.unnamed
            self.requests[found] = Request(kind)
        self.requests[found].pending = True
        self.requests[found].delivery = DeliveryState.SENT
        if kind is RequestKind.REPLACE and report.order_qty not in (None, self.order_qty):
            self._work_to_earlier(found, report.order_qty)

    def _work_to_earlier(self, cl_ord_id: str, order_qty: Decimal | None) -> None:
        """Chained requests: the broker already works to an earlier one that it confirms later.

        It then states that one's OrderQty when it takes the next one up.
        """
        for other, each in self.requests.items():
            if other == cl_ord_id:
                return
            if each.kind is RequestKind.REPLACE and each.order_qty == order_qty:
                each.qty_before, self.order_qty = self.order_qty, order_qty or self.order_qty
                return

    def _replace(self, report: ExecutionReport) -> None:
        """A replacement takes effect; requests made before it went the same way or are moot."""
        found = self._requested(report.cl_ord_id, RequestKind.REPLACE)
        asked = Request(RequestKind.REPLACE)
        if found is not None:
            asked = self.requests[found]
            made = list(self.requests)
            for earlier in made[: made.index(found) + 1]:
                if self.requests[earlier].kind is RequestKind.REPLACE:
                    del self.requests[earlier]
        self.requests.pop(RequestKind.REPLACE.unnamed, None)  # it was said to be pending, unnamed
        self.marks -= ENDED  # filled up after its end, and now enlarged: it stands again
        if report.orig_cl_ord_id or found == report.cl_ord_id:
            self._use(report.cl_ord_id)
            self.cl_ord_id = report.cl_ord_id
        self._set_order_qty(report.order_qty if report.order_qty is not None else asked.order_qty)
        self.price = _first(report.price, asked.price, self.price)
        self.fx_rate = _first(asked.fx_rate, self.fx_rate)

    def _restate(self, report: ExecutionReport) -> None:
        """The broker changed the order by itself, or renews it for the day."""
        self.marks.discard(OrdStatus.SUSPENDED)
        if self.time_in_force is TimeInForce.GTC:
            self.marks -= DAY_ENDED
        reason = report.exec_restatement_reason
        if reason is ExecRestatementReason.GT_CORPORATE_ACTION and report.order_qty:
            self._split(report.order_qty)
        else:
            self._set_order_qty(report.order_qty)
        self.price = _first(report.price, self.price)

    def _set_order_qty(self, order_qty: Decimal | None) -> None:
        """Less than is filled already is a request to stop there: OrderQty becomes CumQty."""
        if order_qty is not None:
            self.order_qty = max(order_qty, self.cum_qty)

    def _split(self, order_qty: Decimal) -> None:
        """A corporate action scales quantities, those of executions too; what they cost stays."""
        before = self.order_qty
        for each in self.executions:
            each.last_qty = quotient(each.last_qty * order_qty, before)
        self.unlisted_qty = quotient(self.unlisted_qty * order_qty, before)
        self.order_qty = order_qty

    # ---- executions -------------------------------------------------------------------------

    def _trade(self, report: ExecutionReport) -> Execution:
        made = Execution(
            exec_id=report.exec_id,
            last_qty=report.last_qty,
            value=report.last_qty * (report.last_px or ZERO),
            commission=report.commission,
            day=self.day,
            ids=[report.exec_id],
        )
        self.executions.append(made)
        self.synthetic |= made.exec_id.startswith(SYNTHETIC)
        self._settle_waiting()
        return made

    def _amend(self, report: ExecutionReport) -> Execution | None:
        amended = self._execution(report.exec_ref_id)
        if amended is None:
            self.waiting.append(report)
            return None
        amended.amend(report)
        self._settle_waiting()
        return amended

    def _settle_waiting(self) -> None:
        """Apply the amendments whose execution has arrived; one may be what another waits for."""
        for report in list(self.waiting):
            amended = self._execution(report.exec_ref_id)
            if amended is not None:
                self.waiting.remove(report)
                if not amended.busted:
                    amended.amend(report)
                self._settle_waiting()
                return

    def _execution(self, exec_id: str) -> Execution | None:
        return next((each for each in self.executions if exec_id in each.ids), None)

    # ---- ClOrdIDs ---------------------------------------------------------------------------

    def _use(self, cl_ord_id: str) -> None:
        if cl_ord_id not in self.cl_ord_ids:
            self.cl_ord_ids.append(cl_ord_id)

    def _refused(self, reject: CancelReject) -> str | None:
        """The open request that a refusal is about; the adapter may have named it by itself.

        What refuses a request for a signal, once more or late, refuses no cancel beside it.
        """
        named = self._requested(reject.cl_ord_id)
        if named is not None or is_replacement(reject.cl_ord_id):
            return named
        return self._requested(reject.orig_cl_ord_id)

    def _requested(self, cl_ord_id: str, kind: RequestKind | None = None) -> str | None:
        """The open request that an answer under this ClOrdID is about.

        That is the one of this ClOrdID; else, for a broker that answers under the order's own,
        the first one made. A request for a signal is answered under its own ClOrdID, or not at all.
        """
        fits = [key for key, each in self.requests.items() if kind in (None, each.kind)]
        if cl_ord_id in fits:
            return cl_ord_id
        if is_replacement(cl_ord_id):
            return None
        fits = [key for key in fits if not self.requests[key].signal_id]
        is_ours = cl_ord_id in (self.cl_ord_id, *self.cl_ord_ids)
        return fits[0] if fits and is_ours else None


def _first(*candidates: Decimal | None) -> Decimal | None:
    return next((each for each in candidates if each is not None), None)
