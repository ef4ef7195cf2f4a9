"""The case that the checks judge: the inputs, and what sizing made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache

from trade_engine.domain.decision import CheckResult, Reason, Sizing, Told
from trade_engine.domain.limits import PRICE_BAND, SLIPPAGE, Limit, LimitSpec
from trade_engine.domain.money import ZERO, text
from trade_engine.domain.order import OrderPolicy
from trade_engine.domain.signal import Side
from trade_engine.risk.fx import NoRate
from trade_engine.risk.sizing import Sized, size
from trade_engine.risk.standing import Standing
from trade_engine.risk.view import Inputs, View

BUY, WAITS = Side.BUY, OrderPolicy.LIMIT
"""Looked up once: to name a member by its class takes longer than to compare two numbers."""


@dataclass(slots=True, eq=False, repr=False)
class Case:
    """One signal under judgment.

    view, limits and currency are those of the inputs, at hand. The scopes are those that verdicts
    name. slippage is what is asked for, None where nothing bounds it; quote_fault what makes the
    quote no price. capital is the equity where it is known and positive. sized is None when no
    price or equity is known to size by.

    What follows is of the order. Without one sizing is None, what it adds is 0, and the numbers
    that have no default are not there; standing is None in old decisions as well. more_buy and
    more_sell are what the order adds to what works on its side. value_before and value_after are
    the worst that the account may come to hold in the symbol, in money, without the order and with
    it; gross_* are the same over all symbols, asset_* over those of the same asset. An order
    reduces if it closes for its strategy and lets nothing grow for the account: what is there to
    stop risk from growing lets it pass. whole_quantity and whole_notional are all of the order,
    what a replaced one has filled included, at its worst price. unit_value is what one unit is
    worth. long_value is what the account holds if every working buy fills and no sell does,
    short_value the same with its sign turned if every working sell fills, order_value what the
    order adds to one of them, in money.
    """

    inputs: Inputs
    view: View
    limits: dict[str, Limit]
    currency: str
    symbol_scope: str
    strategy_scope: str
    account_scope: str
    asset_scope: str
    asset_class_scope: str
    slippage: Decimal | None
    capital: Decimal | None
    quote_fault: str | None = None
    sized: Sized | None = None
    sizing: Sizing | None = None
    standing: Standing | None = None
    more_buy: Decimal = ZERO
    more_sell: Decimal = ZERO
    value_before: Decimal = ZERO
    value_after: Decimal = ZERO
    reduces: bool = False
    whole_quantity: Decimal = field(init=False)
    whole_notional: Decimal = field(init=False)
    unit_value: Decimal = field(init=False)
    long_value: Decimal = field(init=False)
    short_value: Decimal = field(init=False)
    order_value: Decimal = field(init=False)
    gross_before: Decimal = field(init=False)
    gross_after: Decimal = field(init=False)
    asset_before: Decimal = field(init=False)
    asset_after: Decimal = field(init=False)

    @property
    def closes(self) -> bool:
        """Whether the order stays within the strategy's position less the closes pending."""
        view = self.view
        return self._closes(view.quantity, view.working_buy, view.working_sell)

    @property
    def closes_for_account(self) -> bool:
        """The same of the account's position and its pending closes, all strategies together."""
        view = self.view
        return self._closes(view.symbol_quantity, view.symbol_working_buy, view.symbol_working_sell)

    def _closes(self, held: Decimal, working_buy: Decimal, working_sell: Decimal) -> bool:
        if self.inputs.signal.side is BUY:
            return self.more_buy <= -held - working_buy
        return self.more_sell <= held - working_sell

    @property
    def grows(self) -> bool:
        """Whether the account may come to hold more in the symbol than without the order.

        What closes for one strategy may open for the account, where another one holds the opposite.
        """
        return self.value_after > self.value_before


