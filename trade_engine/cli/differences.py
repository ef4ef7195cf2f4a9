"""`differences` and `accept`: what does not agree with a broker, and taking it as it is."""

from __future__ import annotations

from typing import Annotated

import typer

from trade_engine.cli.options import DEFAULT_TARGET, Account, Json, Reason, Target
from trade_engine.cli.output import clock, print_json, say, table
from trade_engine.client import Difference, TradeEngineClient, to_json

FOUND = 1


def differences(
    account: Annotated[
        str, typer.Option("--account", "-a", metavar="ACCOUNT", help="Only this account.")
    ] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> int:
    """List what does not agree between accounts and their brokers, as last compared.

    While one stands its account is HALTED: mend it, or `accept` it. Exit code 1 when one stands.
    """
    with TradeEngineClient(target) as engine:
        told = engine.status(account).accounts
    found = [(each.account_id, difference) for each in told for difference in each.differences]
    if as_json:
        for account_id, difference in found:
            print_json({"account_id": account_id, **to_json(difference)})
    else:
        table(
            ["account", "difference", "here", "broker", "since (UTC)", "accepted"],
            [_row(account_id, difference) for account_id, difference in found],
            "Every account agrees with its broker, as last compared.",
        )
    return FOUND if any(not each.HasField("accept_time") for _, each in found) else 0


def accept(
    difference_id: Annotated[str, typer.Argument(metavar="DIFFERENCE", help="Its name.")],
    reason: Reason,
    account: Account = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Take a difference with a broker as it is; trading goes on when none stands.

    It stays accepted as long as it says the same. The record is not changed by this, except that
    an order that the broker does not know any more is closed.
    """
    with TradeEngineClient(target, account_id=account) as engine:
        accepted = engine.accept_difference(difference_id, reason)
    if as_json:
        print_json(accepted)
    else:
        say(f"Accepted: {accepted.message}.", "green")


def _row(account_id: str, each: Difference) -> list[str]:
    accepted = f"by {each.operator}: {each.reason}" if each.HasField("accept_time") else "no"
    return [
        account_id, each.difference_id, each.ours, each.theirs, clock(each.find_time), accepted,
    ]  # fmt: skip
