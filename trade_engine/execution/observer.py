"""What the path to capital lets be seen from outside, as it happens: for metrics and alerts.

An observer is told and never asked. Its methods return at once and raise nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import structlog

from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.order import DeliveryState
from trade_engine.execution.ports import Committed, Delivery

log = structlog.get_logger(__name__)


class Alert(StrEnum):
    """What a person must look at: the name of a log line at error, and of a counter."""

    GATE_CLOSED = "gate_closed"
    """An account's risk state is not known: nothing is approved for it."""
    GATE_NOT_OPENED = "gate_not_opened"
    """A fault of the engine's own kept a closed gate from opening; it is tried again."""
    BATCH_FAILED = "batch_failed"
    """A fault of the engine's own threw a batch away; its signals were answered INTERNAL."""
    ROUTER_FAILED = "router_failed"
    """A fault of the engine's own stopped a step of sending; it is tried again."""
    RECONCILER_FAILED = "reconciler_failed"
    """A fault of the engine's own stopped a comparison with the broker; it is tried again."""
    LEASE_LOST = "lease_lost"
    """This process may not send an account's orders any more, and was not asked to stop."""
    RECORD_UNAVAILABLE = "record_unavailable"
    """PostgreSQL does not answer, or does not take what is written: nothing is decided."""
    COMMIT_UNKNOWN = "commit_unknown"
    """The reply to a commit was lost: whoever waits is answered once it was looked up."""
    LIMITS_NOT_RELOADED = "limits_not_reloaded"
    """The files that were to be put into force have faults, or are missing: nothing changed."""
    NOT_STARTED = "not_started"
    """The engine did not start, for want of its limits file for instance; its process ends."""
    QUOTES_STOPPED = "quotes_stopped"
    """A signal was refused because its symbol has no quote, or none that is fresh."""
    BOOKS_UNKNOWN = "books_unknown"
    """The firm's own portfolio service does not tell what an account holds: nothing grows."""
    CLOCK_JUMPED = "clock_jumped"
    """The wall clock was set: the ages of signals, quotes and orders are reckoned by it."""
    TASK_DIED = "task_died"
    """A task that must never end has ended: the process stops, and is to be started again."""
    HALT_NOT_STORED = "halt_not_stored"
    """A store did not take a halt."""
    REPORT_IGNORED = "report_ignored"
    """A broker's report could not be applied to any order; the journal keeps it."""
    REPORT_QUARANTINED = "report_quarantined"
    """A broker's report cannot be recorded as it came; the journal keeps it as a text."""
    STATUS_CONTRADICTED = "status_contradicted"
    """A broker claims an OrdStatus that does not follow from what it reported; in the journal."""
    BROKER_DIFFERS = "broker_differs"
    """The broker says something else than the record; the account is held until it agrees."""
    BOOKS_DIFFER = "books_differ"
    """The firm's own books say something else than the record, and go on saying it."""
    ORDER_IN_DOUBT = "order_in_doubt"
    """Nobody has known for a while whether an order reached the broker; it is asked on."""
    ORDER_NEVER_SEEN = "order_never_seen"
    """The broker, asked again and again, never saw an order; it is closed in the record."""
    ORDER_TURNED_UP = "order_turned_up"
    """A broker has an order that was closed as never seen; it stands again, and is canceled."""
    ORDERS_OUT_EXCEED = "orders_out_exceed"
    """An order that no decision approved was about to go out: its account is halted."""
    OVERFILLED = "overfilled"
    """A broker filled more than was ordered, and more than is tolerated: the account is halted."""
    TERMS_CHANGED = "terms_changed"
    """A broker made an order larger, or its limit worse, unasked: the account is halted."""
    FILL_OUT_OF_ORDER = "fill_out_of_order"
    """A fill came after its order was closed, or for more than was ordered; it is booked."""
    COMMISSION_UNPLACED = "commission_unplaced"
    """A fill's commission is in another currency than its instrument; it is not booked."""
    LOSS_LIMIT = "loss_limit"
    """An account lost more than a loss limit allows, and was stopped."""

    BROKER_AWAY = "broker_away"
    """The session with a broker ended, or cannot be had; nothing is sent there meanwhile."""
    BROKER_UNREADABLE = "broker_unreadable"
    """A broker's message could not be understood; it is kept aside for a person to look at."""


class Observer:
    """Whoever watches: a subclass sees what it overrides, and this one sees nothing."""

    def gate(self, account_id: str, *, is_open: bool) -> None:
        """An account's gate opened or closed in this process."""

    def sender(self, account_id: str, *, is_here: bool) -> None:
        """This process became an account's sender, or is it no longer."""

    def batch_settled(self, requests: int, seconds: float) -> None:
        """A batch of so many requests was settled; seconds is from its first try to its answers."""

    def committed(self, outcome: Committed) -> None:
        """The record answered a commit."""

    def decided(self, outcome: Outcome, reasons: Sequence[Reason]) -> None:
        """A signal was decided for good, and that is durable."""

    def reported(self, reports: int, fills: int) -> None:
        """Brokers' reports were taken in, and so many of them were fills now booked."""

    def handed_over(self, delivery: Delivery, orders: int) -> None:
        """A broker was handed orders, and this is what is known of them."""

    def unsent(self, account_id: str, orders: Mapping[DeliveryState, int]) -> None:
        """So many open orders of an account are not known to be sent; absent states have none."""

    def alerted(self, alert: Alert) -> None:
        """An alert was raised."""


UNOBSERVED = Observer()


def raise_alert(observer: Observer, alert: Alert, **details: object) -> None:
    """Say that a person must look: in the log, and to whoever watches."""
    log.error(alert.value, **details)
    observer.alerted(alert)
