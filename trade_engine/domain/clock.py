"""Time is passed in. Instants are integers: nanoseconds since 1970-01-01T00:00:00Z."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], int]
"""Returns now, in nanoseconds since the Unix epoch."""

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

FUTURE_TOLERANCE_NS = NS_PER_S
"""How far a sender's clock may run ahead of ours before the time that it tells is not believed."""


def rfc3339(instant_ns: int) -> str:
    """Write an instant as RFC 3339 in UTC with microseconds."""
    seconds, rest_ns = divmod(instant_ns, NS_PER_S)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest_ns // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def rfc3339_brief(instant_ns: int) -> str:
    """The same, without microseconds where there are none."""
    return rfc3339(instant_ns).replace(".000000Z", "Z")
