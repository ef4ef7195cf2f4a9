"""One try at a batch: the requests that still stand, and the answers that wait for the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from trade_engine.domain.decision import Decision
from trade_engine.domain.errors import SignalIdConflict
from trade_engine.domain.execution import ExecutionReport
from trade_engine.domain.limits import LevelKey, Rate
from trade_engine.domain.order import Order
from trade_engine.domain.replacement import Terms
from trade_engine.domain.signal import Signal
from trade_engine.execution.batch import Batch
from trade_engine.execution.ports import Commit, Verdicts
from trade_engine.execution.requests import (
    CancelRequest,
    EvaluateRequest,
    FlattenRequest,
    LimitsRequest,
    ReportsRequest,
    Request,
    StateChange,
    SubmitRequest,
)

T = TypeVar("T")


class Attempt:
    """What one batch needs on its way, thrown away when it has been settled."""

    def __init__(self, requests: Iterable[Request], batch_id: str) -> None:
        self.requests = list(requests)
        self.batch_id = batch_id
        self.now_ns = 0
        self.fenced = False
        self.batch: Batch | None = None
        self.commit: Commit | None = None
        self.verdicts: dict[int, Verdicts] = {}
        self.asked_rates: dict[LevelKey, dict[str, Rate]] = {}
        """The rates by which the throttles gave the verdicts."""
        self.peeked: dict[int, Verdicts] = {}
        self.answers: list[Callable[[], None]] = []
        self.decided: list[Decision] = []
        self.by_signal_id: dict[str, Decision] = {}
        self.flattened: dict[str, Decision] = {}
        self.approved: list[Order] = []
        self.to_cancel: list[Order] = []
        self.replaces = False
        """Whether an order of the account is to be given new terms."""
        self._seen_executions: set[tuple[str, str]] = set()

    def start(self, batch: Batch) -> None:
        """Begin anew on a fresh state."""
        self.batch, self.commit = batch, None
        self.answers, self.decided, self.by_signal_id = [], [], {}
        self.approved, self.to_cancel, self.replaces = [], [], False
        self._seen_executions.clear()

    def in_order(self) -> list[Request]:
        """The requests as they are taken: in the order of arrival, but changes of the limits last.

        The throttles are asked before a batch is computed: so all of it is under one rulebook.
        """
        return sorted(self.requests, key=lambda each: isinstance(each, LimitsRequest))

    def signals(self) -> list[Signal]:
        """The signals to be decided for good."""
        return [each.signal for each in self.requests if isinstance(each, SubmitRequest)]

    def cancels(self) -> list[CancelRequest]:
        """The cancels of single orders that somebody asks for."""
        return [each for each in self.requests if isinstance(each, CancelRequest)]

    def flattens(self) -> bool:
        """Whether somebody asks for positions to be closed."""
        return any(isinstance(each, FlattenRequest) for each in self.requests)

    def evaluated_signals(self) -> list[Signal]:
        """The signals of what-ifs."""
        return [each.signal for each in self.requests if isinstance(each, EvaluateRequest)]

    def execution_reports(self) -> Iterator[ExecutionReport]:
        """The execution reports in the batch, in order."""
        for request in self.requests:
            if isinstance(request, ReportsRequest):
                yield from (each for each in request.reports if isinstance(each, ExecutionReport))

    def exec_ids(self) -> dict[str, set[str]]:
        """The executions in the batch's reports, by broker."""
        found: dict[str, set[str]] = {}
        for request in self.requests:
            if isinstance(request, ReportsRequest):
                ids = found.setdefault(request.broker, set())
                ids.update(
                    report.exec_id
                    for report in request.reports
                    if isinstance(report, ExecutionReport)
                )
        return found

    def first_sight(self, execution: tuple[str, str]) -> bool:
        """Whether no report before in this batch had this (broker, ExecID)."""
        if execution in self._seen_executions:
            return False
        self._seen_executions.add(execution)
        return True

    def drop(self, requests: Sequence[Request]) -> None:
        """Leave requests out of the next try: they were answered."""
        self.requests = [each for each in self.requests if each not in requests]

    def answer(self, future: asyncio.Future[T], value: T) -> None:
        """Answer once the batch is committed."""
        self.answers.append(lambda: resolve(future, value))

    def fail(self, future: asyncio.Future[Any], error: Exception) -> None:
        """Answer with an error once the batch is through."""
        self.answers.append(lambda: reject(future, error))

    def changed_state(self, change: StateChange | None) -> None:
        """Let the router cancel what a trading state asks its brokers to cancel."""
        assert self.batch is not None  # noqa: S101  start() was called
        for order_id in change.canceling if change else ():
            self.to_cancel.append(self.batch.state.orders[order_id])

    def changes(self, terms: Terms | None) -> None:
        """Let the router ask for new terms of an order, or for its cancel."""
        if terms is None:
            return
        assert self.batch is not None  # noqa: S101  start() was called
        order = self.batch.state.orders[terms.order_id]
        if terms.cancels:
            self.to_cancel.append(order)
        else:
            self.replaces = True

    def release_answers(self) -> None:
        """The batch is committed: let everybody know."""
        for release in self.answers:
            release()


def same_content(decision: Decision, signal: Signal) -> Decision:
    """The decision, if it was made on this very content.

    Raises:
        SignalIdConflict: naming the fields that differ.
    """
    differs = signal.differs_from(decision.signal)
    if differs:
        raise SignalIdConflict(signal.signal_id, differs)
    return decision


def resolve(future: asyncio.Future[T], value: T) -> None:
    """Answer, unless the one who asked has given up."""
    if not future.done():
        future.set_result(value)


def reject(future: asyncio.Future[Any], error: Exception) -> None:
    """Answer with an error, unless the one who asked has given up."""
    if not future.done():
        future.set_exception(error)


def fail_all(requests: Iterable[Request], error: Exception) -> None:
    """Answer all of them with one error."""
    for request in requests:
        reject(request.answer, error)
