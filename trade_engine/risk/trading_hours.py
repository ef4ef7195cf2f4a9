"""The session check: an order is sent only while its instrument trades."""

from __future__ import annotations

from trade_engine.domain.clock import rfc3339
from trade_engine.domain.decision import CheckResult, Reason, Told
from trade_engine.risk.case import Case


def check_session(case: Case) -> Told | None:
    """The instrument's calendar must have a session that is open now, breaks and half days counted.

    Past the end of a calendar nobody knows whether there is trading, so it refuses. A decision from
    before there were sessions holds no hours, and was not judged by them.
    """
    instrument, hours = case.inputs.instrument, case.inputs.hours
    if instrument is None or hours is None:
        return None
    session, now_ns = hours.session, case.inputs.now_ns
    if session is not None and session.is_open(now_ns):
        return "session", case.symbol_scope, "session", hours.calendar, None, None, None
    if session is None:
        reason = Reason.SESSION_UNKNOWN
        message = (
            f"whether {instrument.symbol} trades now is not known: the calendar {hours.calendar} "
            "has ended. Update exchange_calendars, or give the instrument another calendar"
        )
    else:
        reason = Reason.SESSION_CLOSED
        message = (
            f"{instrument.symbol} does not trade now: {hours.calendar} is closed and opens at "
            f"{rfc3339(session.opens_next_ns(now_ns))}"
        )
    return CheckResult(
        "session",
        passed=False,
        scope=case.symbol_scope,
        unit="session",
        reason=reason,
        source=hours.calendar,
        message=message,
    )
