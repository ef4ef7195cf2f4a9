"""How the raises of a rulebook stand at a time, for whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trade_engine.domain.limits import Limits, Raise, Rate


@dataclass(frozen=True, slots=True)
class RaiseStatus:
    """A raise, what its level sets otherwise, and whether it holds now."""

    raised: Raise
    regular: Decimal | Rate
    active: bool


def raises_of(limits: Limits, account_id: str, now_ns: int) -> list[RaiseStatus]:
    """Every raise that can matter to an account, or to any where account_id is ""."""
    return [
        RaiseStatus(each, limits.regular(each), each.holds(now_ns))
        for each in limits.raises
        if each.applies_to(account_id)
    ]
