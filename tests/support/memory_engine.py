"""An engine in memory, for tests of the edge: it approves every signal, and nothing trades.

It keeps a journal of the same shape as the real one, so that streams and lists can be tested
without stores. What a test needs to go wrong, or to take its time, is set as an attribute.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import orjson

from trade_engine.domain.decision import CheckResult, Checks, Decision, Outcome, Sizing
from trade_engine.domain.difference import Difference
from trade_engine.domain.errors import (
    EngineError,
    NotFound,
    OrderNotOpen,
    SignalIdConflict,
    StoreUnavailable,
)
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.journal import EntryKind, JournalEntry
from trade_engine.domain.limits import Level, Limits, Raise
from trade_engine.domain.limits_change import LimitsChange
from trade_engine.domain.market import Quote
from trade_engine.domain.order import (
    DeliveryState,
    Order,
    OrdStatus,
    OrdType,
    TimeInForce,
    order_id_for,
)
from trade_engine.domain.position import Position
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.rulebook_difference import RulebookDifference
from trade_engine.domain.signal import Side, Signal, TimeHorizon
from trade_engine.domain.trading_state import ScopeKind, ScopeState, TradingState
from trade_engine.execution.commands import (
    AcceptDifferenceCommand,
    AccountStatus,
    Answer,
    CancelAllResult,
    ClearCommand,
    EngineStatus,
    FlattenResult,
    HaltCommand,
    HaltResult,
    LimitsInForce,
    LimitsUpdated,
    ResumeCommand,
    ResumeResult,
    ScopeHalted,
    SymbolTerms,
    UpdateLimitsCommand,
)
from trade_engine.execution.ports import DecisionFilter, OrderFilter
from trade_engine.execution.raises import RaiseStatus
from trade_engine.portfolio.view import Holding, Portfolio
from trade_engine.risk.limit_breaches import Breach

START_NS = 1_700_000_000_000_000_000


class MemoryRecord:
    """The record of one account, as RecordQueries and as Finder."""

    def __init__(self) -> None:
        self.journal: list[JournalEntry] = []
        self.decisions: dict[str, Decision] = {}
        self.orders: dict[str, Order] = {}
        self.positions: list[Position] = []
        self.failure: EngineError | Exception | None = None
        self.delay_s = 0.0
        """How long a question travels, and the answer about entries at most: they may overtake."""
        self.chance = random.Random(1)
        self.reads = 0
        self.on_growth: Callable[[str, int], None] = lambda _account, _sequence: None

    def append(self, kind: EntryKind, payload: dict[str, Any]) -> int:
        """Add an entry, dense as in the real journal."""
        sequence = len(self.journal) + 1
        entry = JournalEntry(
            "main", sequence, START_NS + sequence, kind, orjson.dumps(payload), b"", b""
        )
        self.journal.append(entry)
        self.on_growth("main", sequence)
        return sequence

    def put_order(
        self, kind: EntryKind, order: Order, report: ExecutionReport | None = None
    ) -> int:
        """Journal a change of an order."""
        order.last_sequence = len(self.journal) + 1
        self.orders[order.order_id] = order
        payload: dict[str, Any] = {"order": order.to_json()}
        if report is not None:
            payload["report"] = report.to_json()
        return self.append(kind, payload)

    async def find_decisions(
        self, account_id: str, signal_ids: Sequence[str]
    ) -> dict[str, Decision]:
        await self._read()
        return {each: self.decisions[each] for each in signal_ids if each in self.decisions}

    async def find_orders(self, account_id: str, order_ids: Sequence[str]) -> dict[str, Order]:
        await self._read()
        return {each: self.orders[each] for each in order_ids if each in self.orders}

    async def list_decisions(
        self, account_id: str, which: DecisionFilter, before_sequence: int | None, limit: int
    ) -> list[Decision]:
        await self._read()
        found = [
            decision
            for decision in self.decisions.values()
            if (not which.strategy_id or decision.signal.strategy_id == which.strategy_id)
            and (not which.symbol or decision.signal.symbol == which.symbol)
            and (which.outcome is None or decision.outcome is which.outcome)
            and (before_sequence is None or decision.sequence < before_sequence)
        ]
        return sorted(found, key=lambda decision: -decision.sequence)[:limit]

    async def list_orders(
        self, account_id: str, which: OrderFilter, before: tuple[int, str] | None, limit: int
    ) -> list[Order]:
        await self._read()
        found = [
            order
            for order in self.orders.values()
            if (not which.strategy_id or order.strategy_id == which.strategy_id)
            and (not which.symbol or order.symbol == which.symbol)
            and (not which.open_only or order.is_open)
            and (before is None or (order.created_at_ns, order.order_id) < before)
        ]
        found.sort(key=lambda order: (order.created_at_ns, order.order_id), reverse=True)
        return found[:limit]

    async def list_positions(
        self,
        account_id: str,
        strategy_id: str,
        symbol: str,
        after: tuple[str, str] | None,
        limit: int,
    ) -> list[Position]:
        await self._read()
        found = [
            position
            for position in self.positions
            if (not strategy_id or position.strategy_id == strategy_id)
            and (not symbol or position.symbol == symbol)
            and (after is None or (position.strategy_id, position.symbol) > after)
        ]
        return sorted(found, key=lambda each: (each.strategy_id, each.symbol))[:limit]

    async def entries(
        self,
        account_id: str,
        after_sequence: int,
        limit: int,
        kinds: frozenset[EntryKind] | None = None,
    ) -> list[JournalEntry]:
        await self._read()
        later = (self.journal[place] for place in range(after_sequence, len(self.journal)))
        wanted = (entry for entry in later if kinds is None or entry.kind in kinds)
        found = list(itertools.islice(wanted, limit))
        await asyncio.sleep(self.delay_s * self.chance.random())
        return found

    async def head(self, account_id: str) -> int | None:
        await self._read()
        return len(self.journal)

    async def open_orders(self, account_id: str) -> tuple[int, list[Order]]:
        await self._read()
        return len(self.journal), [order for order in self.orders.values() if order.is_open]

    async def account_ids(self) -> list[str]:
        return ["main"]

    async def _read(self) -> None:
        self.reads += 1
        await asyncio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure


class MemoryLedger:
    """Remembers requests by id; `down` says that it does not answer."""

    def __init__(self) -> None:
        self.down = False
        self.content: dict[tuple[str, str], bytes] = {}
        self.answers: dict[tuple[str, str], bytes] = {}

    async def begin(
        self, caller: str, request_id: str, content: bytes
    ) -> tuple[bytes, bytes | None]:
        if self.down:
            raise StoreUnavailable("the ledger is down")
        key = (caller, request_id)
        return self.content.setdefault(key, content), self.answers.get(key)

    async def answer(self, caller: str, request_id: str, answer: bytes) -> None:
        if self.down:
            raise StoreUnavailable("the ledger is down")
        self.answers.setdefault((caller, request_id), answer)


class MemoryEngine:
    """Approves everything; `delay_s`, `failure` and `gate` say how its answers come.

    gate, when set, holds every submitted signal until it is released: what a test needs to look at
    what is in flight.
    """

    def __init__(self) -> None:
        self.record = MemoryRecord()
        self.queries = self.record
        self.ledger = MemoryLedger()
        self.clears: list[ClearCommand] = []
        self.halted_drained = False
        self.delay_s = 0.0
        self.failure: BaseException | None = None
        self.gate: asyncio.Event | None = None
        self.submitted: list[Signal] = []
        self._tasks: set[asyncio.Task[Answer]] = set()
        self.halts: list[HaltCommand] = []
        self.resumes: list[ResumeCommand] = []
        self.differences: dict[str, Difference] = {}
        self.acceptances: list[AcceptDifferenceCommand] = []
        self.updates: list[UpdateLimitsCommand] = []
        self.cancels: list[tuple[str, str, str, str, str]] = []
        self.remaining: list[ScopeState] = []
        self.trading = {"main": True}
        self.quotes_known: dict[str, Quote] = {}

    async def submit(self, signal: Signal) -> Answer:
        self.submitted.append(signal)
        # As in the real one, the work is not the caller's: who stops waiting stops nothing else.
        task = asyncio.create_task(self._decide(signal))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _decide(self, signal: Signal) -> Answer:
        await self._pause()
        first = self.record.decisions.get(signal.signal_id)
        if first is not None:
            differs = first.signal.differs_from(signal)
            if differs:
                raise SignalIdConflict(signal.signal_id, differs)
            return Answer(first, replayed=True)
        decision = approved(signal, len(self.record.journal) + 1)
        self.record.decisions[signal.signal_id] = decision
        if decision.order is not None:
            self.record.orders[decision.order.order_id] = decision.order
        self.record.append(EntryKind.DECISION, {"decision": decision.to_json(), "context": {}})
        return Answer(decision, replayed=False)

    async def evaluate(self, signal: Signal) -> Decision:
        await self._pause()
        decision = approved(signal, 0)
        decision.order = None
        return decision

    async def cancel_order(
        self, account_id: str, order_id: str, request_id: str, reason: str, operator: str
    ) -> Order:
        self.cancels.append((account_id, order_id, request_id, reason, operator))
        await self._pause()
        order = self.record.orders.get(order_id)
        if order is None:
            raise NotFound("order", account_id=account_id, order_id=order_id)
        if not order.is_open:
            raise OrderNotOpen(
                f"order {order_id} is {order.ord_status} already",
                order_id=order_id,
                ord_status=order.ord_status.value,
            )
        order.ord_status, order.cancel_requested = OrdStatus.PENDING_CANCEL, True
        self.record.put_order(EntryKind.CANCEL_REQUESTED, order)
        return order

    async def halt(self, request: HaltCommand) -> HaltResult:
        self.halts.append(request)
        await self._pause()
        return HaltResult(
            drained=self.halted_drained,
            in_doubt_order_ids=["o-doubt"],
            canceled_order_ids=["o-1", "o-2"],
            sequences={"main": 7, "b": 0},
        )

    async def resume(self, request: ResumeCommand) -> ResumeResult:
        self.resumes.append(request)
        await self._pause()
        return ResumeResult(sequences={"main": 8}, remaining=self.remaining)

    async def cancel_all(self, command: ClearCommand) -> CancelAllResult:
        self.clears.append(command)
        await self._pause()
        return CancelAllResult(["o-1", "o-2"], ["o-2"])

    async def flatten(self, command: ClearCommand) -> FlattenResult:
        self.clears.append(command)
        await self._pause()
        if command.scope.kind is ScopeKind.SYMBOL:
            raise ScopeHalted(str(command.scope), "drill")
        closing, kept = (
            Signal(
                name, "main", "momentum", "AAPL", Side.SELL, Decimal(1), Decimal(0),
                TimeHorizon.INTRADAY,
            )
            for name in ("flatten-1", "flatten-2")
        )  # fmt: skip
        refused = approved(kept, 9)
        refused.outcome, refused.order, refused.message = Outcome.REJECTED, None, "no quote"
        return FlattenResult([approved(closing, 8), refused], ["o-1"])

    async def accept_difference(self, command: AcceptDifferenceCommand) -> Difference:
        self.acceptances.append(command)
        await self._pause()
        found = self.differences.get(command.difference_id)
        if found is None:
            raise NotFound("difference", difference_id=command.difference_id)
        return found.accepted(START_NS + 1, command.operator, command.reason)

    async def may_trade(self) -> dict[str, bool]:
        return dict(self.trading)

    async def limits(self, account_id: str) -> LimitsInForce:
        await self._pause()
        texts = f"# limits of {account_id}", "# instruments"
        return LimitsInForce(a_change(), *texts, [a_raise()])

    async def update_limits(self, command: UpdateLimitsCommand) -> LimitsUpdated:
        self.updates.append(command)
        await self._pause()
        return LimitsUpdated(
            a_change(),
            [RulebookDifference("limits.symbol.AAPL.order_notional_max", "", "7")],
            [
                Breach(
                    account_id="main",
                    limit_name="order_notional_max",
                    scope="order:o-1",
                    limit=Decimal("7.0"),
                    source="limits.toml:symbol AAPL",
                    observed=None,
                    order_ids=["o-1"],
                )
            ],
            {"main": 12, "b": 0},
        )

    async def status(self, account_id: str) -> EngineStatus:
        await self._pause()
        account = AccountStatus(
            account_id="main",
            trading_state=TradingState.REDUCE_ONLY,
            scope_states=self.remaining,
            sequence=9,
            redis_sequence=8,
            gate_open=False,
            gate_reason="rebuilding risk state",
            open_orders=1,
            in_doubt_orders=2,
            queued_orders=3,
            cash=Decimal("-10.50"),
            equity=None,
            realized_pnl=Decimal(0),
            unrealized_pnl=None,
            gross_exposure=Decimal("1E+3"),
            limits_version="v1",
            broker="paper",
            sender="replica-1",
            differences=list(self.differences.values()),
            active_raises=[a_raise()],
        )
        return EngineStatus("0.1.0", "replica-1", [account], postgres="ok", redis="no answer")

    async def portfolio(self, account_id: str) -> Portfolio:
        await self._pause()
        held = {"ES": Holding(Decimal(-2), Decimal("5000.25"))}
        return Portfolio(account_id, "USD", Decimal("10.50"), Decimal("1E+3"), held, START_NS)

    async def publish_quotes(self, quotes: list[Quote]) -> None:
        await self._pause()
        self.quotes_known.update({quote.symbol: quote for quote in quotes})

    async def quotes(self, symbols: list[str]) -> dict[str, Quote]:
        await self._pause()
        return {each: self.quotes_known[each] for each in symbols if each in self.quotes_known}

    def symbol_terms(self, account_id: str, symbol: str) -> SymbolTerms:
        return SymbolTerms(Decimal(10) if symbol == "ES" else Decimal(1), "USD")

    def account_known(self, account_id: str) -> bool:
        return account_id in ("main", "second")

    async def _pause(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure


def a_change() -> LimitsChange:
    """A change of the limits that brought an empty rulebook."""
    rulebook = Rulebook("0123456789abcdef", Limits("0123456789abcdef", {}, {}))
    return LimitsChange(3, rulebook, "ann", "more room", "r-1", START_NS)


def a_raise() -> RaiseStatus:
    """A raise that holds for one nanosecond."""
    raised = Raise(
        name="quarter-end",
        limit_name="order_notional_max",
        level=Level.SYMBOL,
        scope_id="AAPL",
        value=Decimal(9),
        from_ns=START_NS,
        until_ns=START_NS + 1,
        reason="rebalancing",
        operator="ann",
    )
    return RaiseStatus(raised, Decimal(7), active=True)


def approved(signal: Signal, sequence: int) -> Decision:
    """A decision as the real gate makes them: eight checks, a sizing, an order."""
    order = order_for(signal, sequence)
    checks = [
        CheckResult(
            name=f"check_{number}",
            passed=True,
            scope=f"symbol:{signal.symbol}",
            unit="USD",
            limit=Decimal(20000),
            observed=Decimal("0.00"),
            projected=Decimal("15000.50"),
            source=f"limits.toml:symbol {signal.symbol}",
            message="15000.50 USD is within 20000 USD",
        )
        for number in range(8)
    ]
    return Decision(
        signal=signal,
        outcome=Outcome.APPROVED,
        decided_at_ns=START_NS,
        limits_version="0123456789ab",
        message="Approved: BUY 100 at 150.25.",
        checks=Checks(checks),
        sizing=Sizing(
            reference_price=Decimal("150.10"),
            current_quantity=Decimal(0),
            working_quantity=Decimal(0),
            target_quantity=Decimal(100),
            order_quantity=Decimal(100),
            limit_price=Decimal("150.25"),
            order_notional=Decimal("15025.00"),
        ),
        order=order,
        sequence=sequence,
    )


def order_for(signal: Signal, sequence: int) -> Order:
    """The order of a signal, as it stands when it is approved."""
    return Order(
        order_id=order_id_for(signal.account_id, signal.signal_id),
        account_id=signal.account_id,
        strategy_id=signal.strategy_id,
        symbol=signal.symbol,
        signal_id=signal.signal_id,
        side=signal.side,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.DAY,
        order_qty=Decimal(100),
        price=Decimal("150.25"),
        broker="paper",
        created_at_ns=START_NS + sequence,
        leaves_qty=Decimal(100),
        updated_at_ns=START_NS + sequence,
        last_sequence=sequence,
    )


def filled(order: Order, exec_id: str) -> ExecutionReport:
    """Fill an order wholly, and return the report of it."""
    order.ord_status, order.delivery = OrdStatus.FILLED, DeliveryState.SENT
    order.cum_qty, order.leaves_qty = order.order_qty, Decimal(0)
    order.cum_value = order.order_qty * Decimal("150.20")
    return ExecutionReport(
        cl_ord_id=order.cl_ord_id,
        exec_id=exec_id,
        exec_type=ExecType.TRADE,
        transact_time_ns=START_NS,
        last_qty=order.order_qty,
        last_px=Decimal("150.20"),
        commission=Decimal("1.00"),
    )
