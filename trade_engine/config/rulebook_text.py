"""Rulebooks as texts: what operators send, and what is in force written as they would send it."""

from __future__ import annotations

from collections.abc import Collection

from trade_engine.config.faults import ConfigFaults, Fault
from trade_engine.config.rulebook import read_rulebook
from trade_engine.config.rulebook_writer import write_instruments, write_limits
from trade_engine.domain.errors import InvalidField, InvalidFields
from trade_engine.domain.limits_change import FileText
from trade_engine.domain.rulebook import Rulebook

IN_FORCE = "the instruments in force"
"""How faults call the instruments that an update leaves as they are."""


FAULTS_MAX = 20
"""An answer holds no more; `trade-engine limits check` tells them all."""


class TomlRulebooks:
    """Reads and writes rulebooks as TOML; sessions are the brokers beside the paper one."""

    def __init__(self, sessions: Collection[str] = ()) -> None:
        self._sessions = sessions

    def read(self, limits: FileText, instruments: FileText | None, base: Rulebook) -> Rulebook:
        """Read both texts; without instruments, those of `base` stay.

        Raises:
            InvalidFields: every fault of both is listed, by file, line and key.
        """
        kept = FileText(IN_FORCE, write_instruments(base))
        try:
            return read_rulebook(limits, instruments or kept, (), self._sessions)
        except ConfigFaults as error:
            raise InvalidFields([_field(fault) for fault in error.faults[:FAULTS_MAX]]) from None

    def limits_of(self, rulebook: Rulebook, account_id: str) -> str:
        """Write accounts and limits; an account_id leaves out what cannot apply to it."""
        return write_limits(rulebook, account_id)

    def instruments_of(self, rulebook: Rulebook) -> str:
        """Write the instruments."""
        return write_instruments(rulebook)


def _field(fault: Fault) -> InvalidField:
    line = str(fault.line) if fault.line else ""
    return InvalidField(
        ":".join(filter(None, (fault.file, line, fault.key))), fault.given, fault.allowed
    )
