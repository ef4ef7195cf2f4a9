"""The paper venue as its worst self, in an engine of a run: all that the hostile broker does.

And what it did not do until here: it busts executions, and corrects them downward. Orders do not
arrive late (the venue would no longer remember all), so that a run is quiet in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

from tests.support.hostile_broker import HostileBroker, Hostility
from trade_engine.brokers.paper import PaperBroker
from trade_engine.domain.errors import EngineError
from trade_engine.domain.execution import BrokerReport, ExecType, ExecutionReport
from trade_engine.domain.market import Quote

AMENDS_AFTER_S = 0.05


class HostileVenue(HostileBroker):
    """Takes the place of the paper broker in the engine's wiring."""

    def __init__(self, often: float, seed: int, *given: Any, **named: Any) -> None:
        self._paper = PaperBroker(*given, **named)
        self._often = often
        misdeeds = replace(Hostility.everything(often), late_order=0.0)
        super().__init__(self._paper, misdeeds, seed)

    def on_quotes(self, quotes: Sequence[Quote]) -> None:
        self._paper.on_quotes(quotes)

    async def _tell(self, account_id: str, told_now: Sequence[BrokerReport]) -> None:
        await super()._tell(account_id, told_now)
        for each in told_now:
            if isinstance(each, ExecutionReport) and each.exec_type is ExecType.TRADE:
                draws = Random(f"{self._seed}:amends:{each.exec_id}")
                if draws.random() < self._often:
                    less = Decimal(0) if draws.random() < 0.5 else each.last_qty // 2
                    self._amend_later(account_id, each, less)

    def _amend_later(self, account_id: str, execution: ExecutionReport, less: Decimal) -> None:
        async def amend() -> None:
            await asyncio.sleep(AMENDS_AFTER_S)
            with suppress(EngineError):  # the books do not answer: then it is not amended
                await self._paper.amend(account_id, execution.exec_id, less, execution.last_px)

        task = asyncio.create_task(amend())
        self._on_their_way.add(task)
        task.add_done_callback(self._on_their_way.discard)
