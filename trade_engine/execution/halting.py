"""Halting: stop first, in this process, then everywhere, then say what may still arrive.

A halt is written three times, each enough to stop what it reaches: the latch of this process's
gates (at once), the operators' controls in both stores (every replica asks for them with each
batch), and the journal of every account in scope, through its gate. The journal entry is what
DRAINED rests on: an intent to send is committed through the same head, so it comes either before
the halt, and is then known as in flight, or after it, and is then refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from trade_engine.domain.clock import Clock
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.order import DeliveryState
from trade_engine.domain.trading_state import Scope, ScopeKind, ScopeState, TradingState
from trade_engine.execution.commands import (
    HaltCauseStands,
    HaltCommand,
    HaltResult,
    ResumeCommand,
    ResumeResult,
)
from trade_engine.execution.gate import AccountGate
from trade_engine.execution.observer import Alert, Observer, raise_alert
from trade_engine.execution.ports import ControlStore, RecordQueries, RecordStore, RiskStore
from trade_engine.execution.requests import StateChange, TradingStateRequest

log = structlog.get_logger(__name__)

DRAIN_WAIT_S = 1.5
"""How long a halt waits for orders in flight before it names them as in doubt."""
LOOK_EVERY_S = 0.02
CARRY_EVERY_S = 0.5
STORES = 2
JOURNAL_WAIT_S = 2.5
"""How long a halt waits for its journal entries; the stop itself does not wait for them.

