"""The price: how far an order's limit may be from the market, now and a moment ago."""

from __future__ import annotations

from trade_engine.domain.decision import CheckResult, Reason, Told, in_full
from trade_engine.domain.limits import PRICE_BAND, SLIPPAGE
from trade_engine.domain.money import ONE_BPS, ZERO, text
from trade_engine.domain.order import OrderPolicy
from trade_engine.risk.case import Case, Ceiling, at_most, not_set

_SLIPPAGE = Ceiling("slippage", SLIPPAGE, Reason.SLIPPAGE_LIMIT)
_PRICE_BAND = PRICE_BAND.name


def check_slippage(case: Case) -> Told:
    """The slippage that the strategy allows may not be wider than the engine's collar.

    Nor so narrow that no price on the tick lies within it. Something must bound it, unless orders
    wait at the reference price.
    Source: RTS 6 Art. 15(1)(a), FIA 2024 1.3 (price tolerance).
    """
    asked, instrument = case.slippage, case.inputs.instrument
    if asked is None:
        if instrument is None or instrument.order_policy is not OrderPolicy.LIMIT:
            return _unbounded(case)
        asked = ZERO
    result = at_most(_SLIPPAGE, case, case.symbol_scope, None, asked)
    sizing = case.sizing
    if sizing is None or sizing.limit_price or type(result) is CheckResult:
        return result
    refused = in_full(*result)
    refused.passed, refused.reason = False, _SLIPPAGE.reason
    refused.message = (
        f"the reference price {text(sizing.reference_price)} plus {text(asked)} bps is "
        f"less than one tick of {case.inputs.signal.symbol}: there is no price to buy at"
    )
    return refused


def _unbounded(case: Case) -> CheckResult:
    return CheckResult(
        "slippage",
        passed=False,
        scope=case.symbol_scope,
        unit="bps",
        reason=_SLIPPAGE.reason,
        message=f"nothing bounds the price: {SLIPPAGE.name} and {_PRICE_BAND} are waived, so the "
        "signal itself must set max_slippage_bps",
    )


def check_price_collar(case: Case) -> Told | None:
    """The limit price, at most price_band_bps_max from the reference of an earlier quote.

        |limit price - earlier| <= earlier * price_band_bps_max / 10000

    Slippage bounds the price around the quote that sizes the order; this one holds where that
    quote itself is wrong. The earlier quote is the middle one of three, 20 s apart or more.
    Source: RTS 6 Art. 15(1)(a) ("over a specified period"), FIA 2024 1.3. Unit: a price.
    """
    sizing, scope = case.sizing, case.symbol_scope
    if case.standing is None or sizing is None:
        return None
    try:
        limit = case.limits[_PRICE_BAND]
    except KeyError:
        return not_set("price_collar", _PRICE_BAND, scope, "price")
    price = sizing.limit_price
    if limit.number is None or not price:  # waived; without a price, slippage refuses
        return "price_collar", scope, "price", "", None, None, None
    earlier = case.inputs.earlier
    reference = None if earlier is None else earlier.reference
    if earlier is None or reference is None:
        return CheckResult(
            "price_collar",
            passed=False,
            scope=scope,
            unit="price",
            reason=Reason.PRICE_BAND_UNKNOWN,
            source=limit.source,
            message=f"no earlier quote of {case.inputs.signal.symbol} is known to compare with",
        )
    most, off = reference * limit.value * ONE_BPS, abs(price - reference)
    if off <= most:
        return "price_collar", scope, "price", limit.source, most, None, off
    return CheckResult(
        "price_collar",
        passed=False,
        scope=scope,
        unit="price",
        reason=Reason.PRICE_COLLAR,
        limit=most,
        projected=off,
        source=limit.source,
        message=f"the limit price {text(price)} is {text(off)} away from {text(reference)}, the "
        f"earlier quote of {earlier.source}: more than {_PRICE_BAND} allows, "
        f"{text(limit.value)} bps for {scope} ({limit.source})",
    )
