"""The signals of the benchmark: every one makes an order, and every order fills.

Each strategy wants one share more of one symbol with each signal, so that sizing, every check,
the order, its fill and its position are all part of what is measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from trade_engine.v1 import signal_pb2, signal_service_pb2

SYMBOLS = ("AAPL", "MSFT", "GOOG", "IBM")
STRATEGIES = 16
PRICE = 100


def signals(run: str) -> Iterator[signal_pb2.Signal]:
    """Signals without end; run makes their ids unique."""
    for number in itertools.count(1):
        strategy = number % STRATEGIES
        yield signal_pb2.Signal(
            signal_id=f"{run}-{number}",
            strategy_id=f"bench-{run}-{strategy}",
            symbol=SYMBOLS[strategy % len(SYMBOLS)],
            side=signal_pb2.Signal.BUY,
            confidence=0.9,
            target_exposure=float(PRICE * (number // STRATEGIES + 1)),
            time_horizon=signal_pb2.Signal.INTRADAY,
            constraints=signal_pb2.SignalConstraints(max_slippage_bps=20),
        )


def unary_bodies(run: str) -> Iterator[bytes]:
    """Prepared requests of SubmitSignal."""
    for signal in signals(run):
        yield signal_service_pb2.SubmitSignalRequest(signal=signal).SerializeToString()


def streamed_bodies(run: str, per_message: int) -> Iterator[bytes]:
    """Prepared messages of SubmitSignals."""
    source = signals(run)
    while True:
        batch = list(itertools.islice(source, per_message))
        yield signal_service_pb2.SubmitSignalsRequest(signals=batch).SerializeToString()
