"""The watch stops an account that lost too much, once, with its numbers; a resume meets it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from tests.support.cases import MS, NOW_NS, Number, signal, told_to
from tests.support.ledgered import ALLOWED, FUTURE, Ledgered, fill, market, rulebook
from tests.support.wide import wide_limits
from trade_engine.audit.verify import Verification
from trade_engine.domain.account import ENGINE
from trade_engine.domain.clock import NS_PER_S
from trade_engine.domain.decision import Reason
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.limits import Level, Limits
from trade_engine.domain.order import DeliveryState
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.session import Session
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import Scope, ScopeKind, TradingState
from trade_engine.execution.commands import HaltCauseStands
from trade_engine.execution.decisions import decide_signal
from trade_engine.execution.engine import WATCH_EVERY_S
from trade_engine.execution.fills import book_report
from trade_engine.execution.loss_watch import check_resume, watch_losses
from trade_engine.execution.observer import Alert
from trade_engine.execution.order_changes import set_trading_state
from trade_engine.portfolio.ledger import book
from trade_engine.risk.loss_limits import UNPROVEN_NS, Marks

D = Decimal
DAY = Session("24/7", "2023-11-14", 0, 0, NOW_NS + 10**15)
TOMORROW = Session("24/7", "2023-11-15", DAY.closes_ns, DAY.closes_ns, DAY.closes_ns + 10**15)
ACCOUNT = Scope(ScopeKind.ACCOUNT, "main")
LOOKS_EVERY_NS = int(WATCH_EVERY_S * NS_PER_S)
ACTIVE = told_to(TradingState.ACTIVE, ACCOUNT)


def rules(daily: Number = 200, drawdown: Number = 10**9, **terms: Any) -> Rulebook:
    """A rulebook with these loss limits, in money."""
    book_of = rulebook()
    numbers = wide_limits("test:default", daily_loss_max=daily, drawdown_max=drawdown)
    book_of.limits = Limits("v1", {(Level.DEFAULT, ""): numbers}, book_of.limits.rates)
    book_of.accounts["main"] = replace(book_of.accounts["main"], **terms)
    return book_of


class Watched(Ledgered):
    """An account that bought 10 shares at 100 for a fee of 1, and is looked at."""

    def __init__(self, rules_of: Rulebook | None = None) -> None:
        super().__init__()
        self.rules, self.marks, self.now_ns = rules_of or rules(), Marks(), NOW_NS
        with self.batch(self.rules, session=DAY) as batch:
            order = decide_signal(batch, signal(1000), ALLOWED).order
            assert order is not None
            trade = fill(order, "e-1", 10, 100)
            book_report(batch, "paper", trade, batch.state.orders[order.order_id])
            watch_losses(batch, self.marks)

    def look(self, price: int | str | None) -> list[str]:
        """Look twice, as what one look finds counts when the next finds it too."""
        return self.glance(price) + self.glance(price)

    def glance(self, price: int | str | None) -> list[str]:
        """Look when the engine would, at a new quote; answers with the orders canceled."""
        self.now_ns += LOOKS_EVERY_NS
        given = {} if price is None else market(AAPL=price)
        given = {name: replace(each, time_ns=self.now_ns) for name, each in given.items()}
        session = DAY if self.now_ns < DAY.closes_ns else TOMORROW
        with self.batch(self.rules, given, now_ns=self.now_ns, session=session) as batch:
            change = watch_losses(batch, self.marks)
            self.alerts = [alert for alert, _ in batch.alerts]
        return [*change.canceled, *change.canceling] if change else []

    def trading(self) -> TradingState | None:
        standing = self.state.trading.get(ACCOUNT)
        return standing.state if standing else None

    def entries(self, kind: EntryKind) -> list[dict[str, Any]]:
        return [orjson.loads(each.payload) for each in self.journal if each.kind is kind]

    def resume(self, *, override: bool = False) -> None:
        with self.batch(self.rules, {}, now_ns=self.now_ns) as batch:
            excused = check_resume(batch, self.marks, ACTIVE, override=override)
            batch.state.day.excused = excused or batch.state.day.excused
            resumed = replace(ACTIVE, set_at_ns=self.now_ns)
            set_trading_state(
                batch, resumed, "r", cancel_open_orders=False, evidence={"excused": excused}
            )

    def verified(self) -> list[str]:
        verification = Verification("main", book)
        for entry in self.journal:
            verification.take(entry)
        verification.compare(self.state, self.orders.values(), self.executions)
        return [fault.what for fault in verification.findings.faults]


@pytest.mark.parametrize(("price", "state"), [("80.1", None), ("80", TradingState.REDUCE_ONLY)])
def test_a_breach_stops_the_account_and_no_loss_below_it(
    price: str, state: TradingState | None
) -> None:
    """The fee of 1 counts: 199 lost in price is 200, at the limit; 200 is above it."""
    account = Watched()
    account.look("90.5")
    account.look(82)
    account.look(price)
    assert account.trading() is state
    assert account.alerts == ([Alert.LOSS_LIMIT] if state else [])
    assert account.verified() == []


def test_the_breach_is_journaled_with_its_numbers() -> None:
    account = Watched()
    account.look(95)
    account.look(90)
    account.look(85)
    account.look("79.5")
    [entry] = account.entries(EntryKind.TRADING_STATE)
    assert entry["state"]["operator"] == ENGINE
    assert entry["breach"] == {
        "cause": "DAILY_LOSS_LIMIT",
        "limit_name": "daily_loss_max",
        "limit": "200",
        "source": "test:default",
        "reference": "100000",
        "equity": "99794",
        "observed": "206",
        "prices": {"AAPL": "79.5"},
    }


def test_it_is_done_once() -> None:
    account = Watched()
    for price in (91, 82, 75, 70, 65):
        account.look(price)
    assert len(account.entries(EntryKind.TRADING_STATE)) == 1


def test_the_effect_is_the_configured_one_and_the_stricter_of_two() -> None:
    halting = Watched(rules(on_daily_loss=TradingState.HALTED))
    both = Watched(rules(drawdown=150))
    for account in (halting, both):
        account.look(91)
        account.look(82)
        account.look(75)
        assert account.trading() is TradingState.HALTED


def test_a_stop_by_the_engine_tightens_one_that_stands_and_never_loosens_it() -> None:
    account = Watched(rules(daily=100, drawdown=200))
    account.look(91)
    account.look(85)
    assert account.trading() is TradingState.REDUCE_ONLY
    account.look(78)
    assert account.trading() is TradingState.HALTED
    account.rules = rules(daily=50)
    account.look(77)
    assert account.trading() is TradingState.HALTED
    assert len(account.entries(EntryKind.TRADING_STATE)) == 2


def test_one_bad_tick_stops_nobody_and_a_lasting_move_does() -> None:
    account = Watched()
    for price in (100, 1, 100, 100):
        account.glance(price)
        assert account.trading() is None
    account.glance(50)
    assert account.trading() is None
    account.glance("50.5")
    assert account.trading() is None, "it counts from now on, and is seen for the first time"
    account.glance("50.5")
    assert account.trading() is TradingState.REDUCE_ONLY


@pytest.mark.parametrize("price", [92, 80])
def test_a_breach_in_quotes_that_agree_stops_the_account_within_a_second(price: int) -> None:
    """Within the band of the mark or not; the first of them comes just after a look."""
    account = Watched(rules(daily=50))
    account.glance(100)
    began_ns = account.now_ns
    while account.trading() is None and account.now_ns < began_ns + NS_PER_S:
        account.glance(price)
    assert account.trading() is TradingState.REDUCE_ONLY
    [entry] = account.entries(EntryKind.TRADING_STATE)
    assert entry["state"]["set_at_ns"] - began_ns <= NS_PER_S


def test_a_breach_in_quotes_that_never_agree_stops_the_account_all_the_same() -> None:
    account = Watched()
    began_ns = account.now_ns
    while account.trading() is None and account.now_ns < began_ns + 60 * NS_PER_S:
        account.glance(60)
        account.glance(75)
    assert account.trading() is TradingState.REDUCE_ONLY
    assert account.now_ns - began_ns <= UNPROVEN_NS + NS_PER_S
    assert account.verified() == []


def test_looks_in_a_row_are_one() -> None:
    account = Watched()
    account.glance(91)
    account.glance(82)
    for _ in range(10):
        account.now_ns += MS - LOOKS_EVERY_NS
        account.glance(78)
    assert account.trading() is None
    account.glance(78)
    assert account.trading() is TradingState.REDUCE_ONLY


def test_one_bad_tick_within_the_band_stops_nobody_and_is_no_peak() -> None:
    account = Watched(rules(daily=100, drawdown=100))
    marked = len(account.entries(EntryKind.EQUITY_MARKED))
    for price in (100, 91, 100, 109, 100):  # each enough for a breach or a new peak
        account.glance(price)
    assert account.trading() is None
    assert len(account.entries(EntryKind.EQUITY_MARKED)) == marked
    account.glance(109)
    account.glance(109)
    assert len(account.entries(EntryKind.EQUITY_MARKED)) == marked + 1


def test_what_nothing_held_has_lost_is_certain_at_the_first_look() -> None:
    account = Watched()
    with account.batch(account.rules, market(AAPL=78), session=DAY) as batch:
        order = decide_signal(batch, signal(0, Side.SELL, signal_id="out"), ALLOWED).order
        assert order is not None
        trade = fill(order, "e-2", 10, 78)
        book_report(batch, "paper", trade, batch.state.orders[order.order_id])
    account.glance(None)
    assert account.trading() is TradingState.REDUCE_ONLY


def test_what_is_held_without_a_price_waits() -> None:
    account = Watched()
    account.marks = Marks()
    account.look(None)
    assert account.trading() is None
    account.look(50)
    account.look(50)
    assert account.trading() is TradingState.REDUCE_ONLY


def test_open_orders_are_canceled() -> None:
    account = Watched()
    with account.batch(account.rules, now_ns=account.now_ns) as batch:
        queued = decide_signal(batch, signal(2000, signal_id="s-2"), ALLOWED).order
        sent = decide_signal(batch, signal(3000, signal_id="s-3"), ALLOWED).order
        assert queued is not None
        assert sent is not None
        batch.state.orders[sent.order_id].delivery = DeliveryState.SENT
    account.look(91)
    account.look(82)
    assert set(account.look(78)) == {queued.order_id, sent.order_id}
    assert account.state.orders.keys() == {sent.order_id}


def test_a_resume_is_refused_while_the_breach_stands() -> None:
    account = Watched()
    for price in (91, 82, 75):
        account.look(price)
    with pytest.raises(HaltCauseStands) as refused:
        account.resume()
    assert refused.value.metadata == {
        "cause": "DAILY_LOSS_LIMIT",
        "limit": "200",
        "observed": "251",
    }
    assert account.trading() is TradingState.REDUCE_ONLY
    account.look(82)
    account.look(90)
    account.resume()
    assert account.trading() is None


def test_an_override_lets_it_go_on_until_the_day_rolls() -> None:
    account = Watched()
    for price in (91, 82, 75):
        account.look(price)
    account.resume(override=True)
    account.look(70)
    assert account.trading() is None
    assert account.entries(EntryKind.TRADING_STATE)[-1]["excused"] == ["DAILY_LOSS_LIMIT"]
    with account.batch(account.rules, market(AAPL=70), now_ns=account.now_ns) as batch:
        refused = decide_signal(batch, signal(2000, signal_id="s-9"), ALLOWED)
    assert Reason.DAILY_LOSS_LIMIT in refused.reasons
    account.now_ns = DAY.closes_ns
    account.look(70)
    assert account.state.day.excused == []
    for price in (64, 58, 52, 47):
        account.look(price)
    assert account.trading() is TradingState.REDUCE_ONLY
    assert account.verified() == []


def test_a_stop_of_the_engine_is_not_resumed_while_nothing_can_be_told() -> None:
    account = Watched()
    for price in (91, 82, 75):
        account.look(price)
    account.marks = Marks()
    account.state.positions["momentum", "AAPL"].cost = D(0)
    account.rules.instruments["ES"] = FUTURE
    held = deepcopy(account.state)
    with account.batch(account.rules, {}, now_ns=account.now_ns) as batch:
        assert check_resume(batch, Marks(), told_to(TradingState.ACTIVE), override=False) == []
    assert account.state == held


def test_a_new_peak_is_journaled_in_steps_and_the_audit_agrees() -> None:
    account = Watched(rules(drawdown=1000))
    for price in ("100.5", "101.0", "101.2", "103", "102"):
        account.look(price)
    marked = account.entries(EntryKind.EQUITY_MARKED)
    assert [each["day"]["peak_equity"] for each in marked] == ["100011", "100029"]
    assert account.verified() == []