def open_case(inputs: Inputs) -> Case:
    """Size the signal where price and equity allow it."""
    signal, view, instrument, quote = inputs.signal, inputs.view, inputs.instrument, inputs.quote
    asset, asset_class = (instrument.asset, instrument.asset_class) if instrument else ("", "")
    of_symbol, of_strategy, of_account, of_asset, of_class = _scopes(
        signal.symbol, signal.strategy_id, signal.account_id, asset, asset_class
    )
    equity, slippage = view.equity, signal.max_slippage_bps
    case = Case(
        inputs,
        view,
        inputs.limits,
        inputs.currency,
        of_symbol,
        of_strategy,
        of_account,
        of_asset,
        of_class,
        _engines_slippage(inputs) if slippage is None else slippage,
        equity if equity is not None and equity > ZERO else None,
    )
    if quote is None:
        return case
    reference = quote.reference
    if reference is None:
        case.quote_fault = quote.fault()
        return case
    if instrument is None:
        return case
    multiplier, fx_rate = instrument.multiplier, None
    if inputs.exchange is not None:
        rate = inputs.exchange.rate(inputs.now_ns)
        if isinstance(rate, NoRate):
            return case
        fx_rate = rate.worst
        multiplier *= fx_rate
    bound = ZERO if instrument.order_policy is WAITS else case.slippage
    if bound is None:
        return case
    sized = size(signal, view, instrument, reference, bound, multiplier)
    if sized is None:
        return case
    case.sized, sizing = sized, sized.sizing
    if fx_rate is not None:
        sizing.currency, sizing.fx_rate = instrument.currency, fx_rate
    if sizing.order_quantity:
        _weigh(case, sized, reference * multiplier)
    return case


def _weigh(case: Case, sized: Sized, unit: Decimal) -> None:
    """Work out what the order may do to the worst case; once, for all checks."""
    view, sizing, replaces = case.view, sized.sizing, sized.replaces
    quantity, notional = sizing.order_quantity, sizing.order_notional
    case.sizing, case.standing, case.unit_value = sizing, view.standing, unit
    if replaces is None:
        case.whole_quantity, case.whole_notional = quantity, notional
    else:
        case.whole_quantity = sized.whole_quantity
        case.whole_notional = notional + sized.filled_notional
        # until the broker answers, it may work on either terms
        quantity = max(quantity - replaces.leaves_qty, ZERO)
    held = view.symbol_quantity
    long_value = (held + view.symbol_working_buy) * unit
    short_value = (view.symbol_working_sell - held) * unit
    order_value = quantity * unit
    before = long_value if long_value >= short_value else short_value
    if case.inputs.signal.side is BUY:
        case.more_buy, after, other = quantity, long_value + order_value, short_value
    else:
        case.more_sell, after, other = quantity, short_value + order_value, long_value
    after = after if after >= other else other
    case.long_value, case.short_value, case.order_value = long_value, short_value, order_value
    case.value_before, case.value_after = before, after
    gross = view.other_gross
    case.gross_before, case.gross_after = gross + before, gross + after
    if view.standing is not None:
        gross = view.standing.asset_gross
        case.asset_before, case.asset_after = gross + before, gross + after
    case.reduces = after <= before and case.closes


@lru_cache(maxsize=4096)
def _scopes(
    symbol: str, strategy_id: str, account_id: str, asset: str, asset_class: str
) -> tuple[str, str, str, str, str]:
    """The scopes of a case, in the order of its fields; remembered, as they come again."""
    return (
        f"symbol:{symbol}",
        f"strategy:{strategy_id}",
        f"account:{account_id}",
        f"asset:{asset}",
        f"asset_class:{asset_class}",
    )


