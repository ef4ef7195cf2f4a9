"""What an engine at work tells its observer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import pytest

from tests.support.trading import (
    ACCOUNT,
    SYMBOLS,
    eventually,
    patient_plan,
    quote,
    rulebook,
    signal,
)
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.order import DeliveryState
from trade_engine.execution.observer import Alert, Observer
from trade_engine.execution.ports import Committed, Delivery
from trade_engine.wiring import Plan, Running, running

pytestmark = pytest.mark.stores


class Notebook(Observer):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.gates: list[bool] = []
        self.senders: list[bool] = []
        self.commits: list[Committed] = []
        self.decisions: list[tuple[Outcome, list[Reason]]] = []
        self.reports: list[tuple[int, int]] = []
        self.handed: list[tuple[Delivery, int]] = []
        self.waiting: list[dict[DeliveryState, int]] = []
        self.alerts: list[Alert] = []

    def gate(self, account_id: str, *, is_open: bool) -> None:
        assert account_id == ACCOUNT
        self.gates.append(is_open)

    def sender(self, account_id: str, *, is_here: bool) -> None:
        assert account_id == ACCOUNT
        self.senders.append(is_here)

    def committed(self, outcome: Committed) -> None:
        self.commits.append(outcome)

    def decided(self, outcome: Outcome, reasons: Sequence[Reason]) -> None:
        self.decisions.append((outcome, list(reasons)))

    def reported(self, reports: int, fills: int) -> None:
        self.reports.append((reports, fills))

    def handed_over(self, delivery: Delivery, orders: int) -> None:
        self.handed.append((delivery, orders))

    def unsent(self, account_id: str, orders: Mapping[DeliveryState, int]) -> None:
        assert account_id == ACCOUNT
        self.waiting.append(dict(orders))

    def alerted(self, alert: Alert) -> None:
        self.alerts.append(alert)


def plan(database_url: str, redis_url: str, notebook: Notebook, replica: str = "r-0") -> Plan:
    return patient_plan(database_url, redis_url, rulebook(), replica, observer=notebook)


def report(cl_ord_id: str, exec_id: str, exec_type: ExecType) -> ExecutionReport:
    return ExecutionReport(cl_ord_id, exec_id, exec_type, time.time_ns())


async def book(run: Running, *reports: ExecutionReport) -> None:
    await run.engine._sink_of("paper")(ACCOUNT, reports)


async def test_an_order_is_followed_from_decision_to_fill(
    database_url: str, redis_url: str
) -> None:
    told = Notebook()
    async with running(plan(database_url, redis_url, told)) as run:
        await eventually(lambda: told.senders[-1])
        await run.engine.publish_quotes([quote(symbol) for symbol in SYMBOLS])
        await run.engine.submit(signal(15_000))
        await run.engine.submit(signal(15_000, symbol="NOPE"))
        await eventually(lambda: sum(fills for _, fills in told.reports) == 1)

    assert [outcome for outcome, _ in told.decisions] == [Outcome.APPROVED, Outcome.REJECTED]
    assert told.decisions[0][1] == []
    assert Reason.INSTRUMENT_UNKNOWN in told.decisions[1][1]
    assert told.handed == [(Delivery.SENT, 1)]
    assert told.gates == [False, True], "a first opening is no closing"
    assert told.senders == [False, True, False]
    assert told.waiting[-1] == {}, "who sends no more has nothing waiting"
    assert set(told.commits) == {Committed.DONE}
    assert told.alerts == []


async def test_a_report_that_fits_nothing_raises_one_alert(
    database_url: str, redis_url: str
) -> None:
    told = Notebook()
    async with running(plan(database_url, redis_url, told)) as run:
        await book(run, report("o-nobody-knows", "e-1", ExecType.NEW))
        assert told.alerts == [Alert.REPORT_IGNORED]
        assert told.reports == [(1, 0)]


async def test_a_task_that_dies_raises_an_alert_and_ends_the_engine(
    database_url: str, redis_url: str
) -> None:
    async def breaks() -> None:
        raise ValueError("never expected")

    told = Notebook()
    async with running(plan(database_url, redis_url, told)) as run:
        assert not run.engine.failed.is_set()
        run.engine._keep_running(breaks(), "one that breaks")
        await asyncio.wait_for(run.engine.failed.wait(), 5)
    assert told.alerts == [Alert.TASK_DIED], "and the tasks that a stop ends have not died"


async def test_a_batch_that_lost_the_race_raises_its_alerts_once(
    database_url: str, redis_url: str
) -> None:
    told = [Notebook(), Notebook()]
    async with (
        running(plan(database_url, redis_url, told[0])) as one,
        running(plan(database_url, redis_url, told[1], "r-1")) as other,
    ):
        for number in range(40):
            await asyncio.gather(
                book(one, report("o-nobody-knows", f"one-{number}", ExecType.NEW)),
                book(other, report("o-nobody-knows", f"other-{number}", ExecType.NEW)),
            )
    assert Committed.LOST_RACE in told[0].commits + told[1].commits, "they met"
    for each in told:
        assert each.alerts.count(Alert.REPORT_IGNORED) == 40
