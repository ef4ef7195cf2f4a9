"""The session check: an order is sent only while its instrument trades."""

from __future__ import annotations

from trade_engine.domain.clock import rfc3339
from trade_engine.domain.decision import CheckResult, Reason
from trade_engine.risk.case import Case


def check_session(case: Case) -> CheckResult | None:
    """The instrument's calendar must have a session that is open now, breaks and half days counted.

    Past the end of a calendar nobody knows whether there is trading, so it refuses. A decision from
    before there were sessions holds no hours, and was not judged by them.
    """
    instrument, hours = case.inputs.instrument, case.inputs.hours
    if instrument is None or hours is None:
        return None
    session, now_ns = hours.session, case.inputs.now_ns
    result = CheckResult("session", True, case.symbol_scope, "session", source=hours.calendar)
    if session is None:
        result.passed, result.reason = False, Reason.SESSION_UNKNOWN
        result.message = (
            f"whether {instrument.symbol} trades now is not known: the calendar {hours.calendar} "
            "has ended. Update exchange_calendars, or give the instrument another calendar"
        )
    elif not session.is_open(now_ns):
        result.passed, result.reason = False, Reason.SESSION_CLOSED
        result.message = (
            f"{instrument.symbol} does not trade now: {hours.calendar} is closed and opens at "
            f"{rfc3339(session.opens_next_ns(now_ns))}"
        )
    return result
