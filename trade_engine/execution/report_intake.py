"""Taking in what a broker tells: booked however long the stores are away, and never in the way.

An outage is waited for. What the record refuses for what it is (its own words for data that it
cannot hold, or a fault of the engine's own) would be refused for ever, and everything behind it
would wait: so it is tried by itself, a few times, and is then quarantined in the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from trade_engine.domain.errors import EngineError, StoreRefused
from trade_engine.domain.execution import BrokerReport
from trade_engine.execution.gate import AccountGate
from trade_engine.execution.requests import ReportsRequest

log = structlog.get_logger(__name__)

REBOOK_AFTER_S = 0.2
REFUSALS_MAX = 5
"""So often a report is tried by itself: what else was in the batch may have been at fault."""


class ReportIntake:
    """Books one broker's reports of one account."""

    def __init__(self, gate: AccountGate, broker: str) -> None:
        self._gate = gate
        self._broker = broker

    async def book(self, reports: Sequence[BrokerReport]) -> None:
        """Return once every report is booked, or quarantined."""
        try:
            await self._book(reports)
        except Exception as error:  # noqa: BLE001  whatever it is, the others must not wait for it
            log.warning(
                "reports_refused",
                account_id=self._gate.account_id,
                reports=len(reports),
                why=str(error),
            )
            for report in reports:
                await self._book_or_quarantine(report)

    async def _book_or_quarantine(self, report: BrokerReport) -> None:
        why = ""
        for _ in range(REFUSALS_MAX):
            try:
                await self._book([report])
            except Exception as error:  # noqa: BLE001  as above
                why = f"{type(error).__name__}: {error}"
                await asyncio.sleep(REBOOK_AFTER_S)
            else:
                return
        await self._book([], [(report, why)])

    async def _book(
        self,
        reports: Sequence[BrokerReport],
        refused: Sequence[tuple[BrokerReport, str]] = (),
    ) -> None:
        """Try until it is not an outage that keeps them from being booked."""
        while True:
            answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._gate.enqueue(ReportsRequest(self._broker, reports, answer, list(refused)))
            try:
                await answer
            except StoreRefused:
                raise
            except EngineError as error:
                log.warning("reports_wait", account_id=self._gate.account_id, why=error.message)
                await asyncio.sleep(REBOOK_AFTER_S)
            else:
                return
