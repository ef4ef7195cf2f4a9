"""One account at the paper venue, open in this process: its matcher, its books, its reports.

Everything that happens to the account happens under one lock, as a round: in memory first, then
written as a whole, and only then told. A round whose write has an unclear outcome is **held**: the
account does nothing else until the books were taken over again and the round stands in them, then
goes on as if nothing had been. Should the process die meanwhile, the round never happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from trade_engine.brokers.base import ReportDelivery
from trade_engine.brokers.paper_books import Doc, PaperBooks, Recorded
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.brokers.paper_matching import FindInstrument, PaperMatcher
from trade_engine.brokers.paper_order import PaperOrder
from trade_engine.brokers.paper_quotes import QuoteBoard
from trade_engine.brokers.paper_reports import execution_reports, report_of
from trade_engine.brokers.paper_round import Round, Write
from trade_engine.domain.clock import NS_PER_S, Clock
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.market import Quote
from trade_engine.domain.order import Order
from trade_engine.domain.replacement import Replacement
from trade_engine.execution.ports import Delivery, ReportSink

_log = logging.getLogger(__name__)

PENDING_QUOTES_MAX = 10_000
"""When more quotes wait than this, only the last of each symbol is kept."""
ACKNOWLEDGE_AFTER_S = 0.25
"""How long after a delivery the books hear of it, when no other write takes it along."""
SLEEP_S_MAX = 60.0
RETRY_S_MIN = 0.05
RETRY_S_MAX = 2.0


@dataclass(frozen=True, slots=True)
class Venue:
    """What all accounts of the venue share in this process; holder is its name in the books."""

    holder: str
    config: PaperConfig
    clock: Clock
    books: PaperBooks
    find_instrument: FindInstrument
    board: QuoteBoard


class PaperAccount:
    """An account whose sender this process is, until `close` or until another takes over."""

    def __init__(self, account_id: str, venue: Venue, sink: ReportSink) -> None:
        self.account_id = account_id
        self.is_open = False
        self._venue = venue
        self._matcher = PaperMatcher(venue.config, venue.find_instrument)
        self._delivery = ReportDelivery(account_id, sink, self._taken)
        self._token = 0
        self._last_seq = 0
        self._taken_seq = 0
        self._acknowledged_seq = 0
        self._held: Round | None = None
        self._pending: list[tuple[Quote, int]] = []
        self._watched: set[str] = set()
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._sleeps_until_ns = 0
        self._acknowledge_due = False
        self._acknowledge_waits = False
        self._tasks: list[asyncio.Task[None]] = []

    # ---- opening and closing ----------------------------------------------------------------

    async def open(self) -> None:
        """Take the books over, bring back what rests and what was not booked, start working."""
        books = await self._venue.books.take_over(self.account_id, self._venue.holder)
        if books is None:
            raise StoreUnavailable(f"the paper venue's books of {self.account_id} were not given")
        self._token, self._last_seq = books["token"], books["last_seq"]
        resting = [PaperOrder.from_doc(doc) for doc in books["orders"]]
        self._matcher = PaperMatcher(self._venue.config, self._venue.find_instrument, resting)
        self._delivery.put([(doc["seq"], report_of(doc)) for doc in books["unacknowledged"]])
        now_ns = self._venue.clock()
        for symbol in {order.symbol: None for order in resting}:
            self._watch(symbol)
            quote = self._venue.board.latest(symbol)
            if quote is not None:
                self.offer(quote, now_ns)
        self.is_open = True
        self._wake.set()
        self._tasks = [
            asyncio.create_task(self._run(), name=f"paper {self.account_id}"),
            asyncio.create_task(self._delivery.run(), name=f"paper reports {self.account_id}"),
        ]

    async def close(self) -> None:
        """Finish the round under way, stop, and tell the books what was booked, if they answer."""
        async with self._lock:
            self._shut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._acknowledge()
        except Exception as error:  # noqa: BLE001 - then those reports come once more
            _log.warning("account %s: its last reports may come again: %r", self.account_id, error)

    def _shut(self) -> None:
        self.is_open = False
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        for symbol in self._watched:
            self._venue.board.unwatch(symbol, self)

    # ---- what is asked of the venue ---------------------------------------------------------

    async def send(self, orders: Sequence[Order]) -> list[Delivery]:
        """Let orders arrive; one answer for each."""
        async with self._lock:
            if not self._is_ready():
                return [Delivery.NOT_SENT] * len(orders)
            now_ns = self._venue.clock()
            happened = self._catch_up(now_ns)
            symbols = {order.symbol: None for order in orders}
            for symbol in symbols:
                quote = self._venue.board.latest(symbol)
                if quote is not None:
                    happened.report(self._matcher.on_quote(quote, now_ns))
            happened.arrive(orders, now_ns)
            for symbol in symbols:
                if self._matcher.wants_quotes(symbol):
                    self._watch(symbol)
            outcome = await self._try_to_commit(happened)
            if outcome is Delivery.SENT:
                return happened.answers
            return [outcome if each is Delivery.SENT else each for each in happened.answers]

    async def cancel(self, orders: Sequence[Order]) -> list[Delivery]:
        """Let requests to cancel arrive."""
        async with self._lock:
            if not self._is_ready():
                return [Delivery.NOT_SENT] * len(orders)
            now_ns = self._venue.clock()
            happened = self._catch_up(now_ns)
            for order in orders:
                happened.cancel(order.cl_ord_id, now_ns)
            return [await self._try_to_commit(happened)] * len(orders)

    async def replace(self, asked: Sequence[Replacement]) -> list[Delivery]:
        """Let requests to replace arrive."""
        async with self._lock:
            if not self._is_ready():
                return [Delivery.NOT_SENT] * len(asked)
            try:
                closed = await self._closed([each.order.cl_ord_id for each in asked])
            except StoreUnavailable:
                return [Delivery.NOT_SENT] * len(asked)
            now_ns = self._venue.clock()
            happened = self._catch_up(now_ns)
            for each in asked:
                happened.replace(closed.get(each.order.cl_ord_id), each, now_ns)
            return [await self._try_to_commit(happened)] * len(asked)

    async def _closed(self, cl_ord_ids: Sequence[str]) -> dict[str, PaperOrder]:
        """Those of these orders that are in the books, and not open."""
        wanted = [each for each in cl_ord_ids if each not in self._matcher.orders]
        found = await self._venue.books.find(self.account_id, wanted) if wanted else {}
        return {cl_ord_id: PaperOrder.from_doc(doc) for cl_ord_id, doc in found.items()}

    async def amend(self, exec_id: str, last_qty: Decimal, last_px: Decimal | None) -> bool:
        """Bust an execution (last_qty 0) or correct it; False where there is none to amend so.

        Raises:
            StoreUnavailable: the books do not answer, or not clearly.
        """
        await self.settled()
        async with self._lock:
            cl_ord_id = exec_id.rpartition("-")[0]
            found = await self._venue.books.find(self.account_id, [cl_ord_id])
            if cl_ord_id not in found:
                return False
            reports = execution_reports(found[cl_ord_id]["reports"])
            told = next((each for each in reports if each.exec_id == exec_id), None)
            amended = any(each.exec_ref_id == exec_id for each in reports)
            if told is None or amended or not 0 <= last_qty <= told.last_qty:
                return False
            resting = self._matcher.orders.get(cl_ord_id)
            order = resting or PaperOrder.from_doc(found[cl_ord_id])
            happened, now_ns = Round(self._matcher), self._venue.clock()
            happened.report(self._matcher.amend(order, told, last_qty, last_px, now_ns))
            if await self._try_to_commit(happened) is Delivery.SENT:
                return True
            raise StoreUnavailable("it is not known whether the execution was amended")

    async def settled(self) -> None:
        """Wait for the round under way.

        Raises:
            StoreUnavailable: it is not known whether the books have it, or the account is closed.
        """
        async with self._lock:
            if not self._is_ready():
                raise StoreUnavailable(
                    f"the paper venue's books of {self.account_id} do not answer; ask again later"
                )

    def offer(self, quote: Quote, now_ns: int) -> None:
        """Queue a quote for the account's own task."""
        self._pending.append((quote, now_ns))
        if len(self._pending) > PENDING_QUOTES_MAX:
            self._pending = list({each[0].symbol: each for each in self._pending}.values())
        self._wake.set()

    # ---- rounds -----------------------------------------------------------------------------

    def _is_ready(self) -> bool:
        if self._held is not None:
            self._wake.set()
        return self.is_open and self._held is None

    def _catch_up(self, now_ns: int) -> Round:
        """Begin a round with the quotes that wait and the time that has passed."""
        happened = Round(self._matcher)
        pending, self._pending = self._pending, []
        for quote, seen_at_ns in pending:
            happened.report(self._matcher.on_quote(quote, seen_at_ns))
        happened.report(self._matcher.on_time(now_ns))
        for symbol in {quote.symbol for quote, _ in pending}:
            if not self._matcher.wants_quotes(symbol):
                self._venue.board.unwatch(symbol, self)
                self._watched.discard(symbol)
        return happened

    async def _try_to_commit(self, happened: Round) -> Delivery:
        """Commit, and say it as what is known of an order in the round."""
        try:
            stands = await self._commit(happened)
        except Exception as error:  # noqa: BLE001 - whatever it is, the outcome is not known
            _log.warning(
                "account %s: the paper venue's books gave no clear answer: %r",
                self.account_id, error,
            )  # fmt: skip
            return Delivery.IN_DOUBT
        return Delivery.SENT if stands else Delivery.NOT_SENT

    async def _commit(self, happened: Round) -> bool:
        """Write a round and tell what it brought; False when the account is not ours any more.

        Whatever is raised on the way leaves the round held.
        """
        write = happened.write(self._last_seq)
        if write.is_empty:
            return True
        self._held = happened
        try:
            recorded = await self._record(write)
            while recorded == "DUPLICATE":
                happened.arrive_again(await self._find_known(happened))
                write = happened.write(self._last_seq)
                recorded = await self._record(write)
        except BaseException:
            self._wake.set()
            raise
        self._held = None
        if recorded == "FENCED":
            self._lose()
            return False
        self._tell(write)
        return True

    async def _find_known(self, happened: Round) -> dict[str, Doc]:
        known = await self._venue.books.find(self.account_id, list(happened.new_ids))
        if not known:
            raise StoreUnavailable("the books refuse an order as known, but do not know it")
        return known

    async def _record(self, write: Write) -> Recorded:
        taken_seq = self._taken_seq
        recorded = await self._venue.books.record(
            self.account_id,
            self._token,
            messages=write.messages,
            new_orders=write.new_orders,
            orders=write.orders,
            reports=write.reports,
            last_seq=write.last_seq,
            acknowledged_seq=taken_seq,
        )
        if recorded == "DONE":
            self._acknowledged_seq = taken_seq
        return recorded

    def _tell(self, write: Write) -> None:
        """The round stands: its reports may go out, and time goes on."""
        self._last_seq = write.last_seq
        self._delivery.put(write.outgoing)
        if self._matcher.next_due_ns != self._sleeps_until_ns:
            self._wake.set()

    async def _settle(self, held: Round) -> None:
        """Find out whether the books have the held round, and write it if not."""
        books = await self._venue.books.take_over(
            self.account_id, self._venue.holder, only_if_held=True
        )
        if books is None:
            self._lose()
            return
        self._token = books["token"]
        write = held.write(self._last_seq)
        if books["last_seq"] < write.last_seq:
            await self._commit(held)
        else:
            self._held = None
            self._tell(write)

    def _lose(self) -> None:
        self._held = None
        self._shut()
        _log.warning(
            "account %s: another process took over its books at the paper venue, "
            "so this one stops trading it until it is opened here again",
            self.account_id,
        )

    # ---- the account's own task -------------------------------------------------------------

    async def _run(self) -> None:
        retry_s = 0.0
        while self.is_open:
            await (asyncio.sleep(retry_s) if retry_s else self._until_woken())
            try:
                await self._turn()
                retry_s = 0.0
            except Exception as error:  # noqa: BLE001 - the venue goes on, whatever it was
                retry_s = min(max(retry_s * 2, RETRY_S_MIN), RETRY_S_MAX)
                _log.warning(
                    "account %s: the paper venue's round is not written, again in %.2f s: %r",
                    self.account_id, retry_s, error,
                    exc_info=not isinstance(error, StoreUnavailable),
                )  # fmt: skip

    async def _turn(self) -> None:
        async with self._lock:
            if self._held is not None:
                await self._settle(self._held)
            if not self.is_open:
                return
            await self._commit(self._catch_up(self._venue.clock()))
            if self._acknowledge_due:
                await self._acknowledge()

    async def _until_woken(self) -> None:
        """Sleep until rung for, or until something at the venue falls due."""
        due_ns = self._sleeps_until_ns = self._matcher.next_due_ns
        sleep_s = SLEEP_S_MAX
        if due_ns:
            sleep_s = min(max(due_ns - self._venue.clock(), 0) / NS_PER_S, SLEEP_S_MAX)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(sleep_s):
                await self._wake.wait()
        self._wake.clear()

    # ---- what the engine has booked ---------------------------------------------------------

    def _taken(self, seq: int) -> None:
        self._taken_seq = seq
        if not self._acknowledge_waits:
            self._acknowledge_waits = True
            asyncio.get_running_loop().call_later(ACKNOWLEDGE_AFTER_S, self._acknowledge_soon)

    def _acknowledge_soon(self) -> None:
        self._acknowledge_waits = False
        if self._taken_seq > self._acknowledged_seq:
            self._acknowledge_due = True
            self._wake.set()

    async def _acknowledge(self) -> None:
        self._acknowledge_due = False
        taken_seq = self._taken_seq
        if taken_seq > self._acknowledged_seq:
            await self._venue.books.acknowledge(self.account_id, self._token, taken_seq)
            self._acknowledged_seq = taken_seq

    def _watch(self, symbol: str) -> None:
        self._watched.add(symbol)
        self._venue.board.watch(symbol, self)
