"""The command: which engine, which screen, and what to say at the end."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from trade_engine.cli.audit import audited
from trade_engine.cli.demo.prices import read_days
from trade_engine.cli.demo.private_engine import private_engine
from trade_engine.cli.demo.run import DemoRun
from trade_engine.cli.demo.screen import LiveScreen, NoScreen, PlainScreen, Screen, counted
from trade_engine.cli.demo.tally import Tally
from trade_engine.cli.options import Json
from trade_engine.cli.output import complain, console, print_json, say, table
from trade_engine.client import Position, TradeEngineClient, to_json

WRONG = 1


def demo(
    days: Annotated[
        int | None, typer.Option(min=1, help="Replay the last so many days; else all, from 2000.")
    ] = None,
    target: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Use this engine, rather than one of the demo's own."),
    ] = "",
    as_json: Json = False,
) -> int:
    """Replay thirteen years of real daily prices through an engine, and watch it decide.

    Two strategies on moving averages trade AAPL, FB, GOOG, IBM and MSFT at their real closes
    (adjusted for splits and dividends). Some of their signals are refused. At the end positions,
    profit and loss and refusals are shown, and the audit chain is verified. The engine is a private
    one in a temporary folder; nothing of it stays. The exit code is 1 if anything was wrong.
    """
    history = read_days(days)
    began = time.monotonic()
    with (
        _engine(target, quiet=as_json) as (address, data_dir),
        TradeEngineClient(address) as engine,
    ):
        screen: Screen = NoScreen()
        if not as_json:
            out = console()
            screen = LiveScreen(out, len(history)) if out.is_terminal else PlainScreen(out)
        run = DemoRun(engine, screen, f"-{secrets.token_hex(3)}" if target else "")
        with screen:
            run.replay(history)
        run.check()
        run.tally.over = True
        positions = run.positions()
        audit = _audit(run.tally, data_dir)
    took_s = time.monotonic() - began
    if as_json:
        print_json(
            run.tally.summary()
            | {"positions": [to_json(each) for each in positions], "pnl": _pnl(positions)}
            | {"audit": audit, "took_s": round(took_s, 1)}
        )
    else:
        _report(run.tally, positions, audit, took_s)
    return WRONG if run.tally.faults else 0


@contextmanager
def _engine(target: str, *, quiet: bool) -> Iterator[tuple[str, Path | None]]:
    if target:
        yield target, None
        return
    if not quiet:
        say("Starting a private engine in a temporary folder …")
    with private_engine() as engine:
        yield engine.target, engine.data_dir


def _audit(tally: Tally, data_dir: Path | None) -> dict[str, Any]:
    """Verify the record of the demo's own engine, while it still runs."""
    if data_dir is None:
        return {"done": False, "why": "run `trade-engine audit verify` where the engine runs"}
    from trade_engine.auditing import AuditKind  # noqa: PLC0415  slow to import

    told: dict[str, Any] = {"done": True}
    for kind in AuditKind:
        results = audited(kind, None, data_dir, [])
        faults = [fault.what for each in results for fault in each.faults]
        tally.faults.extend(f"audit {kind}: {fault}" for fault in faults)
        told[kind.value] = {
            "clean": not faults,
            "counts": {each.account_id: each.counts for each in results},
        }
    return told


def _report(tally: Tally, positions: list[Position], audit: dict[str, Any], took_s: float) -> None:
    say("")
    table(
        ["strategy", "symbol", "qty", "avg px", "mark", "realized", "open", "fees"],
        (
            [
                each.strategy_id,
                each.symbol,
                each.quantity,
                f"{Decimal(each.avg_px):.4f}",
                each.mark_price,
                f"{Decimal(each.realized_pnl):.2f}",
                f"{Decimal(each.unrealized_pnl or 0):.2f}",
                each.fees,
            ]
            for each in positions
        ),
        "No positions.",
    )
    pnl = _pnl(positions)
    say(
        f"Profit and loss: {pnl['realized']} realized, {pnl['unrealized']} open, "
        f"{pnl['fees']} in fees; {pnl['total']} in all.",
        "bold",
    )
    say("")
    table(
        ["times", "refused for", "for instance"],
        (
            [str(count), reason, tally.example_of[reason]]
            for reason, count in tally.refusals.most_common()
        ),
        "Nothing was refused.",
    )
    say("")
    say(f"{tally.days} days in {took_s:.0f} s: {counted(tally)}, {len(tally.approved)} orders.")
    if audit["done"]:
        looked = audit["verify"]["counts"].get("default", {})
        if not tally.faults:
            say(
                f"CLEAN: {looked.get('entries', 0)} journal entries chained by their hashes agree "
                "with every order, fill and position, and every decision comes out the same again.",
                "green",
            )
    else:
        say(f"The audit was not made: {audit['why']}.")
    for fault in tally.faults:
        complain(fault)


def _pnl(positions: list[Position]) -> dict[str, str]:
    realized = sum((Decimal(each.realized_pnl) for each in positions), Decimal(0))
    unrealized = sum((Decimal(each.unrealized_pnl or 0) for each in positions), Decimal(0))
    fees = sum((Decimal(each.fees) for each in positions), Decimal(0))
    total = realized + unrealized - fees
    numbers = {"realized": realized, "unrealized": unrealized, "fees": fees, "total": total}
    return {name: f"{number:.2f}" for name, number in numbers.items()}
