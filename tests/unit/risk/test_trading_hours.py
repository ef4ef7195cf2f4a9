"""Orders are sent only while the instrument trades; what is not known refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.support.cases import NOW_NS, STOCK, judged, signal, view
from tests.support.ledgered import ALLOWED, Ledgered, rulebook
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.session import Session
from trade_engine.domain.signal import Side
from trade_engine.execution.batch import Batch
from trade_engine.execution.decisions import decide_again, decide_signal
from trade_engine.risk.view import Hours

HOUR_NS = 3_600 * 10**9


def hours(opens: int, closes: int, break_from: int = 0, break_until: int = 0) -> Hours:
    """A session, in ns from now."""
    rest = (NOW_NS + break_from, NOW_NS + break_until) if break_until else (0, 0)
    return Hours("XHKG", Session("XHKG", "day", 0, NOW_NS + opens, NOW_NS + closes, *rest))


@pytest.mark.parametrize(
    ("at", "reasons"),
    [
        (hours(1, HOUR_NS), [Reason.SESSION_CLOSED]),
        (hours(0, HOUR_NS), []),
        (hours(-HOUR_NS, 1), []),
        (hours(-HOUR_NS, 0), [Reason.SESSION_CLOSED]),
        (hours(-HOUR_NS, HOUR_NS, 1, 2), []),
        (hours(-HOUR_NS, HOUR_NS, 0, 1), [Reason.SESSION_CLOSED]),
        (hours(-HOUR_NS, HOUR_NS, -1, 1), [Reason.SESSION_CLOSED]),
        (hours(-HOUR_NS, HOUR_NS, -1, 0), []),
        (Hours("XSHG", None), [Reason.SESSION_UNKNOWN]),
        (None, []),  # decided before there were sessions
    ],
)
def test_an_order_leaves_only_in_an_open_session(at: Hours | None, reasons: list[Reason]) -> None:
    decision, found = judged("session", hours=at)
    assert decision.reasons == reasons
    assert (found is None) is (at is None)


def test_it_says_when_the_market_opens() -> None:
    shut = hours(HOUR_NS, 2 * HOUR_NS)
    assert "opens at 2023-11-14T23:13:20.000000Z" in judged("session", hours=shut)[0].message
    at_lunch = hours(-HOUR_NS, 2 * HOUR_NS, -1, HOUR_NS)
    assert "opens at 2023-11-14T23:13:20.000000Z" in judged("session", hours=at_lunch)[0].message


def test_a_closed_market_closes_no_position() -> None:
    sell: dict[str, Any] = {"signal": signal(0, Side.SELL), "view": view(10)}
    assert judged("session", **sell)[0].outcome is Outcome.APPROVED
    shut = judged("session", **sell, hours=hours(1, 2))[0]
    assert shut.outcome is Outcome.REJECTED


def test_hours_survive_the_journal_and_decide_again() -> None:
    rules = rulebook()
    rules.instruments["AAPL"] = replace(STOCK, calendar="XHKG")
    account = Ledgered()
    with account.batch(rules) as batch:
        batch._session_at = lambda *_: hours(1, 2).session
        refused = decide_signal(batch, signal(1000), ALLOWED)
    assert refused.reasons == [Reason.SESSION_CLOSED]
    payload = orjson.loads(account.journal[-1].payload)
    assert decide_again(payload, refused.sequence, rules).to_json() == refused.to_json()
    del payload["context"]["hours"]
    assert decide_again(payload, refused.sequence, rules).outcome is Outcome.APPROVED


def test_without_calendars_only_what_never_closes_is_known_to_be_open() -> None:
    rules = rulebook()
    rules.instruments["IBM"] = replace(STOCK, symbol="IBM", calendar="XNYS")
    batch = Batch(Ledgered().state, rules, NOW_NS, {}, {})
    open_always, unknown = batch.hours("AAPL"), batch.hours("IBM")
    assert open_always is not None
    assert open_always.session is not None
    assert open_always.session.is_open(NOW_NS)
    assert unknown == Hours("XNYS", None)
    assert batch.hours("NONE") is None