A risk store that does not answer costs a batch two time limits before it is through.
"""


@dataclass(slots=True, eq=False)
class _Carried:
    """A halt under way to what did not take it; `left_off` when a resume takes it back."""

    state: ScopeState
    left_off: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Halting:
    """Halt and resume, for all accounts of this engine."""

    def __init__(
        self,
        gates: dict[str, AccountGate],
        record: RecordStore,
        controls: ControlStore,
        risk: RiskStore,
        clock: Clock,
        observer: Observer,
        queries: RecordQueries,
    ) -> None:
        self._gates = gates
        self._record = record
        self._controls = controls
        self._risk = risk
        self._clock = clock
        self._observer = observer
        self._queries = queries
        self._carrying: set[_Carried] = set()
        self._stamped_ns = 0

    async def stop(self) -> None:
        """Leave off carrying halts: the process ends, and its latches with it."""
        tasks = [each.task for each in self._carrying if each.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def halt(self, command: HaltCommand) -> HaltResult:
        """Stop a scope; never loosens one that is stricter already.

        What a store or a journal did not take is carried there until it did; so long the latch of
        this process holds.

        Raises:
            StoreUnavailable: neither store took the halt. This process is halted all the same,
                and carries on trying; other replicas may not be.
        """
        state = ScopeState(
            command.scope, command.state, command.reason, command.operator, self._stamp()
        )
        gates = list(self._covered(command.scope))
        for gate in gates:
            gate.latch(state)
        (faults, changes), elsewhere = await asyncio.gather(
            self._write(gates, state, command.request_id, command.cancel_open_orders),
            self._elsewhere(command.scope),
        )
        result = HaltResult(drained=elsewhere == {})
        for account_id, change in changes.items():
            result.sequences[account_id] = change.sequence if change else 0
            if change:
                result.canceled_order_ids += change.canceled + change.canceling
        for account_id, order_ids in (elsewhere or {}).items():
            result.sequences[account_id] = 0
            result.in_doubt_order_ids += order_ids
        await self._drain(gates, changes, result, command.scope)
        missing = [gate for gate in gates if changes[gate.account_id] is None]
        if faults or missing:
            self._carry(gates, missing, state, command.request_id, command.cancel_open_orders)
        else:
            self._unlatch(gates, state)
        if len(faults) == STORES and not any(changes.values()):
            raise StoreUnavailable(
                f"this replica is halted, but no store took the halt ({'; '.join(faults)}); "
                "other replicas may go on. Halt them too, or repeat this when a store is back."
            )
        return result

    async def _write(
        self,
        gates: Sequence[AccountGate],
        state: ScopeState,
        request_id: str,
        cancel_open_orders: bool,  # noqa: FBT001  passed on, not a mode of this function
    ) -> tuple[list[str], dict[str, StateChange | None]]:
        """Write to both stores and every journal at once; says what did not take it."""
        faults, changes = await asyncio.gather(
            self._write_controls([state]),
            self._journal(gates, state, request_id, cancel_open_orders),
        )
        return faults, changes

    def _carry(
        self,
        gates: Sequence[AccountGate],
        missing: Sequence[AccountGate],
        state: ScopeState,
        request_id: str,
        cancel_open_orders: bool,  # noqa: FBT001  passed on, not a mode of this function
    ) -> None:
        """Go on bringing a halt to what did not take it, as long as it is latched here.

        missing are the gates whose journals lack it: one entry in each is enough.
        """
        carried = _Carried(state)

        async def carry() -> None:
            lacking = missing
            while any(gate.latched.get(state.scope) == state for gate in gates):
                with suppress(TimeoutError):
                    async with asyncio.timeout(CARRY_EVERY_S):
                        await carried.left_off.wait()
                if carried.left_off.is_set():
                    return
                faults, changes = await self._write(lacking, state, request_id, cancel_open_orders)
                lacking = [gate for gate in lacking if changes[gate.account_id] is None]
                if not faults and not lacking:
                    self._unlatch(gates, state)

        carried.task = asyncio.create_task(carry())
        self._carrying.add(carried)
        carried.task.add_done_callback(lambda _: self._carrying.discard(carried))

    async def _leave_off(self, scope: Scope) -> bool:
        """Carry the halts of a scope no further, and wait for what is being written just now.

        It would else arrive behind the resume, and undo it. Says whether there was any.
        """
        carried = [each for each in self._carrying if each.state.scope == scope]
        for each in carried:
            each.left_off.set()
        await asyncio.gather(*(each.task for each in carried if each.task))
        return bool(carried)

    async def _elsewhere(self, scope: Scope) -> dict[str, list[str]] | None:
        """Accounts in scope that only other replicas trade for: their orders not known to be sent.

        Their gates see the halt in the controls; it is not in their journals, so it cannot be said
        that they are drained. Nor can it when the record does not tell: None.
        """
        try:
            async with asyncio.timeout(JOURNAL_WAIT_S):
                return await self._unsent_elsewhere(scope)
        except (StoreUnavailable, TimeoutError):
            return None

    async def _unsent_elsewhere(self, scope: Scope) -> dict[str, list[str]]:
        one_account = scope.scope_id if scope.kind is ScopeKind.ACCOUNT else ""
        found = {}
        for account_id in await self._queries.account_ids():
            if account_id in self._gates or (one_account and account_id != one_account):
                continue
            _, orders = await self._queries.open_orders(account_id)
            found[account_id] = [
                order.order_id
                for order in orders
                if (order.delivery is not DeliveryState.SENT or order.is_unclear)
                and scope.covers(account_id, order.strategy_id, order.symbol)
            ]
        return found

    async def resume(self, command: ResumeCommand) -> ResumeResult:
        """Let a scope trade again: journal first, so that nothing is free that is not recorded.

        Raises:
            StoreUnavailable: it could not be recorded everywhere; the scope stays halted.
            HaltCauseStands: a loss limit of the account is exceeded, and override is not set.
        """
        gates = list(self._covered(command.scope))
        standing = await self._standing(gates, command.scope)
        # Of when it takes back what stands, by whatever clock that was set.
        set_at_ns = self._stamp(after_ns=standing.set_at_ns if standing else 0)
        state = ScopeState(
            command.scope, TradingState.ACTIVE, command.reason, command.operator, set_at_ns
        )
        carried = await self._leave_off(command.scope)
        try:
            changes = await self._resume_everywhere(gates, state, command)
        except (StoreUnavailable, HaltCauseStands) as error:
            untouched = isinstance(error, HaltCauseStands) and len(gates) == 1 and not carried
            if standing is not None and not untouched:
                self._halt_again(gates, standing, state)
            raise
        self._unlatch(gates, state)
        remaining = await self._controls.controls()
        return ResumeResult(
            sequences={each: change.sequence for each, change in changes.items() if change},
            remaining=[each for each in remaining.values() if _overlap(each.scope, command.scope)],
        )

    async def _standing(self, gates: Iterable[AccountGate], scope: Scope) -> ScopeState | None:
        """What stands for exactly this scope, set last by whatever clock; None when it is free."""
        found = [
            (await self._controls.controls()).get(scope),
            ((await self._risk.controls()) or {}).get(scope),
        ]
        for gate in gates:
            journaled = await self._record.load(gate.account_id)
            found.append(gate.latched.get(scope))
            found.append(journaled.trading.get(scope) if journaled else None)
        return max(
            (each for each in found if each and each.state is not TradingState.ACTIVE),
            key=lambda each: (each.set_at_ns, each.state.strictness),
            default=None,
        )

    async def _resume_everywhere(
        self, gates: Sequence[AccountGate], state: ScopeState, command: ResumeCommand
    ) -> dict[str, StateChange | None]:
        changes = await self._journal(
            gates,
            state,
            command.request_id,
            cancel_open_orders=False,
            override=command.override,
        )
        missing = [account_id for account_id, change in changes.items() if change is None]
        if missing:
            raise StoreUnavailable(f"the resume could not be journaled for {', '.join(missing)}")
        await self._controls.put_controls([state])
        await self._risk.put_controls([state], complete=False)
        return changes

    def _halt_again(
        self, gates: Sequence[AccountGate], standing: ScopeState, resume: ScopeState
    ) -> None:
        """Half a resume is none: what took it, or takes it late, is told the halt once more."""
        again = replace(standing, set_at_ns=self._stamp(after_ns=resume.set_at_ns))
        for gate in gates:
            gate.latch(again)
        self._carry(gates, gates, again, "", False)  # and cancels nothing anew

    def _stamp(self, after_ns: int = 0) -> int:
        """The time of a command, later than every one before it, whatever is done to the clock."""
        self._stamped_ns = max(self._clock(), self._stamped_ns + 1, after_ns + 1)
        return self._stamped_ns

    def _covered(self, scope: Scope) -> Iterable[AccountGate]:
        """The accounts that a scope may touch: one, or all."""
        if scope.kind is ScopeKind.ACCOUNT:
            return [gate for gate in self._gates.values() if gate.account_id == scope.scope_id]
        return self._gates.values()

    async def _write_controls(self, states: Sequence[ScopeState]) -> list[str]:
        """Write to both stores at once; says what went wrong with those that did not take it."""
        outcomes = await asyncio.gather(
            self._controls.put_controls(states),
            self._risk.put_controls(states, complete=False),
            return_exceptions=True,
        )
        faults = [str(each) for each in outcomes if isinstance(each, BaseException)]
        for fault in faults:
            raise_alert(self._observer, Alert.HALT_NOT_STORED, why=fault)
        return faults

    async def _journal(
        self,
        gates: Sequence[AccountGate],
        state: ScopeState,
        request_id: str,
        cancel_open_orders: bool,  # noqa: FBT001  passed on, not a mode of this function
        *,
        override: bool = False,
    ) -> dict[str, StateChange | None]:
        """Journal the state through every gate; None for an account where that did not work."""

        async def one(gate: AccountGate) -> StateChange | None:
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            gate.enqueue(
                TradingStateRequest(state, request_id, cancel_open_orders, override, answer)
            )
            try:
                async with asyncio.timeout(JOURNAL_WAIT_S):
                    done: StateChange = await answer
            except HaltCauseStands:
                raise
            except Exception as error:  # noqa: BLE001  whatever it was, the halt must be carried on
                why = str(error) or "it takes too long"
                log.warning("state_not_journaled", account_id=gate.account_id, why=why)
                return None
            return done

        changes = await asyncio.gather(*(one(gate) for gate in gates))
        return {gate.account_id: change for gate, change in zip(gates, changes, strict=True)}

    async def _drain(
        self,
        gates: Sequence[AccountGate],
        changes: dict[str, StateChange | None],
        result: HaltResult,
        scope: Scope,
    ) -> None:
        """Wait until the orders in flight have arrived or are known not to; name the rest."""
        deadline = asyncio.get_running_loop().time() + DRAIN_WAIT_S
        for gate in gates:
            change = changes[gate.account_id]
            in_flight = list(change.in_flight) if change else gate.unclear_orders(scope)
            while in_flight and asyncio.get_running_loop().time() < deadline:
                in_flight = await self._still_in_flight(gate.account_id, in_flight)
                if in_flight:
                    await asyncio.sleep(LOOK_EVERY_S)
            result.in_doubt_order_ids += in_flight
            if in_flight or change is None:
                result.drained = False

    async def _still_in_flight(self, account_id: str, order_ids: list[str]) -> list[str]:
        try:
            orders = await self._record.find_orders(account_id, order_ids)
        except StoreUnavailable:
            return order_ids
        return [
            order_id
            for order_id in order_ids
            if order_id not in orders or orders[order_id].is_unclear
        ]

    def _unlatch(self, gates: Iterable[AccountGate], state: ScopeState) -> None:
        """What was latched by then is in the stores, or resumed: every batch asks them.

        What is stricter than this state is neither, unless this resumes.
        """
        for gate in gates:
            latched = gate.latched.get(state.scope)
            if latched is None or latched.set_at_ns > state.set_at_ns:
                continue
            resumed = state.state is TradingState.ACTIVE
            if resumed or latched.state.strictness <= state.state.strictness:
                del gate.latched[state.scope]


def _overlap(one: Scope, other: Scope) -> bool:
    """Whether an order could be in both scopes: two of one kind only when they are the same."""
    return one.kind is not other.kind or one == other
