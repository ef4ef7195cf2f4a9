"""What the wiring hands to the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trade_engine.domain.clock import Clock
from trade_engine.domain.rulebook import Rulebook
from trade_engine.execution.observer import UNOBSERVED, Observer
from trade_engine.execution.ports import (
    Broker,
    Calendars,
    ControlStore,
    Doorbell,
    LeaseStore,
    PortfolioSource,
    RecordQueries,
    RecordStore,
    RequestLedger,
    RiskStore,
)


@dataclass(slots=True)
class GateStores:
    """What a gate works on: the stores, and the calendars that its account's days are of."""

    record: RecordStore
    risk: RiskStore
    controls: ControlStore
    calendars: Calendars


@dataclass(slots=True)
class EngineParts:
    """What the wiring hands in. new_epoch names a record that is opened for the first time.

    uptime is in seconds, and never set: what a lease is held against.
    """

    stores: GateStores
    leases: LeaseStore
    queries: RecordQueries
    ledger: RequestLedger
    doorbell: Doorbell
    brokers: dict[str, Broker]
    rulebook: Rulebook
    clock: Clock
    uptime: Callable[[], float]
    new_epoch: Callable[[], str]
    replica_id: str
    version: str
    queue_cap: int = 10_000
    observer: Observer = UNOBSERVED
    portfolio: PortfolioSource | None = None
    portfolio_age_ms_max: int = 10_000
