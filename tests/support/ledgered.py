"""An account moved along by batches, in memory: its journal, and the tables that go with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from decimal import Decimal

from tests.support.cases import NOW_NS, RATE, STOCK, Number, limits, quote
from tests.support.wide import each_rate
from trade_engine.audit.chain import canonical, seal
from trade_engine.domain.account import GENESIS_HASH, AccountState
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.limits import Level, Limits
from trade_engine.domain.limits_change import LimitsChange
from trade_engine.domain.market import Instrument, Quote
from trade_engine.domain.order import Order
from trade_engine.domain.rulebook import AccountTerms, Rulebook
from trade_engine.domain.session import Session
from trade_engine.domain.trading_state import Scope, ScopeState
from trade_engine.execution.batch import Batch, SessionAt, only_always_open
from trade_engine.execution.day_roll import keep_day
from trade_engine.execution.ports import Commit, Fence, Fill, ThrottleVerdict, Verdicts

DAY = Session("24/7", "2023-11-14", 0, 0, NOW_NS + 10**18)
LEFT = ThrottleVerdict(allowed=True, limit=61, remaining=60, retry_after_ns=0)
ALLOWED = Verdicts(LEFT, LEFT)
FUTURE = Instrument("ES", Decimal("0.25"), Decimal(1), "USD", "future", multiplier=Decimal(50))


def rulebook(version: str = "v1") -> Rulebook:
    """Wide limits for one account, a stock and a future."""
    return Rulebook(
        version,
        Limits(version, {(Level.DEFAULT, ""): limits()}, {(Level.DEFAULT, ""): each_rate(RATE)}),
        instruments={each.symbol: each for each in (STOCK, FUTURE)},
        accounts={"main": AccountTerms("main", "USD", Decimal(100_000), "paper")},
    )


def change_to(rules: Rulebook, number: int = 1) -> LimitsChange:
    """The change that brings a rulebook."""
    return LimitsChange(number, rules, "ops", "a better one", "", NOW_NS)


def market(**prices: int | str) -> dict[str, Quote]:
    """Fresh quotes without a spread."""
    return {symbol: quote(price, symbol=symbol) for symbol, price in prices.items()}


class Ledgered:
    """The account "main" with 100,000 USD, and everything that batches wrote of it."""

    def __init__(self) -> None:
        genesis = seal(
            "main",
            1,
            NOW_NS,
            EntryKind.ACCOUNT_OPENED,
            canonical({"opening_cash": "100000", "currency": "USD", "broker": "paper"}),
            GENESIS_HASH,
        )
        self.state = AccountState("main", "USD", "epoch", 1, genesis.hash, Decimal(100_000))
        self.journal: list[JournalEntry] = [genesis]
        self.orders: dict[str, Order] = {}
        self.executions: set[tuple[str, str]] = set()
        self.fills: list[Fill] = []
        self.commits: list[Commit] = []

    @contextmanager
    def batch(
        self,
        rules: Rulebook | None = None,
        quotes: dict[str, Quote] | None = None,
        controls: dict[Scope, ScopeState] | None = None,
        sender: Fence | None = None,
        now_ns: int = NOW_NS,
        session: Session | None = DAY,
        session_at: SessionAt = only_always_open,
    ) -> Iterator[Batch]:
        """A batch that is committed at the end; all of them are of one day unless told."""
        state = deepcopy(self.state)
        at = market(AAPL=100) if quotes is None else quotes
        rules = rules or rulebook()
        batch = Batch(state, rules, now_ns, at, controls or {}, sender, session_at, at)
        if rules.version != state.limits_version:
            batch.change_limits(change_to(rules, state.limits_number + 1))
        for order in self.orders.values():
            batch.executions[order.strategy_id, order.symbol] = []
        for each in deepcopy(self.fills):
            batch.executions.setdefault((each.strategy_id, each.symbol), []).append(each)
        keep_day(batch, session)
        yield batch
        commit = batch.commit()
        if commit is not None:
            self.commits.append(commit)
            self.journal += commit.entries
            self.orders |= {each.order_id: deepcopy(each) for each in commit.orders}
            self.executions |= {(each.broker, each.exec_id) for each in commit.fills}
            changed = {(each.broker, each.exec_id): each for each in commit.amended}
            self.fills = [changed.get((each.broker, each.exec_id), each) for each in self.fills]
            self.fills += commit.fills
        self.state = state


def report(order: Order, exec_type: ExecType, exec_id: str, **changes: object) -> ExecutionReport:
    """What the broker says of an order."""
    return ExecutionReport(order.cl_ord_id, exec_id, exec_type, NOW_NS, **changes)  # type: ignore[arg-type]


def fill(order: Order, exec_id: str, quantity: Number, price: Number) -> ExecutionReport:
    """A fill with a commission of 1."""
    return report(
        order,
        ExecType.TRADE,
        exec_id,
        last_qty=Decimal(quantity),
        last_px=Decimal(price),
        commission=Decimal(1),
    )
