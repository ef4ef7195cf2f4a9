"""Which account a request means."""

from __future__ import annotations

from trade_engine.api.engine import EnginePort
from trade_engine.domain.errors import NotFound


def known(engine: EnginePort, account_id: str) -> None:
    """Hold an account to being one of the engine's.

    Raises:
        NotFound: it is not.
    """
    if not engine.account_known(account_id):
        raise NotFound("account", account_id=account_id)
