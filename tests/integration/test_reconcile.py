"""Reconciliation on real stores: the paper venue's books against the record, made to differ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from tests.support.audited import audit
from tests.support.holding import broker, lease_elsewhere, sends, unavailable
from tests.support.trading import ACCOUNT, eventually, quote, replicas, signal, until_quiet
from trade_engine.domain.decision import Reason
from trade_engine.domain.difference import Difference, DifferenceKind
from trade_engine.domain.errors import NotFound
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.order import DeliveryState, Order, OrdStatus
from trade_engine.domain.trading_state import TradingState
from trade_engine.execution import doubts, order_router, reconcile
from trade_engine.execution.commands import (
    AcceptDifferenceCommand,
    AccountStatus,
    DifferenceNotAcceptable,
)
from trade_engine.execution.ports import BrokerOrder, Delivery
from trade_engine.execution.reconcile import Reconciler
from trade_engine.wiring import Running

pytestmark = pytest.mark.stores


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done from time to time is done often."""
    monkeypatch.setattr(reconcile, "EVERY_S", 0.2)
    monkeypatch.setattr(reconcile, "AGAIN_S", 0.1)
    monkeypatch.setattr(reconcile, "POLL_S", 0.02)
    monkeypatch.setattr(reconcile, "CONFIRM_S", 0.02)
    monkeypatch.setattr(reconcile, "SILENT_S", 0.2)
    monkeypatch.setattr(order_router, "LOOK_EVERY_S", 0.1)


@asynccontextmanager
async def one(database_url: str, redis_url: str) -> AsyncIterator[Running]:
    """An engine that sends, and agrees with its broker."""
    async with replicas(1, database_url, redis_url) as [run]:
        await eventually(lambda: reconciler(run).agrees)
        yield run


def reconciler(run: Running) -> Reconciler:
    return run.engine._routers[ACCOUNT]._reconcilers[0]


def instead(run: Running, question: str, answer: Callable[..., Any]) -> Callable[..., Any]:
    """Let the broker answer a question in another way; gives its own way back."""
    own: Callable[..., Any] = getattr(broker(run), question)
    setattr(broker(run), question, answer)
    return own


async def status(run: Running) -> AccountStatus:
    return (await run.engine.status(ACCOUNT)).accounts[0]


async def differences(run: Running) -> list[Difference]:
    return (await status(run)).differences


async def found(run: Running, difference_id: str) -> Difference:
    """Wait for a difference."""

    async def it() -> list[Difference]:
        return [each for each in await differences(run) if each.difference_id == difference_id]

    await eventually(it)
    return (await it())[0]


async def accept(run: Running, difference_id: str, reason: str, request_id: str = "") -> Difference:
    command = AcceptDifferenceCommand(ACCOUNT, difference_id, reason, "ops", request_id)
    return await run.engine.accept_difference(command)


async def agreed(run: Running) -> None:
    async def so() -> bool:
        standing = [each for each in await differences(run) if each.stands]
        return not standing and reconciler(run).agrees

    await eventually(so)


async def journal(run: Running, kind: EntryKind) -> list[Any]:
    return await run.engine.queries.entries(ACCOUNT, 0, 10_000, frozenset({kind}))


async def resting_order(run: Running, strategy_id: str = "momentum-v1") -> Order:
    """An order that the venue has and that does not fill."""
    wish = signal(15_000, strategy_id=strategy_id)
    wish.max_slippage_bps = Decimal(0)
    order = (await run.engine.submit(wish)).decision.order
    assert order is not None

    async def rests() -> bool:
        return (await recorded(run, order.order_id)).ord_status is OrdStatus.NEW

    await eventually(rests)
    return await recorded(run, order.order_id)


async def recorded(run: Running, order_id: str) -> Order:
    return (await run.record.find_orders(ACCOUNT, [order_id]))[order_id]


def deaf(run: Running) -> list[Sequence[ExecutionReport]]:
    """From now on no report of the venue reaches the engine by itself."""
    unheard: list[Sequence[ExecutionReport]] = []

    async def lose(_account_id: str, reports: Sequence[ExecutionReport]) -> None:
        unheard.append(reports)

    paper: Any = broker(run)
    paper._accounts[ACCOUNT]._delivery._sink = lose
    return unheard


