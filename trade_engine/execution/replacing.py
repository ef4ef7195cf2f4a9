"""The engine's own replace: a signal gives a working order of its strategy new terms.

A request to replace has a life beside its order's: QUEUED by the decision, SENDING once the intent
is committed, then answered by the broker, or IN_DOUBT and asked about by its own ClOrdID. Until it
is answered the order may work on either terms, and holds the larger of both (`Order.working_qty`).
A request that is refused, or never left, leaves the old terms as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trade_engine.domain.account import ENGINE
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.market import Instrument
from trade_engine.domain.order import DeliveryState, Order, OrdStatus, WorkingOrders
from trade_engine.domain.replacement import Replacement, Terms, request_cl_ord_id, terms_asked
from trade_engine.domain.signal import Signal
from trade_engine.execution.batch import Batch
from trade_engine.execution.order_changes import (
    SEND_WITHIN_NS,
    allowed_by,
    drop_replacement,
    request_cancel,
)
from trade_engine.execution.order_state import RequestKind, note_delivery, note_request
from trade_engine.risk.pre_trade import time_in_force
from trade_engine.risk.standing import Replaceable

_STANDING = frozenset({OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED})


def replaceable(batch: Batch, signal: Signal, instrument: Instrument | None) -> Replaceable | None:
    """The order that a signal would replace: the only one on its side, if that can be replaced.

    None where the instrument's policy is to add, or its broker cannot replace.
    """
    if instrument is None or instrument.working_orders is not WorkingOrders.REPLACE:
        return None
    found = [
        order
        for order in batch.state.orders.values()
        if order.strategy_id == signal.strategy_id
        and order.symbol == signal.symbol
        and order.side is signal.side
    ]
    if len(found) != 1:
        return None
    (order,) = found
    if (
        not _stands(order)
        or order.broker not in batch.can_replace_at
        or order.price is None
        or order.time_in_force is not time_in_force(signal, instrument)
    ):
        return None
    cl_ord_id = request_cl_ord_id(order.order_id, batch.next_sequence)
    return Replaceable(order.order_id, cl_ord_id, order.cum_qty, order.leaves_qty, order.price)


def _stands(order: Order) -> bool:
    """Whether its broker has it, and nothing is asked of it that is not answered."""
    return (
        order.ord_status in _STANDING
        and order.delivery is DeliveryState.SENT
        and not order.cancel_requested
        and not (order.chain and order.chain["requests"])
    )


def request_replace(batch: Batch, terms: Terms, signal_id: str) -> Order:
    """Make the wish for new terms durable; it is sent later. Answers with the order."""
    order = batch.state.orders[terms.order_id]
    if terms.cancels:
        why = f"signal {signal_id} wants nothing more of it"
        request_cancel(batch, order, "", why, ENGINE)
        return order
    before = order.working_qty
    note_request(
        order,
        RequestKind.REPLACE,
        terms.cl_ord_id,
        batch.now_ns,
        terms.order_qty,
        terms.price,
        signal_id,
        terms.fx_rate,
    )
    batch.exposure.work(order, order.working_qty - before)
    batch.write_order(
        EntryKind.REPLACE_REQUESTED,
        order,
        {"signal_id": signal_id, "replacement": terms.to_json()},
    )
    return order


def replacement_of(order: Order) -> Replacement | None:
    """The open request, as a broker takes it."""
    terms = terms_asked(order)
    return Replacement(order, terms, order.chain["cl_ord_id"]) if terms else None


def intend_replacements(batch: Batch, order_ids: Iterable[str]) -> list[Order]:
    """Turn queued requests to replace into SENDING; those that may not be sent any more end.

    Answers with the orders whose requests may be sent.
    """
    cleared = []
    for order_id in order_ids:
        order = batch.state.orders.get(order_id)
        asked = order.replacement if order is not None else None
        if order is None or asked is None or asked["delivery"] != DeliveryState.QUEUED:
            continue
        batch.acts_as_sender = True
        why_not = _why_not_sent(batch, order, asked)
        if why_not:
            drop_replacement(batch, order, why_not)
            continue
        _note(batch, order, asked, DeliveryState.SENDING)
        cleared.append(order.copy())
    return cleared


def _why_not_sent(batch: Batch, order: Order, asked: Mapping[str, Any]) -> str:
    if order.cancel_requested or not order.leaves_qty:
        return "the order is canceled, or filled"
    if abs(batch.now_ns - asked["asked_at_ns"]) > SEND_WITHIN_NS:
        return "it was not sent in time"
    trading = batch.trading(order.account_id, order.strategy_id, order.symbol)
    if trading is not None and not allowed_by(batch, order, trading):
        return f"trading is {trading.state} for {trading.scope}: {trading.reason}"
    return ""


def settle_replacements(batch: Batch, outcomes: Mapping[str, DeliveryState | None]) -> None:
    """Record what became of sending requests to replace, by ClOrdID; None: it never arrived.

    An answer that came meanwhile has the last word: it arrived, then.
    """
    for order in list(batch.state.orders.values()):
        asked = order.replacement
        if asked is None or asked["cl_ord_id"] not in outcomes:
            continue
        if asked["delivery"] == DeliveryState.SENT:
            continue
        batch.acts_as_sender = True
        delivery = outcomes[asked["cl_ord_id"]]
        if delivery is None:
            drop_replacement(batch, order, "the broker never took it")
        elif delivery is DeliveryState.QUEUED and order.cancel_requested:
            drop_replacement(batch, order, "canceled before it was sent")
        elif asked["delivery"] != delivery:
            _note(batch, order, asked, delivery)


def _note(batch: Batch, order: Order, asked: Mapping[str, Any], delivery: DeliveryState) -> None:
    note_delivery(order, asked["cl_ord_id"], delivery, batch.now_ns)
    batch.write_order(EntryKind.DELIVERY, order, {})
