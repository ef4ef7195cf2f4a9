"""Throttles in the limits file: `account_signal_rate = { count = 9, per_ms = 1000, burst = 9 }`."""

from __future__ import annotations

from typing import Any

from trade_engine.config.kinds import whole
from trade_engine.config.toml_file import Key, TomlFile
from trade_engine.config.toml_places import KeyPath
from trade_engine.domain.clock import NS_PER_MS
from trade_engine.domain.limits import ACCOUNT_RATE, CANCEL_RATE, STRATEGY_RATE, Level, Rate

DAY_MS = 86_400_000
REFILL_DAYS_MAX = 52
"""A throttle's burst may take no longer to fill up again: its clock is exact so far ahead."""

RATE_KEYS = {
    "count": Key(whole(1, 1_000_000), "messages per period", required=True),
    "per_ms": Key(whole(1, DAY_MS), "the period, ms", required=True),
    "burst": Key(whole(0, 1_000_000), "how many more may come at once", required=True),
}

RATE_LEVELS = {
    STRATEGY_RATE: (Level.DEFAULT, Level.ACCOUNT, Level.STRATEGY),
    ACCOUNT_RATE: (Level.DEFAULT, Level.ACCOUNT),
    CANCEL_RATE: (Level.DEFAULT, Level.ACCOUNT),
}
"""The throttles, and the levels that may set each."""


def read_rate(file: TomlFile, path: KeyPath, source: str) -> Rate | None:
    """Read a table with a rate; None where anything in it is wrong."""
    values: dict[str, Any] | None = file.read(path, RATE_KEYS)
    if values is None:
        return None
    count, period_ns, burst = values["count"], values["per_ms"] * NS_PER_MS, values["burst"]
    if period_ns * (burst + 1) > REFILL_DAYS_MAX * DAY_MS * NS_PER_MS * count:
        allowed = f"a burst that this rate fills up again within {REFILL_DAYS_MAX} days"
        file.fault((*path, "burst"), allowed)
        return None
    return Rate(count, period_ns, burst, source)
