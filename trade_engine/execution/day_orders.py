"""Orders at the end of the account's day: what is good for the day only, ends with it.

A broker that expires DAY orders by itself says so; for the one that does not, the engine ends them.
One that was not sent expires here. One that the broker has is canceled there, and stays what it is
until the broker has answered: that it is over is the broker's to say.
"""

from __future__ import annotations

from trade_engine.domain.account import ENGINE
from trade_engine.domain.execution import ExecType
from trade_engine.domain.order import DeliveryState, Order, TimeInForce
from trade_engine.execution.batch import Batch
from trade_engine.execution.order_changes import cancel_unsent, request_cancel

DAY_IS_OVER = "DAY: the account's day is over"


def end_day_orders(batch: Batch) -> list[Order]:
    """End the DAY orders of a day that rolled; answers with those that brokers must cancel."""
    ending = [
        order
        for order in batch.state.orders.values()
        if order.time_in_force is TimeInForce.DAY and not order.cancel_requested
    ]
    for order in ending:
        if order.delivery is DeliveryState.QUEUED:
            cancel_unsent(batch, order, DAY_IS_OVER, ExecType.EXPIRED)
        else:
            request_cancel(batch, order, "", DAY_IS_OVER, ENGINE)
    return [order for order in ending if order.is_open]
