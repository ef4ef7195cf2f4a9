"""How the paper venue behaves: everything about it that an operator can set."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from trade_engine.domain.errors import ConfigError
from trade_engine.domain.money import BPS, ZERO

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class PaperConfig:
    """The paper venue's settings; the defaults are a kind market: at once, free, no refusals.

    seed: with the ClOrdID it decides every draw of an order, so that the draws do not depend on
        what else happens.
    latency_ms: how long an order or a cancel travels to the venue.
    commission_per_share: per unit of quantity, commission_bps: of the notional; commission_min is
        the least for an order that fills at all; what an order owes is rounded to a multiple of
        commission_step. All in the instrument's currency.
    reject_probability: of an order, between 0 and 1.
    gap_probability: that the market jumps away just before an order arrives, by gap_bps of the
        touch against the order. A limit that this puts out of reach rests until the next quote.
    day_end_s: when DAY orders expire, in seconds after midnight UTC; None: never by the venue.

    Raises:
        ConfigError: a value is out of its range; every one is named.
    """

    seed: int = 0
    latency_ms: int = 0
    commission_per_share: Decimal = ZERO
    commission_bps: Decimal = ZERO
    commission_min: Decimal = ZERO
    commission_step: Decimal = Decimal("0.01")
    reject_probability: float = 0.0
    gap_probability: float = 0.0
    gap_bps: Decimal = ZERO
    day_end_s: int | None = 0

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise ConfigError("the paper broker's settings: " + "; ".join(faults))

    @property
    def is_free(self) -> bool:
        """Whether fills cost nothing."""
        return not (self.commission_per_share or self.commission_bps or self.commission_min)

    @property
    def draws(self) -> bool:
        """Whether anything is left to chance."""
        return self.reject_probability > 0 or self.gap_probability > 0

    def _faults(self) -> Iterator[str]:
        for name in ("latency_ms", "commission_per_share", "commission_bps", "commission_min"):
            if getattr(self, name) < 0:
                yield f"{name} is {getattr(self, name)}, it must be 0 or more"
        if self.commission_step <= 0:
            yield f"commission_step is {self.commission_step}, it must be above 0"
        if not 0 <= self.gap_bps < BPS:
            yield f"gap_bps is {self.gap_bps}, it must be at least 0 and below {BPS}"
        for name in ("reject_probability", "gap_probability"):
            value = getattr(self, name)
            if math.isnan(value) or not 0 <= value <= 1:
                yield f"{name} is {value}, it must be between 0 and 1"
        if self.day_end_s is not None and not 0 <= self.day_end_s < DAY_S:
            yield f"day_end_s is {self.day_end_s}, it must be from 0 to {DAY_S - 1}, or none"
