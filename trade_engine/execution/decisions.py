"""Step 5 of the path: a signal meets the state, and the decision joins the batch."""

from __future__ import annotations

from typing import Any

from trade_engine.domain.decision import Decision
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.limits import ACCOUNT_RATE, STRATEGY_RATE
from trade_engine.domain.market import Instrument, Quote
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import DeliveryState
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.signal import Side, Signal
from trade_engine.execution.batch import Batch
from trade_engine.execution.ports import DecisionRow, ThrottleVerdict, Verdicts
from trade_engine.execution.replacing import replaceable, request_replace
from trade_engine.risk.exposure import Elsewhere
from trade_engine.risk.fx import Exchange
from trade_engine.risk.pre_trade import decide
from trade_engine.risk.standing import Standing
from trade_engine.risk.view import Hours, Inputs, Throttle, View, Worth


def evaluate(batch: Batch, signal: Signal, verdicts: Verdicts) -> Decision:
    """The decision as it would be now; the batch stays as it is."""
    decision = decide(gather(batch, signal, verdicts))
    decision.order = decision.replacement = None
    return decision


def decide_signal(
    batch: Batch, signal: Signal, verdicts: Verdicts, *, closing: bool = False
) -> Decision:
    """Decide, journal the whole context, and let an approval change what the next signal sees.

    closing: an operator asks for it, and the order is for what is held and for no more. So what may
    still add to it is left out, and what strategies must mind is not held against it.
    """
    inputs = gather(batch, signal, verdicts)
    if closing:
        _let_close(inputs)
    decision = decide(inputs)
    decision.sequence = batch.next_sequence
    order = decision.order
    if order is not None:
        order.last_sequence = decision.sequence
        batch.keep_order(order.copy())  # the decision keeps the order as it was decided
        batch.exposure.work(order, order.leaves_qty)
        batch.count_approval(signal, order.order_qty)
    elif decision.replacement is not None and not decision.replacement.cancels:
        batch.count_approval(signal, decision.replacement.order_qty)
    batch.write(
        EntryKind.DECISION,
        {
            "decision": decision.to_json(),
            "context": context_json(batch, inputs) | ({"closing": True} if inputs.closing else {}),
        },
    )
    batch.keep_decision(
        DecisionRow(
            signal_id=signal.signal_id,
            sequence=decision.sequence,
            strategy_id=signal.strategy_id,
            symbol=signal.symbol,
            outcome=decision.outcome,
            order_id=order.order_id if order is not None else "",
        )
    )
    if decision.replacement is not None:
        request_replace(batch, decision.replacement, signal.signal_id)
    return decision


def gather(batch: Batch, signal: Signal, verdicts: Verdicts) -> Inputs:
    """Collect all that the decision depends on."""
    rulebook, account_id = batch.rulebook, signal.account_id
    own = batch.exposure.own(signal.strategy_id, signal.symbol)
    total = batch.exposure.of_symbol(signal.symbol)
    elsewhere = batch.exposure.elsewhere(signal.symbol, batch.unit_value, rulebook.instruments)
    instrument = rulebook.instruments.get(signal.symbol)
    asset_class = instrument.asset_class if instrument else ""
    view = View(
        sequence=batch.state.sequence,
        trading=batch.trading(account_id, signal.strategy_id, signal.symbol),
        quantity=own.quantity,
        working_buy=own.working_buy,
        working_sell=own.working_sell,
        symbol_quantity=total.quantity,
        symbol_working_buy=total.working_buy,
        symbol_working_sell=total.working_sell,
        other_gross=elsewhere.gross,
        equity=batch.equity(),
        missing_marks=elsewhere.missing,
        worth=_worth(batch),
        standing=_standing(batch, signal, elsewhere, instrument),
    )
    return Inputs(
        signal=signal,
        now_ns=batch.now_ns,
        view=view,
        instrument=instrument,
        quote=batch.quotes.get(signal.symbol),
        limits=rulebook.limits.in_force(
            batch.now_ns, account_id, signal.strategy_id, signal.symbol, asset_class
        ),
        limits_version=rulebook.version,
        throttle=_throttle(rulebook, batch.now_ns, signal, STRATEGY_RATE, verdicts.strategy),
        currency=batch.state.currency,
        broker=rulebook.accounts[account_id].broker_for(signal.symbol, asset_class),
        delivery=batch.delivery,
        hours=batch.hours(signal.symbol),
        books_fault=batch.books_fault,
        earlier=batch.earlier_quotes.get(signal.symbol),
        account_throttle=_throttle(rulebook, batch.now_ns, signal, ACCOUNT_RATE, verdicts.account),
        strategy=rulebook.strategies.get(signal.strategy_id),
        strategies_listed=bool(rulebook.strategies),
        exchange=batch.exchanges.of(signal.symbol) if rulebook.fx else None,
    )


def _let_close(inputs: Inputs) -> None:
    """Leave out of the inputs what does not concern an operator who closes a position."""
    view = inputs.view
    if inputs.signal.side is Side.SELL:
        view.working_buy = ZERO
    else:
        view.working_sell = ZERO
    inputs.closing, inputs.strategies_listed = True, False
    if view.standing is not None:
        view.standing.opposite_order_id = ""
        view.standing.replaceable = None
        view.standing.approvals = []
        view.standing.forgotten_ns = 0
        view.standing.executions = 0


