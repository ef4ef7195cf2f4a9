"""How much in all: gross and net exposure, leverage, buying power; worst case, in money."""

from __future__ import annotations

from trade_engine.domain.decision import Reason, Told
from trade_engine.domain.limits import BORROWING, GROSS_EXPOSURE, LEVERAGE, NET_EXPOSURE
from trade_engine.domain.money import ZERO
from trade_engine.risk.case import Case, Ceiling, at_most, at_most_of_equity

_GROSS = Ceiling("gross_exposure", GROSS_EXPOSURE, Reason.GROSS_EXPOSURE_LIMIT, may_shrink=True)
_NET = Ceiling("net_exposure", NET_EXPOSURE, Reason.NET_EXPOSURE_LIMIT, may_shrink=True)
_LEVERAGE = Ceiling("leverage", LEVERAGE, Reason.LEVERAGE_LIMIT)
_BUYING_POWER = Ceiling("buying_power", BORROWING, Reason.BUYING_POWER, may_shrink=True)


def check_gross_exposure(case: Case) -> Told | None:
    """Worst-case value over all symbols of the account (SEC 15c3-5 (c)(1)(i))."""
    if case.sizing is None:
        return None
    return at_most(_GROSS, case, case.account_scope, case.gross_before, case.gross_after)


def check_net_exposure(case: Case) -> Told | None:
    """Worst-case value long less short over all symbols, in either direction.

        longest  = sum of (position + working buys) * unit value
        shortest = sum of (working sells - position) * unit value
        net      = the larger of both

    Source: SEC 15c3-5 (c)(1)(i), RTS 6 Art. 17(4). Unit: account's currency.
    """
    standing = case.standing
    if standing is None:
        return None
    longest = standing.net_long + case.long_value
    shortest = standing.net_short + case.short_value
    observed = longest if longest >= shortest else shortest
    if case.more_buy:
        longest += case.order_value
    else:
        shortest += case.order_value
    projected = longest if longest >= shortest else shortest
    return at_most(_NET, case, case.account_scope, observed, projected)


def check_leverage(case: Case) -> Told | None:
    """Gross exposure, at most leverage_max times equity.

        worst-case value over all symbols <= leverage_max * equity

    Source: RTS 6 Art. 15(4), SEC 15c3-5 (c)(1)(i). Unit: account's currency.
    """
    if case.standing is None:
        return None
    return at_most_of_equity(
        _LEVERAGE, case, case.account_scope, case.gross_before, case.gross_after
    )


def check_buying_power(case: Case) -> Told | None:
    """What working buys and buying back shorts may cost beyond the cash, at most borrowing_max.

        needed   = sum over symbols of the larger of working buys and what is short, in money
        borrowed = needed - cash, 0 if that is negative

    A buy that covers a short needs no more than the short did. What short sales bring in is cash
    that buying them back needs, so it buys nothing else.
    Source: SEC 15c3-5 (c)(1)(i). Unit: account's currency.
    """
    standing, view = case.standing, case.view
    if standing is None:
        return None
    unit, short, buys = case.unit_value, -view.symbol_quantity, view.symbol_working_buy
    elsewhere = standing.funds - standing.cash
    if buys >= short:
        observed = elsewhere + buys * unit
        projected = observed + case.order_value if case.more_buy else observed
    else:
        observed = elsewhere + short * unit
        buys += case.more_buy
        projected = elsewhere + buys * unit if buys > short else observed
    if projected <= ZERO:  # as most are, and then what stands now is no more
        observed = projected = ZERO
    elif observed < ZERO:
        observed = ZERO
    return at_most(_BUYING_POWER, case, case.account_scope, observed, projected)
