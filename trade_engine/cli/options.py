"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

from trade_engine.client import Scope

DEFAULT_TARGET = "127.0.0.1:50051"

Target = Annotated[
    str,
    typer.Option(
        "--target",
        "-t",
        envvar="TRADE_ENGINE_TARGET",
        metavar="ADDRESS",
        help="Where the engine listens: HOST:PORT or unix:PATH.",
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print JSON lines under the contract's names, and nothing else."),
]
Account = Annotated[
    str, typer.Option("--account", "-a", metavar="ACCOUNT", help="The account; else the default.")
]
Strategy = Annotated[
    str, typer.Option("--strategy", "-s", metavar="STRATEGY", help="Only this strategy's.")
]
Symbol = Annotated[str, typer.Option("--symbol", metavar="SYMBOL", help="Only this symbol's.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why, in words: the journal keeps it.")]
Everything = Annotated[
    bool, typer.Option("--global", "--all", help="Every account, strategy and symbol.")
]
ScopeAccount = Annotated[
    str, typer.Option("--account", "-a", metavar="ACCOUNT", help="All of one account.")
]
ScopeStrategy = Annotated[
    str,
    typer.Option("--strategy", "-s", metavar="STRATEGY", help="One strategy, in every account."),
]
ScopeSymbol = Annotated[
    str, typer.Option("--symbol", metavar="SYMBOL", help="One symbol, in every account.")
]


def scope_of(*, everything: bool, account: str, strategy: str, symbol: str) -> Scope:
    """Make the scope that the options name.

    Raises:
        typer.BadParameter: they name none, or several.
    """
    if sum(map(bool, (everything, account, strategy, symbol))) != 1:
        raise typer.BadParameter(
            "name exactly one of --global, --account NAME, --strategy NAME, --symbol NAME"
        )
    if everything:
        scope = Scope()
        setattr(scope, "global", True)
        return scope
    if account:
        return Scope(account_id=account)
    return Scope(strategy_id=strategy) if strategy else Scope(symbol=symbol)
