"""What the engine itself does to orders: intent to send, delivery, cancels, trading states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from trade_engine.domain.account import ENGINE, scope_state_json
from trade_engine.domain.clock import NS_PER_S
from trade_engine.domain.execution import CancelReject, ExecType
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.order import DeliveryState, Order, OrdStatus
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import ScopeState, TradingState
from trade_engine.execution.batch import Batch
from trade_engine.execution.fills import book_cancel_reject, engine_report
from trade_engine.execution.order_state import apply_report
from trade_engine.execution.requests import StateChange

SEND_WITHIN_NS = 60 * NS_PER_S
"""An order not sent by then was judged by a market that is gone: it is canceled, not sent."""

NO_EVIDENCE: Mapping[str, Any] = MappingProxyType({})


def intend(batch: Batch, order_ids: Iterable[str]) -> list[Order]:
    """Turn QUEUED into SENDING, which must be committed before the broker is spoken to.

    Answers with the orders that may be sent. One that is not queued any more is left out; one that
    may not be sent any more is canceled: an approved order does not outlive what approved it.
    """
    cleared = []
    for order_id in order_ids:
        order = batch.state.orders.get(order_id)
        if order is None or order.delivery is not DeliveryState.QUEUED:
            continue
        why_not = _why_not_sent(batch, order)
        if why_not:
            cancel_unsent(batch, order, why_not)
            continue
        order.delivery = DeliveryState.SENDING
        batch.write_order(EntryKind.DELIVERY, order, {})
        cleared.append(order.copy())
    return cleared


def _why_not_sent(batch: Batch, order: Order) -> str:
    """Why a queued order may not be sent any more; empty when it may."""
    if order.cancel_requested:
        return "a cancel was asked for"
    # A clock that was set back makes an order's age unknown, which is too old.
    if abs(batch.now_ns - order.created_at_ns) > SEND_WITHIN_NS:
        return f"not sent within {SEND_WITHIN_NS // NS_PER_S} s of its approval"
    trading = batch.trading(order.account_id, order.strategy_id, order.symbol)
    if trading is not None and not allowed_by(batch, order, trading):
        return f"trading is {trading.state} for {trading.scope}: {trading.reason}"
    return ""


def allowed_by(batch: Batch, order: Order, trading: ScopeState) -> bool:
    """Whether a trading state lets an open order reach its broker: REDUCE_ONLY, if it closes."""
    if trading.state is TradingState.REDUCE_ONLY:
        own = batch.exposure.own(order.strategy_id, order.symbol)
        if order.side is Side.BUY:
            return own.working_buy <= -own.quantity
        return own.working_sell <= own.quantity
    return trading.state is TradingState.ACTIVE


def pending(batch: Batch) -> list[Order]:
    """The open orders not known to be sent, and those to be canceled or replaced."""
    return [
        order.copy()
        for order in batch.state.orders.values()
        if order.delivery is not DeliveryState.SENT
        or order.cancel_requested
        or (order.chain and order.replacement)
    ]


def deliver(batch: Batch, outcomes: dict[str, tuple[DeliveryState, str]]) -> None:
    """Record what became of sending; a report that came meanwhile has the last word.

    An order that did not leave after all, and is to be canceled, is canceled by this.
    """
    for order_id, (delivery, why) in outcomes.items():
        order = batch.state.orders.get(order_id)
        if order is None or order.delivery in (DeliveryState.SENT, delivery):
            continue
        batch.acts_as_sender = True
        order.delivery = delivery
        order.text = why or order.text
        if delivery is DeliveryState.QUEUED and order.cancel_requested:
            cancel_unsent(batch, order, "canceled before it was sent")
        else:
            batch.write_order(EntryKind.DELIVERY, order, {})


def cancel_unsent(batch: Batch, order: Order, why: str, how: ExecType = ExecType.CANCELED) -> None:
    """Cancel an order that no broker has, or let it expire."""
    report = engine_report(order, how, batch.now_ns, why)
    working_before, delivery = order.working_qty, order.delivery
    apply_report(order, report, batch.now_ns)
    order.delivery = delivery  # no broker proved that it arrived: this report is our own
    batch.exposure.work(order, order.working_qty - working_before)
    batch.write_order(
        EntryKind.EXECUTION, order, {"report": report.to_json(), "broker": order.broker}
    )


def drop_replacement(batch: Batch, order: Order, why: str) -> None:
    """End the open request to replace, which no broker has: the old terms stand."""
    asked = order.replacement
    if asked is None:
        return
    reject = CancelReject(asked["cl_ord_id"], batch.now_ns, order.order_id, True, why)
    book_cancel_reject(batch, ENGINE, reject, order)


def request_cancel(batch: Batch, order: Order, request_id: str, reason: str, operator: str) -> None:
    """Make the wish to cancel durable: an order not sent yet is CANCELED, another one pending."""
    if _is_replacement_queued(order):
        drop_replacement(batch, order, reason)
        if not order.is_open:
            return
    order.cancel_requested = True
    if order.delivery is DeliveryState.QUEUED:
        cancel_unsent(batch, order, reason)
        return
    if order.leaves_qty:  # else it is filled, and only its replacement could be canceled
        order.ord_status = OrdStatus.PENDING_CANCEL
    batch.write_order(
        EntryKind.CANCEL_REQUESTED,
        order,
        {"request_id": request_id, "reason": reason, "operator": operator},
    )


def _is_replacement_queued(order: Order) -> bool:
    asked = order.replacement if order.chain else None
    return asked is not None and asked["delivery"] == DeliveryState.QUEUED


def set_trading_state(
    batch: Batch,
    state: ScopeState,
    request_id: str,
    *,
    cancel_open_orders: bool,
    evidence: Mapping[str, Any] = NO_EVIDENCE,
) -> StateChange:
    """Journal a trading state; what is queued and not allowed by it is canceled.

    evidence joins the entry: the numbers of a breach, or what an override excused.

    Nothing but a resume loosens, and that only what was set before it: a state weaker than the one
    that stands leaves that standing.
    """
    standing = batch.state.trading.get(state.scope)
    if standing is not None and _outlasts(standing, state):
        state = standing
    if state.state is TradingState.ACTIVE:
        batch.state.trading.pop(state.scope, None)
        batch.state.activity.enable(state.scope)
    else:
        batch.state.trading[state.scope] = state
    change = StateChange(
        batch.write(
            EntryKind.TRADING_STATE,
            {
                "state": scope_state_json(state),
                "request_id": request_id,
                "cancel_open_orders": cancel_open_orders,
                **evidence,
            },
        )
    )
    for order in list(batch.state.orders.values()):
        if not state.scope.covers(order.account_id, order.strategy_id, order.symbol):
            continue
        if order.delivery is DeliveryState.QUEUED:
            if cancel_open_orders or not allowed_by(batch, order, state):
                cancel_unsent(batch, order, f"{state.state} for {state.scope}: {state.reason}")
                change.canceled.append(order.order_id)
            continue
        if _is_replacement_queued(order) and not allowed_by(batch, order, state):
            drop_replacement(batch, order, f"{state.state} for {state.scope}: {state.reason}")
        if order.is_unclear:
            change.in_flight.append(order.order_id)
        if cancel_open_orders and not order.cancel_requested:
            request_cancel(batch, order, request_id, state.reason, state.operator)
            if order.is_open:
                change.canceling.append(order.order_id)
    return change


def _outlasts(standing: ScopeState, state: ScopeState) -> bool:
    """Whether what stands for a scope holds against what comes: a resume, or a halt."""
    if state.state is TradingState.ACTIVE:
        return standing.set_at_ns > state.set_at_ns
    return standing.state.strictness > state.state.strictness
