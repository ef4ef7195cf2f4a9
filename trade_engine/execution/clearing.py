"""Clearing: an operator cancels every order of a scope, or closes every position in it.

Flattening first cancels what is open in the scope and gives brokers a moment to confirm it, so that
each position is closed by one order for all of it. What stays open counts: an order that may still
close counts as closing, and one that may still add to the position is closed when it has. The
closing orders are decided like any signal's, by the same checks, as what they are: reducing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trade_engine.domain.decision import Decision
from trade_engine.domain.trading_state import Scope, ScopeKind
from trade_engine.execution.commands import CancelAllResult, ClearCommand, FlattenResult
from trade_engine.execution.gate import AccountGate
from trade_engine.execution.ports import RecordStore
from trade_engine.execution.requests import CancelScopeRequest, FlattenRequest, StateChange

CANCEL_WAIT_S = 2.0
"""How long a flattening waits for its cancels; what is not confirmed by then is counted with."""
LOOK_EVERY_S = 0.02


@dataclass(slots=True)
class Clearing:
    """Cancel-all and flatten, for all accounts of this engine."""

    gates: dict[str, AccountGate]
    record: RecordStore

    async def cancel_all(self, command: ClearCommand) -> CancelAllResult:
        """Ask for the cancel of every open order in the scope, whatever its trading state.

        Raises:
            StoreUnavailable: it could not be journaled for some account; repeat it.
        """
        changes = await self._cancel(command, to_flatten=False)
        return CancelAllResult(
            canceled_order_ids=[each for change in changes for each in change.canceled]
            + [each for change in changes for each in change.canceling],
            in_doubt_order_ids=[each for change in changes for each in change.in_flight],
        )

    async def flatten(self, command: ClearCommand) -> FlattenResult:
        """Close every position in the scope; answers with what was decided on each.

        Raises:
            ScopeHalted: something to be closed is halted; nothing was done.
            GateClosed, StoreUnavailable: for some account; repeat it under the same request_id.
        """
        changes = await self._cancel(command, to_flatten=True)
        canceled = [each for change in changes for each in (*change.canceled, *change.canceling)]
        await self._wait_for(
            (gate, change.canceling)
            for gate, change in zip(self._covered(command.scope), changes, strict=True)
        )
        decided: list[list[Decision]] = await self._ask_all(
            (gate, FlattenRequest(command, _future())) for gate in self._covered(command.scope)
        )
        return FlattenResult([each for some in decided for each in some], canceled)

    def _covered(self, scope: Scope) -> Sequence[AccountGate]:
        """The accounts that a scope may touch: one, or all."""
        if scope.kind is ScopeKind.ACCOUNT:
            return [gate for gate in self.gates.values() if gate.account_id == scope.scope_id]
        return list(self.gates.values())

    async def _cancel(self, command: ClearCommand, *, to_flatten: bool) -> list[StateChange]:
        return await self._ask_all(
            (gate, CancelScopeRequest(command, to_flatten, _future()))
            for gate in self._covered(command.scope)
        )

    async def _ask_all(self, asked: Iterable[tuple[AccountGate, Any]]) -> list[Any]:
        """Ask every gate, and wait for all of them, though one should refuse."""
        answers = []
        for gate, request in asked:
            gate.enqueue(request)
            answers.append(request.answer)
        done = await asyncio.gather(*answers, return_exceptions=True)
        for each in done:
            if isinstance(each, BaseException):
                raise each
        return list(done)

    async def _wait_for(self, asked: Iterable[tuple[AccountGate, Sequence[str]]]) -> None:
        """Wait until these orders are closed, or for as long as is bearable."""
        deadline = asyncio.get_running_loop().time() + CANCEL_WAIT_S
        for gate, order_ids in asked:
            waiting = list(order_ids)
            while waiting and asyncio.get_running_loop().time() < deadline:
                found = await self.record.find_orders(gate.account_id, waiting)
                waiting = [each for each in waiting if each in found and found[each].is_open]
                if waiting:
                    await asyncio.sleep(LOOK_EVERY_S)


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()
