"""What cannot be settled fails alone: neither a halt nor anybody's signal goes with it."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from tests.support.holding import stores
from tests.support.trading import ACCOUNT, eventually, replicas, signal
from trade_engine.domain.decision import Decision, Outcome
from trade_engine.domain.errors import StoreRefused, StoreUnavailable
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.trading_state import GLOBAL, ScopeState, TradingState
from trade_engine.execution import applying, decisions, halting, order_changes
from trade_engine.execution.commands import HaltCommand
from trade_engine.execution.ports import Commit, Committed
from trade_engine.execution.requests import (
    CancelRequest,
    ReportsRequest,
    SubmitRequest,
    TradingStateRequest,
)
from trade_engine.wiring import Running

pytestmark = pytest.mark.stores

HALT = ScopeState(GLOBAL, TradingState.HALTED, "drill", "ops", 1)


def future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


async def settle_together(run: Running, *requests: Any) -> list[Any]:
    """Have the writer take them as one batch; answers with what each came to."""
    gate = run.engine._gates[ACCOUNT]
    for each in requests:
        gate.enqueue(each)
    answers = [each.answer for each in requests]
    async with asyncio.timeout(10):
        return await asyncio.gather(*answers, return_exceptions=True)


async def test_what_no_table_can_hold_takes_nobody_along(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record refuses every commit that has it, and says that no repetition mends that."""
    async with replicas(1, database_url, redis_url) as [run]:
        commit = stores(run).record.commit

        async def refuse(given: Commit) -> Committed:
            if any(b"absurd" in entry.payload for entry in given.entries):
                raise StoreRefused("the record refused, SQLSTATE 22003", store="postgres")
            return await commit(given)

        monkeypatch.setattr(stores(run).record, "commit", refuse)
        refused, decided, halted = await settle_together(
            run,
            SubmitRequest(signal(1_500, strategy_id="absurd"), future()),
            SubmitRequest(signal(1_500, symbol="IBM"), future()),
            TradingStateRequest(HALT, "", False, False, future()),
        )
        assert isinstance(refused, StoreRefused)
        assert decided.decision.outcome is Outcome.REJECTED, "the halt goes first"
        state = await run.record.load(ACCOUNT)
        assert state is not None
        assert state.trading[GLOBAL] == HALT
        assert halted.sequence <= state.sequence
        signal_id = decided.decision.signal.signal_id
        assert list(await run.record.find_decisions(ACCOUNT, [signal_id])) == [signal_id]


async def test_a_report_on_an_order_that_its_batch_closed_is_booked(
    database_url: str, redis_url: str
) -> None:
    """A broker fills the whole order, and one unit too many, before anybody looks."""
    async with replicas(1, database_url, redis_url) as [run]:
        resting = signal(15_000)
        resting.max_slippage_bps = Decimal(0)
        order = (await run.engine.submit(resting)).decision.order
        assert order is not None
        fills = [
            ExecutionReport(order.order_id, f"x-{units}", ExecType.TRADE, 1, Decimal(units), price)
            for units, price in ((100, Decimal(150)), (1, Decimal(150)))
        ]
        _, canceled = await settle_together(
            run,
            ReportsRequest("paper", fills, future()),
            CancelRequest(order.order_id, "", "", "ops", future()),
        )
        assert canceled.cancel_requested, "it was open when the cancel was taken, which goes first"
        found = (await run.record.find_orders(ACCOUNT, [order.order_id]))[order.order_id]
        assert found.cum_qty == 101
        state = await run.record.load(ACCOUNT)
        assert state is not None
        assert state.position("momentum-v1", "AAPL").quantity == 101


async def test_a_signal_that_breaks_a_check_takes_nobody_along(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(batch: Any, wish: Any, verdict: Any) -> Decision:
        if wish.strategy_id == "poison":
            raise ArithmeticError("a check met what it never should")
        return real(batch, wish, verdict)

    real = decisions.decide_signal
    monkeypatch.setattr(applying, "decide_signal", breaks)
    async with replicas(1, database_url, redis_url) as [run]:
        wishes = [signal(1_500, strategy_id=name) for name in ("a", "b", "poison", "c", "d")]
        answers = await settle_together(run, *(SubmitRequest(each, future()) for each in wishes))
        assert isinstance(answers[2], ArithmeticError)
        del answers[2]
        assert Counter(each.decision.outcome for each in answers) == {Outcome.APPROVED: 4}
        assert not any(each.replayed for each in answers)


async def test_a_store_that_is_away_is_not_asked_once_for_each_request(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        asked = 0

        async def away(*_of: Any) -> None:
            nonlocal asked
            asked += 1
            raise StoreUnavailable("away")

        monkeypatch.setattr(stores(run).record, "commit", away)
        requests = [SubmitRequest(signal(1_500), future()) for _ in range(20)]
        answers = await settle_together(run, *requests)
        assert {type(each) for each in answers} == {StoreUnavailable}
        assert asked <= 2


async def test_a_halt_that_a_fault_of_ours_keeps_from_a_journal_is_carried_there(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halting, "CARRY_EVERY_S", 0.1)
    real, faults = order_changes.set_trading_state, 3

    def breaks(*args: Any, **kwargs: Any) -> Any:
        nonlocal faults
        faults -= 1
        if faults >= 0:
            raise ArithmeticError("never expected")
        return real(*args, **kwargs)

    monkeypatch.setattr(applying, "set_trading_state", breaks)
    async with replicas(1, database_url, redis_url) as [run]:
        command = HaltCommand(GLOBAL, TradingState.HALTED, "drill", "ops", False, "")
        assert not (await run.engine.halt(command)).drained

        async def journaled() -> bool:
            state = await run.record.load(ACCOUNT)
            return state is not None and GLOBAL in state.trading

        await eventually(journaled)
        assert (await run.engine.halt(command)).drained
