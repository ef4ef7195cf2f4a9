"""What goes out: orders, cancels, replacements and questions, in the words of FIX 4.2 and 4.4."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import assert_never

from fixcore.message.message import Message

from trade_engine.brokers import fix_fields as tag
from trade_engine.brokers.fix_config import FixConfig
from trade_engine.brokers.fix_fields import new_message
from trade_engine.domain.clock import NS_PER_S
from trade_engine.domain.money import text
from trade_engine.domain.order import Order, OrdType, TimeInForce
from trade_engine.domain.replacement import Replacement
from trade_engine.domain.signal import Side

AUTOMATED_NO_INTERVENTION = "1"


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the venue accepted last for an order: the ClOrdID it goes by now, and its OrderQty."""

    cl_ord_id: str
    order_qty: Decimal


def new_order_single(config: FixConfig, order: Order, now_ns: int) -> Message:
    """NewOrderSingle (D)."""
    fields = {
        tag.CL_ORD_ID: order.cl_ord_id,
        **_account(config, order),
        tag.HANDL_INST: AUTOMATED_NO_INTERVENTION,
        **_what(order, order.order_qty, now_ns),
        tag.ORD_TYPE: _ord_type(order.ord_type),
    }
    if order.price is not None:
        fields[tag.PRICE] = text(order.price)
    fields[tag.TIME_IN_FORCE] = _time_in_force(order.time_in_force)
    return new_message(tag.NEW_ORDER_SINGLE, fields)


def order_cancel_request(
    config: FixConfig, order: Order, accepted: Accepted, request_id: str, now_ns: int
) -> Message:
    """OrderCancelRequest (F), under a ClOrdID of its own."""
    fields = {
        tag.ORIG_CL_ORD_ID: accepted.cl_ord_id,
        tag.CL_ORD_ID: request_id,
        **_account(config, order),
        **_what(order, accepted.order_qty, now_ns),
    }
    return new_message(tag.ORDER_CANCEL_REQUEST, fields)


def order_cancel_replace_request(config: FixConfig, asked: Replacement, now_ns: int) -> Message:
    """OrderCancelReplaceRequest (G); OrderQty(38) is all of it, what is filled included."""
    order, terms = asked.order, asked.terms
    fields = {
        tag.ORIG_CL_ORD_ID: asked.orig_cl_ord_id,
        tag.CL_ORD_ID: terms.cl_ord_id,
        **_account(config, order),
        tag.HANDL_INST: AUTOMATED_NO_INTERVENTION,
        **_what(order, terms.order_qty, now_ns),
        tag.ORD_TYPE: _ord_type(order.ord_type),
        tag.PRICE: text(terms.price),
        tag.TIME_IN_FORCE: _time_in_force(order.time_in_force),
    }
    return new_message(tag.ORDER_CANCEL_REPLACE_REQUEST, fields)


def order_status_request(cl_ord_id: str, symbol: str, side: Side) -> Message:
    """OrderStatusRequest (H)."""
    fields = {tag.CL_ORD_ID: cl_ord_id, tag.SYMBOL: symbol, tag.SIDE: side_code(side)}
    return new_message(tag.ORDER_STATUS_REQUEST, fields)


def test_request(test_req_id: str) -> Message:
    """TestRequest (1), which the venue answers with a Heartbeat of the same TestReqID."""
    return new_message(tag.TEST_REQUEST, {tag.TEST_REQ_ID: test_req_id})


def request_id_of(cl_ord_id: str, number: int) -> str:
    """The ClOrdID of a request about an order, from a number that never comes again.

    See `domain.order.order_id_of`.
    """
    return f"{cl_ord_id}.{number}"


def timestamp(now_ns: int) -> str:
    """A UTCTimestamp in milliseconds."""
    seconds, rest = divmod(now_ns, NS_PER_S)
    whole = datetime.fromtimestamp(seconds, UTC)
    return f"{whole:%Y%m%d-%H:%M:%S}.{rest // 1_000_000:03d}"


def side_code(side: Side) -> str:
    """FIX Side(54)."""
    match side:
        case Side.BUY:
            return "1"
        case Side.SELL:
            return "2"
        case _:
            assert_never(side)


def _ord_type(ord_type: OrdType) -> str:
    match ord_type:
        case OrdType.MARKET:
            return "1"
        case OrdType.LIMIT:
            return "2"
        case _:
            assert_never(ord_type)


def _time_in_force(time_in_force: TimeInForce) -> str:
    match time_in_force:
        case TimeInForce.DAY:
            return "0"
        case TimeInForce.GTC:
            return "1"
        case TimeInForce.IOC:
            return "3"
        case TimeInForce.FOK:
            return "4"
        case _:
            assert_never(time_in_force)


def _what(order: Order, order_qty: Decimal, now_ns: int) -> dict[int, str]:
    return {
        tag.SYMBOL: order.symbol,
        tag.SIDE: side_code(order.side),
        tag.TRANSACT_TIME: timestamp(now_ns),
        tag.ORDER_QTY: text(order_qty),
    }


def _account(config: FixConfig, order: Order) -> dict[int, str]:
    account = config.accounts.get(order.account_id)
    return {tag.ACCOUNT: account} if account else {}
