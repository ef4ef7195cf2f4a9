"""What prices and equity must be known, and how fresh, before anything is judged by them."""

from __future__ import annotations

from decimal import Decimal

from trade_engine.domain.decision import CheckResult, Reason, Told
from trade_engine.domain.limits import QUOTE_AGE
from trade_engine.domain.signal import ExposureUnit
from trade_engine.risk.case import Case, Ceiling, at_most
from trade_engine.risk.price import quote_age_ms

_QUOTE_AGE = Ceiling("quote", QUOTE_AGE, Reason.QUOTE_STALE)
_NOTIONAL = ExposureUnit.NOTIONAL


def check_quote(case: Case) -> Told:
    """There must be a quote, sane (positive, not crossed) and no older than quote_age_ms_max."""
    inputs, scope = case.inputs, case.symbol_scope
    quote = inputs.quote
    if quote is None:
        return CheckResult(
            "quote",
            passed=False,
            scope=scope,
            unit="ms",
            reason=Reason.QUOTE_MISSING,
            message=f"no quote of {inputs.signal.symbol} is known",
        )
    if case.quote_fault is not None:
        return CheckResult(
            "quote",
            passed=False,
            scope=scope,
            unit="ms",
            reason=Reason.QUOTE_INVALID,
            message=f"the quote of {quote.symbol} from {quote.source} is unusable: "
            f"{case.quote_fault}",
        )
    return at_most(_QUOTE_AGE, case, scope, None, quote_age_ms(quote, inputs.now_ns))


def check_marks(case: Case) -> Told | None:
    """Whatever else is held or working must have a usable price, or exposure is unknown.

    An order that does not let the account's exposure grow needs no such price.
    """
    missing = case.view.missing_marks
    if not missing or not case.grows:
        return None
    named = ", ".join(missing)
    return CheckResult(
        "marks",
        passed=False,
        scope=case.account_scope,
        unit="symbols",
        reason=Reason.MARK_MISSING,
        observed=Decimal(len(missing)),
        message=f"exposure is unknown: no usable quote of {named}",
    )


def check_equity(case: Case) -> Told | None:
    """A target given as a fraction of equity needs an equity that is known and positive."""
    if case.inputs.signal.exposure_unit is _NOTIONAL:
        return None
    if case.capital is not None:
        return "equity", case.account_scope, case.currency, "", None, case.capital, None
    return CheckResult(
        "equity",
        passed=False,
        scope=case.account_scope,
        unit=case.currency,
        reason=Reason.EQUITY_UNKNOWN,
        observed=case.view.equity,
        message="equity is not known or not positive, so a fraction of it means nothing",
    )
