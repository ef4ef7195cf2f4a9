"""`orders`, `cancel`, `watch`, `positions`: what became of the decisions."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from trade_engine.cli.connecting import engine_at
from trade_engine.cli.options import (
    DEFAULT_TARGET,
    Account,
    Everything,
    Json,
    Limit,
    Reason,
    ScopeAccount,
    ScopeStrategy,
    ScopeSymbol,
    Strategy,
    Symbol,
    Target,
    scope_of,
)
from trade_engine.cli.output import clock, complain, print_json, say, scope_name, table, word
from trade_engine.client import (
    DeliveryState,
    Event,
    Order,
    OrderSide,
    OrderSnapshot,
    OrderUpdate,
    OrdStatus,
    Scope,
    SnapshotEnd,
    UpdateKind,
    to_json,
)

_COLUMNS = ["order", "created", "strategy", "symbol", "side", "qty", "limit", "status", "delivery"]
NOT_CLOSED = 1
_FILLS = ["filled", "avg px", "broker", "text"]


def orders(
    order_id: Annotated[str, typer.Argument(help="Show this order.")] = "",
    open_only: Annotated[bool, typer.Option("--open", help="Only those that may fill.")] = False,
    strategy: Strategy = "",
    symbol: Symbol = "",
    limit: Limit = 50,
    target: Target = DEFAULT_TARGET,
    account: Account = "",
    as_json: Json = False,
) -> None:
    """List orders, newest first; or show one."""
    with engine_at(target, account) as engine:
        if order_id:
            listed = iter([engine.get_order(order_id)])
        else:
            listed = islice(
                engine.list_orders(
                    strategy_id=strategy,
                    symbol=symbol,
                    open_only=open_only,
                    page_size=min(limit, 200),
                ),
                limit,
            )
        if as_json:
            for order in listed:
                print_json(order)
        else:
            table([*_COLUMNS, *_FILLS], map(_row, listed), "No orders.")


def cancel(
    order_id: Annotated[str, typer.Argument(help="The order; or name a scope instead.")] = "",
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why: the journal keeps it.")] = "",
    everything: Everything = False,
    strategy: ScopeStrategy = "",
    symbol: ScopeSymbol = "",
    target: Target = DEFAULT_TARGET,
    account: Annotated[
        str,
        typer.Option("--account", "-a", metavar="ACCOUNT", help="Of the order, or all of one."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Ask for an order to be canceled, or every open order of a scope.

    Until its broker has answered an order may still fill. For no order to follow, halt first.
    """
    if not order_id:
        scope = scope_of(everything=everything, account=account, strategy=strategy, symbol=symbol)
        _cancel_all(scope, reason, target, as_json=as_json)
        return
    if everything or strategy or symbol:
        raise typer.BadParameter("name an order or a scope, not both")
    with engine_at(target, account) as engine:
        order = engine.cancel_order(order_id, reason=reason)
    if as_json:
        print_json(order)
    else:
        say(f"Order {order.order_id} is {_status(order)}, {order.cum_qty} filled.")


def _cancel_all(scope: Scope, reason: str, target: str, *, as_json: bool) -> None:
    with engine_at(target) as engine:
        done = engine.cancel_all_orders(scope, reason)
    if as_json:
        print_json(done)
        return
    count = len(done.canceled_order_ids)
    say(f"{count} orders of {scope_name(scope)} are canceled, or asked to be.")
    for order_id in done.canceled_order_ids:
        doubt = " (on its way; canceled once its broker has it)"
        say(f"  {order_id}{doubt if order_id in done.in_doubt_order_ids else ''}")


