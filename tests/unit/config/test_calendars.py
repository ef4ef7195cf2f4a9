"""Sessions as the calendars have them: boundaries, breaks, half days, and where a calendar ends."""

from __future__ import annotations

from datetime import datetime

import pytest

from trade_engine.config.calendars import ExchangeCalendars
from trade_engine.domain.session import Session

CALENDARS = ExchangeCalendars()


def ns(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp()) * 10**9


def at(calendar: str, moment: str) -> Session:
    found = CALENDARS.session_at(calendar, ns(moment))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("calendar", "moment", "name", "trades"),
    [
        ("XNYS", "2026-11-20T14:29:59Z", "2026-11-20", False),
        ("XNYS", "2026-11-20T14:30:00Z", "2026-11-20", True),
        ("XNYS", "2026-11-20T20:59:59Z", "2026-11-20", True),
        ("XNYS", "2026-11-20T21:00:00Z", "2026-11-23", False),  # a Friday's close
        ("XNYS", "2026-11-26T15:00:00Z", "2026-11-27", False),  # Thanksgiving
        ("XNYS", "2026-11-27T17:59:59Z", "2026-11-27", True),  # a half day
        ("XNYS", "2026-11-27T18:00:00Z", "2026-11-30", False),
        ("XHKG", "2026-11-20T03:59:59Z", "2026-11-20", True),
        ("XHKG", "2026-11-20T04:00:00Z", "2026-11-20", False),  # lunch
        ("XHKG", "2026-11-20T05:00:00Z", "2026-11-20", True),
        ("24/7", "2026-11-21T23:59:59Z", "2026-11-21", True),
        ("24/7", "2026-11-22T00:00:00Z", "2026-11-22", True),
    ],
)
def test_an_instant_is_of_a_session(
    calendar: str,
    moment: str,
    name: str,
    trades: bool,  # noqa: FBT001  a column of the table
) -> None:
    session = at(calendar, moment)
    assert session.name == name
    assert session.is_open(ns(moment)) is trades
    assert session.begins_ns <= ns(moment) < session.closes_ns


def test_days_follow_each_other_without_a_gap() -> None:
    first = at("XNYS", "2026-11-20T21:00:00Z")
    second = CALENDARS.session_at("XNYS", first.closes_ns)
    assert second is not None
    assert second.begins_ns == first.closes_ns


def test_it_says_when_trading_begins() -> None:
    before = at("XHKG", "2026-11-20T01:00:00Z")
    assert before.opens_next_ns(ns("2026-11-20T01:00:00Z")) == ns("2026-11-20T01:30:00Z")
    assert before.opens_next_ns(ns("2026-11-20T04:30:00Z")) == ns("2026-11-20T05:00:00Z")


def test_a_calendar_that_ends_has_no_session_after_its_end() -> None:
    """The holidays of Shanghai are known up to the end of 2026 in the library's version."""
    assert at("XSHG", "2026-12-31T06:59:59Z").name == "2026-12-31"
    assert CALENDARS.session_at("XSHG", ns("2026-12-31T07:00:00Z")) is None


def test_a_session_survives_the_journal() -> None:
    session = at("XHKG", "2026-11-20T01:00:00Z")
    assert Session.from_json(session.to_json()) == session
