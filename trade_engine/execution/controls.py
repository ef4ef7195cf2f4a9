"""Bringing what the record knows of operators' halts back to a risk store that may have lost it."""

from __future__ import annotations

import structlog

from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.trading_state import GLOBAL, Scope, ScopeState, TradingState
from trade_engine.execution.parts import GateStores

log = structlog.get_logger(__name__)


async def restore_controls(
    stores: GateStores, *, expected: bool = False
) -> dict[Scope, ScopeState]:
    """Bring the record's halts to the risk store; what is there stays, and the stricter holds.

    expected: nothing was lost, or there was nothing to lose; it is no reason to wonder.

    Raises:
        StoreUnavailable: a store does not answer, or the halts were lost again meanwhile.
    """
    recorded = await stores.controls.controls()
    await stores.risk.put_controls(list(recorded.values()), complete=True)
    await _take_back_resumed(stores, recorded)
    shown = await stores.risk.controls()
    if shown is None:
        await _halt_damaged(stores)
        shown = await stores.risk.controls()
    if shown is None:
        raise StoreUnavailable("the operators' controls were lost again while being restored")
    tell = log.info if expected else log.warning
    tell("controls_restored", scopes=[str(scope) for scope in recorded])
    return shown


async def _take_back_resumed(stores: GateStores, brought: dict[Scope, ScopeState]) -> None:
    """A resume that came in between is not undone: what it took from the record goes again."""
    if not brought:
        return
    still = await stores.controls.controls()
    resumed = [
        ScopeState(scope, TradingState.ACTIVE, state.reason, state.operator, state.set_at_ns)
        for scope, state in brought.items()
        if scope not in still
    ]
    if resumed:
        await stores.risk.put_controls(resumed, complete=False)


async def _halt_damaged(stores: GateStores) -> None:
    """A row that cannot be read and that the record does not know is taken for a halt.

    Of its own scope where its field names one, else of everything. It stands in both stores from
    then on, says why, and is resumed as any other.
    """
    for field in await stores.risk.damaged_controls():
        scope = _scope_of(field) or GLOBAL
        halt = ScopeState(
            scope,
            TradingState.HALTED,
            f"the row {field!r} of Redis' te:{{_control}}:states was damaged, so what it said is "
            f"unknown; resume {scope} if it is to trade",
            "trade-engine",
            0,
        )
        log.warning("control_damaged", field=field, halted=str(scope))
        await stores.controls.put_controls([halt])
        await stores.risk.put_controls([halt], complete=False)
        if str(scope) != field:
            await stores.risk.drop_control(field)


def _scope_of(field: str) -> Scope | None:
    try:
        scope = Scope.parse(field)
    except ValueError:
        return None
    return scope if str(scope) == field else None
