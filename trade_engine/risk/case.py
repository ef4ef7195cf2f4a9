"""The case that the checks judge: the inputs, and what sizing made of them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trade_engine.domain.decision import CheckResult, Reason, Told
from trade_engine.domain.limits import SLIPPAGE, LimitSpec
from trade_engine.domain.money import ZERO, text
from trade_engine.domain.order import OrderPolicy
from trade_engine.domain.signal import Side
from trade_engine.risk.exposure import Held
from trade_engine.risk.sizing import Sized, size
from trade_engine.risk.view import Inputs


@dataclass(slots=True)
class Case:
    """One signal under judgment.

    The scopes are those that verdicts name. quote_fault is what makes the quote no price. sized is
    None when no price or equity is known to size by. more_buy and more_sell are what the order adds
    to what works on its side; both are 0 unless has_order. value_before and value_after are what
    the account may come to hold in the symbol at worst, in money, without the order and with it;
    unit_value is what one unit is worth. An order reduces if it closes for its strategy and lets
    nothing grow for the account: what is there to stop risk from growing lets it pass.
    """

    inputs: Inputs
    symbol_scope: str
    strategy_scope: str
    account_scope: str
    quote_fault: str | None = None
    sized: Sized | None = None
    has_order: bool = False
    more_buy: Decimal = ZERO
    more_sell: Decimal = ZERO
    value_before: Decimal = ZERO
    value_after: Decimal = ZERO
    unit_value: Decimal = ZERO
    reduces: bool = False

    @property
    def closes(self) -> bool:
        """Whether the order stays within the strategy's position less the closes pending."""
        view = self.inputs.view
        if self.more_buy:
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
    case = Case(
        inputs,
        f"symbol:{signal.symbol}",
        f"strategy:{signal.strategy_id}",
        f"account:{signal.account_id}",
    )
    reference = None
    if quote is not None:
        case.quote_fault = quote.fault()
        reference = quote.reference
    if instrument is None or reference is None or case.quote_fault is not None:
        return case
    waits = instrument.order_policy is OrderPolicy.LIMIT
    slippage = ZERO if waits else slippage_asked(inputs) or ZERO
    sized = size(signal, view, instrument, reference, slippage)
    if sized is None:
        return case
    case.sized = sized
    quantity = sized.sizing.order_quantity
    if quantity:
        case.has_order = True
        if signal.side is Side.BUY:
            case.more_buy = quantity
        else:
            case.more_sell = quantity
        held = Held(view.symbol_quantity, view.symbol_working_buy, view.symbol_working_sell)
        unit = case.unit_value = reference * instrument.multiplier
        case.value_before = held.worst_quantity() * unit
        case.value_after = held.worst_quantity(case.more_buy, case.more_sell) * unit
        case.reduces = not case.grows and case.closes
    return case


def slippage_asked(inputs: Inputs) -> Decimal | None:
    """The strategy's bound on slippage; where it set none, the engine's; None if neither."""
    if inputs.signal.max_slippage_bps is not None:
        return inputs.signal.max_slippage_bps
    limit = inputs.limits.get(SLIPPAGE.name)
    return limit.value if limit else None


def at_most(
    name: str,
    spec: LimitSpec,
    reason: Reason,
    case: Case,
    scope: str,
    observed: Decimal | None,
    projected: Decimal,
    may_shrink: bool = False,  # noqa: FBT001,FBT002  a keyword costs a call its short way
) -> Told:
    """Hold `projected` to a limit; at the limit is allowed.

    A limit that nobody set refuses: unset never means unlimited (FIA 2024, 1.1). may_shrink lets
    an order pass that does not make `projected` larger than `observed`, and one that reduces: the
    rule is there to stop risk from growing, not to keep it from shrinking.
    """
    limit = case.inputs.limits.get(spec.name)
    unit = case.inputs.currency if spec.unit == "money" else spec.unit
    if limit is None:
        return not_set(name, spec.name, scope, unit)
    if projected <= limit.value or (
        may_shrink and (case.reduces or (observed is not None and projected <= observed))
    ):
        return name, scope, unit, limit.source, limit.number, observed, projected
    return CheckResult(
        name,
        False,
        scope,
        unit,
        reason,
        limit.value,
        observed,
        projected,
        limit.source,
        f"{spec.meaning}: {text(projected)} {unit} is more than {spec.name} allows, "
        f"{text(limit.value)} {unit} for {scope} ({limit.source})",
    )


def at_most_of_equity(
    name: str,
    spec: LimitSpec,
    reason: Reason,
    case: Case,
    scope: str,
    observed: Decimal,
    projected: Decimal,
) -> Told:
    """Hold money to a multiple of equity; at the limit is allowed, and what shrinks passes.

    Where equity is not known or not positive, nothing else passes: 0 times anything is 0.
    """
    limit, unit = case.inputs.limits.get(spec.name), case.inputs.currency
    if limit is None:
        return not_set(name, spec.name, scope, unit)
    equity, most = case.inputs.view.equity, None
    passed = limit.number is None or case.reduces or projected <= observed
    if limit.number is not None and equity is not None and equity > 0:
        most = limit.value * equity
        passed = passed or projected <= most
    if passed:
        return name, scope, unit, limit.source, most, observed, projected
    result = CheckResult(name, False, scope, unit, None, most, observed, projected, limit.source)
    if equity is None or most is None:
        result.reason = Reason.EQUITY_UNKNOWN
        result.message = (
            f"{spec.meaning} is held to {spec.name}, and equity is not known or not positive"
        )
        return result
    result.reason = reason
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
