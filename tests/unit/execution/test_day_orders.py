"""What the sessions of an instrument's calendar do to its orders, whatever the account's day is."""

from __future__ import annotations

from contextlib import AbstractContextManager

from tests.support.cases import NOW_NS, signal
from tests.support.ledgered import ALLOWED, DAY, Ledgered, fill, report
from trade_engine.audit.verify import Verification
from trade_engine.domain.execution import CancelReject, ExecType
from trade_engine.domain.order import Order, OrdStatus
from trade_engine.domain.session import Session
from trade_engine.domain.signal import TimeHorizon
from trade_engine.execution.batch import Batch
from trade_engine.execution.day_orders import heeds_sessions, turn_sessions
from trade_engine.execution.decisions import decide_signal
from trade_engine.execution.fills import book_cancel_reject, book_report
from trade_engine.execution.order_changes import intend
from trade_engine.portfolio.ledger import book

HOUR_NS = 3_600 * 10**9
CLOSES_NS = NOW_NS + HOUR_NS
OPENS_NS = NOW_NS + 3 * HOUR_NS
TODAY = Session("XNYS", "2023-11-14", NOW_NS - 9 * HOUR_NS, NOW_NS - HOUR_NS, CLOSES_NS)
NEXT = Session("XNYS", "2023-11-15", CLOSES_NS, OPENS_NS, OPENS_NS + 7 * HOUR_NS)


def exchange(_: str, now_ns: int) -> Session | None:
    return TODAY if now_ns < CLOSES_NS else NEXT


def ended(_: str, __: int) -> Session | None:
    return None


def at(account: Ledgered, now_ns: int) -> AbstractContextManager[Batch]:
    """A batch at an instant of the exchange; the account's own day goes on."""
    return account.batch(now_ns=now_ns, session_at=exchange)


def approved(account: Ledgered, horizon: TimeHorizon, number: int = 1) -> str:
    with at(account, NOW_NS) as batch:
        wish = signal(
            1000, signal_id=f"s-{number}", strategy_id=f"v-{number}", time_horizon=horizon
        )
        order = decide_signal(batch, wish, ALLOWED).order
        assert order is not None
    return order.order_id


def told(account: Ledgered, order_id: str, exec_type: ExecType, now_ns: int) -> None:
    with at(account, now_ns) as batch:
        order = batch.state.orders[order_id]
        book_report(batch, "paper", report(order, exec_type, exec_type.value), order)


def turned(account: Ledgered, now_ns: int) -> list[str]:
    """The orders whose cancel is asked for at an instant."""
    with at(account, now_ns) as batch:
        return [each.order_id for each in turn_sessions(batch, DAY)]


def verified(account: Ledgered) -> list[str]:
    verification = Verification("main", book)
    for entry in account.journal:
        verification.take(entry)
    verification.compare(account.state, account.orders.values(), account.executions)
    return [fault.what for fault in verification.findings.faults]


def test_a_day_order_that_was_not_sent_expires_and_a_sent_one_is_asked_back() -> None:
    account = Ledgered()
    horizons = (TimeHorizon.INTRADAY, TimeHorizon.INTRADAY, TimeHorizon.LONG)
    orders = [approved(account, each, number) for number, each in enumerate(horizons)]
    with at(account, NOW_NS) as batch:
        intend(batch, orders[1:])
    assert turned(account, CLOSES_NS - 1) == []
    assert turned(account, CLOSES_NS) == [orders[1]]
    assert turned(account, CLOSES_NS) == []
    found = [account.orders[each] for each in orders]
    assert [each.ord_status for each in found] == [
        OrdStatus.EXPIRED,
        OrdStatus.PENDING_CANCEL,
        OrdStatus.PENDING_NEW,
    ]
    assert not found[0].leaves_qty
    assert verified(account) == []


def test_the_end_of_the_account_s_day_ends_no_order_whose_market_is_open() -> None:
    account = Ledgered()
    order_id = approved(account, TimeHorizon.INTRADAY)
    later = Session("24/7", "2023-11-15", NOW_NS + 1, NOW_NS + 1, NOW_NS + 99 * HOUR_NS)
    with account.batch(now_ns=NOW_NS + 2, session=later, session_at=exchange) as batch:
        assert turn_sessions(batch, later) == []
    assert account.orders[order_id].ord_status is OrdStatus.PENDING_NEW


def test_where_the_instrument_s_calendar_has_ended_the_account_s_day_ends_the_order() -> None:
    account = Ledgered()
    order_id = approved(account, TimeHorizon.INTRADAY)
    for session, status in ((None, OrdStatus.PENDING_NEW), (NEXT, OrdStatus.EXPIRED)):
        with account.batch(now_ns=CLOSES_NS, session=session, session_at=ended) as batch:
            turn_sessions(batch, session)
        assert account.orders[order_id].ord_status is status


def test_a_broker_that_refuses_the_cancel_is_asked_once_in_a_session() -> None:
    account = Ledgered()
    order_id = approved(account, TimeHorizon.INTRADAY)
    told(account, order_id, ExecType.NEW, NOW_NS)
    assert turned(account, CLOSES_NS) == [order_id]
    with at(account, CLOSES_NS + 1) as batch:
        refusal = CancelReject(order_id, CLOSES_NS + 1)
        book_cancel_reject(batch, "paper", refusal, batch.state.orders[order_id])
    assert account.orders[order_id].ord_status is OrdStatus.NEW
    assert turned(account, CLOSES_NS + 2) == []


def test_an_order_that_is_good_till_canceled_stands_again_when_its_market_opens() -> None:
    account = Ledgered()
    order_id = approved(account, TimeHorizon.LONG)
    told(account, order_id, ExecType.NEW, NOW_NS)
    with at(account, NOW_NS) as batch:
        order = batch.state.orders[order_id]
        book_report(batch, "paper", fill(order, "f-1", 4, 100), order)
    told(account, order_id, ExecType.DONE_FOR_DAY, CLOSES_NS + 1)  # said after the close

    def now() -> Order:
        return account.orders[order_id]

    assert (now().ord_status, now().leaves_qty) == (OrdStatus.DONE_FOR_DAY, 6)
    assert heeds_sessions(now())
    assert turned(account, OPENS_NS - 1) == []
    assert now().ord_status is OrdStatus.DONE_FOR_DAY
    assert turned(account, OPENS_NS) == []
    assert (now().ord_status, now().leaves_qty) == (OrdStatus.PARTIALLY_FILLED, 6)
    assert not heeds_sessions(now())
    assert verified(account) == []
    told(account, order_id, ExecType.DONE_FOR_DAY, OPENS_NS + 1)
    assert turned(account, OPENS_NS + 2) == []
    assert now().ord_status is OrdStatus.DONE_FOR_DAY
