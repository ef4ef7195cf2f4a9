"""`limits show|check|diff|apply`: what is in force, what a file says, and the way between."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trade_engine.cli.connecting import engine_at
from trade_engine.cli.options import DEFAULT_TARGET, Account, Json, Reason, Target
from trade_engine.cli.output import clock, complain, print_json, say, table
from trade_engine.cli.raises import say_read_raises, say_told_raises
from trade_engine.client import (
    LimitBreach,
    LimitDifference,
    UpdateLimitsResponse,
)
from trade_engine.domain.rulebook import Rulebook

DIFFERENT = 1
FAULTY = 2
COMPARED = "compared only"
"""The reason that a comparison gives: nothing is journaled."""

LimitsFile = Annotated[Path, typer.Argument(metavar="FILE", help="Accounts and limits (TOML).")]
Instruments = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="What may be traded (TOML); else those in force stay."),
]


def show(
    account: Account = "",
    toml: Annotated[bool, typer.Option("--toml", help="Only the limits file.")] = False,
    instruments: Annotated[
        bool, typer.Option("--instruments", help="Only the instruments file.")
    ] = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Show the limits in force, since when, and who set them.

    --toml and --instruments write them as the files that a start or `limits apply` takes.
    """
    with engine_at(target) as engine:
        told = engine.limits(account)
    if as_json:
        print_json(told)
        return
    if not (toml or instruments):
        say(f"Version {told.version}, since {clock(told.change_time)} UTC")
        say(f"Set by {told.operator or '?'}: {told.reason}")
        say_told_raises(told.raises)
        say("")
    typer.echo(told.instruments_toml if instruments else told.toml, nl=False)


def check(
    file: LimitsFile,
    instruments: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What may be traded (TOML); else what comes with it."),
    ] = None,
    brokers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The FIX sessions that accounts may name (TOML)."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Check a limits file, without any engine: every fault is told at once, with its line.

    Accounts that trade with a FIX session need --brokers; what is wrong in that file is told too.
    The exit code is 2 if there are faults. Limits that no level sets are told too: those refuse,
    all but account_cancel_rate, since cancels pass.
    """
    from trade_engine.config import unset_cancel_rates, unset_limits  # noqa: PLC0415

    rulebook, faults = _read(file, instruments, brokers)
    if rulebook is None or faults:
        _tell_faults(faults, as_json=as_json)
        return FAULTY
    unset, cancels = unset_limits(rulebook), unset_cancel_rates(rulebook)
    if as_json:
        print_json({"version": rulebook.version, "faults": [], "unset": unset + cancels})
        return 0
    say(f"{file}: no faults; version {rulebook.version}", "green")
    for each in unset:
        say(f"Not set, and so refuses: {each}", "yellow")
    for each in cancels:
        say(f"Not set, and so lets every cancel pass: {each}", "yellow")
    say_read_raises(rulebook.limits)
    return 0


def _read(
    file: Path, instruments: Path | None, brokers: Path | None
) -> tuple[Rulebook | None, list[Any]]:
    """The rulebook, where it can be read, and every fault of all the files."""
    from trade_engine.config import ConfigFaults, load_rulebook  # noqa: PLC0415  slow to import
    from trade_engine.config.brokers import load_brokers, session_names  # noqa: PLC0415

    faults: list[Any] = []
    try:
        load_brokers(brokers, Path())
    except ConfigFaults as error:
        faults += error.faults
    try:
        sessions = session_names(brokers) if brokers else ()
        return load_rulebook(file, instruments, sessions), faults
    except ConfigFaults as error:
        return None, faults + error.faults


def _tell_faults(found: list[Any], *, as_json: bool) -> None:
    if as_json:
        names = ("file", "line", "key", "given", "allowed")
        documents = [{name: getattr(each, name) for name in names} for each in found]
        print_json({"version": "", "faults": documents, "unset": []})
        return
    for each in found:
        complain(str(each))
    complain(f"{len(found)} {'fault' if len(found) == 1 else 'faults'}")


def diff(
    file: LimitsFile,
    instruments: Instruments = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> int:
    """Compare a file with what is in force, and name what stands beyond it already.

    The exit code is 1 if they differ.
    """
    given = _texts(file, instruments)
    with engine_at(target) as engine:
        etag = engine.limits().etag
        told = engine.update_limits(
            given["toml"], etag, COMPARED, **_rest(given), validate_only=True
        )
    if as_json:
        print_json(told)
    else:
        _say_update(told)
    return DIFFERENT if told.differences else 0


def apply(
    file: LimitsFile,
    reason: Reason,
    instruments: Instruments = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> int:
    """Put a file into force on every replica, after showing what that changes.

    It replaces all limits, and only those that it was compared with: if somebody else changes them
    meanwhile, nothing happens. With --json it does not ask, so --yes is needed.
    """
    if as_json and not yes:
        raise typer.BadParameter("--json cannot ask: give --yes too")
    given = _texts(file, instruments)
    with engine_at(target) as engine:
        etag = engine.limits().etag
        told = engine.update_limits(given["toml"], etag, reason, **_rest(given), validate_only=True)
        if not as_json:
            _say_update(told)
        if not told.differences:
            if as_json:
                print_json(told)
            return 0
        if not yes:
            typer.confirm("Put this into force?", abort=True)
        done = engine.update_limits(given["toml"], etag, reason, **_rest(given))
    if as_json:
        print_json(done)
        return 0
    places = ", ".join(f"{each.account_id} at {each.sequence}" for each in done.account_sequences)
    say(f"Version {done.version} is in force ({places}).", "green")
    return 0


def _texts(file: Path, instruments: Path | None) -> dict[str, str]:
    """Both files as they are sent; what is wrong with them the engine says, with lines."""
    from trade_engine.config.rulebook import rulebook_texts  # noqa: PLC0415  slow to import

    limits, given = rulebook_texts(file, instruments)
    return {
        "toml": limits.text,
        "instruments_toml": given.text if instruments else "",
        "file_name": file.name,
    }


def _rest(given: dict[str, str]) -> dict[str, Any]:
    return {name: text for name, text in given.items() if name != "toml"}


def _say_update(told: UpdateLimitsResponse) -> None:
    table(
        ["what", "in force", "in the file"],
        map(_difference_row, told.differences),
        "The file says what is in force.",
    )
    _say_breaches(
        "Beyond the file's limits already (it stays; what would grow it is refused):",
        [each for each in told.breaches if each.observed],
    )
    _say_breaches(
        "Not known, as what is held has no fresh quote (until then what would grow it is refused):",
        [each for each in told.breaches if not each.observed],
    )


def _say_breaches(heading: str, breaches: list[LimitBreach]) -> None:
    if not breaches:
        return
    say("")
    say(heading, "yellow")
    table(
        ["account", "what", "limit", "allows", "stands", "working orders"],
        map(_breach_row, breaches),
        "",
    )


def _difference_row(each: LimitDifference) -> list[str]:
    return [each.path, each.before or "not set", each.after or "not set"]


def _breach_row(each: LimitBreach) -> list[str]:
    return [
        each.account_id,
        each.scope,
        each.limit_name,
        each.limit,
        each.observed or "no quote",
        ", ".join(each.order_ids),
    ]
