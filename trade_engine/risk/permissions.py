"""Who may trade what: strategies, instruments, the restricted list, currencies."""

from __future__ import annotations

from trade_engine.domain.decision import CheckResult, Reason, Told
from trade_engine.risk.case import Case
from trade_engine.risk.fx import Exchange, NoRate
from trade_engine.risk.price import quote_age_ms


def check_strategy(case: Case) -> Told:
    """The strategy must be listed, on this account and for this symbol or its class.

    Where the limits file lists no strategies, every one may trade everything.
    Source: RTS 6 Art. 15(5), SEC 15c3-5 (c)(2)(iii). Unit: none.
    """
    inputs, scope = case.inputs, case.strategy_scope
    if not inputs.strategies_listed:
        return "strategy", scope, "strategy", "", None, None, None
    terms, signal = inputs.strategy, inputs.signal
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
    if not forbidden:
        return "strategy", scope, "strategy", "", None, None, None
    return CheckResult(
        "strategy",
        passed=False,
        scope=scope,
        unit="strategy",
        reason=Reason.STRATEGY_NOT_PERMITTED,
        message=f"{signal.strategy_id} may not trade {forbidden}",
    )


def check_instrument(case: Case) -> Told:
    """The symbol must be a configured instrument."""
    if case.inputs.instrument is not None:
        return "instrument", case.symbol_scope, "instrument", "", None, None, None
    return CheckResult(
        "instrument",
        passed=False,
        scope=case.symbol_scope,
        unit="instrument",
        reason=Reason.INSTRUMENT_UNKNOWN,
        message=f"{case.inputs.signal.symbol} is not in the instruments file",
    )


def check_restricted(case: Case) -> Told | None:
    """Nothing may be ordered in an instrument of the restricted list, not even to close.

    Source: SEC 15c3-5 (c)(2)(ii).
    """
    instrument = case.inputs.instrument
    if instrument is None:
        return None
    if not instrument.restricted:
        return "restricted", case.symbol_scope, "instrument", "", None, None, None
    return CheckResult(
        "restricted",
        passed=False,
        scope=case.symbol_scope,
        unit="instrument",
        reason=Reason.INSTRUMENT_RESTRICTED,
        message=f"{instrument.symbol} is restricted: no order in it may be sent",
    )


def check_currency(case: Case) -> Told | None:
    """Another currency than the account's needs a pair that converts it, and a quote to do it by.

    That quote is fresh, sane, and within the pair's band of the earlier one.
    """
    instrument, currency = case.inputs.instrument, case.currency
    if instrument is None:
        return None
    if case.inputs.exchange is not None:
        return _converted(case, case.inputs.exchange)
    if instrument.currency == currency:
        return "currency", case.symbol_scope, "currency", "", None, None, None
    return CheckResult(
        "currency",
        passed=False,
        scope=case.symbol_scope,
        unit="currency",
        reason=Reason.CURRENCY_MISMATCH,
        message=f"{instrument.symbol} trades in {instrument.currency} and the account counts in "
        f"{currency}: nothing is converted",
    )


def _converted(case: Case, exchange: Exchange) -> Told:
    """Whether there is a rate: an order that closes is refused without one, as without a price."""
    pair, quote, now_ns = exchange.pair, exchange.quote, case.inputs.now_ns
    rate = exchange.rate(now_ns)
    result = CheckResult(
        "currency",
        not isinstance(rate, NoRate),
        case.symbol_scope,
        "ms",
        limit=pair.age_ms_max,
        observed=None if quote is None else quote_age_ms(quote, now_ns),
        source=f"fx.{pair.name}",
    )
    if isinstance(rate, NoRate):
        result.reason = rate.reason
        result.message = f"no rate of {pair.base} in {pair.terms}: {rate.why}"
    return result