def _engines_slippage(inputs: Inputs) -> Decimal | None:
    """The engine's bound, which holds where the strategy set none; 0 where it is not set.

    Where slippage is waived, the price band bounds it; None where that is waived too.
    """
    limit = inputs.limits.get(SLIPPAGE.name)
    if limit is not None and limit.number is None:
        limit = inputs.limits.get(PRICE_BAND.name)
    return limit.number if limit else ZERO


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a check that holds a number to a limit is made of: its name, the limit, its reason.

    may_shrink lets an order pass that does not make the number larger than it is, and one that
    reduces: the rule is there to stop risk from growing, not to keep it from shrinking. unit is
    empty for money, which is in the account's currency.
    """

    name: str
    spec: LimitSpec
    reason: Reason
    may_shrink: bool = False
    limit_name: str = field(init=False)
    unit: str = field(init=False)

    def __post_init__(self) -> None:
        """Take from the limit's spec what every signal asks for."""
        object.__setattr__(self, "limit_name", self.spec.name)
        unit = "" if self.spec.unit in IN_MONEY else self.spec.unit
        object.__setattr__(self, "unit", unit)


IN_MONEY = ("money", "equity")
"""Units of limits whose checks count in the account's currency."""


def at_most(
    ceiling: Ceiling, case: Case, scope: str, observed: Decimal | None, projected: Decimal
) -> Told:
    """Hold `projected` to a limit; at the limit is allowed.

    A limit that nobody set refuses: unset never means unlimited (FIA 2024, 1.1).
    """
    try:
        limit = case.limits[ceiling.limit_name]
    except KeyError:
        return not_set(ceiling.name, ceiling.limit_name, scope, ceiling.unit or case.currency)
    if projected <= limit.value or (
        ceiling.may_shrink and (case.reduces or (observed is not None and projected <= observed))
    ):
        return (
            ceiling.name,
            scope,
            ceiling.unit or case.currency,
            limit.source,
            limit.number,
            observed,
            projected,
        )
    unit = ceiling.unit or case.currency
    return CheckResult(
        ceiling.name,
        False,
        scope,
        unit,
        ceiling.reason,
        limit.value,
        observed,
        projected,
        limit.source,
        f"{ceiling.spec.meaning}: {text(projected)} {unit} is more than {ceiling.limit_name} "
        f"allows, {text(limit.value)} {unit} for {scope} ({limit.source})",
    )


def at_most_of_equity(
    ceiling: Ceiling, case: Case, scope: str, observed: Decimal, projected: Decimal
) -> Told:
    """Hold money to a multiple of equity; at the limit is allowed, and what shrinks passes.

    Where equity is not known or not positive, nothing else passes: 0 times anything is 0.
    """
    unit, capital, most = case.currency, case.capital, None
    try:
        limit = case.limits[ceiling.limit_name]
    except KeyError:
        return not_set(ceiling.name, ceiling.limit_name, scope, unit)
    number = limit.number
    if number is not None and capital is not None:
        most = number * capital
        if projected <= most:
            return ceiling.name, scope, unit, limit.source, most, observed, projected
    if number is None or case.reduces or projected <= observed:
        return ceiling.name, scope, unit, limit.source, most, observed, projected
    name, spec = ceiling.name, ceiling.spec
    result = CheckResult(name, False, scope, unit, None, most, observed, projected, limit.source)
    if capital is None or most is None:
        result.reason = Reason.EQUITY_UNKNOWN
        result.message = (
            f"{spec.meaning} is held to {spec.name}, and equity is not known or not positive"
        )
        return result
    result.reason = ceiling.reason
    result.message = (
        f"{spec.meaning}: {text(projected)} {unit} is more than {spec.name} allows, "
        f"{text(limit.value)} times {text(capital)} {unit} for {scope} ({limit.source})"
    )
    return result


def not_set(name: str, limit_name: str, scope: str, unit: str) -> CheckResult:
    """The refusal of a limit that nobody set."""
    return CheckResult(
        name,
        passed=False,
        scope=scope,
        unit=unit,
        reason=Reason.LIMIT_NOT_SET,
        message=f"the limit {limit_name} is not set for {scope}; an unset limit refuses",
    )
