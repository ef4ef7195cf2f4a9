"""What the wiring hands to the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from trade_engine.domain.clock import Clock
from trade_engine.domain.limits_change import FileText
from trade_engine.domain.rulebook import Rulebook
from trade_engine.execution.observer import UNOBSERVED, Observer
from trade_engine.execution.ports import (
    Broker,
    Calendars,
    ControlStore,
    Doorbell,
    LeaseStore,
    LimitsStore,
    PortfolioSource,
    RecordQueries,
    RecordStore,
    RequestLedger,
    RiskStore,
)
from trade_engine.execution.rulebooks import Rulebooks
from trade_engine.portfolio.comparison import TOLERANCE, Tolerance


@dataclass(slots=True)
class GateStores:
    """What a gate works on: the stores, and the calendars that its account's days are of."""

    record: RecordStore
    risk: RiskStore
    controls: ControlStore
    calendars: Calendars


class RulebookText(Protocol):
    """Rulebooks as operators write them."""

    def read(self, limits: FileText, instruments: FileText | None, base: Rulebook) -> Rulebook:
        """Read both texts; without instruments, those of `base` stay.

        Raises:
            InvalidFields: every fault is named.
        """

    def limits_of(self, rulebook: Rulebook, account_id: str) -> str:
        """Write accounts and limits; an account_id leaves out what cannot apply to it."""

    def instruments_of(self, rulebook: Rulebook) -> str:
        """Write the instruments."""


@dataclass(slots=True)
class EngineParts:
    """What the wiring hands in. new_epoch names a record that is opened for the first time.

    uptime is in seconds, and never set: what a lease is held against.
    The engine works for the accounts of the latest of `rulebooks` at the start.
    """

    stores: GateStores
    leases: LeaseStore
    queries: RecordQueries
    ledger: RequestLedger
    doorbell: Doorbell
    brokers: dict[str, Broker]
    rulebooks: Rulebooks
    limits: LimitsStore
    rulebook_text: RulebookText
    clock: Clock
    uptime: Callable[[], float]
    new_epoch: Callable[[], str]
    replica_id: str
    version: str
    queue_cap: int = 10_000
    observer: Observer = UNOBSERVED
    portfolio: PortfolioSource | None = None
    portfolio_age_ms_max: int = 10_000
    portfolio_tolerance: Tolerance = TOLERANCE
