"""How much in one thing: a symbol, an asset, an asset class; worst case, in money."""

from __future__ import annotations

from trade_engine.domain.decision import Reason, Told
from trade_engine.domain.limits import (
    ASSET_CLASS_EXPOSURE,
    ASSET_CONCENTRATION,
    ASSET_EXPOSURE,
    SYMBOL_POSITION,
)
from trade_engine.risk.case import Case, Ceiling, at_most, at_most_of_equity

_SYMBOL_POSITION = Ceiling(
    "symbol_position", SYMBOL_POSITION, Reason.SYMBOL_POSITION_LIMIT, may_shrink=True
)
_ASSET_EXPOSURE = Ceiling(
    "asset_exposure", ASSET_EXPOSURE, Reason.ASSET_EXPOSURE_LIMIT, may_shrink=True
)
_ASSET_CONCENTRATION = Ceiling(
    "asset_concentration", ASSET_CONCENTRATION, Reason.CONCENTRATION_LIMIT
)
_ASSET_CLASS_EXPOSURE = Ceiling(
    "asset_class_exposure",
    ASSET_CLASS_EXPOSURE,
    Reason.ASSET_CLASS_EXPOSURE_LIMIT,
    may_shrink=True,
)


def check_symbol_position(case: Case) -> Told | None:
    """Position plus working orders of the account in the symbol, worst case per side, in money.

    Source: FIA 2024 1.2 (maximum intraday position counts working orders).
    """
    if case.sizing is None:
        return None
    return at_most(_SYMBOL_POSITION, case, case.symbol_scope, case.value_before, case.value_after)


def check_asset_exposure(case: Case) -> Told | None:
    """Worst-case value in one asset: the symbol and all others with its underlying.

    Source: SEC 15c3-5 (c)(1)(i) (finer by security), RTS 6 Art. 15(5). Unit: account's currency.
    """
    if case.standing is None:
        return None
    return at_most(_ASSET_EXPOSURE, case, case.asset_scope, case.asset_before, case.asset_after)


def check_asset_concentration(case: Case) -> Told | None:
    """Worst-case value in one asset, at most asset_concentration_max of equity.

        value in the asset <= asset_concentration_max * equity

    Source: RTS 6 Art. 15(4) (limits by capital). Unit: account's currency, so that nothing is
    divided.
    """
    if case.standing is None:
        return None
    return at_most_of_equity(
        _ASSET_CONCENTRATION, case, case.asset_scope, case.asset_before, case.asset_after
    )


def check_asset_class_exposure(case: Case) -> Told | None:
    """Worst-case value over all symbols of one asset class.

    Source: SEC 15c3-5 (c)(1)(i) (finer by sector), FIA 2024 4.2. Unit: account's currency.
    """
    standing = case.standing
    if standing is None:
        return None
    elsewhere = standing.class_gross
    return at_most(
        _ASSET_CLASS_EXPOSURE,
        case,
        case.asset_class_scope,
        elsewhere + case.value_before,
        elsewhere + case.value_after,
    )
