"""Step 5 of the path: the requests of a batch, applied to it one after the other.

Each kind of request has its row in `Application.apply`; what it does to the account stands in the
file of its subject. An answer given here is held back until the batch is committed.
"""

from __future__ import annotations

from collections.abc import Container

from trade_engine.domain.errors import (
    CancelsThrottled,
    EngineError,
    GateClosed,
    NotFound,
    OrderNotOpen,
    SignalIdConflict,
)
from trade_engine.domain.execution import CancelReject, ExecutionReport
from trade_engine.domain.order import DeliveryState, Order
from trade_engine.execution.attempt import Attempt, same_content
from trade_engine.execution.batch import Batch
from trade_engine.execution.books_compare import compare_books
from trade_engine.execution.commands import Answer, HaltCauseStands
from trade_engine.execution.decisions import decide_signal, evaluate
from trade_engine.execution.differences import (
    accept_difference,
    close_unknown,
    holdings,
    note_differences,
)
from trade_engine.execution.fills import (
    book_cancel_reject,
    named_orders,
    quarantine,
)
from trade_engine.execution.flattening import cancel_scope, flatten
from trade_engine.execution.guarded_booking import book_guarded
from trade_engine.execution.loss_watch import check_resume, watch_losses
from trade_engine.execution.order_changes import (
    deliver,
    intend,
    pending,
    request_cancel,
    set_trading_state,
)
from trade_engine.execution.ports import Verdicts
from trade_engine.execution.replacing import intend_replacements, settle_replacements
from trade_engine.execution.requests import (
    AcceptDifferenceRequest,
    BooksRequest,
    CancelRequest,
    CancelScopeRequest,
    CloseUnknownRequest,
    DeliveryRequest,
    EvaluateRequest,
    FlattenRequest,
    HoldingsRequest,
    IntentRequest,
    LimitsRequest,
    PendingRequest,
    ReconciledRequest,
    ReplaceDeliveryRequest,
    ReplaceIntentRequest,
    ReportsRequest,
    Request,
    StateChange,
    SubmitRequest,
    TradingStateRequest,
    WatchRequest,
)
from trade_engine.execution.unattributed import adopt, keep_unknown
from trade_engine.risk.loss_limits import Marks


class Fenced(EngineError):
    """Another replica sends this account's orders now; nothing was written."""

    reason = "FENCED"