def flatten(
    reason: Reason,
    everything: Everything = False,
    account: ScopeAccount = "",
    strategy: ScopeStrategy = "",
    symbol: ScopeSymbol = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> int:
    """Close every position of a scope: cancel its orders, then order what brings each to 0.

    It works while trading is ACTIVE or REDUCE_ONLY, not while it is HALTED. Positions that the
    checks let nobody close are named, and give exit code 1.
    """
    scope = scope_of(everything=everything, account=account, strategy=strategy, symbol=symbol)
    with engine_at(target) as engine:
        done = engine.flatten_positions(scope, reason)
    if as_json:
        print_json(done)
    else:
        say(f"{len(done.order_ids)} positions of {scope_name(scope)} are being closed.", "green")
        for order_id in done.order_ids:
            say(f"  {order_id}")
        for each in done.refusals:
            complain(f"{each.account_id} {each.strategy_id} {each.symbol} stays: {each.message}")
    return NOT_CLOSED if done.refusals else 0


def watch(
    after_sequence: Annotated[
        int | None,
        typer.Option(min=0, help="Every update after this sequence; else a snapshot comes first."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after this many updates.")] = None,
    strategy: Strategy = "",
    symbol: Symbol = "",
    target: Target = DEFAULT_TARGET,
    account: Account = "",
    as_json: Json = False,
) -> None:
    """Follow orders as they change, until Ctrl-C. A lost connection is resumed by itself."""
    seen = 0
    with engine_at(target, account) as engine:
        events = engine.watch(strategy_id=strategy, symbol=symbol, after_sequence=after_sequence)
        for event in events:
            if as_json:
                print_json(_event_json(event))
            else:
                say(_event_line(event))
            seen += isinstance(event, OrderUpdate)
            if count is not None and seen >= count:
                return


def positions(
    strategy: Strategy = "",
    symbol: Symbol = "",
    target: Target = DEFAULT_TARGET,
    account: Account = "",
    as_json: Json = False,
) -> None:
    """List positions, by strategy and symbol, at average cost."""
    with engine_at(target, account) as engine:
        listed = engine.positions(strategy_id=strategy, symbol=symbol)
        if as_json:
            for position in listed:
                print_json(position)
            return
        table(
            [
                "strategy",
                "symbol",
                "qty",
                "avg px",
                "mark",
                "in",
                "value",
                "realized",
                "open",
                "fees",
            ],
            (
                [
                    each.strategy_id,
                    each.symbol,
                    each.quantity,
                    each.avg_px,
                    each.mark_price,
                    f"{each.currency} at {each.fx_rate}" if each.fx_rate else each.currency,
                    each.market_value,
                    each.realized_pnl,
                    each.unrealized_pnl,
                    each.fees,
                ]
                for each in listed
            ),
            "No positions.",
        )


def _row(order: Order) -> list[str]:
    return [
        order.order_id,
        clock(order.create_time),
        order.strategy_id,
        order.symbol,
        word(OrderSide, order.side, "ORDER_SIDE_"),
        order.order_qty,
        order.limit_price,
        _status(order),
        word(DeliveryState, order.delivery_state, "DELIVERY_STATE_"),
        order.cum_qty,
        order.avg_px,
        order.broker,
        order.text,
    ]


def _status(order: Order) -> str:
    return word(OrdStatus, order.ord_status, "ORD_STATUS_")


def _event_json(event: Event) -> dict[str, object]:
    match event:
        case OrderSnapshot():
            return {"snapshot": to_json(event)}
        case SnapshotEnd():
            return {"snapshot_end": to_json(event)}
        case OrderUpdate():
            return {"update": to_json(event)}


def _event_line(event: Event) -> str:
    match event:
        case OrderSnapshot():
            return f"open    {_line(event.order)}"
        case SnapshotEnd():
            return f"------- {event.count} open as of sequence {event.sequence}; now live"
        case OrderUpdate():
            kind = word(UpdateKind, event.kind, "UPDATE_KIND_").lower()
            report = event.execution_report
            fill = f", {report.last_qty} at {report.last_px}" if report.last_qty else ""
            time = clock(event.event_time)[11:]
            return f"{event.sequence:<7} {time} {kind:<16} {_line(event.order)}{fill}"


def _line(order: Order) -> str:
    side = word(OrderSide, order.side, "ORDER_SIDE_")
    return (
        f"{order.order_id} {order.strategy_id} {side} {order.order_qty} {order.symbol} "
        f"{_status(order)} {order.cum_qty} filled"
    )
