"""The life of the limits: which are in force, and how every account comes under new ones.

A change is first recorded for all accounts at once, on top of the very change that it replaces;
from then on it is the one in force. Then the journal of each account takes it, as one entry, and
what is decided after that entry is decided by it: here, and on every other replica, since each
decides by the rulebook that the journal names. A replica that dies in between leaves it to the
others, which follow the record.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import structlog

from trade_engine.domain.clock import Clock
from trade_engine.domain.errors import EngineError, InvalidField, StoreUnavailable
from trade_engine.domain.limits_change import LimitsChange
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.rulebook_difference import differences
from trade_engine.execution.batch import Batch
from trade_engine.execution.commands import (
    EtagMismatch,
    LimitsInForce,
    LimitsUpdated,
    RequestIdConflict,
    UpdateLimitsCommand,
)
from trade_engine.execution.gate import AccountGate
from trade_engine.execution.instruments_held import changed_terms, in_use
from trade_engine.execution.parts import GateStores, RulebookText
from trade_engine.execution.ports import LimitsStore
from trade_engine.execution.raises import raises_of
from trade_engine.execution.requests import LimitsRequest
from trade_engine.execution.rulebooks import Rulebooks
from trade_engine.risk.limit_breaches import Breach, standing_breaches

log = structlog.get_logger(__name__)

FOLLOW_EVERY_S = 1.0
"""How often the record is asked for a change that another replica made."""
JOURNAL_WAIT_S = 5.0
"""How long an update waits for the journals; they take it all the same, some time later."""


class LimitsKeeper:
    """Reads, changes and follows the limits, for all accounts of this engine."""

    def __init__(
        self,
        gates: dict[str, AccountGate],
        rulebooks: Rulebooks,
        store: LimitsStore,
        stores: GateStores,
        text: RulebookText,
        clock: Clock,
    ) -> None:
        self._gates = gates
        self._rulebooks = rulebooks
        self._store = store
        self._stores = stores
        self._text = text
        self._clock = clock

    # ---- reading ----------------------------------------------------------------------------

    async def in_force(self, account_id: str) -> LimitsInForce:
        """The limits in force; an account_id leaves out what cannot apply to it."""
        change = await self._last()
        return LimitsInForce(
            change,
            self._text.limits_of(change.rulebook, account_id),
            self._text.instruments_of(change.rulebook),
            raises_of(change.rulebook.limits, account_id, self._clock()),
        )

    async def _last(self) -> LimitsChange:
        change = await self._store.last()
        if change is None:
            raise StoreUnavailable("the record has no limits: it is not the one this began with")
        self._rulebooks.learn(change)
        return change

    # ---- changing ---------------------------------------------------------------------------

    async def update(self, command: UpdateLimitsCommand) -> LimitsUpdated:
        """Replace the limits, or say what that would do.

        Raises:
            InvalidFields: the text is not a limits file; every fault is named with its line.
            InvalidField: it changes what cannot change while the engine runs.
            EtagMismatch: other limits are in force than those to be replaced.
            RequestIdConflict: the request_id was used for another change.
            StoreUnavailable: nobody can say whether they changed: send the same request again.
        """
        done = await self._store.requested(command.request_id) if command.request_id else None
        if done is not None and not command.validate_only:
            return await self._again(command, done)
        last = await self._last()
        if command.etag != last.etag:
            raise EtagMismatch(command.etag, last.etag)
        rulebook = self._text.read(command.limits, command.instruments, last.rulebook)
        change = LimitsChange(
            last.number + 1,
            rulebook,
            command.operator,
            command.reason,
            command.request_id,
            self._clock(),
        )
        await self._check(last.rulebook, rulebook)
        updated = LimitsUpdated(change, differences(last.rulebook, rulebook))
        updated.breaches = await self._breaches(rulebook)
        if not updated.differences:
            return replace(updated, change=last)
        if command.validate_only:
            return updated
        if not await self._store.append(change):
            raise EtagMismatch(command.etag, (await self._last()).etag)
        log.info(
            "limits_changed",
            number=change.number,
            version=rulebook.version,
            operator=change.operator,
            reason=change.reason,
        )
        updated.sequences = await self._bring(change)
        return updated

    async def _again(self, command: UpdateLimitsCommand, done: LimitsChange) -> LimitsUpdated:
        """The same request once more: the same change, once every journal has it."""
        before = await self._store.change(done.number - 1)
        if before is None or command.etag != before.etag:
            raise RequestIdConflict(command.request_id)
        rulebook = self._text.read(command.limits, command.instruments, before.rulebook)
        if rulebook.content() != done.rulebook.content():
            raise RequestIdConflict(command.request_id)
        found = differences(before.rulebook, done.rulebook)
        return LimitsUpdated(done, found, sequences=await self._bring(done))

    async def _check(self, old: Rulebook, new: Rulebook) -> None:
        """Refuse what an engine at work cannot take over."""
        terms = {each: (t.currency, t.broker, t.routes) for each, t in old.accounts.items()}
        wanted = {each: (t.currency, t.broker, t.routes) for each, t in new.accounts.items()}
        if terms != wanted:
            differ = sorted(each for each, _ in terms.items() ^ wanted.items())
            raise InvalidField(
                "accounts",
                ", ".join(dict.fromkeys(differ)),
                "the accounts of the running engine, with their currencies, brokers and routes: to "
                "change these, start it with the new files and --apply-limits",
            )
        changed = changed_terms(old, new)
        faults = {each for each in changed if not old.instruments[each].restricted}
        for account_id in sorted(self._gates) if changed else ():
            state = await self._stores.record.load(account_id)
            faults |= changed & in_use(state) if state else set()
        if faults:
            raise InvalidField("instruments", ", ".join(sorted(faults)), _INSTRUMENTS_ALLOWED)

    async def _breaches(self, rulebook: Rulebook) -> list[Breach]:
        """What stands beyond the limits of a rulebook, in every account."""
        found: list[Breach] = []
        for account_id in sorted(self._gates):
            state = await self._stores.record.load(account_id)
            if state is None:
                continue
            symbols = {symbol for _, symbol in state.positions}
            symbols |= {order.symbol for order in state.orders.values()}
            wanted = rulebook.with_fx(sorted(symbols), state.currency)
            quotes = await self._stores.risk.quotes(wanted) if symbols else {}
            batch = Batch(state, rulebook, self._clock(), quotes, {}, earlier_quotes=quotes)
            equity, now_ns = batch.equity(), batch.now_ns
            found += standing_breaches(state, rulebook, batch.unit_value, equity, now_ns)
        return found

    # ---- bringing accounts to a change ------------------------------------------------------

    async def _bring(self, change: LimitsChange) -> dict[str, int]:
        """Let every journal take a change; says at which sequence each did.

        Raises:
            StoreUnavailable: one did not yet; it will, and asking again with the same request_id
                waits for it again.
        """
        self._rulebooks.learn(change)
        gates = list(self._gates.values())
        taken = await asyncio.gather(*(_take(gate, change) for gate in gates))
        waiting = [gate.account_id for gate, at in zip(gates, taken, strict=True) if at is None]
        if waiting:
            raise StoreUnavailable(
                f"the new limits {change.rulebook.version} are recorded, and in force for an "
                f"account once its journal has them; not yet for {', '.join(waiting)}. Send the "
                "same request with the same request_id again to wait for that."
            )
        return {gate.account_id: at or 0 for gate, at in zip(gates, taken, strict=True)}

    async def follow(self) -> None:
        """Bring the accounts to what other replicas changed, and to what was left undone."""
        while True:
            await asyncio.sleep(FOLLOW_EVERY_S)
            try:
                if await self._store.last_number() > self._rulebooks.latest.number:
                    await self._last()
                await self.catch_up()
            except EngineError as error:
                log.info("limits_not_followed", why=error.message)

    def _behind(self, change: LimitsChange) -> list[AccountGate]:
        """The accounts known to be under older limits, but for those that the change leaves out."""
        return [
            gate
            for account_id, gate in self._gates.items()
            if gate.limits_number < change.number and account_id in change.rulebook.accounts
        ]

    async def catch_up(self) -> None:
        """Bring the accounts that are behind to the latest change known here."""
        latest = self._rulebooks.latest
        await asyncio.gather(*(_take(gate, latest) for gate in self._behind(latest)))


_INSTRUMENTS_ALLOWED = (
    "instruments that keep their multiplier and currency, and that stay, unless they are "
    "restricted already and nothing is held or works in them: restrict them first, with a change "
    "of its own"
)


async def _take(gate: AccountGate, change: LimitsChange) -> int | None:
    """Let one journal take a change; None when it did not in time."""
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    gate.enqueue(LimitsRequest(change, answer))
    try:
        async with asyncio.timeout(JOURNAL_WAIT_S):
            return await answer
    except (EngineError, TimeoutError) as error:
        log.warning("limits_not_journaled", account_id=gate.account_id, why=str(error))
        return None
