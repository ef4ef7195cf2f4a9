"""Trading sessions, from exchange_calendars: read once per calendar, then looked up by instant."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from trade_engine.config.kinds import one_of
from trade_engine.domain.clock import NS_PER_S
from trade_engine.domain.session import ALWAYS_OPEN, DAY_NS, Session, utc_day

BEHIND_DAYS, AHEAD_DAYS = 20, 400
"""How much of a calendar is read around an instant: no exchange rests for so long."""


AT_HAND = ("24/7", "24/5", "XNYS")
"""Calendars known without importing exchange_calendars, which takes half a second."""


def _calendars(name: str) -> Collection[str]:
    if name in AT_HAND:
        return AT_HAND
    from exchange_calendars import get_calendar_names  # noqa: PLC0415  see AT_HAND

    names: list[str] = get_calendar_names()
    return names


CALENDAR = one_of('"24/7" or a calendar of exchange_calendars, for instance XNYS', _calendars)


class ExchangeCalendars:
    """Tells the session of an instant; reading a calendar for the first time takes a moment."""

    def __init__(self) -> None:
        self._sessions: dict[str, list[Session]] = {}
        self._read_at: dict[str, int] = {}

    def session_at(self, calendar: str, now_ns: int) -> Session | None:
        """The session that an instant is in, or else the next one; None past a calendar's end."""
        if calendar == ALWAYS_OPEN:
            return utc_day(now_ns)
        found = self._look_up(calendar, now_ns)
        if found is None and self._read_at.get(calendar) != now_ns // DAY_NS:
            self._sessions[calendar] = _read(calendar, now_ns)
            self._read_at[calendar] = now_ns // DAY_NS  # once a day, should it have ended
            found = self._look_up(calendar, now_ns)
        return found

    def _look_up(self, calendar: str, now_ns: int) -> Session | None:
        sessions = self._sessions.get(calendar, [])
        index = bisect_right(sessions, now_ns, key=lambda each: each.closes_ns)
        if index == len(sessions) or now_ns < sessions[index].begins_ns:
            return None
        return sessions[index]


def _read(calendar: str, now_ns: int) -> list[Session]:
    """The sessions around an instant; fewer where the calendar is not known so far ahead."""
    from exchange_calendars import get_calendar  # noqa: PLC0415  it takes half a second
    from exchange_calendars.calendar_utils import (  # noqa: PLC0415
        global_calendar_dispatcher as dispatcher,
    )

    today = datetime.fromtimestamp(now_ns // NS_PER_S, UTC).replace(tzinfo=None)
    start, end = today - timedelta(days=BEHIND_DAYS), today + timedelta(days=AHEAD_DAYS)
    known = dispatcher.resolve_alias(calendar)
    bounds = dispatcher._calendar_factories[known]  # noqa: SLF001  the only way to ask for them
    first, last = bounds.bound_min(), bounds.bound_max()
    start = start if first is None else max(start, first.to_pydatetime())
    end = end if last is None else min(end, last.to_pydatetime())
    if start >= end:
        return []
    table = get_calendar(calendar, start=start.date(), end=end.date()).schedule
    return _sessions(calendar, table)


def _sessions(calendar: str, table: Any) -> list[Session]:
    """Each row but the first, which only says when the next day begins."""
    found, begins_ns = [], 0
    for row in table.itertuples():
        closes_ns = _ns(row.close)
        if begins_ns:
            found.append(
                Session(
                    calendar,
                    row.Index.date().isoformat(),
                    begins_ns,
                    _ns(row.open),
                    closes_ns,
                    _ns(row.break_start),
                    _ns(row.break_end),
                )
            )
        begins_ns = closes_ns
    return found


def _ns(moment: Any) -> int:
    """A pandas timestamp in ns; 0 for NaT."""
    return int(moment.as_unit("ns").value) if moment == moment else 0  # noqa: PLR0124  NaT differs from itself
