"""What a broker says of orders, beyond fills: repeats, refusals, claims, and what is no report."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import orjson
import pytest

from tests.support.cases import NOW_NS, signal
from tests.support.ledgered import ALLOWED, Ledgered, fill, report
from trade_engine.audit.verify import Verification
from trade_engine.domain.execution import BrokerReport, CancelReject, ExecType, ExecutionReport
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.order import DeliveryState, Order, OrdStatus
from trade_engine.execution.decisions import decide_signal
from trade_engine.execution.fills import (
    book_cancel_reject,
    book_report,
    named_orders,
    quarantine,
)
from trade_engine.execution.observer import Alert
from trade_engine.execution.order_changes import intend, request_cancel
from trade_engine.execution.requests import ReportsRequest
from trade_engine.portfolio.ledger import book

D = Decimal


def working(account: Ledgered) -> Order:
    """An order of 10 that the broker has acknowledged."""
    with account.batch() as batch:
        order = decide_signal(batch, signal(1000, signal_id="s-1"), ALLOWED).order
        assert order is not None
        intend(batch, [order.order_id])
        book_report(
            batch, "paper", report(order, ExecType.NEW, "n-1"), batch.state.orders[order.order_id]
        )
    return account.orders[order.order_id]


def told(account: Ledgered, *reports: ExecutionReport) -> list[Alert]:
    """Book reports, one batch for each; answers with the alerts."""
    alerts = []
    for each in reports:
        with account.batch() as batch:
            order_id = named_orders(each)[0]
            book_report(batch, "paper", each, batch.find(order_id) or account.orders.get(order_id))
            alerts += [alert for alert, _ in batch.alerts]
    return alerts


def kinds(account: Ledgered) -> list[EntryKind]:
    return [each.kind for each in account.journal]


def verified(account: Ledgered) -> None:
    verification = Verification("main", book)
    for each in account.journal:
        verification.take(each)
    verification.compare(account.state, account.orders.values(), account.executions)
    assert verification.findings.faults == []


# ---- repeats --------------------------------------------------------------------------------

ENDS = [ExecType.CANCELED, ExecType.EXPIRED, ExecType.REJECTED]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "again", [ExecType.NEW, ExecType.PENDING_NEW, ExecType.PENDING_CANCEL, ExecType.ORDER_STATUS]
)
def test_what_the_end_overtook_is_told_in_vain(end: ExecType, again: ExecType) -> None:
    account = Ledgered()
    order = working(account)
    assert told(account, report(order, end, "x-1")) == []
    before = len(account.journal)
    assert told(account, report(order, end, "x-1"), report(order, again, "x-2")) == []
    assert len(account.journal) == before


def test_an_end_told_again_after_a_late_fill_of_all_is_no_contradiction() -> None:
    account = Ledgered()
    order = working(account)
    canceled = report(order, ExecType.CANCELED, "x-1")
    alerts = told(account, canceled, fill(order, "f-1", 10, 100), canceled)
    assert alerts == [Alert.FILL_OUT_OF_ORDER]
    assert account.orders[order.order_id].ord_status is OrdStatus.FILLED


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (ExecType.CANCELED, ExecType.EXPIRED),
        (ExecType.CANCELED, ExecType.REJECTED),
        (ExecType.EXPIRED, ExecType.SUSPENDED),
        (ExecType.REJECTED, ExecType.CANCELED),
    ],
)
def test_what_contradicts_the_end_is_journaled_and_alerted_on(
    first: ExecType, then: ExecType
) -> None:
    account = Ledgered()
    order = working(account)
    alerts = told(account, report(order, first, "x-1"), report(order, then, "x-2"))
    assert alerts == [Alert.REPORT_IGNORED]
    assert kinds(account)[-1] is EntryKind.REPORT_IGNORED
    verified(account)


# ---- refused cancels ------------------------------------------------------------------------


@pytest.mark.parametrize("own_id", [True, False])
def test_a_refused_cancel_leaves_the_order_as_it_was(*, own_id: bool) -> None:
    account = Ledgered()
    order = working(account)
    with account.batch() as batch:
        request_cancel(batch, batch.state.orders[order.order_id], "r", "enough", "olga")
    assert account.orders[order.order_id].ord_status is OrdStatus.PENDING_CANCEL
    name = order.cl_ord_id if own_id else f"{order.cl_ord_id}.1"
    reject = CancelReject(name, NOW_NS, order.cl_ord_id, text="too late to cancel")
    for _ in range(2):  # the second time it says nothing new
        with account.batch() as batch:
            assert named_orders(reject) == [order.order_id]
            book_cancel_reject(batch, "paper", reject, batch.find(order.order_id))
            assert batch.alerts == []
    after = account.orders[order.order_id]
    assert (after.ord_status, after.cancel_requested) == (OrdStatus.NEW, False)
    assert after.text == "too late to cancel"
    assert kinds(account).count(EntryKind.CANCEL_REJECTED) == 1
    verified(account)


def test_a_refused_replacement_told_again_refuses_no_cancel() -> None:
    account = Ledgered()
    order = working(account)
    with account.batch() as batch:
        request_cancel(batch, batch.state.orders[order.order_id], "r", "enough", "olga")
    again = CancelReject(f"{order.order_id}.r7", NOW_NS, order.order_id, text="too late")
    with account.batch() as batch:
        book_cancel_reject(batch, "paper", again, batch.find(order.order_id))
    after = account.orders[order.order_id]
    assert (after.ord_status, after.cancel_requested) == (OrdStatus.PENDING_CANCEL, True)
    verified(account)


@pytest.mark.parametrize("filled", [0, 3])
def test_an_order_done_for_the_day_is_not_filled_though_a_cancel_is_pending(filled: int) -> None:
    account = Ledgered()
    order = working(account)
    if filled:
        told(account, fill(order, "f-1", filled, 100))
    with account.batch() as batch:
        request_cancel(batch, batch.state.orders[order.order_id], "r", "enough", "olga")
    assert told(account, report(order, ExecType.DONE_FOR_DAY, "d-1")) == []
    after = account.orders[order.order_id]
    assert (after.ord_status, after.cum_qty) == (OrdStatus.DONE_FOR_DAY, filled)
    assert not after.is_open
    assert told(account, report(order, ExecType.CANCELED, "x-1")) == []
    assert account.orders[order.order_id].ord_status is OrdStatus.CANCELED
    verified(account)


def test_a_refusal_by_a_broker_that_does_not_know_the_order_proves_nothing() -> None:
    account = Ledgered()
    with account.batch() as batch:
        order = decide_signal(batch, signal(1000, signal_id="s-1"), ALLOWED).order
        assert order is not None
        intend(batch, [order.order_id])
        request_cancel(batch, batch.state.orders[order.order_id], "r", "enough", "olga")
        reject = CancelReject(order.cl_ord_id, NOW_NS, unknown_order=True)
        book_cancel_reject(batch, "paper", reject, batch.find(order.order_id))
    after = account.orders[order.order_id]
    assert (after.ord_status, after.delivery) == (OrdStatus.PENDING_NEW, DeliveryState.SENDING)
    verified(account)


def test_a_refusal_about_an_order_that_nobody_knows_is_evidence() -> None:
    account = Ledgered()
    with account.batch() as batch:
        book_cancel_reject(batch, "paper", CancelReject("o-x", NOW_NS), None)
        assert [alert for alert, _ in batch.alerts] == [Alert.REPORT_IGNORED]
    verified(account)


# ---- claims ---------------------------------------------------------------------------------


def test_a_claimed_state_that_does_not_follow_is_journaled_as_a_difference() -> None:
    account = Ledgered()
    order = working(account)
    part = replace(fill(order, "f-1", 4, 100), ord_status=OrdStatus.FILLED)
    assert told(account, part) == [Alert.STATUS_CONTRADICTED]
    payload = orjson.loads(account.journal[-1].payload)
    assert (payload["report"]["ord_status"], payload["derived"]) == ("FILLED", "PARTIALLY_FILLED")
    assert account.orders[order.order_id].ord_status is OrdStatus.PARTIALLY_FILLED
    verified(account)


@pytest.mark.parametrize("claimed", [None, OrdStatus.PARTIALLY_FILLED, OrdStatus.REPLACED])
def test_a_claim_that_agrees_or_names_no_state_is_no_difference(claimed: OrdStatus | None) -> None:
    account = Ledgered()
    order = working(account)
    assert told(account, replace(fill(order, "f-1", 4, 100), ord_status=claimed)) == []
    assert "derived" not in orjson.loads(account.journal[-1].payload)


def test_an_answer_that_claims_another_state_is_kept_though_it_changes_nothing() -> None:
    account = Ledgered()
    order = working(account)
    status = report(order, ExecType.ORDER_STATUS, "q-1", ord_status=OrdStatus.CANCELED)
    assert told(account, status) == [Alert.STATUS_CONTRADICTED]
    assert account.orders[order.order_id].ord_status is OrdStatus.NEW


# ---- what is no report ----------------------------------------------------------------------

SOUND = ExecutionReport("o-1", "e-1", ExecType.TRADE, 1, D(1), D(10))


@pytest.mark.parametrize(
    "changes",
    [
        {"exec_id": ""},
        {"exec_id": "e\x00"},
        {"exec_id": "e" * 256},
        {"cl_ord_id": "o-1\n"},
        {"exec_ref_id": "\ud800"},
        {"broker_order_id": "\x1b[31m"},
        {"orig_cl_ord_id": "\x7f"},
        {"transact_time_ns": -1},
        {"transact_time_ns": 2**63},
        {"last_qty": D("NaN")},
        {"last_qty": D(-1)},
        {"last_px": D("Infinity")},
        {"commission": D("1e99999")},
        {"order_qty": D("1e-30")},
        {"price": D("1e16")},
    ],
)
async def test_what_no_store_can_take_is_put_aside_whole(changes: dict[str, object]) -> None:
    bad: BrokerReport = replace(SOUND, **changes)  # type: ignore[arg-type]
    future = asyncio.get_running_loop().create_future()
    request = ReportsRequest("paper", [SOUND, bad], future)
    assert request.reports == [SOUND]
    [(refused, why)] = request.refused
    assert refused is bad
    assert next(iter(changes)) in why
    account = Ledgered()
    with account.batch() as batch:
        quarantine(batch, "paper", refused, why)
        assert [alert for alert, _ in batch.alerts] == [Alert.REPORT_QUARANTINED]
    payload = orjson.loads(account.journal[-1].payload)
    assert payload["report"].isprintable()
    assert "e-1" in payload["report"] or "exec_id" in changes
    verified(account)


@pytest.mark.parametrize("words", ["\x00", "\x1b[31m\r\n", "\ud800", "x" * 100_000])
async def test_words_are_made_printable_and_the_report_is_booked(words: str) -> None:
    request = ReportsRequest(
        "paper", [replace(SOUND, text=words)], asyncio.get_running_loop().create_future()
    )
    [kept] = request.reports
    assert kept.text.isprintable()
    assert len(kept.text) <= 500
