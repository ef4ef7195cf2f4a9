"""How often: the generic cell rate algorithm (GCRA), as redis-cell and ATM before it have it.

A throttle is one instant, its theoretical arrival time (TAT): when the next signal would come if
all had come evenly, one each emission interval. A signal is allowed while the TAT, one interval
later, is not further ahead of now than the tolerance, which is the interval times one more than
the burst. This is the reference; the risk store runs the same arithmetic beside its keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from trade_engine.domain.errors import InvalidField
from trade_engine.domain.limits import Rate

HORIZON_NS = 2**52
"""No TAT counts as further ahead than this (52 days), and no tolerance may be longer: below it the
risk store's arithmetic, in doubles, is exact."""


@dataclass(slots=True)
class Verdict:
    """remaining is how many more would be allowed now; retry_after_ns is 0 when allowed."""

    allowed: bool
    limit: int
    remaining: int
    retry_after_ns: int


def emission_ns(rate: Rate) -> tuple[int, int]:
    """The emission interval and the tolerance, in ns.

    The interval is rounded up, so that no rate ever lets more through than it says.

    Raises:
        InvalidField: no positive count and period, a negative burst, or a tolerance beyond
            `HORIZON_NS`.
    """
    if rate.count <= 0 or rate.period_ns <= 0 or rate.burst < 0:
        given = f"{rate.count} per {rate.period_ns} ns, burst {rate.burst}"
        raise InvalidField(rate.source, given, "a positive count and period, and a burst from 0 on")
    interval_ns = -(-rate.period_ns // rate.count)
    tolerance_ns = interval_ns * (rate.burst + 1)
    if tolerance_ns > HORIZON_NS:
        given = f"{rate.count} per {rate.period_ns} ns, burst {rate.burst}"
        raise InvalidField(rate.source, given, "a burst that takes at most 52 days to refill")
    return interval_ns, tolerance_ns


def gcra(tat_ns: int | None, now_ns: int, rate: Rate) -> tuple[Verdict, int | None]:
    """Ask a throttle for one signal: its verdict, and the TAT from now on.

    tat_ns is None for a throttle never asked, or long ago. A refused signal leaves it as it was.

    Raises:
        InvalidField: the rate is none; see `emission_ns`.
    """
    interval_ns, tolerance_ns = emission_ns(rate)
    ahead_ns = 0 if tat_ns is None else min(max(tat_ns - now_ns, 0), HORIZON_NS)
    after_ns = ahead_ns + interval_ns
    limit = rate.burst + 1
    if after_ns > tolerance_ns:
        return Verdict(False, limit, 0, after_ns - tolerance_ns), tat_ns
    remaining = (tolerance_ns - after_ns) // interval_ns
    return Verdict(True, limit, remaining, 0), now_ns + after_ns
