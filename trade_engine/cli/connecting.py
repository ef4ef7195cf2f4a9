"""The engine that a command talks to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trade_engine.client import TradeEngineClient

NO_ANSWER = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
"""The codes of an engine, or one of its stores, that does not answer."""
CONNECT_S = 2.0
"""How long a command tries to connect: whoever mistyped an address should learn it soon."""


@contextmanager
def engine_at(target: str, account: str = "") -> Iterator[TradeEngineClient]:
    """Connect to the engine at an address; calls that name no account are on `account`.

    Raises:
        TradeEngineError: UNAVAILABLE, nobody answers there.
    """
    with TradeEngineClient(target, account_id=account) as engine:
        engine.connect(CONNECT_S)
        yield engine
