"""An account in dollars that trades in euros: its fills, its worth, its day, its losses."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cases import MS, NOW_NS, STOCK, Number, quote, signal
from tests.support.ledgered import ALLOWED, DAY, Ledgered, fill, report, rulebook
from tests.support.wide import wide_limits
from trade_engine.audit.replay import Replay
from trade_engine.audit.verify import Verification
from trade_engine.domain.decision import Decision, Outcome, Reason
from trade_engine.domain.execution import CancelReject, ExecType, ExecutionReport
from trade_engine.domain.fx import FxPair
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.limits import Level, Limits
from trade_engine.domain.market import Quote
from trade_engine.domain.order import Order, WorkingOrders
from trade_engine.domain.position import Position
from trade_engine.domain.replacement import Terms, terms_asked
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.session import Session
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import Scope, ScopeKind, TradingState
from trade_engine.execution.books_compare import BooksComparison, compare_books
from trade_engine.execution.commissions import unplaced_commission
from trade_engine.execution.decisions import decide_again, decide_signal
from trade_engine.execution.fills import book_cancel_reject, book_report
from trade_engine.execution.loss_watch import watch_losses
from trade_engine.execution.observer import Alert
from trade_engine.execution.order_changes import intend
from trade_engine.execution.ports import Fence
from trade_engine.execution.replacing import intend_replacements
from trade_engine.portfolio.comparison import Tolerance
from trade_engine.portfolio.ledger import book
from trade_engine.portfolio.view import Holding, Portfolio, holding
from trade_engine.risk.limit_breaches import standing_breaches
from trade_engine.risk.loss_limits import Marks

D = Decimal
SAP = replace(STOCK, symbol="SAP", currency="EUR")
PAIRS = {
    "direct": FxPair("EUR", "USD", "EURUSD", D(5000), D(1000)),
    "inverse": FxPair("EUR", "USD", "USDEUR", D(5000), D(1000), inverse=True),
}
ACCOUNT = Scope(ScopeKind.ACCOUNT, "main")


def rules(pair: str = "direct", daily: Number = 10**9) -> Rulebook:
    """A stock in euros beside those in dollars."""
    made = rulebook()
    numbers = wide_limits("test:default", daily_loss_max=daily)
    made.limits = Limits("v1", {(Level.DEFAULT, ""): numbers}, made.limits.rates)
    made.instruments["SAP"] = SAP
    made.fx = {("EUR", "USD"): PAIRS[pair]}
    return made


class Foreign(Ledgered):
    """Every batch sees these quotes, made anew at its time."""

    def __init__(self, rules_of: Rulebook | None = None) -> None:
        super().__init__()
        self.rules, self.marks, self.now_ns = rules_of or rules(), Marks(), NOW_NS
        self.at: dict[str, Quote] = {}
        self.quoted(SAP=100, EURUSD="1.1", AAPL=100)

    def quoted(self, **prices: Number) -> None:
        for symbol, price in prices.items():
            self.at[symbol] = quote(price, symbol=symbol, time_ns=self.now_ns)

    def now(self, session: Session = DAY, sender: Fence | None = None) -> Any:
        return self.batch(self.rules, dict(self.at), None, sender, self.now_ns, session)

    def submit(self, target: Number, side: Side, name: str, **changes: Any) -> Decision:
        with self.now() as batch:
            wish = signal(target, side, signal_id=name, symbol="SAP", **changes)
            decision = decide_signal(batch, wish, ALLOWED)
            if decision.order is not None:
                intend(batch, [decision.order.order_id])
        return decision

    def ordered(self, target: Number, side: Side = Side.BUY, name: str = "s-1") -> Order:
        decision = self.submit(target, side, name)
        assert decision.order is not None, decision.message
        return decision.order

    def told(self, each: ExecutionReport) -> None:
        with self.now() as batch:
            known = batch.find(each.cl_ord_id) or self.orders.get(each.cl_ord_id)
            book_report(batch, "paper", each, known)

    def traded(self, target: Number, side: Side, name: str, qty: Number, px: Number) -> Order:
        order = self.ordered(target, side, name)
        self.told(fill(order, f"e-{name}", qty, px))
        return order

    @property
    def held(self) -> Position:
        return self.state.positions["momentum", "SAP"]

    def entries(self, kind: EntryKind) -> list[dict[str, Any]]:
        return [orjson.loads(each.payload) for each in self.journal if each.kind is kind]

    def audited(self) -> None:
        """The journal verifies, and every decision can be made again from it."""
        verification, replay = Verification("main", book), Replay(decide_again)
        for each in self.journal:
            verification.take(each)
            replay.take(each)
        verification.compare(self.state, self.orders.values(), self.executions)
        assert [*verification.findings.faults, *replay.findings.faults] == []


def test_a_round_trip_at_two_rates() -> None:
    account = Foreign()
    account.traded(1100, Side.BUY, "in", 10, 100)
    # 10 shares at 100 EUR, 1 EUR commission, 1 EUR = 1.10 USD
    assert (account.held.cost, account.held.local_cost) == (1100, 1000)
    assert account.held.avg_px(D(1)) == 100
    assert (account.state.cash, account.state.fees) == (D("98898.9"), D("1.1"))
    assert account.state.day.traded == 1100
    account.quoted(SAP=110, EURUSD="1.2")
    account.traded(660, Side.SELL, "half", 5, 110)
    # 5 of 110 EUR at 1.20, less 5 of 100 EUR at 1.10: price and currency both gained
    assert (account.held.realized_pnl, account.state.realized_pnl) == (110, 110)
    assert (account.held.cost, account.held.local_cost) == (550, 500)
    assert account.held.fees == D("2.3")
    account.quoted(SAP=90, EURUSD="1")
    account.traded(0, Side.SELL, "out", 5, 90)
    assert account.held.quantity == 0
    assert (account.held.cost, account.held.local_cost) == (0, 0)
    assert account.state.realized_pnl == 110 + 450 - 550
    assert account.state.cash == 100_000 + account.state.realized_pnl - account.state.fees
    rates = [each["fx_rate"] for each in account.entries(EntryKind.EXECUTION)]
    assert rates == ["1.1", "1.2", "1"]
    account.audited()


def test_the_journal_has_the_quotes_that_converted() -> None:
    account = Foreign()
    account.traded(1100, Side.BUY, "in", 10, 100)
    account.submit(1100, Side.BUY, "again")
    with account.now() as batch:
        decide_signal(batch, signal(1000, signal_id="at home"), ALLOWED)
    abroad, _, at_home = account.entries(EntryKind.DECISION)
    assert abroad["context"]["exchange"]["quote"] == account.at["EURUSD"].to_json()
    assert abroad["decision"]["order"]["fx_rate"] == "1.1"
    assert "exchange" not in at_home["context"]
    assert at_home["context"]["marks"].keys() == {"EURUSD", "SAP"}
    assert at_home["context"]["view"]["other_gross"] == "1100"
    account.audited()


def test_a_changed_rate_in_the_journal_is_found() -> None:
    account = Foreign()
    account.traded(1100, Side.BUY, "in", 10, 100)
    index = next(n for n, each in enumerate(account.journal) if each.kind is EntryKind.EXECUTION)
    forged = account.journal[index].payload.replace(b'"fx_rate":"1.1"', b'"fx_rate":"1.2"', 1)
    assert forged != account.journal[index].payload
    verification = Verification("main", book)
    for each in [*account.journal[:index], replace(account.journal[index], payload=forged)]:
        verification.take(each)
    found = [each.what for each in verification.findings.faults]
    assert "position or cash is not what the fills make it" in found


@pytest.mark.parametrize("moment", ["no quote", "stale", "crossed"])
def test_a_fill_without_a_rate_is_booked_at_its_orders(moment: str) -> None:
    account = Foreign()
    order = account.ordered(1100)
    if moment == "no quote":
        del account.at["EURUSD"]
    elif moment == "stale":
        account.quoted(EURUSD=2)
        account.now_ns += 6000 * MS
    else:
        account.at["EURUSD"] = quote(1, symbol="EURUSD", bid=D(3), ask=D(2))
    account.told(fill(order, "e-1", 10, 100))
    assert account.held.cost == 1100
    account.audited()


def test_without_a_rate_the_order_stays_out_and_equity_is_unknown() -> None:
    account = Foreign()
    account.traded(1100, Side.BUY, "in", 10, 100)
    account.now_ns += 6000 * MS
    account.quoted(SAP=100, AAPL=100)
    decision = account.submit(2200, Side.BUY, "more")
    assert decision.reasons[0] is Reason.FX_QUOTE_STALE
    with account.now() as batch:
        assert batch.equity() is None
        at_home = decide_signal(batch, signal(1000, signal_id="at home"), ALLOWED)
    assert at_home.reasons == [Reason.MARK_MISSING, Reason.EQUITY_UNKNOWN]
    account.audited()


def test_exposure_counts_at_the_worst_rate_and_equity_at_the_middle() -> None:
    account = Foreign()
    account.traded(1100, Side.BUY, "in", 10, 100)
    account.at["EURUSD"] = quote(1, symbol="EURUSD", bid=D(1), ask=D("1.2"))
    with account.now() as batch:
        assert batch.unit_value("SAP") == 120
        assert batch.unit_mark("SAP") == 110
        assert batch.unit_mark("AAPL") == batch.unit_value("AAPL") == 100
        assert batch.equity() == account.state.cash + 1100


def test_an_inverse_pair_converts_the_same_money() -> None:
    account = Foreign(rules("inverse"))
    account.quoted(USDEUR="0.8")
    account.traded(1250, Side.BUY, "in", 10, 100)
    assert (account.held.cost, account.held.local_cost) == (1250, 1000)
    with account.now() as batch:
        assert batch.average_rate_paid(PAIRS["inverse"]) == D("0.8")
    account.audited()


# ---- new terms ------------------------------------------------------------------------------


def asked_for_more(account: Foreign) -> tuple[Order, Terms]:
    """An order for 10 that the broker has, asked to be for 20 once a euro is worth 1.2."""
    account.rules.instruments["SAP"] = replace(SAP, working_orders=WorkingOrders.REPLACE)
    order = account.ordered(1100)
    account.told(report(order, ExecType.NEW, "n-1"))
    account.quoted(SAP=100, EURUSD="1.2")
    with account.now(sender=Fence("paper", "me", 1)) as batch:
        batch.can_replace_at = frozenset({"paper"})
        wish = signal(2400, signal_id="s-2", symbol="SAP")
        decision = decide_signal(batch, wish, ALLOWED)
        intend_replacements(batch, [order.order_id])
    assert decision.message.endswith(", a EUR counted as 1.2")
    assert decision.replacement is not None
    assert decision.replacement.order_qty == 20
    return order, decision.replacement


def taken(order: Order, terms: Terms) -> ExecutionReport:
    told = report(order, ExecType.REPLACED, "r-1", order_qty=terms.order_qty, price=terms.price)
    return replace(told, cl_ord_id=terms.cl_ord_id, orig_cl_ord_id=order.order_id)


def test_new_terms_that_are_taken_bring_the_rate_that_they_were_approved_with() -> None:
    account = Foreign()
    order, terms = asked_for_more(account)
    assert terms_asked(account.orders[order.order_id]) == terms
    assert account.orders[order.order_id].fx_rate == D("1.1"), "until they are answered"
    with account.now() as batch:
        known = batch.state.orders[order.order_id]
        book_report(batch, "paper", taken(order, terms), known)
    assert account.orders[order.order_id].fx_rate == D("1.2")
    del account.at["EURUSD"]
    account.told(fill(order, "e-1", 20, 100))
    assert account.held.cost == 2400, "a fill without a rate is booked at the replacement's"
    account.audited()


def test_new_terms_that_are_refused_leave_the_rate_as_it_was() -> None:
    account = Foreign()
    order, terms = asked_for_more(account)
    with account.now() as batch:
        known = batch.state.orders[order.order_id]
        book_cancel_reject(batch, "paper", CancelReject(terms.cl_ord_id, 1, order.order_id), known)
    assert account.orders[order.order_id].fx_rate == D("1.1")
    del account.at["EURUSD"]
    account.told(fill(order, "e-1", 10, 100))
    assert account.held.cost == 1100
    account.audited()


def test_the_larger_of_both_terms_stands_against_the_limits_each_at_its_rate() -> None:
    account = Foreign()
    order, terms = asked_for_more(account)
    worth = 20 * terms.price * D("1.2")
    made = account.rules.limits
    numbers = wide_limits("test:default", order_notional_max=worth - 1, order_quantity_max=19)
    lowered = replace(
        account.rules, limits=Limits("v1", {(Level.DEFAULT, ""): numbers}, made.rates)
    )
    with account.now() as batch:
        found = standing_breaches(
            batch.state, lowered, batch.unit_value, batch.equity(), account.now_ns
        )
    assert {(each.scope, each.limit_name, each.observed) for each in found} == {
        (f"order:{order.order_id}", "order_notional_max", worth),
        (f"order:{order.order_id}", "order_quantity_max", D(20)),
    }


# ---- busts and corrections ------------------------------------------------------------------


def test_a_bust_and_a_correction_at_another_days_rate() -> None:
    account = Foreign()
    order = account.ordered(2200)
    account.told(fill(order, "e-1", 10, 100))
    account.quoted(EURUSD="1.3")
    account.told(fill(order, "e-2", 10, 100))
    assert account.held.cost == 1100 + 1300
    account.quoted(EURUSD=5)
    changes = {"exec_ref_id": "e-1", "last_qty": D(10), "last_px": D(90)}
    account.told(report(order, ExecType.TRADE_CORRECT, "e-3", **changes))
    assert (account.held.cost, account.held.local_cost) == (990 + 1300, 1900)
    account.told(report(order, ExecType.TRADE_CANCEL, "e-4", exec_ref_id="e-2"))
    assert (account.held.cost, account.held.local_cost) == (990, 900)
    account.told(report(order, ExecType.TRADE_CANCEL, "e-5", exec_ref_id="e-3"))
    assert (account.held.quantity, account.held.cost, account.held.local_cost) == (0, 0, 0)
    assert (account.state.cash, account.state.fees) == (100_000, 0)
    account.audited()


def test_a_commission_in_a_currency_that_cannot_be_placed_is_told_and_not_booked() -> None:
    account = Foreign()
    order = account.ordered(3300)
    alerts: list[tuple[Alert, dict[str, object]]] = []

    def told(each: ExecutionReport, currency: str) -> None:
        with account.now() as batch:
            said = replace(each, commission_currency=currency)
            book_report(batch, "paper", said, batch.find(order.order_id))
            alerts.extend((alert, dict(details)) for alert, details in batch.alerts)

    told(fill(order, "e-1", 10, 100), "EUR")
    assert (account.state.fees, alerts) == (D("1.1"), []), "the instrument's own is booked"
    for currency in ("USD", "GBP"):  # not even the account's: at what rate would it be?
        told(fill(order, f"e-{currency}", 5, 100), currency)
        told(fill(order, f"e-{currency}", 5, 100), currency)  # and a repetition says nothing new
    assert account.state.fees == D("1.1")
    assert account.held.quantity == 20
    assert [alert for alert, _ in alerts] == [Alert.COMMISSION_UNPLACED] * 2
    assert alerts[0][1] == {
        "order_id": order.order_id, "exec_id": "e-USD", "amount": "1", "currency": "USD",
    }  # fmt: skip
    dollars, pounds = account.entries(EntryKind.EXECUTION)[1:]
    assert dollars["unplaced_commission"] == {"amount": "1", "currency": "USD"}
    assert pounds["unplaced_commission"] == {"amount": "1", "currency": "GBP"}
    assert dollars["report"]["commission"] == "0"
    corrected = report(
        order, ExecType.TRADE_CORRECT, "c-1", exec_ref_id="e-1", last_qty=D(10), last_px=D(100),
        commission=D(9),
    )  # fmt: skip
    told(corrected, "GBP")
    assert account.state.fees == D("1.1"), "what was known of it stays"
    told(report(order, ExecType.CANCELED, "x-1"), "GBP")
    assert len(alerts) == 3, "without a commission there is nothing to place"
    account.audited()


def test_a_commission_that_is_no_amount_of_money_is_alerted_on_and_not_booked() -> None:
    account = Foreign()
    order = account.ordered(1100)
    percent = replace(fill(order, "e-1", 10, 100), commission_kind="CommType(13) '2'")
    kept = ExecutionReport.from_json(percent.to_json())
    with account.now() as batch:
        book_report(batch, "paper", kept, batch.find(order.order_id))
        [(alert, details)] = batch.alerts
    assert alert is Alert.COMMISSION_UNPLACED
    assert details["kind"] == "CommType(13) '2'"
    assert (account.state.fees, account.held.quantity) == (0, 10)
    [booked] = account.entries(EntryKind.EXECUTION)
    assert booked["unplaced_commission"] == {"amount": "1", "kind": "CommType(13) '2'"}
    account.audited()


def test_a_commission_in_any_named_currency_is_not_placed_without_an_instrument() -> None:
    account = Foreign()
    order = account.ordered(1100)
    with account.now() as batch:
        del batch.rulebook.instruments["SAP"]
        each = replace(fill(order, "e-1", 10, 100), commission_currency="EUR")
        assert unplaced_commission(batch, order, each) == {"amount": "1", "currency": "EUR"}


moves = st.tuples(
    st.integers(1, 20), st.integers(1, 300), st.decimals("0.5", 2, places=4), st.booleans()
)


@settings(deadline=None, max_examples=40)
@given(st.lists(moves, min_size=1, max_size=6))
def test_whatever_is_traded_at_whatever_rates_no_cent_is_lost(
    trades: list[tuple[int, int, Decimal, bool]],
) -> None:
    account, spent, fees, own = Foreign(), D(0), D(0), D(0)
    for number, (qty, px, rate, buys) in enumerate(trades):
        side = Side.BUY if buys else Side.SELL
        account.quoted(SAP=px, EURUSD=rate)
        held = account.state.position("momentum", "SAP").quantity
        target = (held + qty * side.sign) * px * rate
        order = account.ordered(target, side, f"s-{number}")
        account.told(fill(order, f"e-{number}", order.order_qty, px))
        own += order.order_qty * side.sign
        spent += order.order_qty * px * rate * side.sign
        fees += rate
    state = account.state
    assert account.held.quantity == own
    assert state.cash == 100_000 - spent - fees
    assert state.fees == fees
    assert state.cash == 100_000 - account.held.cost + state.realized_pnl - fees
    account.audited()


# ---- the day, the books, the watch ----------------------------------------------------------


def test_the_day_rolls_at_the_last_rate_however_old() -> None:
    account = Foreign()
    account.traded(1100, Side.BUY, "in", 10, 100)
    account.quoted(SAP=90, EURUSD="1.2")
    account.now_ns = DAY.closes_ns
    tomorrow = Session("24/7", "2023-11-15", DAY.closes_ns, DAY.closes_ns, DAY.closes_ns + 10**15)
    with account.now(tomorrow):
        pass
    rolled = account.entries(EntryKind.DAY_ROLL)[-1]
    assert (rolled["prices"], rolled["rates"]) == ({"SAP": "90"}, {"EUR": "1.2"})
    assert account.state.day.start_equity == account.state.cash + 1080
    account.audited()


def test_a_day_cannot_begin_without_a_rate() -> None:
    account = Foreign()
    account.traded(1100, Side.BUY, "in", 10, 100)
    del account.at["EURUSD"]
    account.now_ns = DAY.closes_ns
    tomorrow = Session("24/7", "2023-11-15", DAY.closes_ns, DAY.closes_ns, DAY.closes_ns + 10**15)
    with account.now(tomorrow):
        pass
    assert account.entries(EntryKind.DAY_ROLL)[-1]["missing"] == ["SAP"]
    assert account.state.day.start_equity is None
    account.quoted(EURUSD=1)
    with account.now(tomorrow):
        pass
    assert account.entries(EntryKind.EQUITY_MARKED)[-1]["rates"] == {"EUR": "1"}
    assert account.state.day.start_equity == account.state.cash + 1000
    account.audited()


def test_the_firms_books_are_held_against_dollars_and_own_prices() -> None:
    account = Foreign()
    account.traded(1100, Side.BUY, "in", 10, 100)
    assert holding([account.held], D(1)) == Holding(D(10), D(100))
    held = {"SAP": Holding(D(10), D(100))}
    told = Portfolio("main", "USD", account.state.cash, D(100_000) - D("1.1"), held, NOW_NS)
    comparison = BooksComparison(Tolerance(D(0), D(0), 0))
    with account.now(sender=Fence("paper", "me", 1)) as batch:
        compare_books(batch, told, comparison)
    assert account.state.books_differences == {}


def watched(pair: str = "direct") -> Foreign:
    """An account that may lose 100 dollars a day, and holds 10 shares of 100 EUR at 1.10."""
    account = Foreign(rules(pair, daily=100))
    account.quoted(USDEUR="0.8")
    account.traded(1375, Side.BUY, "in", 10, 100)
    look(account)
    return account


def look(account: Foreign, **prices: Number) -> TradingState | None:
    account.now_ns += 250 * MS
    account.quoted(**prices)
    with account.now() as batch:
        watch_losses(batch, account.marks)
    standing = account.state.trading.get(ACCOUNT)
    return standing.state if standing else None


@pytest.mark.parametrize(
    ("rate", "state"),
    # 10 shares of 100 EUR at 1.10, and a fee of 1.10: a loss of 100 is at 1.0011
    [("1.0011", None), ("1.001099", TradingState.REDUCE_ONLY)],
)
def test_a_loss_by_the_rate_alone_stops_the_account(rate: str, state: TradingState | None) -> None:
    account = watched()
    assert look(account, EURUSD=rate) is None
    assert look(account, EURUSD=rate) is state
    if state is not None:
        breach = account.entries(EntryKind.TRADING_STATE)[-1]["breach"]
        assert (breach["prices"], breach["rates"]) == ({"SAP": "100"}, {"EUR": rate})
    account.audited()


@pytest.mark.parametrize(
    ("pair", "symbol", "good", "bad"),
    [("direct", "EURUSD", "1.1", "0.5"), ("inverse", "USDEUR", "0.8", "2")],
)
def test_one_bad_tick_of_the_rate_does_not_latch_and_a_lasting_one_does(
    pair: str, symbol: str, good: str, bad: str
) -> None:
    account = watched(pair)
    assert look(account, **{symbol: bad}) is None
    assert look(account, **{symbol: good}) is None
    assert look(account, **{symbol: bad}) is None
    assert look(account, **{symbol: bad}) is None
    assert look(account, **{symbol: bad}) is TradingState.REDUCE_ONLY
    account.audited()


def test_a_rate_that_is_no_price_moves_no_mark() -> None:
    account = watched()
    account.at["EURUSD"] = quote(1, symbol="EURUSD", bid=D(1), ask=D("0.5"))
    assert look(account) is None


def test_an_account_without_foreign_money_needs_no_rate() -> None:
    account = Foreign()
    del account.at["EURUSD"]
    with account.now() as batch:
        decision = decide_signal(batch, signal(1000, signal_id="at home"), ALLOWED)
    assert decision.outcome is Outcome.APPROVED
    account.audited()
