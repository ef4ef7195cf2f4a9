"""A FIX broker as tests configure it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from trade_engine.brokers.fix import FixBroker
from trade_engine.brokers.fix_config import FixConfig
from trade_engine.execution.observer import UNOBSERVED, Observer


def fix_config(store: Path, port: int, version: str = "FIX.4.4", **changes: Any) -> FixConfig:
    fields: dict[str, Any] = {
        "name": "venue",
        "version": version,
        "host": "127.0.0.1",
        "port": port,
        "sender_comp_id": "ENGINE",
        "target_comp_id": "VENUE",
        "store": store,
        "is_live": False,
        "accounts": {"other": "other"},
    }
    return FixConfig(**(fields | changes))


def fix_broker(
    store: Path,
    port: int,
    version: str = "FIX.4.4",
    observer: Observer = UNOBSERVED,
    **changes: Any,
) -> FixBroker:
    config = fix_config(store, port, version, **changes)
    return FixBroker(config, clock=time.time_ns, observer=observer)
