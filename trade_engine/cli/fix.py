"""`fix show` and `fix reset`: a FIX session's file, as the operator sees and mends it."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from trade_engine.cli.output import print_json, say
from trade_engine.cli.server import Brokers, DataDir
from trade_engine.domain.errors import ConfigError

Name = Annotated[str, typer.Argument(metavar="NAME", help="The session's name in the file.")]
Number = Annotated[int, typer.Option(min=1, metavar="N")]
QUARANTINED_SHOWN = 20


def show(
    name: Name,
    brokers: Brokers = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line.")] = False,
) -> None:
    """Show a session's sequence numbers, its unclear orders, and the messages kept aside.

    Only reads, beside a running engine too.
    """
    from trade_engine.brokers.fix_look import look_into  # noqa: PLC0415  slow to import

    look = look_into(_store_of(name, brokers, data_dir))
    if as_json:
        print_json(asdict(look))
        return
    say(f"Next to send {look.next_sender}, first not booked {look.next_target}, era {look.era}.")
    say(f"{look.orders} orders, {look.reports} reports booked.")
    for what, order_ids in (("Not reported on", look.unanswered), ("Withheld", look.withheld)):
        if order_ids:
            say(f"{what}: {', '.join(order_ids)}", "yellow")
    if look.quarantined:
        say(f"{len(look.quarantined)} messages kept aside, the last:", "red")
    for each in look.quarantined[-QUARANTINED_SHOWN:]:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(each.at_ns // 10**9))
        say(f"{at}  {each.why}\n  {each.message}")


def reset(
    name: Name,
    brokers: Brokers = None,
    data_dir: DataDir = None,
    next_sender: Number = 1,
    next_target: Number = 1,
    announce: Annotated[
        bool, typer.Option("--announce", help="Ask the venue with the Logon to begin at 1 too.")
    ] = False,
) -> None:
    """Set a session's sequence numbers, as agreed with the venue. The engine must be stopped.

    What the venue sent and the engine has not booked is never sent again: compare orders, fills
    and positions with the venue first. Orders and reports stay in the file.
    """
    from trade_engine.brokers.fix_store import FixStore  # noqa: PLC0415  slow to import

    if announce and (next_sender, next_target) != (1, 1):
        raise ConfigError("--announce begins at 1: leave out --next-sender and --next-target")
    path = _store_of(name, brokers, data_dir)
    if not path.exists():
        raise ConfigError(f"there is no FIX store {path}: this session never began")
    store = FixStore(path, time.time_ns)
    try:
        store.restart(next_sender=next_sender, next_target=next_target, announced=announce)
    finally:
        store.close()
    say(f"{name} goes on with {next_sender} out and {next_target} in (era {store.era}).")


def _store_of(name: str, brokers: Path | None, data_dir: Path | None) -> Path:
    from trade_engine.config.brokers import load_brokers  # noqa: PLC0415  slow to import
    from trade_engine.config.faults import did_you_mean  # noqa: PLC0415
    from trade_engine.config.loading import load_settings  # noqa: PLC0415

    settings = load_settings(brokers_file=brokers, data_dir=data_dir)
    if settings.brokers_file is None:
        raise ConfigError("give the brokers file: --brokers FILE or TRADE_ENGINE_BROKERS_FILE")
    sessions = load_brokers(settings.brokers_file, settings.data_dir)
    if name not in sessions:
        known = ", ".join(sessions)
        raise ConfigError(f"no session {name!r}, only {known}{did_you_mean(name, sessions)}")
    store = sessions[name]["store"]
    assert isinstance(store, Path)  # noqa: S101  load_brokers sees to it
    return store
