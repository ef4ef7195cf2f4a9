"""The day rolls once, at its end, at what the account is worth; the audit finds what is wrong."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from tests.support.cases import NOW_NS, signal
from tests.support.ledgered import ALLOWED, Ledgered, fill, market
from trade_engine.audit.verify import Verification
from trade_engine.domain.account import AccountState
from trade_engine.domain.day import Day
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.session import Session
from trade_engine.execution.decisions import decide_signal
from trade_engine.execution.fills import book_report
from trade_engine.portfolio.ledger import book

D = Decimal
HOUR_NS = 3_600 * 10**9
FIRST = Session("24/7", "2023-11-14", NOW_NS - HOUR_NS, NOW_NS - HOUR_NS, NOW_NS + HOUR_NS)
NEXT = Session("24/7", "2023-11-15", NOW_NS + HOUR_NS, NOW_NS + HOUR_NS, NOW_NS + 2 * HOUR_NS)


def entries(account: Ledgered, kind: EntryKind) -> list[dict[str, Any]]:
    return [orjson.loads(each.payload) for each in account.journal if each.kind is kind]


def bought() -> Ledgered:
    """Ten shares bought at 99 for a fee of 1, in the first session."""
    account = Ledgered()
    with account.batch(session=FIRST) as batch:
        order = decide_signal(batch, signal(1000), ALLOWED).order
        assert order is not None
        book_report(batch, "paper", fill(order, "e-1", 10, 99), batch.state.orders[order.order_id])
    return account


def verified(account: Ledgered) -> list[str]:
    verification = Verification("main", book)
    for entry in account.journal:
        verification.take(entry)
    verification.compare(account.state, account.orders.values(), account.executions)
    return [fault.what for fault in verification.findings.faults]


def test_the_first_day_starts_with_the_opening_cash() -> None:
    account = bought()
    assert account.state.day == Day(
        "2023-11-14", FIRST.closes_ns, D(100_000), D(100_000), traded=D(990)
    )
    assert verified(account) == []


def test_a_day_rolls_at_its_end_and_not_before() -> None:
    account = bought()
    with account.batch(quotes=market(AAPL=110), now_ns=FIRST.closes_ns - 1, session=FIRST):
        pass
    assert len(entries(account, EntryKind.DAY_ROLL)) == 1
    with account.batch(quotes=market(AAPL=110), now_ns=FIRST.closes_ns, session=NEXT):
        pass
    worth = D(100_000) - 990 - 1 + 1100
    assert account.state.day == Day("2023-11-15", NEXT.closes_ns, worth, worth, D(0), D(1))
    ended = entries(account, EntryKind.DAY_ROLL)[1]["ended"]
    assert ended == {
        "session": "2023-11-14",
        "start_equity": "100000",
        "realized_pnl": "0",
        "fees": "1",
    }
    assert verified(account) == []


def test_a_day_rolls_once() -> None:
    account = bought()
    for now_ns in (NEXT.begins_ns, NEXT.begins_ns + 1, NEXT.closes_ns - 1):
        with account.batch(now_ns=now_ns, session=NEXT):
            pass
    assert [each["session"]["name"] for each in entries(account, EntryKind.DAY_ROLL)] == [
        "2023-11-14",
        "2023-11-15",
    ]


def test_a_clock_that_is_behind_rolls_nothing_back() -> None:
    account = bought()
    with account.batch(now_ns=NEXT.begins_ns, session=NEXT):
        pass
    with account.batch(now_ns=NOW_NS, session=FIRST):
        pass
    assert account.state.day.session == "2023-11-15"


def test_days_that_nobody_saw_are_rolled_over_at_once() -> None:
    account = bought()
    later = Session("24/7", "2023-12-01", 0, 0, NOW_NS + 400 * HOUR_NS)
    with account.batch(now_ns=NOW_NS + 390 * HOUR_NS, session=later):
        pass
    assert len(entries(account, EntryKind.DAY_ROLL)) == 2
    assert account.state.day.session == "2023-12-01"


def test_a_calendar_that_has_ended_rolls_nothing() -> None:
    account = bought()
    with account.batch(now_ns=NEXT.begins_ns, session=None):
        pass
    assert account.state.day.ends_ns <= NEXT.begins_ns


def test_a_fall_keeps_the_peak() -> None:
    account = bought()
    with account.batch(quotes=market(AAPL=10), now_ns=NEXT.begins_ns, session=NEXT):
        pass
    assert account.state.day.start_equity == D(100_000) - 991 + 100
    assert account.state.day.peak_equity == D(100_000)
    assert verified(account) == []


def test_a_start_that_no_price_tells_stays_open_until_one_does() -> None:
    account = bought()
    with account.batch(quotes={}, now_ns=NEXT.begins_ns, session=NEXT):
        pass
    assert account.state.day.start_equity is None
    assert entries(account, EntryKind.DAY_ROLL)[1]["missing"] == ["AAPL"]
    with account.batch(quotes=market(AAPL=98), now_ns=NEXT.begins_ns + 1, session=NEXT):
        pass
    assert account.state.day.start_equity == D(100_000) - 991 + 980
    with account.batch(quotes=market(AAPL=97), now_ns=NEXT.begins_ns + 2, session=NEXT):
        pass
    assert len(entries(account, EntryKind.EQUITY_MARKED)) == 1
    assert verified(account) == []


def test_a_closing_price_counts_however_old_it_is() -> None:
    account = bought()
    with account.batch(quotes=market(AAPL=98), now_ns=NEXT.closes_ns - 1, session=NEXT):
        pass
    assert account.state.day.start_equity == D(100_000) - 991 + 980


@pytest.mark.parametrize("at_ns", [FIRST.closes_ns - 1, NEXT.closes_ns])
def test_a_day_that_rolled_at_a_time_of_another_is_found(at_ns: int) -> None:
    """Into a session that was over by then, or out of one that was not."""
    account = bought()
    with account.batch(now_ns=NEXT.opens_ns, session=NEXT):
        pass
    [place] = [
        at
        for at, each in enumerate(account.journal)
        if each.kind is EntryKind.DAY_ROLL and each.recorded_at_ns == NEXT.opens_ns
    ]
    account.journal[place] = replace(account.journal[place], recorded_at_ns=at_ns)
    assert "the day rolled before its end, or into another day" in verified(account)


@pytest.mark.parametrize("name", ["start_equity", "peak_equity", "realized_before", "session"])
def test_a_day_that_was_tampered_with_is_found(name: str) -> None:
    account = bought()
    state = deepcopy(account.state)
    setattr(state.day, name, "2020-01-01" if name == "session" else D(1))
    account.state = state
    assert verified(account) == ["the day is not what the journal's rolls and marks make it"]


def test_a_state_from_before_there_were_days_is_read_and_rolls() -> None:
    account = Ledgered()
    summary = account.state.summary_json()
    del summary["day"]
    state = AccountState("main", "", "epoch", 1, account.state.head_hash)
    state.read_summary(summary)
    assert state.day == Day()
    account.state = state
    with account.batch(session=FIRST):
        pass
    assert account.state.day.start_equity == D(100_000)


def test_the_summary_keeps_the_day() -> None:
    account = bought()
    again = AccountState("main", "", "epoch", 1, b"")
    again.read_summary(orjson.loads(orjson.dumps(account.state.summary_json())))
    assert again.day == account.state.day
