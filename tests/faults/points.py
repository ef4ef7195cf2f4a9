"""The named points of the path to capital, and what may be made to happen at one of them.

A test build of the engine (`engine_main`) wraps the methods below, so that each announces itself
before and after it ran; the product carries no hook. The numbers are DESIGN's, section 3. A method
that was renamed fails at import: a point that is never reached would prove nothing.
"""

from __future__ import annotations

import functools
import inspect
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trade_engine.brokers.paper import PaperBroker
from trade_engine.execution.attempt import Attempt
from trade_engine.execution.gate import AccountGate
from trade_engine.execution.head import AccountHead
from trade_engine.execution.requests import ReportsRequest, SubmitRequest
from trade_engine.storage.postgres.paper_venue import PaperVenueBooks
from trade_engine.storage.postgres.record import PostgresRecord
from trade_engine.storage.redis.doorbell import RedisDoorbell
from trade_engine.storage.redis.risk_store import RedisRiskStore

Asked = Callable[..., bool]


def _always(*_: Any) -> bool:
    return True


def _a_signal(_gate: Any, request: Any) -> bool:
    return isinstance(request, SubmitRequest)


def _a_report(_gate: Any, request: Any) -> bool:
    return isinstance(request, ReportsRequest)


@dataclass(frozen=True)
class Step:
    """A method of the path that is a step of it, or part of one; counts: whether a call does."""

    name: str
    owner: type
    method: str
    counts: Asked = _always

    @property
    def points(self) -> tuple[str, str]:
        return f"before {self.name}", f"after {self.name}"


STEPS = (
    Step("1-take-in", AccountGate, "enqueue", _a_signal),
    Step("2-know-head", AccountHead, "known_state"),
    Step("3-ask-redis", AccountHead, "ask_risk"),
    Step("4-reconcile", AccountHead, "reconcile"),
    Step("5-decide", AccountGate, "_compute"),
    Step("6-commit", PostgresRecord, "commit"),
    Step("7-bring-redis", RedisRiskStore, "apply"),
    Step("8-answer", Attempt, "release_answers"),
    Step("8-ring", RedisDoorbell, "ring"),
    Step("9-send", PaperBroker, "send"),
    Step("9-broker-books", PaperVenueBooks, "record"),
    Step("9-cancel", PaperBroker, "cancel"),
    Step("9-replace", PaperBroker, "replace"),
    Step("10-take-report", AccountGate, "enqueue", _a_report),
    Step("10-acknowledge", PaperVenueBooks, "acknowledge"),
)
POINTS = tuple(point for step in STEPS for point in step.points)

ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Armory:
    """What is to happen at which point, at its how-manieth passing; said before it happens."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._armed: dict[str, tuple[str, int]] = {}

    def arm(self, point: str, action: str, passes: int) -> None:
        assert point in POINTS, point
        assert action in ACTIONS, action
        self._armed[point] = (action, passes)

    def disarm(self, point: str) -> None:
        """Lay down what is armed at a point, or, with an empty one, everywhere."""
        if point:
            self._armed.pop(point, None)
        else:
            self._armed.clear()

    def reach(self, point: str) -> None:
        armed = self._armed.pop(point, None)
        if armed is None:
            return
        action, passes = armed
        if passes > 1:
            self._armed[point] = (action, passes - 1)
            return
        self._say(f"POINT {action} {point}")
        os.kill(os.getpid(), ACTIONS[action])


def install(armory: Armory) -> None:
    """Let every step announce itself."""
    for step in STEPS:
        setattr(step.owner, step.method, _announcing(step, armory))


def _announcing(step: Step, armory: Armory) -> Callable[..., Any]:
    inner = getattr(step.owner, step.method)
    before, after = step.points

    if inspect.iscoroutinefunction(inner):

        @functools.wraps(inner)
        async def announced_async(*args: Any, **named: Any) -> Any:
            if not step.counts(*args):
                return await inner(*args, **named)
            armory.reach(before)
            try:
                return await inner(*args, **named)
            finally:
                armory.reach(after)

        return announced_async

    @functools.wraps(inner)
    def announced(*args: Any, **named: Any) -> Any:
        if not step.counts(*args):
            return inner(*args, **named)
        armory.reach(before)
        try:
            return inner(*args, **named)
        finally:
            armory.reach(after)

    return announced
