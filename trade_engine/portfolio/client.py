"""A firm's own books as the engine uses them: whether what they last told may be relied on.

The call itself is the outer ring's; here is what its answers come to.
"""

from __future__ import annotations

from dataclasses import dataclass

from trade_engine.portfolio.view import Portfolio

MS_NS = 1_000_000


@dataclass(slots=True)
class Books:
    """What a firm's portfolio service last told of an account, and why it told no more.

    told is None until it first answered; failure is empty when the last call was answered.
    """

    told: Portfolio | None = None
    failure: str = "it was not asked yet"

    def fault(self, now_ns: int, age_ms_max: int) -> str:
        """Why the books cannot be relied on now; empty when they can.

        A call that failed is no fault while what was told before it is still fresh. What is dated
        ahead of our clock counts by its distance too.
        """
        told = self.told
        if told is None:
            return f"the portfolio service told nothing: {self.failure}"
        age_ms = abs(now_ns - told.as_of_ns) // MS_NS
        if age_ms <= age_ms_max:
            return ""
        why = self.failure or "it answers with the same old picture"
        return f"the portfolio is {age_ms} ms old, {age_ms_max} ms are allowed: {why}"
