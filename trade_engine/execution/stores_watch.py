"""What is asked of the stores from time to time, whether or not a signal comes.

A Redis that begins to evict, that failed over to an older copy, or that lost an operator's halt
looks no different to a batch: its answers are quick and whole. So it is asked whether it may still
be relied on, and what the record knows of the operators' halts is held against what it shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from trade_engine.domain.clock import NS_PER_S, Clock
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.trading_state import Scope, ScopeState
from trade_engine.execution.controls import restore_controls
from trade_engine.execution.gate import AccountGate
from trade_engine.execution.observer import Alert, Observer, raise_alert
from trade_engine.execution.parts import GateStores

WATCH_EVERY_S = 1.0
CLOCK_JUMP_NS = 2 * NS_PER_S
"""A wall clock that moved so much against the time that passed was set."""


class StoresWatch:
    """Looks after both stores, for all accounts of this process."""

    def __init__(
        self, stores: GateStores, gates: Iterable[AccountGate], clock: Clock, observer: Observer
    ) -> None:
        self._stores = stores
        self._gates = list(gates)
        self._clock = clock
        self._observer = observer
        self._record_is_away = False

    async def run(self) -> None:
        """Look again and again, until canceled."""
        loop = asyncio.get_running_loop()
        wall_ns, at = self._clock(), loop.time()
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            passed_ns = round((loop.time() - at) * NS_PER_S)
            moved_ns = self._clock() - wall_ns - passed_ns
            wall_ns, at = self._clock(), loop.time()
            if abs(moved_ns) > CLOCK_JUMP_NS:
                raise_alert(self._observer, Alert.CLOCK_JUMPED, by_s=moved_ns / NS_PER_S)
            await self._look()

    async def _look(self) -> None:
        recorded = await self._recorded_controls()
        try:
            await self._stores.risk.check()
            shown = await self._stores.risk.controls()
            if recorded is not None and not _shows(shown, recorded):
                await restore_controls(self._stores)
        except StoreUnavailable as error:
            for gate in self._gates:
                gate.close(error.message)

    async def _recorded_controls(self) -> dict[Scope, ScopeState] | None:
        """What the record knows of halts; None, and one alert, while it does not answer."""
        try:
            recorded = await self._stores.controls.controls()
        except StoreUnavailable as error:
            if not self._record_is_away:
                raise_alert(self._observer, Alert.RECORD_UNAVAILABLE, why=error.message)
            self._record_is_away = True
            return None
        self._record_is_away = False
        return recorded


def _shows(shown: dict[Scope, ScopeState] | None, recorded: dict[Scope, ScopeState]) -> bool:
    """Whether the risk store shows every recorded halt, or one as strict."""
    return shown is not None and all(
        scope in shown and shown[scope].state.strictness >= state.state.strictness
        for scope, state in recorded.items()
    )