class Application:
    """Applies the requests of one attempt to its batch."""

    def __init__(
        self,
        attempt: Attempt,
        batch: Batch,
        marks: Marks,
        closed: dict[str, Order],
        booked: Container[tuple[str, str]],
        why_closed: str,
    ) -> None:
        """Say what is known beside the batch.

        closed are the orders that requests name and that are not open; booked the executions, by
        broker and ExecID, that are known to be booked. why_closed is empty while the gate is open.
        """
        self._attempt = attempt
        self._batch = batch
        self._marks = marks
        self._closed = closed
        self._booked = booked
        self._why_closed = why_closed

    def apply(self, request: Request) -> None:
        """Let one request change the batch, and prepare its answer."""
        attempt, batch, gate_open = self._attempt, self._batch, not self._why_closed
        match request:
            case SubmitRequest() if gate_open:
                self._submit(request)
            case EvaluateRequest() if gate_open:
                self._evaluate(request)
            case SubmitRequest() | EvaluateRequest():
                attempt.fail(request.answer, self._gate_closed())
            case IntentRequest() | ReplaceIntentRequest() if not gate_open:
                attempt.fail(request.answer, self._gate_closed())
            case ReportsRequest():
                self._book(request)
                attempt.answer(request.answer, None)
            case IntentRequest() | ReplaceIntentRequest() if batch.delivery is DeliveryState.QUEUED:
                attempt.fail(request.answer, Fenced("this process is not the account's sender"))
            case IntentRequest() | ReplaceIntentRequest():
                act = intend if isinstance(request, IntentRequest) else intend_replacements
                attempt.answer(request.answer, act(batch, request.order_ids))
            case PendingRequest():
                attempt.answer(request.answer, pending(batch))
            case (
                DeliveryRequest()
                | ReplaceDeliveryRequest()
                | ReconciledRequest()
                | CloseUnknownRequest()
            ) if batch.sender != request.claim:
                attempt.fail(request.answer, Fenced("this process is not the account's sender"))
            case DeliveryRequest() | ReplaceDeliveryRequest():
                self._deliver(request)
            case ReconciledRequest():
                attempt.answer(
                    request.answer,
                    note_differences(batch, request.broker, request.found, request.mark),
                )
            case CloseUnknownRequest():
                close_unknown(batch, request.order_ids, request.why)
                attempt.answer(request.answer, None)
            case HoldingsRequest():
                attempt.answer(request.answer, holdings(batch))
            case AcceptDifferenceRequest():
                self._accept(request)
            case CancelRequest():
                self._cancel(request)
            case CancelScopeRequest(to_flatten=False):
                self._clear(request)
            case CancelScopeRequest() | FlattenRequest() if not gate_open:
                attempt.fail(request.answer, self._gate_closed())
            case CancelScopeRequest() | FlattenRequest():
                self._clear(request)
            case TradingStateRequest():
                self._set_state(request)
            case WatchRequest() | BooksRequest():
                self._look(request, gate_open=gate_open)
            case LimitsRequest():
                attempt.answer(request.answer, batch.change_limits(request.change))

    def _deliver(self, request: DeliveryRequest | ReplaceDeliveryRequest) -> None:
        if isinstance(request, DeliveryRequest):
            deliver(self._batch, request.outcomes)
        else:
            settle_replacements(self._batch, request.outcomes)
        self._attempt.answer(request.answer, None)

    def _look(self, request: WatchRequest | BooksRequest, *, gate_open: bool) -> None:
        if gate_open and isinstance(request, WatchRequest):
            self._attempt.changed_state(watch_losses(self._batch, self._marks))
        elif gate_open and isinstance(request, BooksRequest):
            compare_books(self._batch, request.told, request.comparison)
        self._attempt.answer(request.answer, gate_open)

    def _book(self, request: ReportsRequest) -> None:
        attempt, batch, broker = self._attempt, self._batch, request.broker
        for report, why in request.refused:
            quarantine(batch, broker, report, why)
        for report in request.reports:
            known = (batch.find(name) or self._closed.get(name) for name in named_orders(report))
            order = next((each for each in known if each is not None), None)
            if isinstance(report, CancelReject):
                book_cancel_reject(batch, broker, report, order)
            elif (
                attempt.first_sight((broker, report.exec_id))
                and (broker, report.exec_id) not in self._booked
            ):
                self._book_one(broker, report, order)

    def _book_one(self, broker: str, report: ExecutionReport, order: Order | None) -> None:
        if order is None:
            keep_unknown(self._batch, broker, report)
        else:
            self._halted_by(book_guarded(self._batch, broker, report, order))

    def _halted_by(self, changes: list[StateChange]) -> None:
        for change in changes:
            self._attempt.changed_state(change)

    def _set_state(self, request: TradingStateRequest) -> None:
        attempt, batch = self._attempt, self._batch
        try:
            excused = check_resume(batch, self._marks, request.state, override=request.override)
        except HaltCauseStands as error:
            attempt.fail(request.answer, error)
            return
        if excused:
            batch.state.day.excused = excused
        change = set_trading_state(
            batch,
            request.state,
            request.request_id,
            cancel_open_orders=request.cancel_open_orders,
            evidence={"excused": excused} if excused else {},
        )
        attempt.changed_state(change)
        attempt.answer(request.answer, change)

    def _evaluate(self, request: EvaluateRequest) -> None:
        verdicts = self._attempt.verdicts.get(id(request.signal), Verdicts())
        decision = evaluate(self._batch, request.signal, verdicts)
        self._attempt.answer(request.answer, decision)

    def _gate_closed(self) -> GateClosed:
        account_id = self._batch.state.account_id
        return GateClosed(
            f"account {account_id}: {self._why_closed}; nothing is approved until the risk "
            "state is known again. Send the same signal again shortly.",
            account_id=account_id,
            gate_reason=self._why_closed,
        )

    def _submit(self, request: SubmitRequest) -> None:
        attempt, batch, signal = self._attempt, self._batch, request.signal
        first = attempt.by_signal_id.get(signal.signal_id)
        if first is not None:
            try:
                attempt.answer(request.answer, Answer(same_content(first, signal), replayed=True))
            except SignalIdConflict as conflict:
                attempt.fail(request.answer, conflict)
            return
        decision = decide_signal(batch, signal, attempt.verdicts.get(id(signal), Verdicts()))
        attempt.decided.append(decision)
        attempt.by_signal_id[signal.signal_id] = decision
        if decision.order is not None:
            halts = adopt(batch, decision.order)
            if halts is None:
                attempt.approved.append(decision.order)
            else:
                self._halted_by(halts)
        attempt.changes(decision.replacement)
        attempt.answer(request.answer, Answer(decision, replayed=False))

    def _cancel(self, request: CancelRequest) -> None:
        attempt, batch = self._attempt, self._batch
        verdict = attempt.verdicts.get(id(request), Verdicts()).account
        if verdict is not None and not verdict.allowed:
            attempt.fail(
                request.answer, CancelsThrottled(batch.state.account_id, verdict.retry_after_ns)
            )
            return
        order = batch.state.orders.get(request.order_id)
        if order is None:
            known = batch.find(request.order_id) or self._closed.get(request.order_id)
            if known is None:
                error: EngineError = NotFound("order", order_id=request.order_id)
            elif known.cancel_requested:
                attempt.answer(request.answer, known)
                return
            else:
                error = OrderNotOpen(
                    f"order {known.order_id} is {known.ord_status} already",
                    order_id=known.order_id,
                    ord_status=known.ord_status.value,
                )
            attempt.fail(request.answer, error)
            return
        if not order.cancel_requested:
            request_cancel(batch, order, request.request_id, request.reason, request.operator)
            if order.is_open:
                attempt.to_cancel.append(order)
        attempt.answer(request.answer, order)

    def _clear(self, request: CancelScopeRequest | FlattenRequest) -> None:
        attempt, batch = self._attempt, self._batch
        try:
            if isinstance(request, CancelScopeRequest):
                change = cancel_scope(batch, request.command, to_flatten=request.to_flatten)
                attempt.to_cancel += [batch.state.orders[each] for each in change.canceling]
                attempt.answer(request.answer, change)
                return
            decisions = flatten(batch, request.command, attempt.flattened)
        except EngineError as refused:
            attempt.fail(request.answer, refused)
            return
        new = [each for each in decisions if each.signal.signal_id not in attempt.flattened]
        attempt.decided += new
        attempt.approved += [each.order for each in new if each.order is not None]
        attempt.answer(request.answer, decisions)

    def _accept(self, request: AcceptDifferenceRequest) -> None:
        attempt, batch = self._attempt, self._batch
        try:
            accepted = accept_difference(batch, request.command)
        except EngineError as refused:
            attempt.fail(request.answer, refused)
        else:
            attempt.answer(request.answer, accepted)
