"""Loss limits: how much the account may lose in a day, and from its peak.

A loss is measured on equity (cash, fees paid, and all that is held at its price), so that it is
realized and unrealized at once:

    daily loss = equity when the day began - equity
    drawdown   = highest equity of the account's life - equity

They act twice. The checks refuse signals by the quotes of the moment; orders that do not let the
account's exposure grow pass. The watch stops the account although no signal comes, and that stays:
so it goes by marks, which one bad tick alone does not move.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from trade_engine.domain.clock import NS_PER_MS, NS_PER_S
from trade_engine.domain.day import Day
from trade_engine.domain.decision import CheckResult, Reason, Told
from trade_engine.domain.limits import DAILY_LOSS, DRAWDOWN, Limit
from trade_engine.domain.market import Quote
from trade_engine.domain.money import ONE_BPS, ZERO, text
from trade_engine.risk.case import Case, Ceiling, at_most

UNPROVEN_NS = 5 * NS_PER_S
"""When no price within the band has come for so long, the last one counts all the same."""
SECOND_LOOK_NS = 200 * NS_PER_MS
"""What a look at an account finds must be found by another one, so long after it or longer."""
PEAK_STEPS = 100
"""The peak in force is at most this part of drawdown_max below the highest equity seen."""


# ---- the checks -----------------------------------------------------------------------------

_DAILY_LOSS = Ceiling("daily_loss", DAILY_LOSS, Reason.DAILY_LOSS_LIMIT)
_DRAWDOWN = Ceiling("drawdown", DRAWDOWN, Reason.DRAWDOWN_LIMIT)


def check_daily_loss(case: Case) -> Told | None:
    """The day's loss, realized and unrealized, at most daily_loss_max (FIA 2024, 4.2)."""
    worth = case.view.worth
    if worth is None or case.sizing is None:
        return None
    return _lost(_DAILY_LOSS, case, worth.start_equity)


def check_drawdown(case: Case) -> Told | None:
    """The loss since the account's peak, at most drawdown_max."""
    worth = case.view.worth
    if worth is None or case.sizing is None:
        return None
    return _lost(_DRAWDOWN, case, worth.peak_equity)


def _lost(ceiling: Ceiling, case: Case, reference: Decimal | None) -> Told | None:
    """Hold the loss from a reference to a limit; an order that lets nothing grow passes.

    A decision from before accounts had days holds no worth, and was not judged by it.
    """
    equity, scope = case.view.equity, case.account_scope
    if reference is None or equity is None:
        if not case.grows:
            return None
        what = "equity now" if reference is not None else "equity at the start of the day"
        return CheckResult(
            ceiling.name,
            passed=False,
            scope=scope,
            unit=case.currency,
            reason=Reason.EQUITY_UNKNOWN,
            message=f"{ceiling.spec.meaning} is unknown: the account's {what} is not known",
        )
    loss = reference - equity if reference > equity else ZERO
    result = at_most(ceiling, case, scope, None, loss)
    if type(result) is CheckResult and result.reason is ceiling.reason and not case.grows:
        result.passed, result.reason, result.message = True, None, ""
    return result


# ---- the watch ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Breach:
    """A loss limit that is exceeded, and by what numbers, in the account's currency."""

    cause: Reason
    limit_name: str
    limit: Limit
    reference: Decimal
    equity: Decimal

    @property
    def observed(self) -> Decimal:
        """The loss."""
        return self.reference - self.equity

    def __str__(self) -> str:
        """In words, for the reason of a halt."""
        return (
            f"{self.cause}: a loss of {text(self.observed)} is more than {self.limit_name} allows, "
            f"{text(self.limit.value)} ({self.limit.source})"
        )


