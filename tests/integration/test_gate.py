"""The path to capital on real stores: one decision per signal, whatever happens around it."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal

import pytest

from tests.support.audited import audit
from tests.support.trading import (
    ACCOUNT,
    SYMBOLS,
    eventually,
    quote,
    replicas,
    rulebook,
    signal,
    until_quiet,
)
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.errors import SignalIdConflict
from trade_engine.domain.order import OrdStatus
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import GLOBAL, Scope, ScopeKind, TradingState
from trade_engine.execution.commands import HaltCommand, ResumeCommand
from trade_engine.execution.ports import DecisionFilter, OrderFilter
from trade_engine.storage.redis.connect import RedisLink

pytestmark = pytest.mark.stores


async def state_in_redis(redis_url: str) -> dict[bytes, bytes]:
    """Every field of the account's fold."""
    link = RedisLink(redis_url)
    flat = (await link.run(("HGETALL", f"te:{{{ACCOUNT}}}:state")))[0]
    await link.close()
    return dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else flat


async def command(redis_url: str, *words: str) -> None:
    link = RedisLink(redis_url)
    await link.run(tuple(words))
    await link.close()


async def test_a_signal_becomes_an_order_a_fill_and_a_position(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        answer = await run.engine.submit(signal(15_000))
        assert answer.decision.outcome is Outcome.APPROVED
        assert answer.decision.order is not None
        assert answer.decision.order.order_qty == Decimal(100)
        await until_quiet(run)
        [order] = await run.engine.queries.list_orders(ACCOUNT, OrderFilter(), None, 10)
        assert order.ord_status is OrdStatus.FILLED
        [position] = await run.engine.queries.list_positions(ACCOUNT, "", "", None, 10)
        assert (position.quantity, position.cost) == (Decimal(100), Decimal(15001))
        counts = await audit(run)
        assert counts["fills"] == 1


async def test_the_decision_keeps_the_order_as_it_was_decided(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        first = signal(15_000)
        before = (await run.engine.submit(first)).decision.to_json()
        await until_quiet(run)
        assert (await run.engine.submit(first)).decision.to_json() == before
        found = await run.record.find_decisions(ACCOUNT, [first.signal_id])
        assert found[first.signal_id].to_json() == before


async def test_a_hundred_copies_over_three_replicas_give_one_order(
    database_url: str, redis_url: str
) -> None:
    async with replicas(3, database_url, redis_url) as runs:
        copies = [signal(15_000, signal_id="the-one") for _ in range(100)]
        answers = await asyncio.gather(
            *(runs[number % 3].engine.submit(copy) for number, copy in enumerate(copies))
        )
        assert len({answer.decision.sequence for answer in answers}) == 1
        assert sum(not answer.replayed for answer in answers) == 1
        await until_quiet(runs[0])
        orders = await runs[0].engine.queries.list_orders(ACCOUNT, OrderFilter(), None, 10)
        assert [order.cum_qty for order in orders] == [Decimal(100)]
        assert (await audit(runs[0]))["fills"] == 1


async def test_another_content_under_the_same_id_names_what_differs(
    database_url: str, redis_url: str
) -> None:
    async with replicas(2, database_url, redis_url) as runs:
        await runs[0].engine.submit(signal(15_000, signal_id="x"))
        for run in runs:
            with pytest.raises(SignalIdConflict) as caught:
                await run.engine.submit(signal(14_000, signal_id="x", max_notional=9_000))
            assert caught.value.differs == ["target_exposure", "max_notional"]


async def test_copies_in_one_batch_are_answered_alike(database_url: str, redis_url: str) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        same, other = signal(15_000, signal_id="x"), signal(1_500, signal_id="x")
        results = await asyncio.gather(
            run.engine.submit(same),
            run.engine.submit(same),
            run.engine.submit(other),
            return_exceptions=True,
        )
        assert [getattr(result, "replayed", None) for result in results] == [False, True, None]
        assert isinstance(results[2], SignalIdConflict)


async def test_each_approval_counts_for_the_next_signal_of_a_batch(
    database_url: str, redis_url: str
) -> None:
    rules = rulebook(symbol_position_notional_max=30_000)
    async with replicas(1, database_url, redis_url, rules) as [run]:
        answers = await asyncio.gather(
            *(run.engine.submit(signal(15_000, strategy_id=f"s{n}")) for n in range(4))
        )
        outcomes = [answer.decision.outcome for answer in answers]
        assert outcomes == [Outcome.APPROVED] * 2 + [Outcome.REJECTED] * 2
        assert answers[2].decision.reasons == [Reason.SYMBOL_POSITION_LIMIT]
        check = next(c for c in answers[2].decision.checks if c.name == "symbol_position")
        assert (check.limit, check.observed, check.projected) == (30_000, 30_000, 45_000)


async def test_replicas_writing_at_once_never_pass_a_limit(
    database_url: str, redis_url: str
) -> None:
    rules = rulebook(gross_exposure_max=60_000)
    async with replicas(3, database_url, redis_url, rules) as runs:
        answers = await asyncio.gather(
            *(
                runs[n % 3].engine.submit(signal(3_000, strategy_id=f"s{n}", symbol=SYMBOLS[n % 2]))
                for n in range(60)
            )
        )
        approved = sum(answer.decision.outcome is Outcome.APPROVED for answer in answers)
        assert approved == 20
        await until_quiet(runs[0])
        await audit(runs[0])


@pytest.mark.parametrize(
    "loss", [("FLUSHALL",), ("DEL", f"te:{{{ACCOUNT}}}:state"), ("DEL", "te:{_control}:states")]
)
async def test_a_lost_risk_store_is_rebuilt_field_by_field(
    database_url: str, redis_url: str, loss: tuple[str, ...]
) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        for strategy in ("a", "b"):
            await run.engine.submit(signal(15_000, strategy_id=strategy))
        await until_quiet(run)
        before = await state_in_redis(redis_url)
        words = ("FLUSHDB",) if loss == ("FLUSHALL",) else loss
        await command(redis_url, *words)
        await run.engine.publish_quotes([quote()])
        answer = await run.engine.evaluate(signal(30_000, strategy_id="a"))
        assert answer.outcome is Outcome.APPROVED
        assert await state_in_redis(redis_url) == before


async def test_an_older_copy_of_the_risk_store_is_caught_up(
    database_url: str, redis_url: str
) -> None:
    key = f"te:{{{ACCOUNT}}}:state"
    rules = rulebook(symbol_position_notional_max=20_000)
    async with replicas(1, database_url, redis_url, rules) as [run]:
        old = await state_in_redis(redis_url)
        await run.engine.submit(signal(15_000))
        await until_quiet(run)
        new = await state_in_redis(redis_url)
        flat = [word for pair in old.items() for word in pair]
        link = RedisLink(redis_url)
        await link.run(("DEL", key), ("HSET", key, *flat))
        await link.close()
        answer = await run.engine.submit(signal(15_000, strategy_id="other"))
        assert answer.decision.reasons == [Reason.SYMBOL_POSITION_LIMIT]
        assert new.keys() == (await state_in_redis(redis_url)).keys()


async def test_an_order_rests_until_the_market_comes_and_can_be_canceled(
    database_url: str, redis_url: str
) -> None:
    async with replicas(2, database_url, redis_url) as runs:
        near = signal(15_000)
        near.max_slippage_bps = Decimal(0)
        resting = (await runs[0].engine.submit(near)).decision.order
        other = signal(15_000, symbol="IBM")
        other.max_slippage_bps = Decimal(0)
        canceled = (await runs[1].engine.submit(other)).decision.order
        assert resting is not None
        assert canceled is not None

        async def both_rest() -> bool:
            _, orders = await runs[0].engine.queries.open_orders(ACCOUNT)
            return [order.ord_status for order in orders] == [OrdStatus.NEW] * 2

        await eventually(both_rest)
        await runs[1].engine.cancel_order(
            ACCOUNT, canceled.order_id, "r-1", "changed my mind", "me"
        )
        await runs[0].engine.publish_quotes([quote("AAPL", 149)])
        await until_quiet(runs[0])
        found = await runs[0].record.find_orders(ACCOUNT, [resting.order_id, canceled.order_id])
        assert found[resting.order_id].ord_status is OrdStatus.FILLED
        assert found[canceled.order_id].ord_status is OrdStatus.CANCELED
        await audit(runs[0])


async def test_a_halt_on_one_replica_stops_all_until_resumed(
    database_url: str, redis_url: str
) -> None:
    halt = HaltCommand(GLOBAL, TradingState.HALTED, "drill", "ops", False, "h-1")
    async with replicas(3, database_url, redis_url) as runs:
        result = await runs[0].engine.halt(halt)
        assert result.drained
        for number, run in enumerate(runs):
            refused = await run.engine.submit(signal(1_500, strategy_id=f"s{number}"))
            assert refused.decision.reasons == [Reason.TRADING_HALTED]
        await runs[1].engine.resume(ResumeCommand(GLOBAL, "over", "ops", "h-2", False))
        for number, run in enumerate(runs):
            answer = await run.engine.submit(signal(1_500, strategy_id=f"s{number}"))
            assert answer.decision.outcome is Outcome.APPROVED
        await until_quiet(runs[0])
        await audit(runs[0])


async def test_reduce_only_lets_a_position_shrink_and_nothing_else(
    database_url: str, redis_url: str
) -> None:
    scope = Scope(ScopeKind.SYMBOL, "AAPL")
    async with replicas(1, database_url, redis_url) as [run]:
        await run.engine.submit(signal(15_000))
        await until_quiet(run)
        await run.engine.halt(HaltCommand(scope, TradingState.REDUCE_ONLY, "r", "ops", False, ""))
        more = await run.engine.submit(signal(30_000))
        flip = await run.engine.submit(signal(-15_000, side=Side.SELL))
        elsewhere = await run.engine.submit(signal(1_500, symbol="IBM"))
        less = await run.engine.submit(signal(0, side=Side.SELL))
        assert more.decision.reasons == [Reason.REDUCE_ONLY]
        assert flip.decision.reasons == [Reason.REDUCE_ONLY]
        assert elsewhere.decision.outcome is Outcome.APPROVED
        assert less.decision.outcome is Outcome.APPROVED
        await until_quiet(run)
        await audit(run)


async def test_every_signal_submitted_is_listed_once(database_url: str, redis_url: str) -> None:
    async with replicas(1, database_url, redis_url) as [run]:
        signals = [signal(150 * (n + 1), strategy_id=f"s{n}") for n in range(300)]
        await asyncio.gather(*(run.engine.submit(each) for each in signals))
        listed = await run.engine.queries.list_decisions(ACCOUNT, DecisionFilter(), None, 1_000)
        assert Counter(each.signal.signal_id for each in listed) == Counter(
            each.signal_id for each in signals
        )