async def test_what_agrees_is_compared_again_and_again_and_leaves_no_entry(
    database_url: str, redis_url: str
) -> None:
    async with one(database_url, redis_url) as run:
        await run.engine.submit(signal(15_000))
        await until_quiet(run)
        await resting_order(run, "other")
        own, asked = broker(run).positions, []

        async def ask(account_id: str) -> Any:
            asked.append(account_id)
            return await own(account_id)

        instead(run, "positions", ask)
        await eventually(lambda: len(asked) > 3)
        assert await differences(run) == []
        assert await journal(run, EntryKind.RECONCILIATION) == []


async def test_fills_that_were_never_told_are_booked_with_their_own_exec_ids(
    database_url: str, redis_url: str
) -> None:
    async with one(database_url, redis_url) as run:
        order = await resting_order(run)
        unheard = deaf(run)
        await run.engine.publish_quotes([quote("AAPL", 149)])
        await until_quiet(run)
        assert (await recorded(run, order.order_id)).ord_status is OrdStatus.FILLED
        assert unheard
        paper: Any = broker(run)
        sink = run.engine._sink_of("paper")
        for reports in unheard:  # and then they are told after all
            await sink(ACCOUNT, reports)
        assert (await recorded(run, order.order_id)).cum_qty == 100
        assert await paper.positions(ACCOUNT) == {"AAPL": Decimal(100)}
        await agreed(run)
        assert (await audit(run))["fills"] == 1


async def test_fills_without_executions_become_one_synthetic_fill_until_they_are_told(
    database_url: str, redis_url: str
) -> None:
    async with one(database_url, redis_url) as run:
        order = await resting_order(run)
        unheard = deaf(run)

        async def silent(_account_id: str, _since_ns: int) -> None:
            return None

        def without_reports(own: Callable[..., Any]) -> Callable[..., Any]:
            async def ask(*args: Any) -> Any:
                told = await own(*args)
                seen = told.values() if isinstance(told, dict) else told
                for each in seen:
                    each.reports, each.avg_px = [], Decimal("149.5")
                return told

            return ask

        instead(run, "executions", silent)
        for question in ("open_orders", "query"):
            instead(run, question, without_reports(getattr(broker(run), question)))
        await run.engine.publish_quotes([quote("AAPL", 149)])
        await until_quiet(run)
        [entry] = [
            each for each in await journal(run, EntryKind.EXECUTION) if b"synthetic" in each.payload
        ]
        assert f"synthetic-{order.order_id}-100".encode() in entry.payload
        filled = await recorded(run, order.order_id)
        assert (filled.cum_qty, filled.avg_px) == (100, Decimal("149.5"))
        await agreed(run)
        for reports in unheard:  # and then the real ones are told after all
            await run.engine._sink_of("paper")(ACCOUNT, reports)
        filled = await recorded(run, order.order_id)
        assert (filled.cum_qty, filled.avg_px) == (100, Decimal("149.01"))
        assert await broker(run).positions(ACCOUNT) == {"AAPL": Decimal(100)}
        await agreed(run)
        await audit(run)


async def test_a_venue_that_lists_nothing_is_asked_about_each_order_on_a_new_connection(
    database_url: str, redis_url: str
) -> None:
    async with one(database_url, redis_url) as run:
        order = await resting_order(run)
        deaf(run)

        async def cannot_say(*_: Any) -> None:
            return None

        for question in ("open_orders", "executions", "positions"):
            instead(run, question, cannot_say)
        await run.engine.publish_quotes([quote("AAPL", 149)])
        await asyncio.sleep(reconcile.EVERY_S * 2)
        assert (await recorded(run, order.order_id)).ord_status is OrdStatus.NEW
        paper: Any = broker(run)
        paper.connection = 2
        await until_quiet(run)
        assert (await recorded(run, order.order_id)).ord_status is OrdStatus.FILLED
        await agreed(run)


