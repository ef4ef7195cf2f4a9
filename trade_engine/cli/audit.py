"""`audit verify` and `audit replay`: does the record hold, and would it be decided so again."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trade_engine.cli.output import complain, errors, print_json, say
from trade_engine.cli.server import DatabaseUrl, DataDir

if TYPE_CHECKING:
    from trade_engine.auditing import Audited, AuditKind

FAILED = 1
FAULTS_SHOWN = 50

Accounts = Annotated[
    list[str] | None,
    typer.Option("--account", "-a", metavar="ACCOUNT", help="Only this one; may be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON line for each account.")]


def verify(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    accounts: Accounts = None,
    as_json: Json = False,
) -> int:
    """Walk the journal's hash chain, and hold orders, fills, positions and cash against it.

    Works on the database itself, beside a running engine too, and only reads. The exit code is 1
    if anything is wrong.
    """
    from trade_engine.auditing import AuditKind  # noqa: PLC0415  slow to import

    return _audit(AuditKind.VERIFY, data_dir, database_url, accounts, as_json=as_json)


def replay(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    accounts: Accounts = None,
    as_json: Json = False,
) -> int:
    """Make every recorded decision again, from the journal alone, and compare.

    Works on the database itself, beside a running engine too, and only reads. The exit code is 1
    if a decision differs.
    """
    from trade_engine.auditing import AuditKind  # noqa: PLC0415  slow to import

    return _audit(AuditKind.REPLAY, data_dir, database_url, accounts, as_json=as_json)


def audited(
    kind: AuditKind, database_url: str | None, data_dir: Path, accounts: list[str]
) -> list[Audited]:
    """Run an audit with a progress bar on standard error, where that is a terminal."""
    from trade_engine.auditing import audit, audited_database  # noqa: PLC0415  slow to import

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    screen = errors()
    with Progress(
        *columns, console=screen, transient=True, disable=not screen.is_terminal
    ) as progress:
        task = progress.add_task(f"audit {kind}", total=None)

        def show(account_id: str, done: int, total: int) -> None:
            progress.update(
                task, description=f"audit {kind} {account_id}", completed=done, total=total
            )

        with audited_database(database_url, data_dir) as url:
            return asyncio.run(audit(kind, url, accounts, show))


def _audit(
    kind: AuditKind,
    data_dir: Path | None,
    database_url: str | None,
    accounts: list[str] | None,
    *,
    as_json: bool,
) -> int:
    url, place = _where(database_url, data_dir)
    results = audited(kind, url, place, accounts or [])
    for each in results:
        if as_json:
            print_json({**asdict(each), "clean": each.clean})
        else:
            _report(each)
    clean = all(each.clean for each in results)
    if not as_json:
        say(_verdict(kind, results), "green" if clean else "red")
    return 0 if clean else FAILED


def _where(database_url: str | None, data_dir: Path | None) -> tuple[str | None, Path]:
    """The flags, or else what `serve` would take; a data directory named wins over variables."""
    from trade_engine.config.loading import load_settings  # noqa: PLC0415  slow to import
    from trade_engine.config.settings import default_data_dir  # noqa: PLC0415

    if database_url is not None or data_dir is not None:
        return database_url, data_dir or default_data_dir()
    settings = load_settings()
    return settings.database_url, settings.data_dir


def _report(each: Audited) -> None:
    looked = ", ".join(f"{count} {what}" for what, count in each.counts.items()) or "nothing"
    say(
        f"{each.account_id}: {looked} in {each.took_s:.1f} s; head {each.head_sequence} "
        f"{each.head_hash[:16]}"
    )
    for fault in each.faults[:FAULTS_SHOWN]:
        complain(f"{each.account_id}: sequence {fault.sequence or '-'}: {fault.what}")
    if len(each.faults) > FAULTS_SHOWN:
        complain(f"{each.account_id}: and {len(each.faults) - FAULTS_SHOWN} more; --json has all")


def _verdict(kind: AuditKind, results: list[Audited]) -> str:
    faults = sum(len(each.faults) for each in results)
    if not results:
        return "CLEAN: there are no accounts."
    if not faults:
        held = {
            "verify": "every chain holds, and the tables say what the journal says",
            "replay": "every decision, made again, comes out the same",
        }
        return f"CLEAN: {held[kind]}."
    return f"FAILED: {faults} {'fault' if faults == 1 else 'faults'} in the record."
