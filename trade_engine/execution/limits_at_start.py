"""Which limits an engine starts under: those in force by the record, not those of its own files."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum, auto

from trade_engine.domain.clock import NS_PER_S, Clock
from trade_engine.domain.errors import ConfigError
from trade_engine.domain.limits_change import LimitsChange
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.rulebook_difference import differences
from trade_engine.execution.instruments_held import changed_terms, in_use
from trade_engine.execution.ports import LimitsStore, RecordStore


class OnOtherLimits(Enum):
    """What to do when other limits are in force than those of the files."""

    REFUSE = auto()
    TAKE = auto()
    """Start under those in force: no file was given."""
    APPLY = auto()
    """Put those of the files into force."""


class LimitsDiffer(ConfigError):
    """Other limits are in force than those of the files; the engine does not join."""

    reason = "LIMITS_DIFFER"


class LimitsAtStart:
    """Agrees with the record about the limits, before anything is decided."""

    def __init__(
        self, store: LimitsStore, record: RecordStore, clock: Clock, replica_id: str
    ) -> None:
        self._store = store
        self._record = record
        self._clock = clock
        self._replica_id = replica_id

    async def agree(self, own: Rulebook, otherwise: OnOtherLimits) -> LimitsChange:
        """The change to start under; `own` comes into force where none is, or where asked for.

        Raises:
            LimitsDiffer: others are in force.
            ConfigError: they cannot come into force: something that is held would lose its value.
        """
        while True:
            last = await self._store.last()
            if last is None:
                change = self._change(1, own, "the first limits of this record")
            elif last.rulebook.content() == own.content() or otherwise is OnOtherLimits.TAKE:
                return last
            elif otherwise is OnOtherLimits.REFUSE:
                raise _differ(own, last)
            else:
                await self._check_instruments(last.rulebook, own)
                change = self._change(last.number + 1, own, "started with --apply-limits")
            if await self._store.append(change):
                return change

    def _change(self, number: int, rulebook: Rulebook, reason: str) -> LimitsChange:
        return LimitsChange(number, rulebook, self._replica_id, reason, "", self._clock())

    async def _check_instruments(self, old: Rulebook, new: Rulebook) -> None:
        changed = changed_terms(old, new)
        for account_id in sorted(old.accounts) if changed else ():
            state = await self._record.load(account_id)
            faults = sorted(changed & in_use(state)) if state else []
            if faults:
                raise ConfigError(
                    f"account {account_id} holds or works {', '.join(faults)}, which the "
                    "instruments file does not have, or has with another multiplier or currency. "
                    "Put it back; to stop trading it, restrict it."
                )


def _differ(own: Rulebook, last: LimitsChange) -> LimitsDiffer:
    found = differences(last.rulebook, own)
    first = found[0]
    when = datetime.fromtimestamp(last.changed_at_ns // NS_PER_S, UTC)
    return LimitsDiffer(
        f"these files are limits version {own.version}, but version {last.rulebook.version} is in "
        f"force (set by {last.operator or 'an earlier version'} at {when:%Y-%m-%d %H:%M:%S} UTC); "
        f"they differ in {len(found)} {'place' if len(found) == 1 else 'places'}, for instance "
        f"{first.path}: {first.before or 'not set'} in force, {first.after or 'not set'} here. "
        "Start with the files in force (`trade-engine limits show --toml` writes them), or change "
        "what is in force: `trade-engine limits apply FILE` on a running engine, or start this "
        "one with --apply-limits",
        own=own.version,
        in_force=last.rulebook.version,
    )
