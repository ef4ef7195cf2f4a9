"""What all broker adapters share: their promises, and the delivery of reports.

`execution.ports.Broker` is the port. What an adapter promises behind it is checked for each one by
`tests/contract/test_broker_conformance.py`:

- An order is handed over once. A ClOrdID that the venue has seen never makes a second order: a
  copy answers SENT, an order of other terms IN_DOUBT, and neither changes the first one.
- SENT means that the venue has it durably. IN_DOUBT is settled by `query`, which raises as long as
  the outcome is not known. NOT_SENT means that nothing of it will ever arrive.
- Reports of an order come in the venue's order, and again until the sink returns: also after a
  restart. An exec_id always names the same execution.
- A request to replace is handed over once, like an order: a copy changes nothing. A REPLACED
  or a refusal follows, under its own ClOrdID; new terms never undo a fill.
- A cancel of an order that is not open changes nothing, and reports nothing.
- An account that is not open is neither traded nor listened to: `send` and `cancel` answer
  NOT_SENT for it, and `query` raises.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from trade_engine.domain.execution import BrokerReport
from trade_engine.execution.ports import ReportSink

_log = logging.getLogger(__name__)

BATCH_MAX = 512
"""So many reports go to the sink in one call, at most."""
RETRY_S_MIN = 0.05
RETRY_S_MAX = 2.0


class ReportDelivery:
    """Calls the sink with an account's reports: in order, one call at a time, until it returns.

    What arrives while one call is under way goes together in the next. `taken` is then called
    with the mark of the last report booked: whatever the adapter needs to remember how far it is.
    """

    def __init__(self, account_id: str, sink: ReportSink, taken: Callable[[int], None]) -> None:
        self._account_id = account_id
        self._sink = sink
        self._taken = taken
        self._waiting: deque[tuple[int, BrokerReport]] = deque()
        self._ring = asyncio.Event()

    def put(self, reports: Sequence[tuple[int, BrokerReport]]) -> None:
        """Queue reports, each with its mark; marks grow."""
        if reports:
            self._waiting.extend(reports)
            self._ring.set()

    async def run(self) -> None:
        """Deliver until canceled; what the sink has not returned from was not delivered."""
        while True:
            await self._ring.wait()
            self._ring.clear()
            while self._waiting:
                await self._deliver_next()

    async def _deliver_next(self) -> None:
        batch = list(islice(self._waiting, BATCH_MAX))
        reports = [report for _, report in batch]
        wait_s = RETRY_S_MIN
        while True:
            try:
                await self._sink(self._account_id, reports)
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, the reports are still due
                _log.warning(
                    "%d execution reports of account %s are not booked, again in %.2f s: %r",
                    len(reports), self._account_id, wait_s, error,
                )  # fmt: skip
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_S_MAX)
        for _ in batch:
            self._waiting.popleft()
        self._taken(batch[-1][0])
