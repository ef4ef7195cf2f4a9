"""The paper venue: an embedded broker that fills orders from the quotes the engine is given.

Seeded and deterministic given the quotes, the orders and the clock (`paper_matching`), with books
of its own (`paper_books`) that make it durable: an order is in them before `send` answers SENT,
resting orders come back after a restart, and a report is told again until the engine has booked
it. An account trades here in one process only: the one that opened it last.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from trade_engine.brokers.paper_account import PaperAccount, Venue
from trade_engine.brokers.paper_books import Doc, PaperBooks
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.brokers.paper_matching import FindInstrument
from trade_engine.brokers.paper_quotes import QuoteBoard
from trade_engine.brokers.paper_reports import execution_reports
from trade_engine.domain.clock import Clock
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.execution import EXECUTIONS, ExecutionReport
from trade_engine.domain.market import Quote
from trade_engine.domain.order import ApprovedOrder, Order, order_id_of
from trade_engine.domain.replacement import ApprovedReplacement
from trade_engine.execution.ports import BrokerOrder, Delivery, ReportSink


class PaperBroker:
    """The adapter of the paper venue; see `base` for what it promises."""

    name = "paper"
    remembers_all = True  # an order is in the books before `send` answers, or never will be
    is_live = False
    connection = 1  # embedded: as long as the process lives
    can_replace = True

    def __init__(
        self,
        config: PaperConfig,
        *,
        books: PaperBooks,
        find_instrument: FindInstrument,
        clock: Clock,
        holder: str,
    ) -> None:
        """Holder names this process among those that use the same books; never two of a name."""
        self._venue = Venue(holder, config, clock, books, find_instrument, QuoteBoard())
        self._sink: ReportSink | None = None
        self._accounts: dict[str, PaperAccount] = {}
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def start(self, sink: ReportSink) -> None:
        """Take the sink; accounts are opened one by one afterward."""
        self._sink = sink

    async def stop(self) -> None:
        """Close every account; what the sink has not booked comes again when one is opened."""
        self._sink = None
        await asyncio.gather(*(self.close_account(account_id) for account_id in self._opening))

    async def open_account(self, account_id: str) -> None:
        """Trade this account here; if it trades elsewhere, it stops doing so.

        Raises:
            StoreUnavailable: the books do not answer, or the broker is not started, or stopped
                already, as it is while an engine ends; the account is not open.
        """
        async with self._opening[account_id]:
            if self._sink is None:
                raise StoreUnavailable("the paper broker is not started, or stopped")
            known = self._accounts.get(account_id)
            if known is not None and known.is_open:
                return
            account = PaperAccount(account_id, self._venue, self._sink)
            await account.open()
            self._accounts[account_id] = account

    async def close_account(self, account_id: str) -> None:
        """Stop trading this account here; its orders stay in the books."""
        async with self._opening[account_id]:
            account = self._accounts.pop(account_id, None)
            if account is not None:
                await account.close()

    async def send(self, orders: Sequence[ApprovedOrder]) -> list[Delivery]:
        """Hand over orders of one account; each is in the books when it answers SENT."""
        account = self._accounts.get(orders[0].account_id) if orders else None
        return await account.send(orders) if account else [Delivery.NOT_SENT] * len(orders)

    async def cancel(self, orders: Sequence[Order]) -> list[Delivery]:
        """Ask to cancel orders of one account; one that is not open is left as it is."""
        account = self._accounts.get(orders[0].account_id) if orders else None
        return await account.cancel(orders) if account else [Delivery.NOT_SENT] * len(orders)

    async def replace(self, asked: Sequence[ApprovedReplacement]) -> list[Delivery]:
        """Ask for new terms of orders of one account."""
        account = self._accounts.get(asked[0].order.account_id) if asked else None
        return await account.replace(asked) if account else [Delivery.NOT_SENT] * len(asked)

    async def query(self, account_id: str, cl_ord_ids: Sequence[str]) -> dict[str, BrokerOrder]:
        """What the books hold of these orders; an absent one never arrived and never will.

        Raises:
            StoreUnavailable: the books do not answer, the last write to them is in doubt, or the
                account is not open here, so that another process may be writing.
        """
        await self._settled(account_id)
        orders = {each: order_id_of(each) for each in cl_ord_ids}
        found = await self._venue.books.find(account_id, list(dict.fromkeys(orders.values())))
        return {
            asked: _as_seen(found[first])
            for asked, first in orders.items()
            if first in found and (asked == first or asked in found[first].get("requests", ()))
        }

    async def open_orders(self, account_id: str) -> list[BrokerOrder]:
        """The orders that rest in the books, by priority."""
        await self._settled(account_id)
        return [_as_seen(doc) for doc in await self._venue.books.open_orders(account_id)]

    async def executions(self, account_id: str, since_ns: int) -> list[ExecutionReport]:
        """The fills in the books since a time, in order."""
        await self._settled(account_id)
        reports = await self._venue.books.reports_since(account_id, since_ns)
        return [each for each in execution_reports(reports) if each.exec_type in EXECUTIONS]

    async def positions(self, account_id: str) -> dict[str, Decimal]:
        """What the fills in the books add up to."""
        await self._settled(account_id)
        held = await self._venue.books.positions(account_id)
        return {symbol: Decimal(quantity) for symbol, quantity in held.items()}

    async def _settled(self, account_id: str) -> None:
        account = self._accounts.get(account_id)
        if account is None:
            raise StoreUnavailable(
                f"account {account_id} is not open at the paper venue: open it, then ask"
            )
        await account.settled()

    async def amend(
        self, account_id: str, exec_id: str, last_qty: Decimal, last_px: Decimal | None = None
    ) -> bool:
        """Act as the venue's desk: bust an execution (last_qty 0), or correct it downward.

        False where there is none to amend so: unknown, amended before, or smaller.

        Raises:
            StoreUnavailable: the books do not answer.
        """
        await self._settled(account_id)
        return await self._accounts[account_id].amend(exec_id, last_qty, last_px)

    def on_quotes(self, quotes: Sequence[Quote]) -> None:
        """See published quotes; what they fill is done later, in each account's own task."""
        self._venue.board.publish(quotes, self._venue.clock())


def _as_seen(doc: Doc) -> BrokerOrder:
    return BrokerOrder(
        cl_ord_id=doc["cl_ord_id"],
        broker_order_id=doc["broker_order_id"],
        cum_qty=Decimal(doc["cum_qty"]),
        leaves_qty=Decimal(doc["leaves_qty"]),
        is_open=doc["is_open"],
        reports=execution_reports(doc["reports"]),
    )
