"""The case that the checks judge: the inputs, and what sizing made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache

from trade_engine.domain.decision import CheckResult, Reason, Told
from trade_engine.domain.limits import SLIPPAGE, Limit, LimitSpec
from trade_engine.domain.money import ZERO, text
from trade_engine.domain.order import OrderPolicy
from trade_engine.domain.signal import Side
from trade_engine.risk.fx import NoRate
from trade_engine.risk.sizing import Sized, size
from trade_engine.risk.standing import Standing
from trade_engine.risk.view import Inputs, View

BUY, WAITS = Side.BUY, OrderPolicy.LIMIT
"""Looked up once: to name a member by its class takes longer than to compare two numbers."""


@dataclass(slots=True)
class Case:
    """One signal under judgment.

    view, standing, limits and currency are those of the inputs, at hand. The scopes are those that
    verdicts name. slippage is what is asked for, quote_fault what makes the quote no price. sized
    is None when no price or equity is known to size by. more_buy and more_sell are what the order
    adds to what works on its side; both are 0 unless has_order, and so is all that follows.
    unit_value is what one unit is worth. long_value is what the account holds in the symbol if
    every working buy fills and no sell does, short_value the same with its sign turned if every
    working sell fills, order_value what the order adds to one of them, in money. value_before and
    value_after are the worst that the account may come to hold there, without the order and with
    it. An order reduces if it closes for its strategy and lets nothing grow for the account: what
    is there to stop risk from growing lets it pass.
    """

    inputs: Inputs
    view: View
    standing: Standing | None
    limits: dict[str, Limit]
    currency: str
    symbol_scope: str
    strategy_scope: str
    account_scope: str
    asset_scope: str
    asset_class_scope: str
    slippage: Decimal
    quote_fault: str | None = None
    sized: Sized | None = None
    has_order: bool = False
    more_buy: Decimal = ZERO
    more_sell: Decimal = ZERO
    unit_value: Decimal = ZERO
    long_value: Decimal = ZERO
    short_value: Decimal = ZERO
    order_value: Decimal = ZERO
    value_before: Decimal = ZERO
    value_after: Decimal = ZERO
    reduces: bool = False

    @property
    def closes(self) -> bool:
        """Whether the order stays within the strategy's position less the closes pending."""
        view = self.view
        if self.inputs.signal.side is BUY:
            return self.more_buy <= -view.quantity - view.working_buy
        return self.more_sell <= view.quantity - view.working_sell

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
    case = Case(
        inputs,
        view,
        view.standing,
        inputs.limits,
        inputs.currency,
        of_symbol,
        of_strategy,
        of_account,
        of_asset,
        of_class,
        _slippage_asked(inputs),
    )
    reference = None
    if quote is not None:
        case.quote_fault = quote.fault()
        reference = quote.reference
    if instrument is None or reference is None or case.quote_fault is not None:
        return case
    multiplier, fx_rate = instrument.multiplier, None
    if inputs.exchange is not None:
        rate = inputs.exchange.rate(inputs.now_ns)
        if isinstance(rate, NoRate):
            return case
        fx_rate = rate.worst
        multiplier *= fx_rate
    slippage = ZERO if instrument.order_policy is WAITS else case.slippage
    sized = size(signal, view, instrument, reference, slippage, multiplier)
    if sized is None:
        return case
    case.sized = sized
    if fx_rate is not None:
        sized.sizing.currency, sized.sizing.fx_rate = instrument.currency, fx_rate
    quantity = sized.sizing.order_quantity
    if quantity:
        if sized.replaces is not None:  # until the broker answers, it may work on either terms
            quantity = max(quantity - sized.replaces.leaves_qty, ZERO)
        _weigh(case, quantity, reference * multiplier)
    return case


def _weigh(case: Case, quantity: Decimal, unit: Decimal) -> None:
    """Work out what the order may do to the worst case; once, for all checks."""
    view = case.view
    held = view.symbol_quantity
    long_value = (held + view.symbol_working_buy) * unit
    short_value = (view.symbol_working_sell - held) * unit
    order_value = quantity * unit
    before = long_value if long_value >= short_value else short_value
    if case.inputs.signal.side is BUY:
        case.more_buy, after, other = quantity, long_value + order_value, short_value
    else:
        case.more_sell, after, other = quantity, short_value + order_value, long_value
    case.has_order = True
    case.unit_value = unit
    case.long_value, case.short_value, case.order_value = long_value, short_value, order_value
    case.value_before, case.value_after = before, after if after >= other else other
    case.reduces = case.value_after <= before and case.closes


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


def _slippage_asked(inputs: Inputs) -> Decimal:
    """The strategy's bound on slippage; where it set none, the engine's; 0 if neither."""
    asked = inputs.signal.max_slippage_bps
    if asked is not None:
        return asked
    limit = inputs.limits.get(SLIPPAGE.name)
    return limit.value if limit else ZERO


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
    unit = ceiling.unit or case.currency
    try:
        limit = case.limits[ceiling.limit_name]
    except KeyError:
        return not_set(ceiling.name, ceiling.limit_name, scope, unit)
    if projected <= limit.value or (
        ceiling.may_shrink and (case.reduces or (observed is not None and projected <= observed))
    ):
        return ceiling.name, scope, unit, limit.source, limit.number, observed, projected
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
    unit, equity, most = case.currency, case.view.equity, None
    try:
        limit = case.limits[ceiling.limit_name]
    except KeyError:
        return not_set(ceiling.name, ceiling.limit_name, scope, unit)
    number = limit.number
    if number is not None and equity is not None and equity > ZERO:
        most = number * equity
        if projected <= most:
            return ceiling.name, scope, unit, limit.source, most, observed, projected
    if number is None or case.reduces or projected <= observed:
        return ceiling.name, scope, unit, limit.source, most, observed, projected
    name, spec = ceiling.name, ceiling.spec
    result = CheckResult(name, False, scope, unit, None, most, observed, projected, limit.source)
    if equity is None or most is None:
        result.reason = Reason.EQUITY_UNKNOWN
        result.message = (
            f"{spec.meaning} is held to {spec.name}, and equity is not known or not positive"
        )
        return result
    result.reason = ceiling.reason
    result.message = (
        f"{spec.meaning}: {text(projected)} {unit} is more than {spec.name} allows, "
        f"{text(limit.value)} times {text(equity)} {unit} for {scope} ({limit.source})"
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
