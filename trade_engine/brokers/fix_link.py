"""What goes over one FIX session: the venue's messages sorted, delivered, and booked in the file.

A report is in `_unbooked` from when it was read until the engine has booked it and the file says
so. The file never counts a message as received before that (see `fix_store`).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from fixcore.message.message import Message

from trade_engine.brokers import fix_fields as tag
from trade_engine.brokers.base import RETRY_S_MAX, ReportDelivery
from trade_engine.brokers.fix_config import FixConfig
from trade_engine.brokers.fix_known import KnownOrders
from trade_engine.brokers.fix_messages import (
    Accepted,
    order_cancel_request,
    order_status_request,
    request_id_of,
)
from trade_engine.brokers.fix_reports import (
    StatusAnswer,
    Unreadable,
    read_cancel_reject,
    read_execution_report,
    read_time_ns,
)
from trade_engine.brokers.fix_session import ANSWER_S, FixSession
from trade_engine.brokers.fix_store import FixStore, SentOrder
from trade_engine.domain.clock import Clock
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.execution import BrokerReport, CancelReject, ExecType, ExecutionReport
from trade_engine.domain.order import Order, order_id_of
from trade_engine.domain.replacement import Replacement, is_replacement
from trade_engine.domain.signal import Side
from trade_engine.execution.observer import Alert, Observer, raise_alert

_log = logging.getLogger(__name__)

SEEN_MAX = 100_000
"""So many executions are remembered in memory, to tell a repeated ExecID from a new execution."""
CANCEL_AGAIN_S = 5.0
"""A venue is not asked again sooner to cancel the same order."""
ENDS = frozenset({ExecType.CANCELED, ExecType.REJECTED, ExecType.EXPIRED})
RESTATING = frozenset({ExecType.REPLACED, ExecType.RESTATED})
LAG_MAX = 100
"""So far the file may be behind what was read when nothing waits to be booked."""


@dataclass(slots=True)
class _Unbooked:
    """A report that the file does not have. taken: the engine has booked it."""

    seq: int
    account_id: str
    report: BrokerReport
    taken: bool = False


class FixLink:
    """An open store and its session, for as long as any account trades over it."""

    def __init__(self, config: FixConfig, clock: Clock, observer: Observer) -> None:
        """Open the store; blocks for the disk.

        Raises:
            StoreUnavailable: another process has it open, or it cannot be used.
            ConfigError: the TLS files cannot be used.
        """
        config.ssl_context()
        self.store = FixStore(config.store, clock)
        self.session = FixSession(config, self.store, self._receive, self._trouble)
        self._config = config
        self._clock = clock
        self._observer = observer
        self._known = KnownOrders(self.store.look_up)
        self._seen = {_name(each): _terms(each) for each in self.store.last_reports(SEEN_MAX)}
        unanswered = self.store.unanswered_requests()
        self._asked = {each.cl_ord_id: (each.order_qty, each.price) for each in unanswered}
        self._unbooked: dict[int, _Unbooked] = {}
        self._number = 0
        self._deliveries: dict[str, ReportDelivery] = {}
        self._questions: dict[str, asyncio.Future[StatusAnswer | None]] = {}
        self._asks = config.order_status
        self._canceling: dict[str, float] = {}
        self._work = asyncio.Event()
        self._booking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, and begin to write down what is booked."""
        self._booking = asyncio.create_task(self._book_forever(), name="fix booking")
        self.session.start()

    async def stop(self) -> None:
        """Log out, write down what is booked, and let the file go."""
        await self.session.stop()
        if self._booking is not None:
            self._booking.cancel()
            await asyncio.wait({self._booking})
        try:
            await self._book()
        except sqlite3.Error as error:
            _log.warning("FIX %s: its last reports may come again: %r", self._config.name, error)
        self.store.close()

    # ---- accounts ---------------------------------------------------------------------------

    def attach(self, account_id: str, delivery: ReportDelivery) -> None:
        """Deliver this account's reports here, those first that came before."""
        self._deliveries[account_id] = delivery
        delivery.put(
            [
                (number, each.report)
                for number, each in self._unbooked.items()
                if each.account_id == account_id and not each.taken
            ]
        )

    def detach(self, account_id: str) -> None:
        """Deliver no more of this account; what comes for it waits."""
        self._deliveries.pop(account_id, None)

    def taken(self, account_id: str, mark: int) -> None:
        """The engine has booked this account's reports up to a mark."""
        for number, each in self._unbooked.items():
            if number <= mark and each.account_id == account_id:
                each.taken = True
        self._work.set()

    # ---- going out --------------------------------------------------------------------------

    def about_to_send(self, order: Order) -> None:
        """Know an order before its first report can come."""
        self._known.add(order)
        self.store.expect(order)

    def about_to_replace(self, asked: Replacement) -> None:
        """Know a request to replace before its answer can come."""
        self._asked[asked.terms.cl_ord_id] = (asked.terms.order_qty, asked.terms.price)
        self.store.expect_request(asked)

    def accepted(self, order: Order) -> Accepted:
        """What the venue calls an order now, and its OrderQty there."""
        known = self._known.get(order.cl_ord_id)
        return known.accepted if known else Accepted(order.cl_ord_id, order.order_qty)

    async def cancel(self, order: Order) -> None:
        """Ask to cancel, unless that was asked a moment ago."""
        now = asyncio.get_running_loop().time()
        if now - self._canceling.get(order.cl_ord_id, -CANCEL_AGAIN_S) < CANCEL_AGAIN_S:
            return
        store = self.store
        number = (store.era << 32) + store.next_sender_msg_seq_num()
        request_id = request_id_of(order.cl_ord_id, number)
        self._canceling[order.cl_ord_id] = now
        try:
            await self.session.send(
                order_cancel_request(
                    self._config, order, self.accepted(order), request_id, self._clock()
                )
            )
        except BaseException:
            self._canceling.pop(order.cl_ord_id, None)
            raise

    async def ask(self, orders: Iterable[SentOrder]) -> dict[str, StatusAnswer]:
        """What the venue says of orders; nothing where it does not answer such questions.

        Raises:
            StoreUnavailable: it gave no answer.
        """
        if not self._asks:
            return {}
        loop = asyncio.get_running_loop()
        asked = {each.cl_ord_id: each for each in orders}
        answers = {each: self._questions.setdefault(each, loop.create_future()) for each in asked}
        try:
            async with asyncio.timeout(ANSWER_S):
                for cl_ord_id, order in asked.items():
                    side = Side(order.terms["side"])
                    known = self._known.get(cl_ord_id)
                    name = known.accepted.cl_ord_id if known else cl_ord_id
                    message = order_status_request(name, order.terms["symbol"], side)
                    await self.session.send(message)
                found = await asyncio.gather(*answers.values())
        except (OSError, TimeoutError) as error:
            raise StoreUnavailable(
                f"FIX session {self._config.name} gave no answer about {len(asked)} orders"
            ) from error
        finally:
            for cl_ord_id in asked:
                self._questions.pop(cl_ord_id, None)
        return {each.order_id: each for each in found if each is not None}

    # ---- coming in --------------------------------------------------------------------------

    def _receive(self, message: Message) -> None:
        """Take one message of the venue; whatever it is, the session goes on."""
        try:
            self._sort(message)
        except Unreadable as why:
            self._quarantine(message, str(why))
        except Exception as fault:  # noqa: BLE001  # a fill behind it must still be read
            _log.exception("FIX %s: a message could not be handled", self._config.name)
            self._quarantine(message, f"a fault of the adapter's own: {fault!r}")
        if not self._unbooked and self._lag() > LAG_MAX:
            self._work.set()

    def _sort(self, message: Message) -> None:
        match message.msg_type:
            case tag.EXECUTION_REPORT:
                self._on_execution_report(message)
            case tag.ORDER_CANCEL_REJECT:
                refusal = read_cancel_reject(message, self._known)
                if self._asked.pop(refusal.cl_ord_id, None) is None:
                    self._canceling.pop(refusal.orig_cl_ord_id, None)
                self._deliver(message, refusal, refusal.orig_cl_ord_id)
            case tag.REJECT | tag.BUSINESS_MESSAGE_REJECT:
                self._on_reject(message)
            case other:
                _log.info("FIX %s: a message of type %s is not used", self._config.name, other)

    def _on_execution_report(self, message: Message) -> None:
        order_id = order_id_of(message.get(tag.CL_ORD_ID))
        read = read_execution_report(message, self._known, asked=order_id in self._questions)
        if isinstance(read, StatusAnswer):
            self._answer(read.order_id, read)
        elif not self._is_repeated(read):
            self._note_terms(read)
            self._deliver(message, read, order_id_of(read.cl_ord_id))

    def _note_terms(self, report: ExecutionReport) -> None:
        """Learn new terms; a venue that took a request and says no more took it as it was."""
        if report.exec_type not in RESTATING:
            return
        if report.exec_type is ExecType.REPLACED and is_replacement(report.cl_ord_id):
            order_qty, price = self._asked.pop(report.cl_ord_id, (None, None))
            report.order_qty = order_qty if report.order_qty is None else report.order_qty
            report.price = price if report.price is None else report.price
        self._known.note(report)

    def _on_reject(self, message: Message) -> None:
        """The venue did not process a message of ours: what it asked for is refused by that."""
        written = message.get(tag.REF_SEQ_NUM)
        ref_seq = int(written) if written.isdecimal() else 0
        about = message.get(tag.REF_MSG_TYPE)
        request = self.store.request_sent_as(ref_seq)
        order_id = self.store.order_sent_as(ref_seq)
        replacement = self.store.replacement_sent_as(ref_seq)
        named = message.get(tag.BUSINESS_REJECT_REF_ID)
        if not order_id and about == tag.NEW_ORDER_SINGLE:
            order_id = order_id_of(named)
        if not replacement and about == tag.ORDER_CANCEL_REPLACE_REQUEST:
            replacement = named
        if order_id in self._known:
            self._reject_order(message, order_id)
        elif order_id_of(replacement) in self._known:
            self._asked.pop(replacement, None)
            self._refuse(message, replacement)
        elif request.get(tag.MSG_TYPE) == tag.ORDER_CANCEL_REQUEST:
            self._refuse(message, request[tag.CL_ORD_ID])
        elif tag.ORDER_STATUS_REQUEST in (about, request.get(tag.MSG_TYPE)):
            _log.warning("FIX %s: the venue answers no OrderStatusRequest", self._config.name)
            self._asks = False
            for order_id in list(self._questions):
                self._answer(order_id, None)
        else:
            raise Unreadable(f"it rejects our message {written} of type {about or '?'}")

    def _reject_order(self, message: Message, order_id: str) -> None:
        report = ExecutionReport(
            cl_ord_id=order_id,
            exec_id=f"{order_id}/reject-{message.get(tag.MSG_SEQ_NUM)}",
            exec_type=ExecType.REJECTED,
            transact_time_ns=read_time_ns(message),
            text=message.get(tag.TEXT) or "the venue rejected the message",
        )
        if not self._is_repeated(report):
            self._deliver(message, report, order_id)

    def _refuse(self, message: Message, request_id: str) -> None:
        """A request to cancel or to replace is refused."""
        order_id = order_id_of(request_id)
        refusal = CancelReject(
            cl_ord_id=request_id,
            transact_time_ns=read_time_ns(message),
            orig_cl_ord_id=order_id,
            text=message.get(tag.TEXT) or "the venue rejected the message",
        )
        self._deliver(message, refusal, order_id)

    def _answer(self, order_id: str, answer: StatusAnswer | None) -> None:
        question = self._questions.get(order_id)
        if question is not None and not question.done():
            question.set_result(answer)

    def _is_repeated(self, report: ExecutionReport) -> bool:
        """Whether the venue said this before: a resend (PossDup), or the same anew (PossResend).

        Raises:
            Unreadable: it said something else under this ExecID.
        """
        before = self._seen.get(_name(report))
        if before is not None and before != _terms(report):
            raise Unreadable(f"ExecID {report.exec_id} was another execution before: {before}")
        self._seen[_name(report)] = _terms(report)
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        return before is not None

    def _deliver(self, message: Message, report: BrokerReport, order_id: str) -> None:
        account_id = self._account_of(message, order_id)
        self._number += 1
        seq = int(message.header.get(tag.MSG_SEQ_NUM))
        self._unbooked[self._number] = _Unbooked(seq, account_id, report)
        if isinstance(report, ExecutionReport) and report.exec_type in ENDS:
            self._canceling.pop(order_id, None)
        delivery = self._deliveries.get(account_id)
        if delivery is not None:
            delivery.put([(self._number, report)])

    def _account_of(self, message: Message, order_id: str) -> str:
        """Whose report it is: the order's account, else the one that the venue names."""
        order = self._known.get(order_id)
        if order is not None:
            return order.account_id
        theirs = message.get(tag.ACCOUNT)
        named = [ours for ours, name in self._config.accounts.items() if name == theirs]
        if not named and len(self._deliveries) == 1:
            named = list(self._deliveries)
        if len(named) != 1:
            raise Unreadable(f"order {order_id!r} is unknown, and no account is named")
        return named[0]

    # ---- what a person must look at ---------------------------------------------------------

    def _quarantine(self, message: Message, why: str) -> None:
        self._keep_aside(message.encode(), why)

    def _trouble(self, why: str, raw: bytes) -> None:
        if raw:
            self._keep_aside(raw, why)
        else:
            raise_alert(self._observer, Alert.BROKER_AWAY, broker=self._config.name, why=why)

    def _keep_aside(self, raw: bytes, why: str) -> None:
        raise_alert(self._observer, Alert.BROKER_UNREADABLE, broker=self._config.name, why=why)
        try:
            self.store.quarantine(raw, why)
        except sqlite3.Error as error:
            _log.warning("FIX %s: it was not kept: %r: %r", self._config.name, error, raw)

    # ---- booking ----------------------------------------------------------------------------

    def reports_of(self, cl_ord_id: str) -> list[ExecutionReport]:
        """Everything reported of an order so far, in the venue's order; blocks for the disk."""
        waiting = [each.report for each in self._unbooked.copy().values()]
        found = {_name(each): each for each in self.store.reports_of(cl_ord_id)}
        for each in waiting:
            if isinstance(each, ExecutionReport) and order_id_of(each.cl_ord_id) == cl_ord_id:
                found[_name(each)] = each
        return list(found.values())

    def _lag(self) -> int:
        return self.store.next_target_msg_seq_num() - self.store.booked_target

    async def _book_forever(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._book()
            except sqlite3.Error as error:
                _log.warning("FIX %s: not written, again soon: %r", self._config.name, error)
                await asyncio.sleep(RETRY_S_MAX)
                self._work.set()

    async def _book(self) -> None:
        """Write what the engine has booked, and which message is now the first that it has not.

        What is written is put together before anything waits: reading a message and noting what
        it reports is one step of the loop, so no message is between the two.
        """
        taken = {number: each for number, each in self._unbooked.items() if each.taken}
        waiting = [each.seq for each in self._unbooked.values() if not each.taken]
        target = min(waiting, default=self.store.next_target_msg_seq_num())
        reports = [each.report for each in taken.values()]
        await asyncio.shield(asyncio.to_thread(self.store.book, reports, target))
        for number in taken:
            self._unbooked.pop(number, None)


def _name(report: ExecutionReport) -> tuple[str, ExecType]:
    return report.exec_id, report.exec_type


def _terms(report: ExecutionReport) -> tuple[str, str]:
    """What the same execution says each time: a venue may well change the text."""
    return str(report.last_qty), str(report.last_px)
