"""Raises of limits as people read them: what is raised, until when, and whether that is now."""

from __future__ import annotations

import time
from collections.abc import Iterable

from trade_engine.cli.output import clock, say, table
from trade_engine.client import AccountStatus, LimitRaise
from trade_engine.domain.clock import rfc3339_brief
from trade_engine.domain.limits import Limits, Raise, in_words
from trade_engine.domain.rulebook_difference import level_path

COLUMNS = ["raise", "limit", "set", "raised to", "from", "until", "now", "why"]


def say_told_raises(raises: Iterable[LimitRaise]) -> None:
    """Print the raises that an engine told."""
    _say(
        [
            each.name,
            f"{level_path(each.level, each.level_id)}.{each.limit_name}",
            each.regular_limit,
            each.limit,
            rfc3339_brief(each.start_time.ToNanoseconds()),
            rfc3339_brief(each.end_time.ToNanoseconds()),
            _word(active=each.active, until_ns=each.end_time.ToNanoseconds()),
            f"{each.operator}: {each.reason}",
        ]
        for each in raises
    )


def say_read_raises(limits: Limits) -> None:
    """Print the raises of a file, as they would stand now."""
    _say(_read_row(limits, each) for each in limits.raises)


def say_active_raises(account: AccountStatus) -> None:
    """A line for each raise that an account is under."""
    for each in account.active_raises:
        path = f"{level_path(each.level, each.level_id)}.{each.limit_name}"
        say(
            f"{account.account_id}: {path} is raised to {each.limit} until "
            f"{clock(each.end_time)} UTC ({each.name}, by {each.operator}: {each.reason})",
            "yellow",
        )


def _read_row(limits: Limits, each: Raise) -> list[str]:
    return [
        each.name,
        f"{level_path(each.level, each.scope_id)}.{each.limit_name}",
        in_words(limits.regular(each)),
        in_words(each.value),
        rfc3339_brief(each.from_ns),
        rfc3339_brief(each.until_ns),
        _word(active=each.holds(time.time_ns()), until_ns=each.until_ns),
        f"{each.operator}: {each.reason}",
    ]


def _word(*, active: bool, until_ns: int) -> str:
    if active:
        return "in force"
    return "to come" if time.time_ns() < until_ns else "over"


def _say(rows: Iterable[list[str]]) -> None:
    found = list(rows)
    if found:
        say("")
        say("Raised for a time:", "yellow")
        table(COLUMNS, found, "")
