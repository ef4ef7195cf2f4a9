"""The commands in one place, and how they end: exit codes and one-line errors."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.markup import escape

from trade_engine import __version__, grpc_core  # noqa: F401  before grpc
from trade_engine.cli import (
    audit,
    control,
    demo,
    differences,
    fix,
    halt,
    limits,
    orders,
    quotes,
    server,
    signals,
)
from trade_engine.cli.connecting import NO_ANSWER
from trade_engine.cli.output import complain
from trade_engine.client import TradeEngineError
from trade_engine.domain.errors import EngineError, StoreUnavailable
from trade_engine.logs import configure_logs

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3

EXIT_CODES = (
    "Exit codes: 0 done; 1 refused: a signal rejected, a halt in doubt, an audit failed, limits "
    "that differ; 2 wrong usage or configuration; 3 the engine or its database does not answer."
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=escape(EXIT_CODES),
)
quotes_app = typer.Typer(no_args_is_help=True, help="Look at quotes, or publish them.")
fix_app = typer.Typer(no_args_is_help=True, help="Look at a FIX session's file, or reset it.")
limits_app = typer.Typer(
    no_args_is_help=True, help="Look at the limits, check a file, change them."
)
audit_app = typer.Typer(no_args_is_help=True, help="Prove that the record holds.")


def _show_version(wanted: bool) -> None:  # noqa: FBT001  typer's signature
    if wanted:
        typer.echo(f"trade-engine {__version__}")
        raise typer.Exit


@app.callback()
def _trade_engine(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say which this is."),
    ] = False,
) -> None:
    """Trade Engine: the final gate between trading signals and real capital."""


def _add(to: typer.Typer, name: str, command: Callable[..., Any], *examples: str) -> None:
    @functools.wraps(command)
    def run(**options: Any) -> None:
        raise typer.Exit(command(**options) or 0)

    lines = ["[bold]Examples[/]", *(f"  trade-engine {escape(each)}" for each in examples)]
    to.command(name, help=_paragraphs(command), epilog="\n\n".join(lines))(run)


def _paragraphs(command: Callable[..., Any]) -> str:
    """The docstring, each paragraph in one line, for the terminal to break where it will."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return escape("\n\n".join(" ".join(each.split()) for each in paragraphs))


_add(
    app,
    "serve",
    server.serve,
    "serve",
    "serve --listen 127.0.0.1:50052 --data-dir ./data",
    "serve --database-url postgresql://te@db/te --redis-url redis://cache:6379/0",
    "serve --limits limits.toml --instruments instruments.toml",
    "serve --limits limits.toml --brokers brokers.toml",
    "serve --limits limits.toml --apply-limits",
)
_add(app, "demo", demo.demo, "demo", "demo --days 250", "demo --json")
_add(
    app,
    "submit",
    signals.submit,
    "submit examples/signal.json",
    "submit - < signals.jsonl",
    "submit --json signals.json | jq .decision.outcome",
)
_add(app, "evaluate", signals.evaluate, "evaluate examples/signal.json")
_add(
    app,
    "watch",
    orders.watch,
    "watch",
    "watch --strategy momentum-v1 --json",
    "watch --after-sequence 412",
)
_add(
    app,
    "decisions",
    signals.decisions,
    "decisions",
    "decisions --outcome REJECTED --symbol AAPL",
    "decisions momentum-v1-1",
)
_add(app, "orders", orders.orders, "orders --open", "orders o-3f5a0c9d1b7e4a6f8c2d0e1f")
_add(
    app,
    "cancel",
    orders.cancel,
    'cancel o-3f5a0c9d1b7e4a6f8c2d0e1f --reason "wrong size"',
    'cancel --all --reason "end of test"',
    'cancel --strategy momentum-v1 --reason "odd orders"',
)
_add(
    app,
    "flatten",
    orders.flatten,
    'flatten --account default --reason "broker closes the account"',
    'flatten --symbol AAPL --reason "delisted"',
)
_add(app, "positions", orders.positions, "positions", "positions --strategy momentum-v1 --json")
_add(
    app,
    "halt",
    halt.halt,
    'halt --global --reason "feed shows impossible prices"',
    'halt --strategy momentum-v1 --reason "odd orders" --cancel-open-orders',
    'halt --account default --mode REDUCE_ONLY --reason "near the limit"',
)
_add(app, "resume", control.resume, 'resume --global --reason "feed is mended"')
_add(app, "status", control.status, "status", "status --json")
_add(app, "differences", differences.differences, "differences", "differences --json")
_add(
    app,
    "accept",
    differences.accept,
    'accept POSITION:AAPL --reason "bought by hand at the desk"',
)
_add(quotes_app, "get", quotes.get, "quotes get AAPL IBM")
_add(
    quotes_app,
    "set",
    quotes.set_quote,
    "quotes set AAPL --bid 149.99 --ask 150.01",
    "quotes set AAPL --last 150",
)
_add(quotes_app, "publish", quotes.publish, "quotes publish quotes.jsonl", "quotes publish -")
app.add_typer(quotes_app, name="quotes")
_add(
    limits_app, "show", limits.show, "limits show", "limits show --toml > limits.toml",
    "limits show --account default --json",
)  # fmt: skip
_add(
    limits_app, "check", limits.check, "limits check limits.toml",
    "limits check limits.toml --instruments instruments.toml --json",
)  # fmt: skip
_add(limits_app, "diff", limits.diff, "limits diff limits.toml")
_add(
    limits_app, "apply", limits.apply, 'limits apply limits.toml --reason "more room for AAPL"',
    'limits apply limits.toml --instruments instruments.toml --reason "restrict GME" --yes',
)  # fmt: skip
app.add_typer(limits_app, name="limits")
_add(
    audit_app,
    "verify",
    audit.verify,
    "audit verify",
    "audit verify --database-url postgresql://auditor@db/te --account default",
)
_add(audit_app, "replay", audit.replay, "audit replay --data-dir ./data --json")
app.add_typer(audit_app, name="audit")
_add(fix_app, "show", fix.show, "fix show venue --brokers brokers.toml", "fix show venue --json")
_add(
    fix_app,
    "reset",
    fix.reset,
    "fix reset venue --brokers brokers.toml",
    "fix reset venue --next-sender 812 --next-target 1204",
    "fix reset venue --announce",
)
app.add_typer(fix_app, name="fix")
_add(app, "migrate", server.migrate, "migrate --database-url postgresql://te@db/te")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; answers with the exit code, and says an error in one line.

    What is logged meanwhile goes to standard error: a script reads standard output.
    """
    configure_logs("warning", "console")
    try:
        return _run(argv)
    except TradeEngineError as error:
        complain(str(error))
        return EXIT_UNREACHABLE if error.code.name in NO_ANSWER else EXIT_REFUSED
    except EngineError as error:
        complain(error.message)
        return EXIT_UNREACHABLE if isinstance(error, StoreUnavailable) else EXIT_USAGE
    except ValueError as error:  # what was given is not the contract's JSON
        complain(str(error))
        return EXIT_USAGE


def _run(argv: list[str] | None) -> int:
    command = typer.main.get_command(app)
    try:
        command.main(args=argv, prog_name="trade-engine")
    except SystemExit as end:
        # What a reader that hung up left in the buffer must not fail the interpreter's end.
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return end.code if isinstance(end.code, int) else 0
    return 0
