"""The engine's errors: one small tree. The docstring of each is what it means to a caller.

A refusal by risk is not here: it is an answer (a decision), not an error.
"""

from __future__ import annotations

from trade_engine.domain.clock import NS_PER_MS

SHOWN_MAX = 80
"""Characters of a malformed value that an error shows."""


class EngineError(Exception):
    """Something asked of the engine cannot be done; `reason` is its stable code."""

    reason = "ENGINE_ERROR"

    def __init__(self, message: str, **metadata: str) -> None:
        """`metadata` holds every number and name that explains the error."""
        super().__init__(message)
        self.message = message
        self.metadata = metadata


class InvalidField(EngineError):
    """One field of a request is malformed; says which, what came, and what is allowed."""

    reason = "INVALID_FIELD"

    def __init__(self, field: str, given: str, allowed: str) -> None:
        given = given if len(given) <= SHOWN_MAX else given[:SHOWN_MAX] + "..."
        super().__init__(f"{field}: got {given!r}, allowed is {allowed}", field=field)
        self.field = field
        self.given = given
        self.allowed = allowed


class InvalidFields(EngineError):
    """Several fields of a request are malformed; every one is named."""

    reason = "INVALID_FIELDS"

    def __init__(self, faults: list[InvalidField]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = faults


class SignalIdConflict(EngineError):
    """This signal_id was used before with other content; `differs` names the fields."""

    reason = "SIGNAL_ID_CONFLICT"

    def __init__(self, signal_id: str, differs: list[str]) -> None:
        names = ",".join(differs)
        super().__init__(
            f"signal_id {signal_id!r} was used before with other content; these differ: {names}. "
            "Send the first content again, or choose a new signal_id.",
            signal_id=signal_id,
            differs=names,
        )
        self.differs = differs


class NotFound(EngineError):
    """Nothing of this kind has this id."""

    reason = "NOT_FOUND"

    def __init__(self, kind: str, **ids: str) -> None:
        named = ", ".join(f"{name}={value!r}" for name, value in ids.items())
        super().__init__(f"no {kind} with {named}", **ids)
        self.reason = f"{kind.upper()}_NOT_FOUND"


class OrderNotOpen(EngineError):
    """The order is closed already, so this cannot be done to it."""

    reason = "ORDER_NOT_OPEN"


class CancelsThrottled(EngineError):
    """More cancels than `account_cancel_rate` allows; the order still stands, ask again later."""

    reason = "CANCELS_THROTTLED"

    def __init__(self, account_id: str, retry_after_ns: int) -> None:
        wait_ms = str(-(-retry_after_ns // NS_PER_MS))
        super().__init__(
            f"account {account_id} cancels faster than account_cancel_rate allows; the next cancel "
            f"passes in {wait_ms} ms. To cancel everything at once, halt with cancel_open_orders.",
            account_id=account_id,
            retry_after_ms=wait_ms,
        )


class GateClosed(EngineError):
    """The engine cannot know the risk state now, so it approves nothing; try again later."""

    reason = "GATE_CLOSED"


class QueueFull(EngineError):
    """More is waiting for this account than the engine lets wait; try again later."""

    reason = "QUEUE_FULL"


class ShuttingDown(EngineError):
    """This engine is stopping and takes nothing new; another replica will answer."""

    reason = "SHUTTING_DOWN"


class SubscriberLagged(EngineError):
    """The subscriber reads slower than updates arrive; resume after `resume_sequence`."""

    reason = "SUBSCRIBER_LAGGED"


class ConfigError(EngineError):
    """A configuration file cannot be used; every fault is listed with its line."""

    reason = "CONFIG_INVALID"


class StoreUnavailable(EngineError):
    """A store did not answer or refused; nothing is known about what was not confirmed."""

    reason = "STORE_UNAVAILABLE"


class StoreRefused(StoreUnavailable):
    """A store answered that it cannot take this, whenever it is asked: it is not an outage."""