def breaches(day: Day, equity: Decimal, limits: Mapping[str, Limit]) -> list[Breach]:
    """The loss limits that are exceeded at an equity; what is not known or set breaches nothing."""
    found = []
    for cause, spec, reference in (
        (Reason.DAILY_LOSS_LIMIT, DAILY_LOSS, day.start_equity),
        (Reason.DRAWDOWN_LIMIT, DRAWDOWN, day.peak_equity),
    ):
        limit = limits.get(spec.name)
        if limit is not None and reference is not None and reference - equity > limit.value:
            found.append(Breach(cause, spec.name, limit, reference, equity))
    return found


def is_new_peak(day: Day, equity: Decimal, limits: Mapping[str, Limit]) -> bool:
    """Whether an equity is so far above the peak that the journal should say so."""
    limit = limits.get(DRAWDOWN.name)
    if limit is None or day.peak_equity is None:
        return False
    return (equity - day.peak_equity) * PEAK_STEPS >= limit.value


@dataclass(slots=True)
class _Known:
    """A symbol's mark, the last quote out of its band, and since when none within it has come."""

    mark: Decimal | None
    suspect: Decimal | None = None
    suspect_time_ns: int = 0
    out_since_ns: int = 0


class Marks:
    """The prices that the watch values by: sane quotes, each within a band of the one before.

    A price out of the band is a bad tick until the next quote confirms it (is within the band of
    it), or until no quote has come back into the band for `UNPROVEN_NS`: a lasting move always
    counts, also one in which no two quotes agree. Where no quote came before, the average price
    paid is what the first is compared with. seen is what looks at those prices have found.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self.seen = Seen()

    def keep_only(self, symbols: Collection[str]) -> None:
        """Forget the others: nothing is held in them any more."""
        for symbol in self._known.keys() - symbols:
            del self._known[symbol]

    def price(
        self, symbol: str, quote: Quote | None, paid: Decimal | None, band_bps: Decimal, now_ns: int
    ) -> Decimal | None:
        """The mark of a symbol, moved along by its last quote; None while there is none.

        paid is the average price of what is held, now_ns the time of the look. The same quote
        again changes nothing but its age.
        """
        known = self._known.get(symbol)
        if known is None:
            known = self._known[symbol] = _Known(paid)
        price = None if quote is None else quote.reference
        if quote is None or price is None:
            return known.mark
        band = band_bps * ONE_BPS
        if known.mark is not None and _within(price, known.mark, band):
            known.mark, known.suspect = price, None
            return price
        if known.suspect is None:
            known.out_since_ns = now_ns
        elif self._is_proven(known, price, quote.time_ns, band, now_ns):
            known.mark, known.suspect = price, None
            return price
        known.suspect, known.suspect_time_ns = price, quote.time_ns
        return known.mark

    @staticmethod
    def _is_proven(known: _Known, price: Decimal, time_ns: int, band: Decimal, now_ns: int) -> bool:
        assert known.suspect is not None  # noqa: S101  price() looked
        another = time_ns != known.suspect_time_ns
        confirms = another and _within(price, known.suspect, band)
        # As below: a clock that was set back does not begin the wait anew an hour from now.
        known.out_since_ns = min(known.out_since_ns, now_ns)
        return confirms or now_ns - known.out_since_ns >= UNPROVEN_NS


class Seen:
    """What looks at an account have found of late; it counts once another look finds it too.

    A price within the band may be a bad tick as well: at the next look it is gone.
    """

    def __init__(self) -> None:
        self._since_ns: dict[str, int] = {}

    def again(self, found: Iterable[str], now_ns: int) -> set[str]:
        """Note what a look finds; says what all looks of the last `SECOND_LOOK_NS` have found."""
        # A clock that was set back must not keep what stands from counting until it catches up.
        self._since_ns = {each: min(self._since_ns.get(each, now_ns), now_ns) for each in found}
        return {each for each, at_ns in self._since_ns.items() if now_ns - at_ns >= SECOND_LOOK_NS}


def _within(price: Decimal, of: Decimal, band: Decimal) -> bool:
    return abs(price - of) <= abs(of) * band
