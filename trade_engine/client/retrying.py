"""Which failure is worth another attempt, when, and until when.

The waiting itself is tenacity's, which sleeps in a thread or in an event loop.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from tenacity import RetryCallState

from trade_engine.client.errors import TradeEngineError

Clock = Callable[[], float]
"""Seconds that only rise, such as time.monotonic."""

_JITTER = 0.25
"""How much longer than the engine asked a client waits at most, so that not all come at once."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long one attempt may take, and for how long attempts are made; all in seconds.

    retry_for_s counts from the first attempt; a stream counts anew after each message. Between
    attempts the client waits what the engine asks for, or else a random time below backoff_s,
    which doubles each time up to backoff_s_max.
    """

    timeout_s: float = 5.0
    retry_for_s: float = 20.0
    backoff_s: float = 0.1
    backoff_s_max: float = 2.0


class Attempts:
    """The attempts of one call."""

    def __init__(self, policy: RetryPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._failed = 0
        self._told: TradeEngineError | None = None
        self._deadline = clock() + policy.retry_for_s

    def begin_again(self) -> None:
        """Count time and failures from now, after progress."""
        self._failed = 0
        self._deadline = self._clock() + self._policy.retry_for_s

    @property
    def timeout_s(self) -> float:
        """The time limit of the attempt that begins now."""
        return max(0.001, min(self._policy.timeout_s, self._deadline - self._clock()))

    def pause_after(self, error: TradeEngineError) -> float | None:
        """How long to wait before the next attempt, in seconds; None: there is none."""
        if error.is_the_engines:
            self._told = error
        if not error.retryable:
            return None
        window = min(self._policy.backoff_s * 2.0**self._failed, self._policy.backoff_s_max)
        self._failed += 1
        asked = error.retry_after_s
        if asked is not None:
            window = min(window, asked * _JITTER)
        pause = (asked or 0.0) + random.uniform(0, window)  # noqa: S311  nothing secret
        return pause if self._clock() + pause < self._deadline else None

    def last_word(self, error: TradeEngineError) -> TradeEngineError:
        """What to raise when the attempts are over: what the engine said last, if it said anything.

        A last attempt that merely ran out of time says less.
        """
        if error.code is grpc.StatusCode.DEADLINE_EXCEEDED and self._told is not None:
            return self._told
        return error

    def tenacity(self) -> dict[str, Any]:
        """The same, as arguments of tenacity's Retrying and AsyncRetrying."""
        pause: float | None = None

        def worth_another(state: RetryCallState) -> bool:
            nonlocal pause
            error = state.outcome and state.outcome.exception()
            pause = self.pause_after(error) if isinstance(error, TradeEngineError) else None
            return pause is not None

        return {
            "retry": worth_another,
            "wait": lambda _state: pause,
            "reraise": True,
        }
