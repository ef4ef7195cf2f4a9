"""What reconciliation does to an account: its differences are journaled, and accepted one by one.

Differences that nobody accepted hold the account like a halt (`AccountState.disagreement`): from
the commit that found them until a comparison does not find them any more, or until the last one is
accepted. Nobody has to resume.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from trade_engine.domain.difference import Difference, DifferenceKind
from trade_engine.domain.errors import NotFound
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import DeliveryState, Order
from trade_engine.execution.batch import Batch
from trade_engine.execution.commands import AcceptDifferenceCommand, DifferenceNotAcceptable
from trade_engine.execution.observer import Alert
from trade_engine.execution.order_changes import cancel_unsent
from trade_engine.execution.requests import Holdings

_GONE_THERE = frozenset({DifferenceKind.ORDER_UNKNOWN_THERE, DifferenceKind.ORDER_CLOSED_THERE})


def holdings(batch: Batch) -> Holdings:
    """What the account holds and works, to be compared with what its broker says."""
    state = batch.state
    quantities: dict[str, Decimal] = {}
    for (_, symbol), position in state.positions.items():
        quantities[symbol] = quantities.get(symbol, ZERO) + position.quantity
    return Holdings(
        orders={each.cl_ord_id: each.copy() for each in state.orders.values()},
        quantities=quantities,
        differences=dict(state.differences),
    )


def note_differences(
    batch: Batch, broker: str, found: Iterable[Difference], mark: str = ""
) -> list[Difference]:
    """Let these be all of the account's differences with a broker; answers with those that stand.

    What was accepted stays accepted while it says the same. Nothing is journaled when nothing
    changed. While one stands, no queued order is kept: it is canceled, as by a halt.
    """
    state = batch.state
    known = state.differences
    here = {
        each.difference_id: known[each.difference_id]
        if each.difference_id in known and known[each.difference_id].is_as(each)
        else each
        for each in found
    }
    standing = [each for each in here.values() if each.stands]
    now = {name: each for name, each in known.items() if each.broker != mark} | here
    if now == known:
        return standing
    state.differences = now
    batch.acts_as_sender = True
    batch.write(
        EntryKind.RECONCILIATION,
        {
            "broker": broker,
            "differences": [each.to_json() for each in now.values()],
            "settled": sorted(known.keys() - now.keys()),
        },
    )
    for each in standing:
        if known.get(each.difference_id) != each:
            batch.alert(
                Alert.BROKER_DIFFERS,
                account_id=state.account_id,
                difference_id=each.difference_id,
                why=each.message,
            )
    if standing:
        _cancel_queued(batch)
    return standing


def _cancel_queued(batch: Batch) -> None:
    for order in list(batch.state.orders.values()):
        if order.delivery is DeliveryState.QUEUED:
            cancel_unsent(batch, order, "the account does not agree with its broker")


def accept_difference(batch: Batch, command: AcceptDifferenceCommand) -> Difference:
    """Take a difference as it is, for a reason that the journal keeps.

    An order that is open here alone is closed by this. One that is accepted already
    is left as it is.

    Raises:
        NotFound: no such difference stands now.
        DifferenceNotAcceptable: it is not about something that the broker holds.
    """
    state, difference_id = batch.state, command.difference_id
    found = state.differences.get(difference_id)
    if found is None:
        raise NotFound("difference", account_id=state.account_id, difference_id=difference_id)
    if found.kind is DifferenceKind.UNRECONCILED:
        raise DifferenceNotAcceptable(
            f"{found.message}; it cannot be accepted, for nobody knows what the broker holds. "
            "It goes by itself once the broker answers.",
            difference_id=difference_id,
        )
    if not found.stands:
        return found
    accepted = found.accepted(batch.now_ns, command.operator, command.reason)
    state.differences = state.differences | {difference_id: accepted}
    batch.write(
        EntryKind.DIFFERENCE_ACCEPTED,
        {"difference": accepted.to_json(), "request_id": command.request_id},
    )
    order = state.orders.get(found.subject)
    if found.kind in _GONE_THERE and order is not None:
        order.delivery = DeliveryState.SENT  # its broker had it
        cancel_unsent(batch, order, f"not open at its broker: {command.reason}")
    return accepted


def close_unknown(batch: Batch, order_ids: Sequence[str], why: str) -> None:
    """Close orders of unclear outcome that the broker, asked again and again, never saw.

    One that turns up all the same stands again, and is canceled (`turned_up`).
    """
    for order_id in order_ids:
        order = batch.state.orders.get(order_id)
        if order is not None and _may_have_stayed(order):
            batch.acts_as_sender = True
            cancel_unsent(batch, order, why)
            batch.alert(Alert.ORDER_NEVER_SEEN, order_id=order_id, why=why)


def _may_have_stayed(order: Order) -> bool:
    return order.delivery in (DeliveryState.SENDING, DeliveryState.IN_DOUBT) and not order.cum_qty
