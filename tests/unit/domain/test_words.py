"""What the words hold to: canonical forms read back, tables are complete, errors say what to do."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.memory_engine import a_change
from trade_engine.config import load_rulebook
from trade_engine.domain.account import AccountState
from trade_engine.domain.clock import rfc3339
from trade_engine.domain.difference import Difference, DifferenceKind
from trade_engine.domain.errors import (
    CancelsThrottled,
    EngineError,
    InvalidField,
    InvalidFields,
    NotFound,
    SignalIdConflict,
)
from trade_engine.domain.execution import (
    CancelReject,
    ExecRestatementReason,
    ExecType,
    ExecutionReport,
)
from trade_engine.domain.market import Quote
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import (
    CLOSED,
    DeliveryState,
    Order,
    OrdStatus,
    OrdType,
    TimeInForce,
    order_id_for,
)
from trade_engine.domain.position import Position
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.signal import (
    ExposureUnit,
    Side,
    Signal,
    TimeHorizon,
    checked_id,
    checked_symbol,
)
from trade_engine.domain.trading_state import (
    GLOBAL,
    Scope,
    ScopeKind,
    ScopeState,
    TradingState,
    strictest,
)

D = Decimal
amounts = st.decimals(-(10**15), 10**15, places=12)
instants = st.integers(0, 2**62)
words = st.text(max_size=20)
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,63}", fullmatch=True)


def journaled(doc: Any) -> Any:
    """What comes back of a document that went through the journal."""
    return orjson.loads(orjson.dumps(doc))


# ---- canonical forms ------------------------------------------------------------------------

signals = st.builds(
    Signal,
    signal_id=ids,
    account_id=ids,
    strategy_id=ids,
    symbol=ids,
    side=st.sampled_from(Side),
    confidence=amounts,
    target_exposure=amounts,
    time_horizon=st.sampled_from(TimeHorizon),
    exposure_unit=st.sampled_from(ExposureUnit),
    max_slippage_bps=st.none() | amounts,
    max_notional=st.none() | amounts,
    created_at_ns=st.none() | instants,
)
orders = st.builds(
    Order,
    order_id=words,
    account_id=ids,
    strategy_id=ids,
    symbol=ids,
    signal_id=ids,
    side=st.sampled_from(Side),
    ord_type=st.sampled_from(OrdType),
    time_in_force=st.sampled_from(TimeInForce),
    order_qty=amounts,
    price=st.none() | amounts,
    broker=words,
    created_at_ns=instants,
    ord_status=st.sampled_from(OrdStatus),
    delivery=st.sampled_from(DeliveryState),
    cum_qty=amounts,
    leaves_qty=amounts,
    cum_value=amounts,
    broker_order_id=words,
    cancel_requested=st.booleans(),
    text=words,
    updated_at_ns=instants,
    last_sequence=instants,
    chain=st.dictionaries(words, words),
)
reports = st.builds(
    ExecutionReport,
    cl_ord_id=words,
    exec_id=words,
    exec_type=st.sampled_from(ExecType),
    transact_time_ns=instants,
    last_qty=amounts,
    last_px=st.none() | amounts,
    commission=amounts,
    exec_ref_id=words,
    broker_order_id=words,
    text=words,
    orig_cl_ord_id=words,
    order_qty=st.none() | amounts,
    price=st.none() | amounts,
    exec_restatement_reason=st.none() | st.sampled_from(ExecRestatementReason),
)
quotes = st.builds(
    Quote,
    symbol=ids,
    bid=st.none() | amounts,
    ask=st.none() | amounts,
    bid_size=st.none() | amounts,
    ask_size=st.none() | amounts,
    last=st.none() | amounts,
    time_ns=instants,
    source=words,
)
cancel_rejects = st.builds(
    CancelReject,
    cl_ord_id=words,
    transact_time_ns=instants,
    orig_cl_ord_id=words,
    unknown_order=st.booleans(),
    text=words,
)
positions = st.builds(Position, ids, ids, amounts, amounts, amounts, amounts)


@given(signals | orders | reports | quotes | cancel_rejects | positions)
def test_what_is_written_reads_back(value: Any) -> None:
    doc = journaled(value.to_json())
    found = type(value).from_json(doc)
    assert found == value
    assert found.to_json() == doc


BARE_ORDER = Order(
    "o", "a", "m", "X", "s", Side.BUY, OrdType.MARKET, TimeInForce.DAY, D(3), None, "p", 0
)
BARE_REPORT = ExecutionReport("o", "e", ExecType.NEW, 7)


@pytest.mark.parametrize(
    "value",
    [
        BARE_ORDER,
        replace(BARE_ORDER, price=D(9), chain={"day": 1}),
        BARE_REPORT,
        replace(
            BARE_REPORT,
            last_px=D(9),
            orig_cl_ord_id="o-0",
            order_qty=D(3),
            price=D(8),
            exec_restatement_reason=ExecRestatementReason.REPRICING,
        ),
        Quote("X", None, None, None, None, D(1), 7, ""),
        Quote("X", D(1), D(2), D(3), D(4), D(5), 7, "feed"),
    ],
)
def test_with_all_that_is_optional_and_without_it(value: Any) -> None:
    doc = journaled(value.to_json())
    assert type(value).from_json(doc) == value


@given(orders)
def test_a_copy_of_an_order_has_every_field(order: Order) -> None:
    copied = order.copy()
    assert copied == order
    copied.cum_qty += 1
    assert copied != order


@given(signals, signals)
def test_what_differs_between_two_signals_is_named(one: Signal, other: Signal) -> None:
    names = {
        each.name for each in fields(Signal) if getattr(one, each.name) != getattr(other, each.name)
    }
    expected = {name.replace("created_at_ns", "create_time") for name in names}
    assert set(one.differs_from(other)) == expected
    assert one.differs_from(deepcopy(one)) == []


def test_another_way_to_write_the_same_number_is_no_difference() -> None:
    one = Signal("s", "a", "m", "X", Side.BUY, D("0.50"), D("1E+3"), TimeHorizon.LONG)
    other = Signal("s", "a", "m", "X", Side.BUY, D("0.5"), D(1000), TimeHorizon.LONG)
    assert one.differs_from(other) == []


def test_a_rulebook_reads_back() -> None:
    rulebook = load_rulebook(None, None)
    found = Rulebook.from_json(journaled(rulebook.to_json()))
    assert found == rulebook
    assert found.to_json() == rulebook.to_json()
    assert found.limits.version == rulebook.version


def test_the_summary_of_an_account_reads_back() -> None:
    states = [
        ScopeState(GLOBAL, TradingState.HALTED, "why", "olga", 7),
        ScopeState(Scope(ScopeKind.SYMBOL, "A:B"), TradingState.REDUCE_ONLY, "", "", 8),
    ]
    state = AccountState(
        "main",
        "USD",
        "epoch",
        9,
        bytes(32),
        cash=D("-1.50"),
        realized_pnl=D("2.5"),
        fees=D(3),
        limits_version="v1",
        trading={each.scope: each for each in states},
    )
    found = AccountState("main", "", "epoch", 9, bytes(32))
    found.read_summary(journaled(state.summary_json()))
    assert found == state
    assert [each["scope"] for each in state.summary_json()["trading"]] == ["GLOBAL", "SYMBOL:A:B"]


def test_a_position_of_an_account_is_made_once() -> None:
    state = AccountState("main", "USD", "epoch", 1, bytes(32))
    state.position("momentum", "AAPL").quantity += 5
    assert state.position("momentum", "AAPL").quantity == 5
    assert list(state.positions) == [("momentum", "AAPL")]


# ---- numbers --------------------------------------------------------------------------------


def test_average_price_and_unrealized_profit() -> None:
    position = Position("m", "ES", D(-3), cost=D(-1500))
    assert position.avg_px(D(50)) == 10
    assert position.unrealized_pnl(D(9), D(50)) == 150
    assert Position("m", "ES").avg_px(D(50)) == 0


def test_the_average_price_of_an_order() -> None:
    order = Order(
        "o", "a", "m", "X", "s", Side.BUY, OrdType.LIMIT, TimeInForce.DAY, D(3), D(9), "p", 0
    )
    assert order.avg_px == ZERO
    order.cum_qty, order.cum_value = D(3), D(10)
    assert order.avg_px == D("3.333333333333")
    assert order.cl_ord_id == "o"


@pytest.mark.parametrize("status", OrdStatus)
def test_an_order_is_open_while_it_may_fill(status: OrdStatus) -> None:
    order = Order(
        "o", "a", "m", "X", "s", Side.BUY, OrdType.LIMIT, TimeInForce.DAY, D(3), D(9), "p", 0
    )
    order.ord_status = status
    assert order.is_open == (status not in CLOSED)


def test_one_signal_has_one_order_id() -> None:
    made = {order_id_for(*each) for each in (("a", "bc"), ("ab", "c"), ("a", "b"), ("b", "a"))}
    assert len(made) == 4
    assert all(checked_id(each, "order_id") == each for each in made)


def test_sides() -> None:
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)


@pytest.mark.parametrize(
    ("instant_ns", "written"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456Z"),
        (253_402_300_799_999_999_999, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_an_instant_is_written_to_the_microsecond(instant_ns: int, written: str) -> None:
    assert rfc3339(instant_ns) == written


# ---- ids ------------------------------------------------------------------------------------


@pytest.mark.parametrize("good", ["a", "0", "a.b_c:d-e", "x" * 64])
def test_an_id(good: str) -> None:
    assert checked_id(good, "signal_id") == good


@pytest.mark.parametrize("bad", ["", ".a", "-a", "a b", "a/b", "a|b", "é", "a\n", "x" * 65])
def test_no_id(bad: str) -> None:
    with pytest.raises(InvalidField, match=r"signal_id: got .* allowed is 1 to 64 characters"):
        checked_id(bad, "signal_id")


@pytest.mark.parametrize("good", ["AAPL", "BRK.B", "EUR/USD", "0700-HK", "x" * 32])
def test_a_symbol(good: str) -> None:
    assert checked_symbol(good, "symbol") == good


@pytest.mark.parametrize("bad", ["", "/A", "A:B", "A|B", "Ä", "A ", "x" * 33])
def test_no_symbol(bad: str) -> None:
    with pytest.raises(InvalidField, match=r"symbol: got .* allowed is 1 to 32 characters"):
        checked_symbol(bad, "symbol")


# ---- trading states -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "written"),
    [
        (GLOBAL, "GLOBAL"),
        (Scope(ScopeKind.ACCOUNT, "main"), "ACCOUNT:main"),
        (Scope(ScopeKind.STRATEGY, "a:b"), "STRATEGY:a:b"),
        (Scope(ScopeKind.SYMBOL, "EUR/USD"), "SYMBOL:EUR/USD"),
    ],
)
def test_a_scope_reads_back(scope: Scope, written: str) -> None:
    assert str(scope) == written
    assert Scope.parse(written) == scope


@pytest.mark.parametrize(
    ("scope", "covers"),
    [
        (GLOBAL, {("main", "m", "X"), ("b", "m", "X"), ("main", "n", "X"), ("main", "m", "Y")}),
        (
            Scope(ScopeKind.ACCOUNT, "main"),
            {("main", "m", "X"), ("main", "n", "X"), ("main", "m", "Y")},
        ),
        (Scope(ScopeKind.STRATEGY, "m"), {("main", "m", "X"), ("b", "m", "X"), ("main", "m", "Y")}),
        (Scope(ScopeKind.SYMBOL, "X"), {("main", "m", "X"), ("b", "m", "X"), ("main", "n", "X")}),
    ],
)
def test_what_a_scope_covers(scope: Scope, covers: set[tuple[str, str, str]]) -> None:
    tried = {("main", "m", "X"), ("b", "m", "X"), ("main", "n", "X"), ("main", "m", "Y")}
    assert {each for each in tried if scope.covers(*each)} == covers


def test_the_strictest_state() -> None:
    def state(which: TradingState, kind: ScopeKind) -> ScopeState:
        return ScopeState(Scope(kind, "x"), which, "", "", 0)

    active = state(TradingState.ACTIVE, ScopeKind.GLOBAL)
    reduce = state(TradingState.REDUCE_ONLY, ScopeKind.SYMBOL)
    own = state(TradingState.REDUCE_ONLY, ScopeKind.STRATEGY)
    halted = state(TradingState.HALTED, ScopeKind.STRATEGY)
    assert strictest([]) is None
    assert strictest([active, own]) is own
    assert strictest([own, reduce]) is strictest([reduce, own]) is reduce
    assert strictest([reduce, halted, active]) is halted


# ---- errors ---------------------------------------------------------------------------------


def test_an_error_shows_only_so_much_of_what_came() -> None:
    error = InvalidField("price", "9" * 1000, "a number")
    assert error.given == "9" * 80 + "..."
    assert error.metadata == {"field": "price"}
    assert InvalidField("price", "9" * 80, "a number").given == "9" * 80


def test_every_bad_field_is_named() -> None:
    faults = [InvalidField("a", "1", "2"), InvalidField("b", "", "3")]
    error = InvalidFields(faults)
    assert error.faults == faults
    assert error.message == "a: got '1', allowed is 2; b: got '', allowed is 3"


def test_a_conflict_names_what_differs() -> None:
    error = SignalIdConflict("s-1", ["side", "symbol"])
    assert error.differs == ["side", "symbol"]
    assert error.metadata == {"signal_id": "s-1", "differs": "side,symbol"}
    assert "these differ: side,symbol." in error.message
    assert "choose a new signal_id" in error.message


def test_what_was_not_found_is_named() -> None:
    error = NotFound("order", account_id="main", order_id="o-1")
    assert (error.reason, error.message) == (
        "ORDER_NOT_FOUND",
        "no order with account_id='main', order_id='o-1'",
    )
    assert NotFound("signal").reason == "SIGNAL_NOT_FOUND"


def test_every_error_has_a_reason_of_its_own_and_says_what_it_means() -> None:
    kinds: list[type[EngineError]] = [EngineError, *EngineError.__subclasses__()]
    own = [each for each in kinds if each.__module__ == EngineError.__module__]
    assert len({each.reason for each in own}) == len(own)
    assert all(each.__doc__ for each in own)


def test_a_throttled_cancel_says_when_the_next_one_passes() -> None:
    error = CancelsThrottled("main", 1_500_001)
    assert "the next cancel passes in 2 ms" in error.message
    assert error.metadata == {"account_id": "main", "retry_after_ms": "2"}


def test_a_change_of_limits_is_named_by_its_number_and_its_content() -> None:
    assert a_change().etag == "3-0123456789abcdef"


def test_an_account_that_differs_is_held_by_what_nobody_accepted() -> None:
    state = AccountState("main", "USD", "e", 1, bytes(32), Decimal(0))
    of = [
        Difference(DifferenceKind.POSITION, symbol, "0", "5", "5", f"{symbol} differs", 7, broker=b)
        for symbol, b in (("AAPL", ""), ("MSFT", "prime"), ("IBM", ""))
    ]
    for each in (of[0].accepted(9, "olga", "bought by hand"), *of[1:]):
        state.differences[each.difference_id] = each
    state.unattributed = [{"exec_id": "e-1"}]

    assert of[0].is_as(replace(of[0], found_at_ns=8, theirs="7"))
    assert not of[0].is_as(replace(of[0], gap="6"))
    held = state.disagreement

    assert held is not None
    assert held.reason == "it does not agree with its broker: MSFT differs (and 1 more)"
    doc = state.summary_json()
    assert doc["unattributed"] == [{"exec_id": "e-1"}]
    assert list(map(Difference.from_json, doc["differences"])) == list(state.differences.values())
    state.differences = dict(list(state.differences.items())[:2])
    assert str(state.disagreement).count("more") == 0
    state.differences.clear()
    assert state.disagreement is None
