"""`resume` and `status`: let go again, and look."""

from __future__ import annotations

from typing import Annotated

import typer

from trade_engine.cli.connecting import engine_at
from trade_engine.cli.options import (
    DEFAULT_TARGET,
    Everything,
    Json,
    Reason,
    ScopeAccount,
    ScopeStrategy,
    ScopeSymbol,
    Target,
    scope_of,
)
from trade_engine.cli.output import clock, complain, print_json, say, scope_name, table, word
from trade_engine.cli.raises import say_active_raises
from trade_engine.client import AccountStatus, GetStatusResponse, TradingState


def resume(
    reason: Reason,
    everything: Everything = False,
    account: ScopeAccount = "",
    strategy: ScopeStrategy = "",
    symbol: ScopeSymbol = "",
    override: Annotated[
        bool, typer.Option("--override", help="Although the cause of the halt stands.")
    ] = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Take back the halt of exactly this scope. Orders that it canceled do not come back."""
    scope = scope_of(everything=everything, account=account, strategy=strategy, symbol=symbol)
    with engine_at(target) as engine:
        done = engine.resume(scope, reason, override=override)
    if as_json:
        print_json(done)
        return
    say(f"Resumed {scope_name(scope)}.", "green")
    for each in done.remaining:
        state = word(TradingState, each.state, "TRADING_STATE_")
        complain(f"{scope_name(each.scope)} is still {state}: {each.reason}")


def status(
    account: Annotated[
        str, typer.Option("--account", "-a", metavar="ACCOUNT", help="Only this account.")
    ] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Tell how the engine, its stores and its accounts stand."""
    with engine_at(target) as engine:
        told = engine.status(account)
    if as_json:
        print_json(told)
    else:
        _say_status(told)


def _say_status(told: GetStatusResponse) -> None:
    stores = told.stores
    say(f"Trade Engine {told.version}, replica {told.replica_id}")
    say(f"PostgreSQL: {stores.postgres}. Redis: {stores.redis}.")
    table(
        ["account", "trading", "gate", "equity", "cash", "realized", "open pnl", "gross", "orders"],
        map(_account_row, told.accounts),
        "No accounts.",
    )
    if any(each.HasField("day") for each in told.accounts):
        table(
            ["account", "day", "start equity", "day pnl", "peak equity", "drawdown"],
            [_day_row(each) for each in told.accounts if each.HasField("day")],
            "",
        )
    for account in told.accounts:
        _say_rates(account)
        _say_books(account)
        say_active_raises(account)
    halts = {
        (scope_name(each.scope), each.state): each
        for account in told.accounts
        for each in account.scope_states
    }
    for (name, state), each in sorted(halts.items()):
        say(
            f"{name} is {word(TradingState, state, 'TRADING_STATE_')} since "
            f"{clock(each.set_time)} UTC, by {each.operator or '?'}: {each.reason}",
            "red",
        )


def _day_row(account: AccountStatus) -> list[str]:
    day = account.day
    money = (day.start_equity, day.profit_and_loss, day.peak_equity, day.drawdown)
    return [account.account_id, day.session, *(each or "unknown" for each in money)]


def _say_rates(account: AccountStatus) -> None:
    for each in account.fx_rates:
        if each.fault:
            say(f"{account.account_id}: no rate of {each.currency}: {each.fault}", "red")
        else:
            rates = f"{each.rate} {account.currency}, at worst {each.worst_rate}"
            say(f"{account.account_id}: 1 {each.currency} is {rates} (by {each.symbol})")


def _say_books(account: AccountStatus) -> None:
    books = account.books
    if books.fault:
        say(f"{account.account_id}: the firm's books cannot be relied on: {books.fault}", "red")
    for each in books.differences:
        since = clock(each.find_time)
        say(f"{account.account_id}: since {since} UTC {each.message}", "yellow")


def _account_row(each: AccountStatus) -> list[str]:
    waiting = f"{each.open_orders} open"
    if each.queued_orders:
        waiting += f", {each.queued_orders} queued"
    if each.in_doubt_orders:
        waiting += f", {each.in_doubt_orders} in doubt"
    return [
        each.account_id,
        word(TradingState, each.trading_state, "TRADING_STATE_"),
        "open" if each.gate_open else f"closed: {each.gate_reason}",
        each.equity,
        each.cash,
        each.realized_pnl,
        each.unrealized_pnl,
        each.gross_exposure,
        waiting,
    ]
