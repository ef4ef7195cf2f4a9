"""How much in one thing: a symbol, an asset, an asset class; worst case, in money."""

from __future__ import annotations

from trade_engine.domain.decision import Reason, Told
from trade_engine.domain.limits import (
    ASSET_CLASS_EXPOSURE,
    ASSET_CONCENTRATION,
    ASSET_EXPOSURE,
    SYMBOL_POSITION,
)
from trade_engine.risk.case import Case, at_most, at_most_of_equity


def check_symbol_position(case: Case) -> Told | None:
    """Position plus working orders of the account in the symbol, worst case per side, in money.

    Source: FIA 2024 1.2 (maximum intraday position counts working orders).
    """
    if not case.has_order:
        return None
    return at_most(
        "symbol_position",
        SYMBOL_POSITION,
        Reason.SYMBOL_POSITION_LIMIT,
        case,
        case.symbol_scope,
        case.value_before,
        case.value_after,
        True,  # may shrink
    )


def check_asset_exposure(case: Case) -> Told | None:
    """Worst-case value in one asset: the symbol and all others with its underlying.

    Source: SEC 15c3-5 (c)(1)(i) (finer by security), RTS 6 Art. 15(5). Unit: account's currency.
    """
    standing, instrument = case.inputs.view.standing, case.inputs.instrument
    if standing is None or instrument is None or not case.has_order:
        return None
    return at_most(
        "asset_exposure",
        ASSET_EXPOSURE,
        Reason.ASSET_EXPOSURE_LIMIT,
        case,
        f"asset:{instrument.asset}",
        standing.asset_gross + case.value_before,
        standing.asset_gross + case.value_after,
        True,  # may shrink
    )


def check_asset_concentration(case: Case) -> Told | None:
    """Worst-case value in one asset, at most asset_concentration_max of equity.

        value in the asset <= asset_concentration_max * equity

    Source: RTS 6 Art. 15(4) (limits by capital). Unit: account's currency, so that nothing is
    divided.
    """
    standing, instrument = case.inputs.view.standing, case.inputs.instrument
    if standing is None or instrument is None or not case.has_order:
        return None
    return at_most_of_equity(
        "asset_concentration",
        ASSET_CONCENTRATION,
        Reason.CONCENTRATION_LIMIT,
        case,
        f"asset:{instrument.asset}",
        standing.asset_gross + case.value_before,
        standing.asset_gross + case.value_after,
    )


def check_asset_class_exposure(case: Case) -> Told | None:
    """Worst-case value over all symbols of one asset class.

    Source: SEC 15c3-5 (c)(1)(i) (finer by sector), FIA 2024 4.2. Unit: account's currency.
    """
    standing, instrument = case.inputs.view.standing, case.inputs.instrument
    if standing is None or instrument is None or not case.has_order:
        return None
    return at_most(
        "asset_class_exposure",
        ASSET_CLASS_EXPOSURE,
        Reason.ASSET_CLASS_EXPOSURE_LIMIT,
        case,
        f"asset_class:{instrument.asset_class}",
        standing.class_gross + case.value_before,
        standing.class_gross + case.value_after,
        True,  # may shrink
    )