async def test_an_order_that_its_broker_has_closed_in_silence(
    database_url: str, redis_url: str
) -> None:
    async with one(database_url, redis_url) as run:
        order = await resting_order(run)
        own = broker(run).query

        async def nothing(*_: Any) -> Any:
            return []

        async def closed(*args: Any) -> Any:
            known = await own(*args)
            for each in known.values():
                each.is_open, each.leaves_qty = False, Decimal(0)
            return known

        instead(run, "open_orders", nothing)
        instead(run, "query", closed)
        difference = await found(run, f"ORDER_CLOSED_THERE:{order.order_id}")
        assert (await recorded(run, order.order_id)).ord_status is OrdStatus.NEW
        await accept(run, difference.difference_id, "the desk says that it was canceled")
        assert (await recorded(run, order.order_id)).ord_status is OrdStatus.CANCELED
        await agreed(run)


async def test_a_position_that_differs_holds_the_account_until_it_is_accepted(
    database_url: str, redis_url: str
) -> None:
    async with one(database_url, redis_url) as run:
        await run.engine.submit(signal(15_000))
        await until_quiet(run)
        own = broker(run).positions

        async def bought_by_hand(account_id: str) -> dict[str, Decimal]:
            held = await own(account_id) or {}
            return {symbol: quantity + 7 for symbol, quantity in held.items()}

        instead(run, "positions", bought_by_hand)
        difference = await found(run, "POSITION:AAPL")
        assert (difference.ours, difference.theirs, difference.gap) == ("100", "107", "7")
        refused = await run.engine.submit(signal(30_000))
        assert refused.decision.reasons == [Reason.TRADING_HALTED]
        told = await status(run)
        assert told.trading_state is TradingState.HALTED
        assert "100 AAPL are held here, and 107 at paper" in told.scope_states[0].reason

        with pytest.raises(NotFound):
            await accept(run, "POSITION:IBM", "no such", "")
        accepted = await accept(run, "POSITION:AAPL", "bought by hand", "r-1")
        assert (accepted.accepted_by, accepted.accepted_because) == ("ops", "bought by hand")
        await agreed(run)
        assert (await run.engine.submit(signal(30_000, strategy_id="other"))).decision.order
        await until_quiet(run)  # the gap is the same at another quantity: it stays accepted
        assert reconciler(run).agrees
        [entry] = await journal(run, EntryKind.DIFFERENCE_ACCEPTED)
        assert b"bought by hand" in entry.payload

        async def more(account_id: str) -> dict[str, Decimal]:
            return {symbol: held + 1 for symbol, held in (await bought_by_hand(account_id)).items()}

        instead(run, "positions", more)
        await eventually(lambda: not reconciler(run).agrees)
        assert (await found(run, "POSITION:AAPL")).stands
        instead(run, "positions", own)
        await agreed(run)
        assert await differences(run) == [], "and what is no difference any more is gone"
        await audit(run)


async def test_an_accepted_difference_outlasts_a_comparison_in_which_its_number_moves(
    database_url: str, redis_url: str
) -> None:
    async with one(database_url, redis_url) as run:
        await run.engine.submit(signal(15_000))
        await until_quiet(run)
        away = [0]
        asked = asyncio.Semaphore(0)

        async def other_hands(_account_id: str) -> dict[str, Decimal]:
            away[0] += away[0] >= 7
            asked.release()
            return {"AAPL": Decimal(107 + max(away[0] - 7, 0))}

        instead(run, "positions", other_hands)
        await found(run, "POSITION:AAPL")
        await accept(run, "POSITION:AAPL", "bought by hand")
        await agreed(run)
        away[0] = 7  # from now on it is another number each time
        for _ in range(3 * reconcile.LOOKS_MAX):
            await asked.acquire()
        [difference] = await differences(run)
        assert (difference.gap, difference.stands) == ("7", False)
        assert reconciler(run).agrees
        assert len(await journal(run, EntryKind.RECONCILIATION)) == 1


async def test_an_account_whose_difference_never_stands_still_is_not_opened(
    database_url: str, redis_url: str
) -> None:
    async with one(database_url, redis_url) as run:
        bought = [0]

        async def ever_more(_account_id: str) -> dict[str, Decimal]:
            bought[0] += 1
            return {"AAPL": Decimal(bought[0])}

        own = instead(run, "positions", ever_more)
        paper: Any = broker(run)
        paper.connection = 2
        silent = await found(run, "UNRECONCILED")
        assert "POSITION:AAPL differed by another number each time" in silent.message
        assert not reconciler(run).agrees
        instead(run, "positions", own)
        await agreed(run)
        assert await differences(run) == []


