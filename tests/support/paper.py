"""Orders, quotes and instruments for tests of brokers, and a sink that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal

from trade_engine.domain.clock import NS_PER_S
from trade_engine.domain.execution import BrokerReport, ExecType, ExecutionReport
from trade_engine.domain.market import Instrument, Quote
from trade_engine.domain.money import optional_text, text
from trade_engine.domain.order import ApprovedOrder, Order, OrdType, TimeInForce
from trade_engine.domain.signal import Side

NOON_NS = 20_000 * 86_400 * NS_PER_S + 12 * 3_600 * NS_PER_S
"""A noon in UTC."""

INSTRUMENTS = {
    "AAPL": Instrument("AAPL", Decimal("0.01"), Decimal(1), "USD", "EQUITY"),
    "IBM": Instrument("IBM", Decimal("0.01"), Decimal(1), "USD", "EQUITY"),
    "ES": Instrument("ES", Decimal("0.25"), Decimal(1), "USD", "FUTURE", multiplier=Decimal(50)),
    "BTC": Instrument("BTC", Decimal("0.1"), Decimal("0.001"), "USD", "CRYPTO"),
}


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_ns: int = NOON_NS) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def advance_ms(self, ms: int) -> None:
        self.now_ns += ms * 1_000_000


def order(
    cl_ord_id: str,
    side: Side = Side.BUY,
    quantity: str = "100",
    price: str | None = "100.00",
    *,
    symbol: str = "AAPL",
    tif: TimeInForce = TimeInForce.GTC,
    account_id: str = "main",
) -> ApprovedOrder:
    return ApprovedOrder(
        Order(
            order_id=cl_ord_id,
            account_id=account_id,
            strategy_id="s-1",
            symbol=symbol,
            signal_id=f"sig-{cl_ord_id}",
            side=side,
            ord_type=OrdType.MARKET if price is None else OrdType.LIMIT,
            time_in_force=tif,
            order_qty=Decimal(quantity),
            price=None if price is None else Decimal(price),
            broker="paper",
            created_at_ns=NOON_NS,
        )
    )


def quote(
    bid: str | None,
    ask: str | None,
    bid_size: str | None = None,
    ask_size: str | None = None,
    *,
    symbol: str = "AAPL",
    last: str | None = None,
    time_ns: int = NOON_NS,
) -> Quote:
    def number(written: str | None) -> Decimal | None:
        return None if written is None else Decimal(written)

    return Quote(
        symbol=symbol,
        bid=number(bid),
        ask=number(ask),
        bid_size=number(bid_size),
        ask_size=number(ask_size),
        last=number(last),
        time_ns=time_ns,
        source="test",
    )


def executions(reports: Sequence[BrokerReport]) -> list[ExecutionReport]:
    """Reports of orders: none of them refuses a request."""
    told = [each for each in reports if isinstance(each, ExecutionReport)]
    assert len(told) == len(reports)
    return told


def seen(reports: Sequence[BrokerReport]) -> list[str]:
    """Reports in a few words each: "a NEW", "a TRADE 60@99.5", "a CANCELED", "a REFUSED"."""
    return [f"{each.cl_ord_id} {_said(each)}" for each in reports]


def _said(report: BrokerReport) -> str:
    if not isinstance(report, ExecutionReport):
        return "REFUSED"
    if report.exec_type not in (ExecType.TRADE, ExecType.TRADE_CORRECT):
        return report.exec_type.value
    return f"{report.exec_type} {text(report.last_qty)}@{optional_text(report.last_px)}"


class RecordingSink:
    """Books what it is given; before that it fails as often as `failures` says."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.calls: list[tuple[str, list[BrokerReport]]] = []
        self.opened = asyncio.Event()
        """While cleared, nothing is booked and no call returns."""
        self.opened.set()

    async def __call__(self, account_id: str, reports: Sequence[BrokerReport]) -> None:
        await self.opened.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the sink does not take it now")
        self.calls.append((account_id, list(reports)))

    def reports(self, account_id: str = "main") -> list[ExecutionReport]:
        return [each for each in self.told(account_id) if isinstance(each, ExecutionReport)]

    def told(self, account_id: str = "main") -> list[BrokerReport]:
        return [each for name, batch in self.calls if name == account_id for each in batch]

    def seen(self, account_id: str = "main") -> list[str]:
        return seen(self.reports(account_id))


async def eventually(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - of anything, so there is no event to wait for
            await asyncio.sleep(0.001)
