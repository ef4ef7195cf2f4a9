"""Decisions, orders, quotes and positions into messages; see `control_answers` for the rest.

Nested messages are given to protobuf as dicts, which it builds in place: half the cost of building
and copying them. The checks of a decision, most of what it has, are filled in field by field, since
many of their fields are empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from trade_engine.domain.clock import NS_PER_S
from trade_engine.domain.decision import Decision, Outcome
from trade_engine.domain.market import Quote
from trade_engine.domain.money import ONE, ZERO, optional_text, text
from trade_engine.domain.order import DeliveryState, Order, OrdStatus, OrdType, TimeInForce
from trade_engine.domain.position import Position
from trade_engine.domain.signal import ExposureUnit, Side, Signal, TimeHorizon
from trade_engine.execution.commands import (
    Answer,
    SymbolTerms,
)
from trade_engine.portfolio.view import Portfolio
from trade_engine.v1 import (
    decision_pb2,
    market_data_service_pb2,
    order_pb2,
    portfolio_pb2,
    signal_pb2,
    signal_service_pb2,
)

_SIGNAL_SIDE = {each: signal_pb2.Signal.Side.Value(each.name) for each in Side}
_HORIZON = {each: signal_pb2.Signal.TimeHorizon.Value(each.name) for each in TimeHorizon}
_UNIT = {each: signal_pb2.Signal.ExposureUnit.Value(each.name) for each in ExposureUnit}
_OUTCOME = {each: decision_pb2.Outcome.Value(f"OUTCOME_{each.name}") for each in Outcome}
_SIDE = {each: order_pb2.OrderSide.Value(f"ORDER_SIDE_{each.name}") for each in Side}
_ORD_TYPE = {each: order_pb2.OrdType.Value(f"ORD_TYPE_{each.name}") for each in OrdType}
_TIF = {each: order_pb2.TimeInForce.Value(f"TIME_IN_FORCE_{each.name}") for each in TimeInForce}
_STATUS = {each: order_pb2.OrdStatus.Value(f"ORD_STATUS_{each.name}") for each in OrdStatus}
_DELIVERY = {
    each: order_pb2.DeliveryState.Value(f"DELIVERY_STATE_{each.name}") for each in DeliveryState
}


def timestamp(instant_ns: int) -> Any:
    """An instant as protobuf builds a Timestamp from it."""
    seconds, nanos = divmod(instant_ns, NS_PER_S)
    return {"seconds": seconds, "nanos": nanos}


def decision_message(decision: Decision) -> decision_pb2.Decision:
    """Translate a decision."""
    message = decision_pb2.Decision(**_decision(decision))
    _put_checks(message, decision)
    return message


def submit_response(answer: Answer) -> signal_service_pb2.SubmitSignalResponse:
    """Translate the answer to a signal; its decision is built where it stands, not copied."""
    message = signal_service_pb2.SubmitSignalResponse(
        decision=_decision(answer.decision), replayed=answer.replayed
    )
    _put_checks(message.decision, answer.decision)
    return message


def submit_result(signal_id: str, answer: Answer) -> signal_service_pb2.SubmitSignalsResult:
    """Translate the answer to one signal of a stream."""
    message = signal_service_pb2.SubmitSignalsResult(
        signal_id=signal_id, decision=_decision(answer.decision), replayed=answer.replayed
    )
    _put_checks(message.decision, answer.decision)
    return message


def order_message(order: Order) -> order_pb2.Order:
    """Translate an order."""
    return order_pb2.Order(**_order(order))


def order_snapshot(order: Order) -> signal_service_pb2.StreamOrderUpdatesResponse:
    """One open order of a snapshot."""
    snapshot = signal_service_pb2.OrderSnapshot(order=_order(order))
    return signal_service_pb2.StreamOrderUpdatesResponse(snapshot=snapshot)


def snapshot_end(sequence: int, count: int) -> signal_service_pb2.StreamOrderUpdatesResponse:
    """The end of a snapshot of `count` orders, as of `sequence`."""
    end = signal_service_pb2.SnapshotEnd(sequence=sequence, count=count)
    return signal_service_pb2.StreamOrderUpdatesResponse(snapshot_end=end)


def heartbeat(head: int, now_ns: int) -> signal_service_pb2.StreamOrderUpdatesResponse:
    """A sign of life: everything up to `head` was sent."""
    beat = signal_service_pb2.Heartbeat(head_sequence=head, time=timestamp(now_ns))
    return signal_service_pb2.StreamOrderUpdatesResponse(heartbeat=beat)


def quote_message(quote: Quote) -> market_data_service_pb2.Quote:
    """Translate a quote."""
    return market_data_service_pb2.Quote(
        symbol=quote.symbol,
        bid=optional_text(quote.bid),
        ask=optional_text(quote.ask),
        bid_size=optional_text(quote.bid_size),
        ask_size=optional_text(quote.ask_size),
        last=optional_text(quote.last),
        quote_time=timestamp(quote.time_ns),
        source=quote.source,
    )


def position_message(
    account_id: str, position: Position, terms: SymbolTerms, quotes: Mapping[str, Quote]
) -> portfolio_pb2.Position:
    """Translate a position, valued at the reference prices of the quotes that there are."""
    mark, rate = _reference(quotes, position.symbol), ONE
    valued = {"currency": terms.currency}
    if mark is not None:
        valued["mark_price"] = text(mark)
    if terms.pair is not None:
        price = _reference(quotes, terms.pair.symbol)
        rate = ZERO if price is None else terms.pair.rate(price)
        valued["fx_rate"] = text(rate) if rate else ""
    if mark is not None and rate:
        unit = terms.multiplier * rate
        valued["market_value"] = text(position.quantity * mark * unit)
        valued["unrealized_pnl"] = text(position.unrealized_pnl(mark, unit))
    return portfolio_pb2.Position(
        account_id=account_id,
        strategy_id=position.strategy_id,
        symbol=position.symbol,
        quantity=text(position.quantity),
        avg_px=text(position.avg_px(terms.multiplier)),
        realized_pnl=text(position.realized_pnl),
        fees=text(position.fees),
        **valued,
    )


def _reference(quotes: Mapping[str, Quote], symbol: str) -> Decimal | None:
    quote = quotes.get(symbol)
    return None if quote is None else quote.reference


def portfolio_message(portfolio: Portfolio) -> portfolio_pb2.Portfolio:
    """Translate what an account holds."""
    return portfolio_pb2.Portfolio(
        account_id=portfolio.account_id,
        currency=portfolio.currency,
        cash=text(portfolio.cash),
        equity=text(portfolio.equity),
        positions=[
            portfolio_pb2.PortfolioPosition(
                symbol=symbol, quantity=text(held.quantity), avg_px=text(held.avg_px)
            )
            for symbol, held in sorted(portfolio.holdings.items())
        ],
        as_of_time=timestamp(portfolio.as_of_ns),
    )


# ---- parts, as the dicts that protobuf builds from (its stubs know of messages only) --------


def _decision(decision: Decision) -> Any:
    """All of a decision but its checks."""
    signal, sizing, order = decision.signal, decision.sizing, decision.order
    doc: dict[str, Any] = {
        "account_id": signal.account_id,
        "signal_id": signal.signal_id,
        "sequence": decision.sequence,
        "outcome": _OUTCOME[decision.outcome],
        "decide_time": timestamp(decision.decided_at_ns),
        "reasons": decision.reasons,
        "message": decision.message,
        "limits_version": decision.limits_version,
        "signal": _signal(signal),
    }
    if order is not None:
        doc["order_id"] = order.order_id
        doc["order"] = _order(order)
    if (asked := decision.replacement) is not None:
        doc["order_id"] = asked.order_id
        doc["replacement"] = {
            "cl_ord_id": asked.cl_ord_id,
            "order_qty": text(asked.order_qty),
            "limit_price": text(asked.price),
            "cancels": asked.cancels,
        }
    if sizing is not None:
        doc["sizing"] = {
            "reference_price": text(sizing.reference_price),
            "current_quantity": text(sizing.current_quantity),
            "working_quantity": text(sizing.working_quantity),
            "target_quantity": text(sizing.target_quantity),
            "order_quantity": text(sizing.order_quantity),
            "limit_price": text(sizing.limit_price),
            "order_notional": text(sizing.order_notional),
            "capped_by": sizing.capped_by,
            "currency": sizing.currency,
            "fx_rate": optional_text(sizing.fx_rate),
        }
    return doc


def _put_checks(message: decision_pb2.Decision, decision: Decision) -> None:
    """Fill in the checks, from what the journal was just told of them."""
    add = message.checks.add
    for written in decision.checks.to_json():
        if isinstance(written, list):
            _put_passed(add(), *written)
        else:
            add(**written)


def _put_passed(
    put: decision_pb2.CheckResult,
    name: str,
    scope: str,
    unit: str,
    source: str = "",
    limit: str = "",
    observed: str = "",
    projected: str = "",
) -> None:
    put.passed = True
    put.name = name
    put.scope = scope
    put.unit = unit
    if source:
        put.source = source
    if limit:
        put.limit = limit
    if observed:
        put.observed = observed
    if projected:
        put.projected = projected


def _signal(signal: Signal) -> dict[str, Any]:
    doc: dict[str, Any] = {
        "strategy_id": signal.strategy_id,
        "symbol": signal.symbol,
        "side": _SIGNAL_SIDE[signal.side],
        "confidence": float(signal.confidence),
        "target_exposure": float(signal.target_exposure),
        "time_horizon": _HORIZON[signal.time_horizon],
        "signal_id": signal.signal_id,
        "account_id": signal.account_id,
        "exposure_unit": _UNIT[signal.exposure_unit],
    }
    constraints = {}
    if signal.max_slippage_bps is not None:
        constraints["max_slippage_bps"] = float(signal.max_slippage_bps)
    if signal.max_notional is not None:
        constraints["max_notional"] = float(signal.max_notional)
    if constraints:
        doc["constraints"] = constraints
    if signal.created_at_ns is not None:
        doc["create_time"] = timestamp(signal.created_at_ns)
    return doc


def _order(order: Order) -> Any:
    return {
        "order_id": order.order_id,
        "cl_ord_id": order.cl_ord_id,
        "account_id": order.account_id,
        "strategy_id": order.strategy_id,
        "symbol": order.symbol,
        "signal_id": order.signal_id,
        "side": _SIDE[order.side],
        "ord_type": _ORD_TYPE[order.ord_type],
        "time_in_force": _TIF[order.time_in_force],
        "order_qty": text(order.order_qty),
        "limit_price": optional_text(order.price),
        "ord_status": _STATUS[order.ord_status],
        "delivery_state": _DELIVERY[order.delivery],
        "cum_qty": text(order.cum_qty),
        "leaves_qty": text(order.leaves_qty),
        "avg_px": text(order.avg_px),
        "broker": order.broker,
        "broker_order_id": order.broker_order_id,
        "create_time": timestamp(order.created_at_ns),
        "update_time": timestamp(order.updated_at_ns or order.created_at_ns),
        "text": order.text,
        "last_sequence": order.last_sequence,
    }