async def test_an_order_that_nobody_here_approved(database_url: str, redis_url: str) -> None:
    async with one(database_url, redis_url) as run:
        stranger = BrokerOrder("by-hand-1", "P-9", Decimal(0), Decimal(5), True, [])
        own = broker(run).open_orders

        async def with_stranger(account_id: str) -> list[BrokerOrder]:
            return [*(await own(account_id) or []), stranger]

        instead(run, "open_orders", with_stranger)
        difference = await found(run, "ORDER_UNKNOWN_HERE:by-hand-1")
        assert "which no decision of this account approved" in difference.message
        assert not reconciler(run).agrees
        instead(run, "open_orders", own)
        await agreed(run)


async def test_an_order_that_the_broker_does_not_know_any_more(
    database_url: str, redis_url: str
) -> None:
    async with one(database_url, redis_url) as run:
        order = await resting_order(run)

        async def nothing(*_: Any) -> Any:
            return []

        async def knows_none(*_: Any) -> Any:
            return {}

        instead(run, "open_orders", nothing)
        instead(run, "query", knows_none)
        difference = await found(run, f"ORDER_UNKNOWN_THERE:{order.order_id}")
        assert (await recorded(run, order.order_id)).ord_status is OrdStatus.NEW, "not guessed"
        await accept(run, difference.difference_id, "the venue was reset", "")
        assert (await recorded(run, order.order_id)).ord_status is OrdStatus.CANCELED
        await agreed(run)
        await audit(run)


@pytest.mark.parametrize("question", ["open_orders", "executions", "positions", "query"])
async def test_an_unanswered_question_is_no_empty_book(
    database_url: str, redis_url: str, question: str
) -> None:
    async with (
        lease_elsewhere(database_url) as given_up,
        replicas(1, database_url, redis_url) as [run],
    ):
        own = instead(run, question, unavailable)
        order = (await run.engine.submit(signal(15_000))).decision.order
        assert order is not None
        given_up.set()
        if question == "query":  # only asked about orders that the broker's list does not have
            await until_quiet(run)
            return
        difference = await found(run, "UNRECONCILED")
        assert difference.kind is DifferenceKind.UNRECONCILED
        assert (await recorded(run, order.order_id)).ord_status is OrdStatus.CANCELED
        refused = await run.engine.submit(signal(15_000))
        assert refused.decision.reasons == [Reason.TRADING_HALTED]
        assert "paper could not be compared: away" in refused.decision.checks[0].message
        with pytest.raises(DifferenceNotAcceptable):
            await accept(run, "UNRECONCILED", "never mind", "")
        assert await broker(run).query(ACCOUNT, [order.order_id]) == {}
        instead(run, question, own)
        await agreed(run)
        assert (await run.engine.submit(signal(15_000))).decision.order


async def test_after_a_reconnect_nothing_is_sent_before_it_is_compared(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "SILENT_S", 60)
    async with one(database_url, redis_url) as run:
        own = instead(run, "positions", unavailable)
        paper: Any = broker(run)
        paper.connection = 2
        await eventually(lambda: not reconciler(run).agrees)
        order = (await run.engine.submit(signal(15_000))).decision.order
        assert order is not None

        async def held_back() -> bool:
            return (await recorded(run, order.order_id)).delivery is DeliveryState.QUEUED

        await eventually(held_back)
        await asyncio.sleep(order_router.LOOK_EVERY_S * 3)
        assert await broker(run).query(ACCOUNT, [order.order_id]) == {}
        instead(run, "positions", own)
        await until_quiet(run)
        assert (await recorded(run, order.order_id)).ord_status is OrdStatus.FILLED


