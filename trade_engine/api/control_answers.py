"""What operators are told: halts, limits, differences, and how the engine stands."""

from __future__ import annotations

from typing import Any

from trade_engine.api.answers import timestamp
from trade_engine.domain.difference import Difference
from trade_engine.domain.limits import in_words
from trade_engine.domain.money import optional_text, text
from trade_engine.domain.trading_state import Scope, ScopeKind, ScopeState, TradingState
from trade_engine.execution.commands import (
    AccountStatus,
    BooksStatus,
    CancelAllResult,
    DayStatus,
    EngineStatus,
    FlattenResult,
    FxStatus,
    HaltResult,
    LimitsInForce,
    LimitsUpdated,
    ResumeResult,
)
from trade_engine.execution.raises import RaiseStatus
from trade_engine.v1 import control_service_pb2

_TRADING_STATE = {
    each: control_service_pb2.TradingState.Value(f"TRADING_STATE_{each.name}")
    for each in TradingState
}


def halt_message(result: HaltResult) -> control_service_pb2.HaltResponse:
    """Translate how a halt ended."""
    drained = control_service_pb2.HALT_RESULT_DRAINED
    return control_service_pb2.HaltResponse(
        result=drained if result.drained else control_service_pb2.HALT_RESULT_IN_DOUBT,
        in_doubt_order_ids=result.in_doubt_order_ids,
        canceled_order_ids=result.canceled_order_ids,
        account_sequences=_sequences(result.sequences),
    )


def cancel_all_message(result: CancelAllResult) -> control_service_pb2.CancelAllOrdersResponse:
    """The answer to CancelAllOrders."""
    return control_service_pb2.CancelAllOrdersResponse(
        canceled_order_ids=result.canceled_order_ids,
        in_doubt_order_ids=result.in_doubt_order_ids,
    )


def flatten_message(result: FlattenResult) -> control_service_pb2.FlattenPositionsResponse:
    """The answer to FlattenPositions."""
    return control_service_pb2.FlattenPositionsResponse(
        order_ids=[each.order.order_id for each in result.decisions if each.order is not None],
        canceled_order_ids=result.canceled_order_ids,
        refusals=[
            control_service_pb2.FlattenRefusal(
                account_id=each.signal.account_id,
                strategy_id=each.signal.strategy_id,
                symbol=each.signal.symbol,
                signal_id=each.signal.signal_id,
                message=each.message,
            )
            for each in result.decisions
            if each.order is None
        ],
    )


def resume_message(result: ResumeResult) -> control_service_pb2.ResumeResponse:
    """Translate what a resume came to."""
    return control_service_pb2.ResumeResponse(
        account_sequences=_sequences(result.sequences),
        remaining=[_scope_state(state) for state in result.remaining],
    )


def limits_message(limits: LimitsInForce) -> control_service_pb2.GetLimitsResponse:
    """Translate the limits in force."""
    change = limits.change
    return control_service_pb2.GetLimitsResponse(
        toml=limits.toml,
        instruments_toml=limits.instruments_toml,
        version=change.rulebook.version,
        etag=change.etag,
        operator=change.operator,
        reason=change.reason,
        change_time=timestamp(change.changed_at_ns),
        raises=[_raise(each) for each in limits.raises],
    )


def limits_updated_message(
    updated: LimitsUpdated, *, validate_only: bool
) -> control_service_pb2.UpdateLimitsResponse:
    """Translate what became of a change of the limits, or would."""
    return control_service_pb2.UpdateLimitsResponse(
        version=updated.change.rulebook.version,
        etag="" if validate_only else updated.change.etag,
        differences=[
            control_service_pb2.LimitDifference(
                path=each.path, before=each.before, after=each.after
            )
            for each in updated.differences
        ],
        breaches=[
            control_service_pb2.LimitBreach(
                account_id=each.account_id,
                scope=each.scope,
                limit_name=each.limit_name,
                source=each.source,
                limit=text(each.limit),
                observed=optional_text(each.observed),
                order_ids=each.order_ids,
            )
            for each in updated.breaches
        ],
        account_sequences=_sequences(updated.sequences),
    )


def status_message(status: EngineStatus) -> control_service_pb2.GetStatusResponse:
    """Translate how the engine stands."""
    return control_service_pb2.GetStatusResponse(
        version=status.version,
        replica_id=status.replica_id,
        accounts=[_account_status(each) for each in status.accounts],
        stores=control_service_pb2.StoreHealth(postgres=status.postgres, redis=status.redis),
    )


