"""What may follow what in the life of an order: one table over FIX 4.4 OrdStatus and events.

Theory of operation. An order can be in several FIX states at once (filled in part, and a cancel
pending); its OrdStatus is the one of highest precedence. So the machine (`order_chain`) keeps the
facts that events leave behind and derives the status from them, and this table holds the machine:
a pair of status and event that has no place in it is refused and changes nothing, and where an
event may lead is written beside it. Source: FIX 4.4 Volume 4, Execution Report and Appendix D.

An event is an ExecType, or something that FIX says by another message: our own requests, the
broker's refusal of one, the turn of the trading day.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trade_engine.domain.order import OrdStatus


class Event(StrEnum):
    """What can happen to an order. Names of ExecType mean a report of that ExecType."""

    # Execution reports.
    NEW = "NEW"
    DONE_FOR_DAY = "DONE_FOR_DAY"
    CANCELED = "CANCELED"
    REPLACED = "REPLACED"
    PENDING_CANCEL = "PENDING_CANCEL"
    STOPPED = "STOPPED"
    REJECTED = "REJECTED"
    SUSPENDED = "SUSPENDED"
    PENDING_NEW = "PENDING_NEW"
    CALCULATED = "CALCULATED"
    EXPIRED = "EXPIRED"
    RESTATED = "RESTATED"
    PENDING_REPLACE = "PENDING_REPLACE"
    TRADE = "TRADE"
    TRADE_CORRECT = "TRADE_CORRECT"
    TRADE_CANCEL = "TRADE_CANCEL"
    ORDER_STATUS = "ORDER_STATUS"

    # A report REJECTED that answers the same order sent again: it is not about the first one.
    DUPLICATE_REJECTED = "DUPLICATE_REJECTED"
    # The broker refuses a cancel or replace request: FIX OrderCancelReject.
    CANCEL_REJECT = "CANCEL_REJECT"
    # Our own messages.
    ORDER_SENT = "ORDER_SENT"
    CANCEL_REQUEST = "CANCEL_REQUEST"
    REPLACE_REQUEST = "REPLACE_REQUEST"
    # The trading day turns.
    NEW_DAY = "NEW_DAY"


_S = OrdStatus
PRECEDENCE = (
    _S.PENDING_CANCEL,
    _S.PENDING_REPLACE,
    _S.DONE_FOR_DAY,
    _S.CALCULATED,
    _S.FILLED,
    _S.STOPPED,
    _S.SUSPENDED,
    _S.CANCELED,
    _S.EXPIRED,
    _S.PARTIALLY_FILLED,
    _S.REJECTED,
    _S.NEW,
    _S.PENDING_NEW,
    _S.ACCEPTED_FOR_BIDDING,
)
"""An order in several states at once shows the first of these. REPLACED is never shown: since FIX
4.3 a replaced order goes on in the state that its quantities give it. Nothing that FIX 4.4 reports
leads to ACCEPTED_FOR_BIDDING."""
RANK = {status: place for place, status in enumerate(PRECEDENCE)}
"""The lowest is shown."""

ALL = frozenset(OrdStatus)
UNACKNOWLEDGED = frozenset({_S.PENDING_NEW})
STANDING = frozenset({_S.NEW, _S.PARTIALLY_FILLED, _S.STOPPED, _S.SUSPENDED})
PENDING = frozenset({_S.PENDING_CANCEL, _S.PENDING_REPLACE})
DAY_ENDED = frozenset({_S.DONE_FOR_DAY, _S.CALCULATED})
ENDED = frozenset({_S.CANCELED, _S.EXPIRED, _S.REJECTED})

_FILLED = frozenset({_S.FILLED})
_WORKING = UNACKNOWLEDGED | STANDING | PENDING
_ALIVE = _WORKING | _FILLED | {_S.DONE_FOR_DAY}
_UNCOVERED = STANDING | _FILLED | DAY_ENDED | ENDED
"""What may be seen again once nothing of higher precedence hides it."""
_SAME: frozenset[OrdStatus] = frozenset()


@dataclass(frozen=True, slots=True)
class Row:
    """In which states an event may come, and in which the order may then be.

    An order may always stay as it is: `to` holds what it may change to.
    """

    come: frozenset[OrdStatus]
    to: frozenset[OrdStatus]


TABLE: dict[Event, Row] = {
    # The broker takes the order. After a fill: the fill overtook it. Again: it was held, or
    # suspended, and works now.
    Event.NEW: Row(_WORKING | _FILLED, frozenset({_S.NEW, _S.PARTIALLY_FILLED})),
    Event.PENDING_NEW: Row(UNACKNOWLEDGED, _SAME),
    # By the exchange, after the broker's New: an order can pass from New to Rejected.
    Event.REJECTED: Row(
        UNACKNOWLEDGED | PENDING | {_S.NEW, _S.STOPPED, _S.SUSPENDED}, frozenset({_S.REJECTED})
    ),
    Event.DUPLICATE_REJECTED: Row(ALL, _SAME),
    # A fill is booked whatever the state: late, over, unacknowledged. What a broker says it did
    # with our money is never refused.
    Event.TRADE: Row(ALL, frozenset({_S.PARTIALLY_FILLED, _S.FILLED})),
    Event.TRADE_CORRECT: Row(ALL, _UNCOVERED),
    Event.TRADE_CANCEL: Row(ALL, _UNCOVERED),
    Event.ORDER_STATUS: Row(ALL, _SAME),
    # The order ends. On a filled order: the bust or correction that made room for an end is still
    # on its way. To FILLED: a pending cancel, or the day's end, hid that nothing was left.
    Event.CANCELED: Row(_WORKING | DAY_ENDED | _FILLED, frozenset({_S.CANCELED, _S.FILLED})),
    Event.EXPIRED: Row(_WORKING | DAY_ENDED | _FILLED, frozenset({_S.EXPIRED, _S.FILLED})),
    # The day ends for it. What is pending stays visible.
    Event.DONE_FOR_DAY: Row(_WORKING | _FILLED | {_S.CALCULATED}, frozenset({_S.DONE_FOR_DAY})),
    Event.CALCULATED: Row(_ALIVE, frozenset({_S.CALCULATED})),
    # A change is under way. On a filled order too: it crossed the fill, or asks for more.
    Event.PENDING_CANCEL: Row(_ALIVE, frozenset({_S.PENDING_CANCEL})),
    Event.PENDING_REPLACE: Row(_ALIVE, frozenset({_S.PENDING_REPLACE})),
    Event.REPLACED: Row(_ALIVE, STANDING | PENDING | _FILLED | DAY_ENDED),
    Event.CANCEL_REJECT: Row(ALL, PENDING | _UNCOVERED | {_S.PENDING_NEW}),
    # The broker changed it by itself, or says that a GTC order stands again today.
    Event.RESTATED: Row(_ALIVE | DAY_ENDED, STANDING | _FILLED),
    Event.STOPPED: Row(_WORKING, frozenset({_S.STOPPED})),
    Event.SUSPENDED: Row(_WORKING, frozenset({_S.SUSPENDED})),
    # Our own messages change nothing until the broker answers.
    Event.ORDER_SENT: Row(ALL, frozenset({_S.PENDING_NEW})),
    Event.CANCEL_REQUEST: Row(ALL, _SAME),  # cancels always pass
    Event.REPLACE_REQUEST: Row(_ALIVE, _SAME),
    # A good-till-canceled order stands again.
    Event.NEW_DAY: Row(ALL, STANDING),
}


def may_come(status: OrdStatus, event: Event) -> bool:
    """Whether the event is legal in this state."""
    return status in TABLE[event].come


def may_become(status: OrdStatus, event: Event) -> frozenset[OrdStatus]:
    """The states in which the order may be after a legal event."""
    return TABLE[event].to | {status}
