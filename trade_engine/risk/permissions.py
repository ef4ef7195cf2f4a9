"""Who may trade what: strategies, instruments, the restricted list, currencies."""

from __future__ import annotations

from trade_engine.domain.decision import CheckResult, Reason
from trade_engine.risk.case import Case


def check_strategy(case: Case) -> CheckResult:
    """The strategy must be listed, on this account and for this symbol or its class.

    Where the limits file lists no strategies, every one may trade everything.
    Source: RTS 6 Art. 15(5), SEC 15c3-5 (c)(2)(iii). Unit: none.
    """
    inputs, scope = case.inputs, case.strategy_scope
    terms, signal = inputs.strategy, inputs.signal
    if not inputs.strategies_listed:
        return CheckResult("strategy", True, scope, "strategy")
    if terms is None:
        return CheckResult(
            "strategy",
            passed=False,
            scope=scope,
            unit="strategy",
            reason=Reason.STRATEGY_UNKNOWN,
            message=f"{signal.strategy_id} is not among the strategies of the limits file",
        )
    instrument = inputs.instrument
    asset_class = instrument.asset_class if instrument else ""
    forbidden = ""
    if terms.accounts and signal.account_id not in terms.accounts:
        forbidden = f"on account {signal.account_id}"
    elif (terms.symbols or terms.asset_classes) and not (
        signal.symbol in terms.symbols or asset_class in terms.asset_classes
    ):
        forbidden = signal.symbol
    result = CheckResult("strategy", not forbidden, scope, "strategy")
    if forbidden:
        result.reason = Reason.STRATEGY_NOT_PERMITTED
        result.message = f"{signal.strategy_id} may not trade {forbidden}"
    return result


def check_instrument(case: Case) -> CheckResult:
    """The symbol must be a configured instrument."""
    known = case.inputs.instrument is not None
    symbol = case.inputs.signal.symbol
    result = CheckResult("instrument", known, case.symbol_scope, "instrument")
    if not known:
        result.reason = Reason.INSTRUMENT_UNKNOWN
        result.message = f"{symbol} is not in the instruments file"
    return result


def check_restricted(case: Case) -> CheckResult | None:
    """Nothing may be ordered in an instrument of the restricted list, not even to close.

    Source: SEC 15c3-5 (c)(2)(ii).
    """
    instrument = case.inputs.instrument
    if instrument is None:
        return None
    result = CheckResult("restricted", not instrument.restricted, case.symbol_scope, "instrument")
    if instrument.restricted:
        result.reason = Reason.INSTRUMENT_RESTRICTED
        result.message = f"{instrument.symbol} is restricted: no order in it may be sent"
    return result


def check_currency(case: Case) -> CheckResult | None:
    """Exposures are added up without an exchange rate: one currency has to do for all."""
    instrument, currency = case.inputs.instrument, case.inputs.currency
    if instrument is None:
        return None
    same = instrument.currency == currency
    result = CheckResult("currency", same, case.symbol_scope, "currency")
    if not same:
        result.reason = Reason.CURRENCY_MISMATCH
        result.message = (
            f"{instrument.symbol} trades in {instrument.currency} and the account counts in "
            f"{currency}: nothing is converted"
        )
    return result
