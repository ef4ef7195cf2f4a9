"""Closing positions, within a batch: one order for each, decided like a signal's."""

from __future__ import annotations

import hashlib

from trade_engine.domain.account import AccountState
from trade_engine.domain.decision import Decision
from trade_engine.domain.money import ONE, ZERO
from trade_engine.domain.signal import Side, Signal, TimeHorizon
from trade_engine.domain.trading_state import TradingState
from trade_engine.execution.batch import Batch
from trade_engine.execution.commands import ClearCommand, ScopeHalted
from trade_engine.execution.decisions import decide_signal
from trade_engine.execution.order_changes import request_cancel
from trade_engine.execution.ports import ThrottleVerdict, Verdicts
from trade_engine.execution.requests import StateChange

_ALLOWED = ThrottleVerdict(allowed=True, limit=0, remaining=0, retry_after_ns=0)
UNTHROTTLED = Verdicts(_ALLOWED, _ALLOWED)
"""An operator's closing order does not wait for what a strategy has sent."""


def cancel_scope(batch: Batch, command: ClearCommand, *, to_flatten: bool) -> StateChange:
    """Ask for the cancel of every open order in the scope; its trading state stays as it is.

    Raises:
        ScopeHalted: it is a position's to be flattened, and that is halted; nothing is done.
    """
    if to_flatten:
        _check_not_halted(batch, command)
    change = StateChange(batch.state.sequence)
    for order in list(batch.state.orders.values()):
        if not command.scope.covers(order.account_id, order.strategy_id, order.symbol):
            continue
        unclear = order.is_unclear
        if not order.cancel_requested:
            request_cancel(batch, order, command.request_id, command.reason, command.operator)
            (change.canceling if order.is_open else change.canceled).append(order.order_id)
        if unclear:
            change.in_flight.append(order.order_id)
    return change


def flatten(batch: Batch, command: ClearCommand, earlier: dict[str, Decision]) -> list[Decision]:
    """Decide on a closing order for each position in the scope.

    earlier are the decisions that this very request has led to before, by signal_id: they stand.

    Raises:
        ScopeHalted: something to be closed is halted; nothing was decided.
    """
    _check_not_halted(batch, command)
    decisions = []
    for signal in closing_signals(batch.state, command):
        known = earlier.get(signal.signal_id)
        position = batch.state.positions[signal.strategy_id, signal.symbol]
        if known is not None:
            decisions.append(known)
        elif position.quantity:
            decisions.append(decide_signal(batch, signal, UNTHROTTLED, closing=True))
    return decisions


def closing_signals(state: AccountState, command: ClearCommand) -> list[Signal]:
    """The wish to hold nothing, for each position in the scope that there ever was."""
    return [
        Signal(
            signal_id=_signal_id(command, strategy_id, symbol),
            account_id=state.account_id,
            strategy_id=strategy_id,
            symbol=symbol,
            side=Side.BUY if position.quantity < 0 else Side.SELL,
            confidence=ONE,
            target_exposure=ZERO,
            time_horizon=TimeHorizon.INTRADAY,
        )
        for (strategy_id, symbol), position in sorted(state.positions.items())
        if command.scope.covers(state.account_id, strategy_id, symbol)
    ]


def _signal_id(command: ClearCommand, strategy_id: str, symbol: str) -> str:
    """Derived from the request, so that its repetition orders nothing a second time."""
    words = f"{command.operator}\x00{command.request_id}\x00{strategy_id}\x00{symbol}"
    return f"flatten-{hashlib.sha256(words.encode()).hexdigest()[:32]}"


def _check_not_halted(batch: Batch, command: ClearCommand) -> None:
    account_id = batch.state.account_id
    for (strategy_id, symbol), position in batch.state.positions.items():
        if not position.quantity or not command.scope.covers(account_id, strategy_id, symbol):
            continue
        trading = batch.trading(account_id, strategy_id, symbol)
        if trading is not None and trading.state is TradingState.HALTED:
            raise ScopeHalted(str(trading.scope), trading.reason)