async def test_a_short_silence_long_after_the_last_comparison_holds_nothing_up(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "EVERY_S", 3600)
    monkeypatch.setattr(reconcile, "SILENT_S", 1)
    asked = asyncio.Semaphore(0)

    async def away(account_id: str) -> None:
        asked.release()
        await unavailable(account_id)

    async with one(database_url, redis_url) as run:
        await asyncio.sleep(reconcile.SILENT_S)
        own = instead(run, "positions", away)
        paper: Any = broker(run)
        paper.connection = 2
        for _ in range(2):  # what the first answer led to is done when it is asked again
            await asked.acquire()
        assert await differences(run) == []
        instead(run, "positions", own)
        await agreed(run)


async def test_two_replicas_find_a_difference_once_and_either_accepts_it(
    database_url: str, redis_url: str
) -> None:
    async with replicas(2, database_url, redis_url) as runs:
        await eventually(lambda: any(map(sends, runs)))
        sender, other = sorted(runs, key=sends, reverse=True)
        await sender.engine.submit(signal(15_000))
        await until_quiet(sender)

        async def nothing(_account_id: str) -> dict[str, Decimal]:
            return {}

        instead(sender, "positions", nothing)
        await found(other, "POSITION:AAPL")
        refused = await other.engine.submit(signal(30_000))
        assert refused.decision.reasons == [Reason.TRADING_HALTED]
        await accept(other, "POSITION:AAPL", "moved away")
        await agreed(sender)
        assert len(await journal(sender, EntryKind.RECONCILIATION)) == 1


# ---- what is unclear ----------------------------------------------------------------------------


async def test_an_order_that_was_never_seen_is_closed_after_long_asking(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "NOT_FOUND_S", 0.5)
    monkeypatch.setattr(doubts, "ALERT_AFTER_S", 0.3)
    async with one(database_url, redis_url) as run:
        paper: Any = broker(run)
        paper.remembers_all = False
        asked: list[Sequence[str]] = []
        own = broker(run).query

        async def swallow(orders: Sequence[Order]) -> list[Delivery]:
            return [Delivery.IN_DOUBT] * len(orders)

        async def ask(account_id: str, cl_ord_ids: Sequence[str]) -> Any:
            asked.append(cl_ord_ids)
            return await own(account_id, cl_ord_ids)

        instead(run, "send", swallow)
        instead(run, "query", ask)
        order = (await run.engine.submit(signal(15_000))).decision.order
        assert order is not None
        await until_quiet(run)
        closed = await recorded(run, order.order_id)
        assert closed.ord_status is OrdStatus.CANCELED
        assert "never saw it" in closed.text
        assert len(asked) > doubts.NOT_FOUND_TIMES
        late = ExecutionReport(
            order.order_id, "late-1", ExecType.TRADE, 1, Decimal(100), Decimal(150)
        )
        await run.engine._sink_of("paper")(ACCOUNT, [late])
        assert (await recorded(run, order.order_id)).cum_qty == 100, "a late fill is booked"
        difference = await found(run, "POSITION:AAPL")
        assert (difference.ours, difference.theirs) == ("100", "0")


async def test_an_order_that_arrives_after_it_was_closed_is_canceled_at_its_broker(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "NOT_FOUND_S", 0.2)
    async with one(database_url, redis_url) as run:
        paper: Any = broker(run)
        paper.remembers_all = False
        on_the_way: list[Order] = []

        async def delay(orders: Sequence[Order]) -> list[Delivery]:
            on_the_way.extend(orders)
            return [Delivery.IN_DOUBT] * len(orders)

        own = instead(run, "send", delay)
        wish = signal(15_000)
        wish.max_slippage_bps = Decimal(0)  # so that it rests
        await run.engine.submit(wish)
        await until_quiet(run)
        [order] = on_the_way
        assert "never saw it" in (await recorded(run, order.order_id)).text
        assert await own(on_the_way) == [Delivery.SENT]

        async def canceled_there() -> bool:
            known = (await broker(run).query(ACCOUNT, [order.order_id]))[order.order_id]
            mine = await recorded(run, order.order_id)
            return not known.is_open and not mine.is_open and mine.delivery is DeliveryState.SENT

        await eventually(canceled_there)
        assert (await recorded(run, order.order_id)).ord_status is OrdStatus.CANCELED
        assert len(await journal(run, EntryKind.CANCEL_REQUESTED)) == 1
        await agreed(run)
        await audit(run)