def difference_message(difference: Difference) -> control_service_pb2.Difference:
    """Translate a difference with a broker, or with the firm's books."""
    at_ns = difference.accepted_at_ns
    return control_service_pb2.Difference(
        difference_id=difference.difference_id,
        kind=difference.kind.value,
        ours=difference.ours,
        theirs=difference.theirs,
        message=difference.message,
        find_time=timestamp(difference.found_at_ns),
        accept_time=timestamp(at_ns) if at_ns else None,
        operator=difference.accepted_by,
        reason=difference.accepted_because,
    )


def _sequences(sequences: dict[str, int]) -> list[control_service_pb2.AccountSequence]:
    return [
        control_service_pb2.AccountSequence(account_id=account_id, sequence=sequences[account_id])
        for account_id in sorted(sequences)
    ]


def _scope(scope: Scope) -> control_service_pb2.Scope:
    match scope.kind:
        case ScopeKind.GLOBAL:
            everything: dict[str, Any] = {"global": True}  # a keyword: no argument by that name
            return control_service_pb2.Scope(**everything)
        case ScopeKind.ACCOUNT:
            return control_service_pb2.Scope(account_id=scope.scope_id)
        case ScopeKind.STRATEGY:
            return control_service_pb2.Scope(strategy_id=scope.scope_id)
        case ScopeKind.SYMBOL:
            return control_service_pb2.Scope(symbol=scope.scope_id)


def _scope_state(state: ScopeState) -> control_service_pb2.ScopeState:
    return control_service_pb2.ScopeState(
        scope=_scope(state.scope),
        state=_TRADING_STATE[state.state],
        reason=state.reason,
        operator=state.operator,
        set_time=timestamp(state.set_at_ns),
    )


def _account_status(status: AccountStatus) -> control_service_pb2.AccountStatus:
    return control_service_pb2.AccountStatus(
        account_id=status.account_id,
        trading_state=_TRADING_STATE[status.trading_state],
        scope_states=[_scope_state(state) for state in status.scope_states],
        sequence=status.sequence,
        redis_sequence=status.redis_sequence,
        gate_open=status.gate_open,
        gate_reason=status.gate_reason,
        open_orders=status.open_orders,
        in_doubt_orders=status.in_doubt_orders,
        queued_orders=status.queued_orders,
        cash=optional_text(status.cash),
        equity=optional_text(status.equity),
        realized_pnl=optional_text(status.realized_pnl),
        unrealized_pnl=optional_text(status.unrealized_pnl),
        gross_exposure=optional_text(status.gross_exposure),
        limits_version=status.limits_version,
        broker=status.broker,
        sender=status.sender,
        differences=[difference_message(each) for each in status.differences],
        day=_day(status.day) if status.day else None,
        books=_books(status.books) if status.books else None,
        active_raises=[_raise(each) for each in status.active_raises],
        currency=status.currency,
        fx_rates=[_fx_rate(each) for each in status.rates],
    )


def _raise(status: RaiseStatus) -> control_service_pb2.LimitRaise:
    raised = status.raised
    return control_service_pb2.LimitRaise(
        name=raised.name,
        limit_name=raised.limit_name,
        level=raised.level.value,
        level_id=raised.scope_id,
        limit=in_words(raised.value),
        regular_limit=in_words(status.regular),
        start_time=timestamp(raised.from_ns),
        end_time=timestamp(raised.until_ns),
        operator=raised.operator,
        reason=raised.reason,
        active=status.active,
    )


def _fx_rate(told: FxStatus) -> control_service_pb2.FxRate:
    return control_service_pb2.FxRate(
        currency=told.pair.base,
        rate=optional_text(told.reference),
        worst_rate=optional_text(told.worst),
        symbol=told.pair.symbol,
        quote_time=timestamp(told.quote.time_ns) if told.quote else None,
        fault=told.fault,
    )


def _day(day: DayStatus) -> control_service_pb2.AccountDay:
    return control_service_pb2.AccountDay(
        session=day.session,
        end_time=timestamp(day.ends_ns),
        start_equity=optional_text(day.start_equity),
        profit_and_loss=optional_text(day.profit_and_loss),
        peak_equity=optional_text(day.peak_equity),
        drawdown=optional_text(day.drawdown),
    )


def _books(books: BooksStatus) -> control_service_pb2.AccountBooks:
    return control_service_pb2.AccountBooks(
        fault=books.fault,
        as_of_time=timestamp(books.as_of_ns) if books.as_of_ns else None,
        differences=[difference_message(each) for each in books.differences],
    )