def _standing(
    batch: Batch, signal: Signal, elsewhere: Elsewhere, instrument: Instrument | None
) -> Standing:
    state = batch.state
    activity = state.activity
    return Standing(
        cash=state.cash,
        net_long=elsewhere.net_long,
        net_short=elsewhere.net_short,
        funds=elsewhere.funds,
        working=elsewhere.working,
        asset_gross=elsewhere.asset_gross,
        class_gross=elsewhere.class_gross,
        traded=state.day.traded,
        open_orders=len(state.orders),
        executions=activity.executions.get(signal.strategy_id, 0),
        opposite_order_id=_opposite(batch, signal),
        approvals=activity.approvals(signal.strategy_id, signal.symbol),
        replaceable=replaceable(batch, signal, instrument),
        forgotten_ns=activity.forgotten_ns,
    )


def _opposite(batch: Batch, signal: Signal) -> str:
    """A working order of the strategy in the symbol on the other side; the oldest one."""
    own = batch.exposure.own(signal.strategy_id, signal.symbol)
    if not (own.working_sell if signal.side is Side.BUY else own.working_buy):
        return ""
    found = [
        order
        for order in batch.state.orders.values()
        if order.strategy_id == signal.strategy_id
        and order.symbol == signal.symbol
        and order.side is not signal.side
    ]
    return min(found, key=lambda order: (order.created_at_ns, order.order_id)).order_id


def _throttle(
    rulebook: Rulebook, now_ns: int, signal: Signal, name: str, verdict: ThrottleVerdict | None
) -> Throttle:
    return Throttle(
        rate=rulebook.limits.rate(now_ns, signal.account_id, signal.strategy_id, name),
        allowed=verdict is not None and verdict.allowed,
        remaining=verdict.remaining if verdict else 0,
        retry_after_ns=verdict.retry_after_ns if verdict else 0,
    )


def _worth(batch: Batch) -> Worth:
    """A day that is over and did not roll (its calendar has ended) has no known start."""
    day = batch.state.day
    return Worth(day.start_equity if batch.now_ns < day.ends_ns else None, day.peak_equity)


def context_json(batch: Batch, inputs: Inputs) -> dict[str, Any]:
    """What the decision was made from, beside the signal and the rulebook of its version.

    marks are the quotes that valued what else is held: whoever audits can value it again.
    """
    symbol = inputs.signal.symbol
    context = {
        "now_ns": inputs.now_ns,
        "view": inputs.view.to_json(),
        "quote": inputs.quote.to_json() if inputs.quote else None,
        "marks": {
            other: batch.quotes[other].to_json()
            for other in batch.rulebook.with_fx(batch.exposure.symbols(), inputs.currency)
            if other != symbol and other in batch.quotes
        },
        "throttle": _throttle_json(inputs.throttle),
        "account_throttle": _throttle_json(inputs.account_throttle),
        "earlier": inputs.earlier.to_json() if inputs.earlier else None,
        "currency": inputs.currency,
        "broker": inputs.broker,
        "delivery": inputs.delivery.value,
        "hours": inputs.hours.to_json() if inputs.hours else None,
        "books_fault": inputs.books_fault,
    }
    if inputs.exchange is not None:
        context["exchange"] = inputs.exchange.to_json()
    return context


def decide_again(payload: dict[str, Any], sequence: int, rulebook: Rulebook) -> Decision:
    """Make a recorded decision once more, from its journal entry and the rulebook of its day."""
    signal = Signal.from_json(payload["decision"]["signal"])
    decision = decide(inputs_from_context(signal, payload["context"], rulebook))
    decision.sequence = sequence
    if decision.order is not None:
        decision.order.last_sequence = sequence
    return decision


def inputs_from_context(signal: Signal, context: dict[str, Any], rulebook: Rulebook) -> Inputs:
    """Lay out again, from the journal alone, what a recorded decision was made from."""
    instrument = rulebook.instruments.get(signal.symbol)
    asset_class = instrument.asset_class if instrument else ""
    now_ns = int(context["now_ns"])
    return Inputs(
        signal=signal,
        now_ns=now_ns,
        view=View.from_json(context["view"]),
        instrument=instrument,
        quote=Quote.from_json(context["quote"]) if context["quote"] else None,
        limits=rulebook.limits.in_force(
            now_ns, signal.account_id, signal.strategy_id, signal.symbol, asset_class
        ),
        limits_version=rulebook.version,
        throttle=_throttle(
            rulebook, now_ns, signal, STRATEGY_RATE, _verdict_from_json(context["throttle"])
        ),
        currency=context["currency"],
        broker=context["broker"],
        delivery=DeliveryState(context["delivery"]),
        hours=Hours.from_json(context["hours"]) if context.get("hours") else None,
        books_fault=context.get("books_fault"),
        earlier=Quote.from_json(context["earlier"]) if context.get("earlier") else None,
        account_throttle=_throttle(
            rulebook, now_ns, signal, ACCOUNT_RATE, _verdict_from_json(context["account_throttle"])
        )
        if "account_throttle" in context
        else None,
        strategy=rulebook.strategies.get(signal.strategy_id),
        strategies_listed=bool(rulebook.strategies) and not context.get("closing"),
        closing=context.get("closing", False),
        exchange=_exchange_of(signal, context, rulebook) if "exchange" in context else None,
    )


def _exchange_of(signal: Signal, context: dict[str, Any], rulebook: Rulebook) -> Exchange | None:
    pair = rulebook.fx_pair(signal.symbol, context["currency"])
    return Exchange.from_json(pair, context["exchange"]) if pair else None


def _throttle_json(throttle: Throttle | None) -> dict[str, Any] | None:
    if throttle is None:
        return None
    return {
        "allowed": throttle.allowed,
        "remaining": throttle.remaining,
        "retry_after_ns": throttle.retry_after_ns,
    }


def _verdict_from_json(doc: dict[str, Any]) -> ThrottleVerdict:
    return ThrottleVerdict(doc["allowed"], 0, int(doc["remaining"]), int(doc["retry_after_ns"]))
