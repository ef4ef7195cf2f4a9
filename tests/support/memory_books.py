"""The paper venue's books in memory, for tests: the semantics of `PaperBooks`, and failures.

What is kept is JSON text, so that nothing in it is shared with the venue, and only what a store
could keep gets in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

import orjson

from trade_engine.brokers.paper_books import Doc, Recorded
from trade_engine.domain.errors import StoreUnavailable

T = TypeVar("T")


@dataclass
class AccountBooks:
    token: int = 0
    holder: str = ""
    last_seq: int = 0
    acknowledged_seq: int = 0
    messages: list[bytes] = field(default_factory=list)
    orders: dict[str, bytes] = field(default_factory=dict)
    reports: list[bytes] = field(default_factory=list)
    exec_ids: set[str] = field(default_factory=set)


Fault = Callable[[str], str]
"""Asked before every call with the method's name: "" to serve it, "lost" to raise before anything
is done, "unclear" to do it and then raise."""


class MemoryBooks:
    """One store for any number of brokers."""

    def __init__(self, fault: Fault = lambda _: "", delay_s: float = 0.0) -> None:
        self.accounts: dict[str, AccountBooks] = {}
        self.fault = fault
        self.delay_s = delay_s
        self.writes = 0

    async def take_over(
        self, account_id: str, holder: str, *, only_if_held: bool = False
    ) -> Doc | None:
        fault = await self._before("take_over")
        books = self.accounts.setdefault(account_id, AccountBooks())
        if only_if_held and books.holder != holder:
            return None
        books.token += 1
        books.holder = holder
        orders = [orjson.loads(doc) for doc in books.orders.values()]
        answer: Doc = {
            "token": books.token,
            "last_seq": books.last_seq,
            "orders": sorted(
                (doc for doc in orders if doc["is_open"]), key=lambda doc: doc["priority"]
            ),
            "unacknowledged": [
                doc for doc in map(orjson.loads, books.reports)
                if doc["seq"] > books.acknowledged_seq
            ],
        }  # fmt: skip
        return self._after(fault, answer)

    async def record(
        self,
        account_id: str,
        token: int,
        *,
        messages: Sequence[Doc],
        new_orders: Sequence[Doc],
        orders: Sequence[Doc],
        reports: Sequence[Doc],
        last_seq: int,
        acknowledged_seq: int,
    ) -> Recorded:
        fault = await self._before("record")
        books = self.accounts[account_id]
        if token != books.token:
            return self._after(fault, "FENCED")
        if any(doc["cl_ord_id"] in books.orders for doc in new_orders):
            return self._after(fault, "DUPLICATE")
        seqs = sorted(doc["seq"] for doc in (*messages, *reports))
        assert seqs == list(range(books.last_seq + 1, last_seq + 1)), "seq is not dense"
        assert all(doc["cl_ord_id"] in books.orders for doc in orders), "an order is not there yet"
        assert not books.exec_ids & {doc["exec_id"] for doc in reports}, "an exec_id came twice"
        books.messages += map(orjson.dumps, messages)
        for doc in (*new_orders, *orders):
            books.orders[doc["cl_ord_id"]] = orjson.dumps(doc)
        books.reports += map(orjson.dumps, reports)
        books.exec_ids |= {doc["exec_id"] for doc in reports}
        books.last_seq = last_seq
        books.acknowledged_seq = max(books.acknowledged_seq, acknowledged_seq)
        self.writes += 1
        return self._after(fault, "DONE")

    async def acknowledge(self, account_id: str, token: int, seq: int) -> None:
        fault = await self._before("acknowledge")
        books = self.accounts[account_id]
        if token == books.token:
            books.acknowledged_seq = max(books.acknowledged_seq, seq)
        self._after(fault, None)

    async def find(self, account_id: str, cl_ord_ids: Sequence[str]) -> dict[str, Doc]:
        fault = await self._before("find")
        books = self.accounts.get(account_id, AccountBooks())
        found: dict[str, Doc] = {}
        for cl_ord_id in cl_ord_ids:
            if cl_ord_id in books.orders:
                found[cl_ord_id] = self._with_reports(account_id, cl_ord_id)
        return self._after(fault, found)

    async def open_orders(self, account_id: str) -> list[Doc]:
        fault = await self._before("open_orders")
        found = [self._with_reports(account_id, each) for each in self.accounts[account_id].orders]
        resting = [doc for doc in found if doc["is_open"]]
        return self._after(fault, sorted(resting, key=lambda doc: doc["priority"]))

    async def reports_since(self, account_id: str, since_ns: int) -> list[Doc]:
        fault = await self._before("reports_since")
        reports = self.reports(account_id)
        return self._after(fault, [doc for doc in reports if doc["transact_time_ns"] >= since_ns])

    async def positions(self, account_id: str) -> dict[str, str]:
        fault = await self._before("positions")
        held: dict[str, Decimal] = {}
        for doc in map(orjson.loads, self.accounts[account_id].orders.values()):
            bought = Decimal(doc["cum_qty"]) * (1 if doc["side"] == "BUY" else -1)
            held[doc["symbol"]] = held.get(doc["symbol"], Decimal(0)) + bought
        return self._after(fault, {symbol: str(quantity) for symbol, quantity in held.items()})

    def _with_reports(self, account_id: str, cl_ord_id: str) -> Doc:
        doc: Doc = orjson.loads(self.accounts[account_id].orders[cl_ord_id])
        reports = self.reports(account_id)
        return doc | {"reports": [each for each in reports if each["cl_ord_id"] == cl_ord_id]}

    # ---- for checking -----------------------------------------------------------------------

    def messages(self, account_id: str) -> list[Doc]:
        return [orjson.loads(doc) for doc in self.accounts[account_id].messages]

    def reports(self, account_id: str) -> list[Doc]:
        return [orjson.loads(doc) for doc in self.accounts[account_id].reports]

    def seqs(self, account_id: str) -> list[int]:
        """The numbers of the reports, in order."""
        return [each["seq"] for each in self.reports(account_id)]

    async def _before(self, method: str) -> str:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        fault = self.fault(method)
        if fault == "lost":
            raise StoreUnavailable(f"{method}: nothing was done")
        return fault

    def _after(self, fault: str, answer: T) -> T:
        if fault == "unclear":
            raise StoreUnavailable("it was done, but nobody was told")
        return answer
