"""What submitting a signal comes to."""

from __future__ import annotations

from dataclasses import dataclass

from trade_engine.client.errors import TradeEngineError
from trade_engine.v1 import decision_pb2, signal_service_pb2


@dataclass(frozen=True, slots=True)
class Submitted:
    """The decision on a signal; replayed: it had been decided before this call."""

    signal_id: str
    decision: decision_pb2.Decision
    replayed: bool

    @property
    def approved(self) -> bool:
        """Whether an order is on its way."""
        return self.decision.outcome == decision_pb2.OUTCOME_APPROVED


@dataclass(frozen=True, slots=True)
class Failed:
    """A signal of a stream that was not decided, and why."""

    signal_id: str
    error: TradeEngineError


Result = Submitted | Failed


def result_of(message: signal_service_pb2.SubmitSignalsResult) -> Result:
    """Read the result of one signal of a stream."""
    if message.HasField("error"):
        return Failed(message.signal_id, TradeEngineError.from_signal_error(message.error))
    return Submitted(message.signal_id, message.decision, message.replayed)
