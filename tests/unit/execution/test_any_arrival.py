"""Whatever a broker reports, in whatever order, beside whatever is asked of its orders.

Seeded: each run is one account of two orders, and a long sequence of reports, repeats, requests,
halts and doubts. After each of them the books must add up: held and working, open and closed, cash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from tests.support.cases import STOCK, signal
from tests.support.ledgered import ALLOWED, Ledgered, rulebook
from trade_engine.audit.verify import Verification
from trade_engine.domain.execution import (
    SYNTHETIC,
    CancelReject,
    ExecRestatementReason,
    ExecType,
    ExecutionReport,
)
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import DeliveryState, Order, OrdStatus, WorkingOrders
from trade_engine.domain.replacement import terms_asked
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import Scope, ScopeKind, ScopeState, TradingState
from trade_engine.execution.batch import Batch
from trade_engine.execution.decisions import decide_signal
from trade_engine.execution.differences import close_unknown
from trade_engine.execution.fills import book_cancel_reject
from trade_engine.execution.guarded_booking import book_guarded
from trade_engine.execution.order_changes import (
    deliver,
    intend,
    request_cancel,
    set_trading_state,
)
from trade_engine.execution.ports import BrokerOrder, Fence
from trade_engine.execution.replacing import (
    intend_replacements,
    settle_replacements,
)
from trade_engine.execution.synthetic import synthetic_fill
from trade_engine.portfolio.ledger import book
from trade_engine.risk.exposure import Exposure

D = Decimal
FIRST_CASH = D(100_000)
FENCE = Fence("paper", "here", 1)
RULES = rulebook()
RULES.instruments[STOCK.symbol] = replace(STOCK, working_orders=WorkingOrders.REPLACE)
WISHES = [(Side.BUY, "buys"), (Side.SELL, "sells")]
PLAIN = [
    ExecType.NEW,
    ExecType.PENDING_NEW,
    ExecType.PENDING_CANCEL,
    ExecType.PENDING_REPLACE,
    ExecType.STOPPED,
    ExecType.SUSPENDED,
    ExecType.RESTATED,
    ExecType.ORDER_STATUS,
]
ENDS = [
    ExecType.REJECTED,
    ExecType.CANCELED,
    ExecType.EXPIRED,
    ExecType.DONE_FOR_DAY,
    ExecType.CALCULATED,
]


def exposure_is_folded(batch: Batch) -> None:
    """What is kept up to date is what a fold of positions and open orders makes it."""
    state = batch.state
    folded = Exposure(state.positions.values(), state.orders.values())
    assert batch.exposure.of_symbol(STOCK.symbol) == folded.of_symbol(STOCK.symbol)
    for _, strategy_id in WISHES:
        ours, theirs = (each.own(strategy_id, STOCK.symbol) for each in (batch.exposure, folded))
        assert ours == theirs


class Anything:
    """One account and a broker that says anything about its orders."""

    def __init__(self, seed: int) -> None:
        self.draws = Random(seed)
        self.account = Ledgered()
        self.said: list[ExecutionReport | CancelReject] = []
        self.exec_ids: list[str] = []
        self.steps = 0
        while not self.account.orders:
            with self.account.batch(RULES) as batch:
                self.steps += 1
                self.wish(batch)

    @property
    def order(self) -> Order:
        return self.draws.choice(list(self.account.orders.values()))

    def happen(self) -> None:
        """One thing, in a batch of its own."""
        self.steps += 1
        what: list[tuple[int, Callable[[Batch], None]]] = [
            (30, self.report),
            (16, self.trade),
            (10, self.amend),
            (10, self.say_again),
            (5, self.restate),
            (6, self.refuse),
            (5, self.cancel),
            (12, self.wish),
            (12, self.answer),
            (10, self.send),
            (4, self.doubt),
            (3, self.halt),
            (4, self.fill_the_gap),
        ]
        [act] = self.draws.choices([each for _, each in what], [times for times, _ in what])
        with self.account.batch(RULES, sender=FENCE) as batch:
            act(batch)
            exposure_is_folded(batch)

    # ---- what the broker says -------------------------------------------------------------------

    def tell(self, batch: Batch, said: ExecutionReport | CancelReject, order: Order) -> None:
        self.said.append(said)
        known = batch.find(order.order_id) or self.account.orders[order.order_id]
        if isinstance(said, CancelReject):
            book_cancel_reject(batch, "paper", said, known)
        elif ("paper", said.exec_id) not in self.account.executions:
            book_guarded(batch, "paper", said, known)

    def about(self, order: Order, exec_type: ExecType) -> ExecutionReport:
        exec_id = f"e-{self.steps}"
        self.exec_ids.append(exec_id)
        return ExecutionReport(order.order_id, exec_id, exec_type, 1)

    def report(self, batch: Batch) -> None:
        order = self.order
        says = self.draws.choice(ENDS if self.draws.random() < 0.1 else PLAIN)
        self.tell(batch, self.about(order, says), order)

    def trade(self, batch: Batch) -> None:
        order = self.order
        left = int(order.leaves_qty)
        if not left and self.draws.random() < 0.9:
            return
        filled = self.about(order, ExecType.TRADE)
        filled.last_qty = D(self.draws.randint(1, min(left, 4) or 4))
        filled.last_px = D(self.draws.randint(90, 110))
        filled.commission = D(self.draws.randint(0, 2))
        filled.transact_time_ns = self.draws.choice([1, 2 * 10**18])
        self.tell(batch, filled, order)

    def amend(self, batch: Batch) -> None:
        order = self.order
        exec_type = self.draws.choice([ExecType.TRADE_CANCEL, ExecType.TRADE_CORRECT])
        amends = self.about(order, exec_type)
        amends.exec_ref_id = self.draws.choice([*self.exec_ids, f"e-{self.steps + 3}"])
        if exec_type is ExecType.TRADE_CORRECT:
            amends.last_qty = D(self.draws.randint(0, 6))
            amends.last_px = self.draws.choice([None, D(99)])
        self.tell(batch, amends, order)

    def say_again(self, batch: Batch) -> None:
        if self.said:
            said = self.draws.choice(self.said)
            order_id = said.cl_ord_id.partition(".")[0]
            self.tell(batch, replace(said), self.account.orders[order_id])

    def restate(self, batch: Batch) -> None:
        order = self.order
        changed = self.about(order, ExecType.RESTATED)
        changed.order_qty = max(order.order_qty - self.draws.randint(0, 3), D(1))
        changed.exec_restatement_reason = ExecRestatementReason.PARTIAL_DECLINE
        self.tell(batch, changed, order)

    def refuse(self, batch: Batch) -> None:
        order = self.order
        asked = terms_asked(order)
        name = asked.cl_ord_id if asked and self.draws.random() < 0.5 else f"{order.order_id}.7"
        self.tell(batch, CancelReject(name, 1, order.order_id), order)

    def answer(self, batch: Batch) -> None:
        order = self.order
        asked = terms_asked(order)
        if asked is None:
            return
        taken = self.about(order, self.draws.choice([ExecType.REPLACED, ExecType.PENDING_REPLACE]))
        taken.cl_ord_id, taken.orig_cl_ord_id = asked.cl_ord_id, order.order_id
        if taken.exec_type is ExecType.REPLACED:
            taken.order_qty, taken.price = asked.order_qty, asked.price
        self.tell(batch, taken, order)

    # ---- what is asked of orders ----------------------------------------------------------------

    def cancel(self, batch: Batch) -> None:
        for order in list(batch.state.orders.values()):
            if self.draws.random() < 0.5 and not order.cancel_requested:
                request_cancel(batch, order, "r", "enough", "olga")

    def wish(self, batch: Batch) -> None:
        """A signal: it gives a working order new terms, or makes another one, or nothing."""
        batch.can_replace_at = frozenset({"paper"})
        side, strategy_id = self.draws.choice(WISHES)
        target = self.draws.randint(1, 20) * 100 * side.sign
        name = f"s-{self.steps}"
        asked = signal(target, signal_id=name, strategy_id=strategy_id, side=side)
        decide_signal(batch, asked, ALLOWED)

    def send(self, batch: Batch) -> None:
        ids = list(batch.state.orders)
        draws = self.draws
        if draws.random() < 0.5:
            intend(batch, ids)
            intend_replacements(batch, ids)
            return
        became = [DeliveryState.QUEUED, DeliveryState.IN_DOUBT, DeliveryState.SENT]
        deliver(batch, {each: (draws.choice(became), "") for each in ids})
        names = [
            terms.cl_ord_id for each in batch.state.orders.values() if (terms := terms_asked(each))
        ]
        settle_replacements(batch, {each: draws.choice([*became, None]) for each in names})

    def doubt(self, batch: Batch) -> None:
        close_unknown(batch, list(batch.state.orders), "never seen")

    def halt(self, batch: Batch) -> None:
        scope = Scope(ScopeKind.ACCOUNT, "main")
        state = self.draws.choice([*TradingState, TradingState.ACTIVE, TradingState.ACTIVE])
        cancels = self.draws.random() < 0.3
        set_trading_state(
            batch,
            ScopeState(scope, state, "so", "olga", self.steps),
            "",
            cancel_open_orders=cancels,
        )

    def fill_the_gap(self, batch: Batch) -> None:
        order = self.order
        seen = BrokerOrder(order.order_id, "b", order.cum_qty + 2, ZERO, True, [], D(100))
        made = synthetic_fill(order, seen, 10**18)
        if made is not None and made.exec_id.startswith(SYNTHETIC):
            self.exec_ids.append(made.exec_id)
            self.tell(batch, made, order)

    # ---- what must hold -------------------------------------------------------------------------

    def check(self) -> None:
        account = self.account
        open_now = {each.order_id for each in account.orders.values() if each.is_open}
        assert set(account.state.orders) == open_now
        cash, held = FIRST_CASH, dict.fromkeys(("buys", "sells"), ZERO)
        for order in account.orders.values():
            fills = [each for each in account.fills if each.order_id == order.order_id]
            filled = sum((each.last_qty for each in fills), ZERO)
            assert order.cum_qty == filled
            assert order.leaves_qty in (0, max(order.order_qty - filled, ZERO))
            if order.ord_status is OrdStatus.FILLED:
                assert filled >= order.order_qty
            held[order.strategy_id] += filled * order.side.sign
            cash -= sum((each.last_qty * each.last_px for each in fills), ZERO) * order.side.sign
            cash -= sum((each.commission for each in fills), ZERO)
        for strategy_id, quantity in held.items():
            position = account.state.positions.get((strategy_id, STOCK.symbol))
            assert (position.quantity if position else 0) == quantity
        assert abs(account.state.cash - cash) < D("0.000001")
        verification = Verification("main", book)
        for each in account.journal:
            verification.take(each)
        verification.compare(account.state, account.orders.values(), account.executions)
        assert verification.findings.faults == []


@pytest.mark.parametrize("seed", range(60))
def test_the_books_add_up_whatever_comes(seed: int) -> None:
    anything = Anything(seed)
    for _ in range(60):
        anything.happen()
        anything.check()
