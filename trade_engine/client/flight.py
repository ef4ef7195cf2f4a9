"""Many signals in flight on a stream: which wait to be sent, and which for their answer.

Signals are sent in the order in which they came. After a broken stream, those without an answer
are sent again in that order, under the same ids. A signal that the engine cannot take now (its
queue is full, its gate closed) is sent again after the pause that the engine asks for, and all
that was not sent yet waits with it.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

from trade_engine.client.messages import BATCH
from trade_engine.client.results import Failed, Result, result_of
from trade_engine.client.retrying import Attempts, Clock, RetryPolicy
from trade_engine.v1 import signal_pb2, signal_service_pb2


@dataclass(slots=True, order=True)
class _Unanswered:
    number: int
    signal: signal_pb2.Signal = field(compare=False)
    attempts: Attempts = field(compare=False)


class Flight:
    """The state of one submit_many, without any waiting or sending."""

    def __init__(self, policy: RetryPolicy, clock: Clock, in_flight_max: int) -> None:
        self._policy = policy
        self._clock = clock
        self._in_flight_max = in_flight_max
        self._unanswered: dict[str, deque[_Unanswered]] = {}
        self._to_send: list[_Unanswered] = []  # a heap: the first to come is the first to go
        self._count = 0
        self._added = 0
        self._not_before = 0.0
        self._ended = False

    @property
    def has_room(self) -> bool:
        """Whether one more signal may be on its way."""
        return self._count < self._in_flight_max

    @property
    def finished(self) -> bool:
        """Whether every signal there will ever be is answered."""
        return self._ended and not self._count

    def add(self, signal: signal_pb2.Signal) -> None:
        """Take in one more signal."""
        self._added += 1
        self._count += 1
        waiting = _Unanswered(self._added, signal, Attempts(self._policy, self._clock))
        self._unanswered.setdefault(signal.signal_id, deque()).append(waiting)
        heapq.heappush(self._to_send, waiting)

    def end(self) -> None:
        """No more signals will come."""
        self._ended = True

    def batch(self) -> signal_service_pb2.SubmitSignalsRequest | None:
        """What to send now; None: nothing yet."""
        if not self._to_send or self.pause_s:
            return None
        count = min(BATCH, len(self._to_send))
        signals = [heapq.heappop(self._to_send).signal for _ in range(count)]
        return signal_service_pb2.SubmitSignalsRequest(signals=signals)

    @property
    def pause_s(self) -> float:
        """How long nothing may be sent, in seconds; 0: now."""
        return max(0.0, self._not_before - self._clock()) if self._to_send else 0.0

    def take(self, message: signal_service_pb2.SubmitSignalsResult) -> Result | None:
        """Read one result; None when its signal is sent again, or was answered before."""
        waiting = self._unanswered.get(message.signal_id)
        if not waiting:
            return None
        result = result_of(message)
        if isinstance(result, Failed):
            pause = waiting[0].attempts.pause_after(result.error)
            if pause is not None:
                heapq.heappush(self._to_send, waiting[0])
                self._not_before = self._clock() + pause
                return None
        waiting.popleft()
        if not waiting:
            del self._unanswered[message.signal_id]
        self._count -= 1
        return result

    def rewind(self) -> None:
        """The stream is gone: whatever has no answer is sent again."""
        self._to_send = sorted(each for some in self._unanswered.values() for each in some)
