"""The paper venue's matching: pure, and the same for the same quotes, orders and instants.

One matcher serves one account, and each account trades against quotes of its own: what one account
takes of a quoted size is not missing for another. So the result depends neither on which accounts
happen to share a process nor on how their work interleaves.

A quote's bid and ask are what there is to trade with, up to their sizes (no size: without limit),
until the next quote of the symbol replaces them. Orders never trade with each other. A BUY reaches
the ask when it is a market order or its limit is at or above it, and pays the ask; orders of one
side take what there is in order of price, then of arrival. What is not filled rests and walks on
with the quotes. A quote that has neither bid nor ask trades at its last price on both sides; a
crossed one offers nothing. What is left of a quote is known to the matcher only: where a new one
is made from the books, the quote that stands is whole again.

Things happen in order of time: whatever falls due (orders and cancels that have traveled their
latency, DAY orders that expire) takes effect at its own instant, before a later quote is seen.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from random import Random

from trade_engine.brokers.paper_commission import charge
from trade_engine.brokers.paper_config import DAY_S, PaperConfig
from trade_engine.brokers.paper_market import Market, Touch
from trade_engine.brokers.paper_order import NewTerms, PaperOrder
from trade_engine.domain.clock import NS_PER_MS, NS_PER_S
from trade_engine.domain.execution import BrokerReport, CancelReject, ExecType, ExecutionReport
from trade_engine.domain.market import Instrument, Quote
from trade_engine.domain.money import BPS, ZERO, ceil_to, floor_to, text
from trade_engine.domain.order import OrdType, TimeInForce
from trade_engine.domain.signal import Side

FindInstrument = Callable[[str], Instrument | None]
"""Finds an instrument by its symbol."""

Touches = dict[str, tuple[Decimal | None, Decimal | None]]
"""By symbol: what is left of the ask's and of the bid's size; None is without limit."""

_ACTIVATE, _CANCEL, _REPLACE = 0, 1, 2
TOO_LATE = "too late: the order is not open"
_IMMEDIATE = frozenset({TimeInForce.IOC, TimeInForce.FOK})


class PaperMatcher:
    """An account's orders at the venue, and what quotes and time make of them.

    Each event answers with the execution reports that it caused, in order. `orders` holds the open
    orders by ClOrdID; `take_changed` tells which orders an event touched.
    """

    def __init__(
        self,
        config: PaperConfig,
        find_instrument: FindInstrument,
        resting: Iterable[PaperOrder] = (),
    ) -> None:
        """Start with the open orders that the books hold, and without any quote."""
        self.orders: dict[str, PaperOrder] = {}
        self._config = config
        self._find_instrument = find_instrument
        self._markets: dict[str, Market] = {}
        self._due: list[tuple[int, int, int, PaperOrder]] = []
        self._next_expiry_ns = 0
        self._last_priority = 0
        self._changed: dict[str, PaperOrder] = {}
        self._reports: list[BrokerReport] = []
        for order in resting:
            self._restore(order)

    # ---- events -----------------------------------------------------------------------------

    def arrive(self, order: PaperOrder, now_ns: int) -> list[BrokerReport]:
        """Take an order whose ClOrdID was never seen."""
        self._pass_time(now_ns)
        self._last_priority += 1
        order.priority = self._last_priority
        self.orders[order.cl_ord_id] = order
        self._changed[order.cl_ord_id] = order
        if self._config.latency_ms:
            order.due_at_ns = now_ns + self._config.latency_ms * NS_PER_MS
            self._await_arrival(order)
        else:
            self._activate(order, now_ns)
        return self._take_reports()

    def cancel(self, cl_ord_id: str, now_ns: int) -> list[BrokerReport]:
        """Ask to cancel an order; one that is not open, or is being canceled, is left as it is."""
        self._pass_time(now_ns)
        order = self.orders.get(cl_ord_id)
        if order is None:
            return self._take_reports()
        if not self._config.latency_ms:
            self._leave_and_close(order, ExecType.CANCELED, now_ns, "canceled on request")
        elif not order.cancel_at_ns:
            order.cancel_at_ns = now_ns + self._config.latency_ms * NS_PER_MS
            heapq.heappush(self._due, (order.cancel_at_ns, _CANCEL, order.priority, order))
            self._changed[cl_ord_id] = order
        return self._take_reports()

    def replace(self, order: PaperOrder, terms: NewTerms, now_ns: int) -> list[BrokerReport]:
        """Take a request to replace that was never seen: the order gets the terms, or a refusal.

        A venue looks at OrderQty when the request takes effect: what was filled by then counts,
        and where that is more, the order stops there.
        """
        self._pass_time(now_ns)
        order.requests.append(terms.cl_ord_id)
        self._changed[order.cl_ord_id] = order
        why = self._why_not_replaced(order, terms)
        if not why and self._config.latency_ms:
            order.replacing = terms
            order.replace_at_ns = now_ns + self._config.latency_ms * NS_PER_MS
            self._await_replacement(order)
        elif why:
            self._refuse(order, terms, now_ns, why)
        else:
            self._give(order, terms, now_ns)
        return self._take_reports()

    def amend(
        self, order: PaperOrder, execution: ExecutionReport, last_qty: Decimal,
        last_px: Decimal | None, now_ns: int,
    ) -> list[BrokerReport]:  # fmt: skip
        """Let the venue bust an execution of an order (last_qty 0), or correct it downward.

        An order that rests works on with what it lost; one that is closed is not reinstated.
        """
        lost = execution.last_qty - last_qty
        was_filled = not order.is_open and order.cum_qty == order.order_qty
        order.cum_qty -= lost
        if order.is_open:
            order.leaves_qty += lost
        self._report(
            order,
            ExecType.TRADE_CORRECT if last_qty else ExecType.TRADE_CANCEL,
            now_ns,
            last_qty=last_qty,
            last_px=last_px if last_qty else None,
            commission=execution.commission if last_qty else ZERO,
            exec_ref_id=execution.exec_id,
            words="amended by the venue",
        )
        if was_filled and lost:
            self._report(order, ExecType.CANCELED, now_ns, words="not reinstated")
        return self._take_reports()

    def on_quote(self, quote: Quote, now_ns: int) -> list[BrokerReport]:
        """See a quote; one that is older than the last of its symbol, or the same, is passed by."""
        self._pass_time(now_ns)
        market = self._market(quote.symbol)
        if market.take(quote):
            self._match(market.buys, now_ns)
            self._match(market.sells, now_ns)
        return self._take_reports()

    def on_time(self, now_ns: int) -> list[BrokerReport]:
        """Let everything take effect that is due by now."""
        self._pass_time(now_ns)
        return self._take_reports()

    # ---- looking in -------------------------------------------------------------------------

    @property
    def next_due_ns(self) -> int:
        """When `on_time` has something to do next; 0 for never."""
        if self._due and self._next_expiry_ns:
            return min(self._due[0][0], self._next_expiry_ns)
        return self._due[0][0] if self._due else self._next_expiry_ns

    def take_changed(self) -> list[PaperOrder]:
        """The orders that changed since the last call."""
        changed = list(self._changed.values())
        self._changed.clear()
        return changed

    def wants_quotes(self, symbol: str) -> bool:
        """Whether a quote of the symbol could change anything: some order rests or is coming."""
        market = self._markets.get(symbol)
        return market is not None and market.is_awaited

    # ---- taking back ------------------------------------------------------------------------

    def touches(self, symbols: Iterable[str]) -> Touches:
        """What is left of the quotes of these symbols, for `withdraw`."""
        markets = {symbol: self._market(symbol) for symbol in symbols}
        return {symbol: (each.buys.left, each.sells.left) for symbol, each in markets.items()}

    def withdraw(self, cl_ord_ids: Sequence[str], touches: Touches) -> None:
        """Make as if these orders, the last to arrive, never had: touches is from before them."""
        for cl_ord_id in cl_ord_ids:
            self._changed.pop(cl_ord_id, None)
            order = self.orders.pop(cl_ord_id, None)
            if order is None:
                continue
            market = self._market(order.symbol)
            market.touch(order.side).leave(order)
            if order.due_at_ns:
                self._due.remove((order.due_at_ns, _ACTIVATE, order.priority, order))
                market.coming -= 1
        heapq.heapify(self._due)
        for symbol, (ask_left, bid_left) in touches.items():
            market = self._markets[symbol]
            market.buys.left, market.sells.left = ask_left, bid_left
        self._last_priority -= len(cl_ord_ids)

    # ---- time -------------------------------------------------------------------------------

    def _pass_time(self, now_ns: int) -> None:
        """Do what is due by now, each thing at its own instant."""
        while (at_ns := self.next_due_ns) and at_ns <= now_ns:
            if at_ns == self._next_expiry_ns:
                self._expire(at_ns)
                continue
            _, what, _, order = heapq.heappop(self._due)
            if what == _ACTIVATE:
                self._market(order.symbol).coming -= 1
            if what == _REPLACE:
                self._replace_in_time(order, at_ns)
                continue
            if not order.is_open:
                continue
            if what == _ACTIVATE:
                self._activate(order, at_ns)
            else:
                self._leave_and_close(order, ExecType.CANCELED, at_ns, "canceled on request")

    def _expire(self, at_ns: int) -> None:
        expiring = [each for each in self.orders.values() if 0 < each.expires_at_ns <= at_ns]
        for order in expiring:
            self._leave_and_close(order, ExecType.EXPIRED, at_ns, "DAY: the day is over")
        later = [each.expires_at_ns for each in self.orders.values() if each.expires_at_ns]
        self._next_expiry_ns = min(later, default=0)

    def _day_end_ns(self, now_ns: int) -> int:
        if self._config.day_end_s is None:
            return 0
        day_ns, end_ns = DAY_S * NS_PER_S, self._config.day_end_s * NS_PER_S
        return ((now_ns - end_ns) // day_ns + 1) * day_ns + end_ns

    # ---- the life of an order ---------------------------------------------------------------

    def _activate(self, order: PaperOrder, now_ns: int) -> None:
        """The order is at the venue: refuse it, or acknowledge it and let it trade."""
        order.due_at_ns = 0
        self._changed[order.cl_ord_id] = order
        refused, gapped = self._draw(order)
        instrument = self._find_instrument(order.symbol)
        why = "the venue refused it by chance" if refused else _fault(order, instrument)
        if why or instrument is None:
            self._close(order, ExecType.REJECTED, now_ns, why)
            return
        order.lot, order.multiplier = instrument.lot, instrument.multiplier
        self._report(order, ExecType.NEW, now_ns)
        self._trade_on_arrival(order, now_ns, instrument.tick if gapped else None)
        if not order.is_open:
            return
        if order.time_in_force in _IMMEDIATE:
            self._close(
                order, ExecType.CANCELED, now_ns, f"{order.time_in_force}: nothing more at once"
            )
            return
        self._market(order.symbol).touch(order.side).rest(order)
        if order.time_in_force is TimeInForce.DAY:
            order.expires_at_ns = self._day_end_ns(now_ns)
            self._await_expiry(order)

    def _replace_in_time(self, order: PaperOrder, at_ns: int) -> None:
        """A request has traveled its latency, unless the order closed meanwhile."""
        terms, order.replacing, order.replace_at_ns = order.replacing, None, 0
        if terms is not None:
            self._changed[order.cl_ord_id] = order
            self._give(order, terms, at_ns)

    def _refuse_late(self, order: PaperOrder, now_ns: int) -> None:
        """The order closed while a request was on its way."""
        terms, order.replacing, order.replace_at_ns = order.replacing, None, 0
        if terms is not None:
            self._refuse(order, terms, now_ns, TOO_LATE)

    def _why_not_replaced(self, order: PaperOrder, terms: NewTerms) -> str:
        if not order.is_open:
            return TOO_LATE
        if order.due_at_ns or order.replacing or order.cancel_at_ns:
            return "another request of this order, or the order itself, is on its way"
        asked = replace(order, order_qty=terms.order_qty, price=terms.price)
        return _fault(asked, self._find_instrument(order.symbol))

    def _refuse(self, order: PaperOrder, terms: NewTerms, now_ns: int, why: str) -> None:
        self._reports.append(
            CancelReject(terms.cl_ord_id, now_ns, orig_cl_ord_id=order.cl_ord_id, text=why)
        )

    def _give(self, order: PaperOrder, terms: NewTerms, now_ns: int) -> None:
        """The new terms hold; only an order that just got smaller keeps its priority."""
        touch = self._market(order.symbol).touch(order.side)
        touch.leave(order)
        if terms.price != order.price or terms.order_qty > order.order_qty:
            self._last_priority += 1
            order.priority = self._last_priority
        order.price, order.order_qty = terms.price, max(terms.order_qty, order.cum_qty)
        order.leaves_qty = order.order_qty - order.cum_qty
        if not order.leaves_qty:
            order.is_open = False
            del self.orders[order.cl_ord_id]
        self._report(order, ExecType.REPLACED, now_ns, request=terms.cl_ord_id)
        if order.is_open:
            self._trade_on_arrival(order, now_ns, None)
        if order.is_open:
            touch.rest(order)

    def _draw(self, order: PaperOrder) -> tuple[bool, bool]:
        """Decide by chance, the same for the same seed and ClOrdID: refused, gapped."""
        if not self._config.draws:
            return False, False
        draws = Random(f"{self._config.seed}:{order.cl_ord_id}")  # noqa: S311 - a simulation
        refused = draws.random() < self._config.reject_probability
        return refused, draws.random() < self._config.gap_probability

    def _trade_on_arrival(self, order: PaperOrder, now_ns: int, gap_tick: Decimal | None) -> None:
        """Trade with the quote that stands; gap_tick: it jumped away first, in steps of this."""
        touch = self._market(order.symbol).touch(order.side)
        price = touch.price
        if price is not None and gap_tick is not None:
            price = self._gapped(price, order.side, gap_tick)
        if price is None or not order.reaches(price):
            return
        if order.time_in_force is TimeInForce.FOK and touch.room_for(order) < order.order_qty:
            return
        self._fill(order, touch, price, now_ns)

    def _gapped(self, price: Decimal, side: Side, tick: Decimal) -> Decimal:
        jump = price * self._config.gap_bps / BPS
        if side is Side.BUY:
            return ceil_to(price + jump, tick)
        return max(floor_to(price - jump, tick), tick)

    def _match(self, touch: Touch, now_ns: int) -> None:
        """Let the resting orders of one side trade with a new quote."""
        resting = touch.resting
        while resting and touch.price is not None and resting[0].reaches(touch.price):
            order = resting[0]
            self._fill(order, touch, touch.price, now_ns)
            if order.is_open:
                return
            del resting[0]

    def _fill(self, order: PaperOrder, touch: Touch, price: Decimal, now_ns: int) -> None:
        quantity = touch.room_for(order)
        if quantity <= 0:
            return
        if touch.left is not None:
            touch.left -= quantity
        commission = charge(order, quantity, price, self._config)
        order.cum_qty += quantity
        order.leaves_qty -= quantity
        if not order.leaves_qty:
            order.is_open = False
            del self.orders[order.cl_ord_id]
        self._report(
            order,
            ExecType.TRADE,
            now_ns,
            last_qty=quantity,
            last_px=price,
            commission=commission,
        )
        if not order.is_open:
            self._refuse_late(order, now_ns)

    def _leave_and_close(self, order: PaperOrder, why: ExecType, now_ns: int, words: str) -> None:
        self._market(order.symbol).touch(order.side).leave(order)
        self._close(order, why, now_ns, words)

    def _close(self, order: PaperOrder, why: ExecType, now_ns: int, words: str) -> None:
        order.is_open = False
        order.leaves_qty = ZERO
        del self.orders[order.cl_ord_id]
        self._report(order, why, now_ns, words=words)
        self._refuse_late(order, now_ns)

    # ---- small parts ------------------------------------------------------------------------

    def _report(
        self,
        order: PaperOrder,
        exec_type: ExecType,
        now_ns: int,
        *,
        last_qty: Decimal = ZERO,
        last_px: Decimal | None = None,
        commission: Decimal = ZERO,
        exec_ref_id: str = "",
        words: str = "",
        request: str = "",
    ) -> None:
        order.report_count += 1
        self._changed[order.cl_ord_id] = order
        self._reports.append(
            ExecutionReport(
                cl_ord_id=request or order.cl_ord_id,
                exec_id=f"{order.cl_ord_id}-{order.report_count}",
                exec_type=exec_type,
                transact_time_ns=now_ns,
                last_qty=last_qty,
                last_px=last_px,
                commission=commission,
                exec_ref_id=exec_ref_id,
                broker_order_id=order.broker_order_id,
                text=words,
                orig_cl_ord_id=order.cl_ord_id if request else "",
                order_qty=order.order_qty if request else None,
                price=order.price if request else None,
            )
        )

    def _take_reports(self) -> list[BrokerReport]:
        reports, self._reports = self._reports, []
        return reports

    def _market(self, symbol: str) -> Market:
        found = self._markets.get(symbol)
        if found is None:
            found = self._markets[symbol] = Market()
        return found

    def _restore(self, order: PaperOrder) -> None:
        self.orders[order.cl_ord_id] = order
        self._last_priority = max(self._last_priority, order.priority)
        if order.due_at_ns:
            self._await_arrival(order)
        else:
            self._market(order.symbol).touch(order.side).rest(order)
        if order.cancel_at_ns:
            heapq.heappush(self._due, (order.cancel_at_ns, _CANCEL, order.priority, order))
        if order.replacing:
            self._await_replacement(order)
        self._await_expiry(order)

    def _await_replacement(self, order: PaperOrder) -> None:
        heapq.heappush(self._due, (order.replace_at_ns, _REPLACE, order.priority, order))

    def _await_arrival(self, order: PaperOrder) -> None:
        self._market(order.symbol).coming += 1
        heapq.heappush(self._due, (order.due_at_ns, _ACTIVATE, order.priority, order))

    def _await_expiry(self, order: PaperOrder) -> None:
        expires_at_ns = order.expires_at_ns
        if expires_at_ns and not 0 < self._next_expiry_ns <= expires_at_ns:
            self._next_expiry_ns = expires_at_ns


def _fault(order: PaperOrder, instrument: Instrument | None) -> str:
    """Why the venue cannot trade such an order; empty when it can."""
    if instrument is None:
        return f"{order.symbol} is not traded here"
    if order.order_qty <= 0 or order.order_qty % instrument.lot:
        return f"quantity {text(order.order_qty)} is not a multiple of lot {text(instrument.lot)}"
    if order.ord_type is not OrdType.LIMIT:
        return ""
    if order.price is None or order.price <= 0:
        return "a limit order needs a price above 0"
    if order.price % instrument.tick:
        return f"price {text(order.price)} is not a multiple of tick {text(instrument.tick)}"
    return ""
