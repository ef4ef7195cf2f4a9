"""An engine of the demo's own: a process on a free port, with its data in a folder that goes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from trade_engine.cli.demo.prices import DECIMALS, SYMBOLS, TICK
from trade_engine.domain.errors import EngineError

READY = re.compile(r"is ready on (\S+)")
START_S = 60
STOP_S = 20

LIMITS = """\
[accounts.default]
currency = "USD"
opening_cash = 1000000
broker = "paper"

[limits]
acknowledged_unlimited = ["price_band_bps_max"]  # years pass within a minute
signal_age_ms_max = 5000
duplicate_interval_ms_min = 1
confidence_min = 0.1
quote_age_ms_max = 10000
slippage_bps_max = 50
order_quantity_max = 10000
order_notional_max = 50000
symbol_position_notional_max = 120000
asset_exposure_max = 120000
asset_concentration_max = 0.25
asset_class_exposure_max = 350000
gross_exposure_max = 350000
net_exposure_max = 350000
leverage_max = 1
borrowing_max = 0
open_orders_max = 100
turnover_day_max = 1000000000
daily_loss_max = 1000000
drawdown_max = 1000000
repeated_executions_max = 1000000
strategy_signal_rate = { count = 100, per_ms = 1000, burst = 200 }
account_signal_rate = { count = 1000, per_ms = 1000, burst = 1000 }
account_cancel_rate = { count = 100, per_ms = 1000, burst = 200 }
"""
INSTRUMENT = """\
[instruments.{symbol}]
tick = {tick:.{decimals}f}
lot = 1
currency = "USD"
asset_class = "equity"
"""


class DemoFailed(EngineError):
    """The demo's own engine did not come up."""

    reason = "DEMO_FAILED"


@dataclass(frozen=True, slots=True)
class PrivateEngine:
    """Where it listens, and where its data is."""

    target: str
    data_dir: Path


@contextmanager
def private_engine() -> Iterator[PrivateEngine]:
    """Start it; it and its data are gone at the end, also when this process is asked to stop.

    Raises:
        DemoFailed: it did not start.
    """
    signal.signal(signal.SIGTERM, _leave)
    with tempfile.TemporaryDirectory(prefix="trade-engine-demo-") as name:
        folder = Path(name)
        limits = folder / "limits.toml"
        limits.write_text(LIMITS, encoding="utf-8")
        instruments = folder / "instruments.toml"
        instruments.write_text(
            "".join(
                INSTRUMENT.format(symbol=symbol, tick=TICK, decimals=DECIMALS) for symbol in SYMBOLS
            ),
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "trade_engine.main", "--listen", "127.0.0.1:0"]
        command += ["--data-dir", str(folder / "data"), "--limits", str(limits)]
        command += ["--instruments", str(instruments)]
        log = folder / "engine.log"
        with log.open("w", encoding="utf-8") as errors:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=_environment()
            )
        try:
            yield PrivateEngine(_target(process, log), folder / "data")
        finally:
            _stop(process)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _environment() -> dict[str, str]:
    """Nothing that the user set for an engine of their own is for this one."""
    ours = ("TRADE_ENGINE_", "DATABASE_URL", "REDIS_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _target(process: subprocess.Popen[str], log: Path) -> str:
    too_late = threading.Timer(START_S, process.kill)
    too_late.start()
    try:
        for line in process.stdout or ():
            ready = READY.search(line)
            if ready:
                return ready[1]
    finally:
        too_late.cancel()
    process.wait()
    tail = log.read_text(encoding="utf-8").strip().splitlines()[-5:]
    raise DemoFailed(f"the demo's engine did not start: {' '.join(tail)}")


def _stop(process: subprocess.Popen[str]) -> None:
    if process.stdout is not None:
        process.stdout.close()
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
