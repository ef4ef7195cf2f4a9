"""The watch on losses: a breach stops the account by itself, and a resume meets it again.

It looks at the account several times a second, as a request to its writer, so that what it does is
a batch like any other: decided on the state at the head, journaled, and done once over replicas.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from trade_engine.domain.account import ENGINE
from trade_engine.domain.decision import Reason
from trade_engine.domain.fx import FxPair
from trade_engine.domain.money import text
from trade_engine.domain.trading_state import Scope, ScopeKind, ScopeState, TradingState
from trade_engine.execution.batch import Batch
from trade_engine.execution.commands import HaltCauseStands
from trade_engine.execution.day_roll import mark_equity
from trade_engine.execution.observer import Alert
from trade_engine.execution.order_changes import set_trading_state
from trade_engine.execution.requests import StateChange
from trade_engine.execution.valuation import Prices, equity_at
from trade_engine.risk.loss_limits import Breach, Marks, breaches, is_new_peak

_PEAK = "PEAK"


def watch_losses(batch: Batch, marks: Marks) -> StateChange | None:
    """Value the account at its marks; stop it if a loss limit is exceeded, and note a new peak.

    Where something is held either counts when a second look finds it too; else it is certain. The
    account is left as it is where it is stopped already, or where an operator excused it. Its
    open orders are canceled, also those that would close: whoever closes decides at what price.
    """
    valued = value_at_marks(batch, marks)
    if valued is None:
        marks.seen.again((), batch.now_ns)
        return None
    equity, prices = valued
    day, limits = batch.state.day, _limits(batch)
    peak = is_new_peak(day, equity, limits)
    found = [each for each in breaches(day, equity, limits) if each.cause not in day.excused]
    names = {str(each.cause) for each in found} | ({_PEAK} if peak else set())
    seen_again = marks.seen.again(names, batch.now_ns)
    certain = seen_again if prices.of else names
    if _PEAK in certain:
        mark_equity(batch, prices)
        return None
    found = [each for each in found if each.cause in certain]
    if not found:
        return None
    worst = max(found, key=lambda each: _effect(batch, each).strictness)
    effect = _effect(batch, worst)
    scope = _scope(batch)
    standing = batch.state.trading.get(scope)
    if standing is not None and standing.state.strictness >= effect.strictness:
        return None
    batch.alert(Alert.LOSS_LIMIT, account_id=batch.state.account_id, why=str(worst))
    return set_trading_state(
        batch,
        ScopeState(scope, effect, str(worst), ENGINE, batch.now_ns),
        "",
        cancel_open_orders=True,
        evidence={"breach": _breach_json(worst, prices)},
    )


def check_resume(batch: Batch, marks: Marks, state: ScopeState, *, override: bool) -> list[str]:
    """What an operator excuses by this resume: the breached loss limits, if told to override.

    Raises:
        HaltCauseStands: a loss limit is exceeded, or it cannot be told, and override is not set.
    """
    if state.state is not TradingState.ACTIVE or state.scope != _scope(batch):
        return []
    valued = value_at_marks(batch, marks)
    if valued is None:
        standing = batch.state.trading.get(state.scope)
        if standing is None or standing.operator != ENGINE or override:
            return []
        raise HaltCauseStands(
            f"the account was stopped because of this: {standing.reason}. Whether that still "
            "stands is unknown, since something held has no sane quote. Publish one, or override.",
            cause=Reason.EQUITY_UNKNOWN,
        )
    found = breaches(batch.state.day, valued[0], _limits(batch))
    if found and not override:
        first = found[0]
        raise HaltCauseStands(
            f"{'; '.join(map(str, found))}. Raise the limit, or resume with override: then it does "
            "not stop the account again before the next day, and still refuses what adds to risk.",
            cause=first.cause,
            limit=text(first.limit.value),
            observed=text(first.observed),
        )
    return [each.cause for each in found]


def value_at_marks(batch: Batch, marks: Marks) -> tuple[Decimal, Prices] | None:
    """The account's equity and the marks it is valued at; None where something has no mark.

    The quotes of a pair have a mark like a symbol's, so one bad tick does not move it either.
    """
    terms = batch.rulebook.accounts[batch.state.account_id]
    symbols = batch.exposure.symbols_held()
    pairs = batch.exchanges.pairs(symbols) if batch.rulebook.fx else []
    marks.keep_only({*symbols, *map(_mark_of, pairs)})
    prices = Prices()
    for symbol in symbols:
        quote = batch.quotes.get(symbol)
        paid = batch.average_paid(symbol)
        price = marks.price(symbol, quote, paid, terms.mark_band_bps, batch.now_ns)
        if price is not None:
            prices.of[symbol] = price
    for pair in pairs:
        quote = batch.quotes.get(pair.symbol)
        paid = batch.average_rate_paid(pair)
        price = marks.price(_mark_of(pair), quote, paid, pair.band_bps_max, batch.now_ns)
        if price is None:
            return None
        prices.rates[pair.base] = pair.rate(price)
    return (equity_at(batch, prices), prices) if len(prices.of) == len(symbols) else None


def _mark_of(pair: FxPair) -> str:
    """The name of a pair's mark: that of no symbol, since its quotes' symbol may be held too."""
    return f"fx:{pair.name}"


def _effect(batch: Batch, breach: Breach) -> TradingState:
    terms = batch.rulebook.accounts[batch.state.account_id]
    daily = breach.cause is Reason.DAILY_LOSS_LIMIT
    return terms.on_daily_loss if daily else terms.on_drawdown


def _limits(batch: Batch) -> Any:
    return batch.rulebook.limits.in_force(batch.now_ns, batch.state.account_id, "", "")


def _scope(batch: Batch) -> Scope:
    return Scope(ScopeKind.ACCOUNT, batch.state.account_id)


def _breach_json(breach: Breach, prices: Prices) -> dict[str, Any]:
    return {
        "cause": breach.cause.value,
        "limit_name": breach.limit_name,
        "limit": text(breach.limit.value),
        "source": breach.limit.source,
        "reference": text(breach.reference),
        "equity": text(breach.equity),
        "observed": text(breach.observed),
        **prices.to_json(),
    }
