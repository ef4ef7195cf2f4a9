"""Bugs planted on purpose, each to be found by the checker: `engine_main --plant NAME`.

Each breaks the engine in one way that an honest mistake could, by wrapping a part of it from
outside; nothing of this is in the product. `PLANTS` says which invariant finds which bug.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg

from trade_engine import wiring
from trade_engine.api import order_tail, order_updates
from trade_engine.audit import chain
from trade_engine.brokers.paper import PaperBroker
from trade_engine.domain.execution import ExecType
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.limits import Limits
from trade_engine.domain.order import OrdStatus
from trade_engine.execution import batch, fills, halting, order_changes
from trade_engine.execution.commands import Answer, HaltResult
from trade_engine.execution.engine import Engine
from trade_engine.execution.limits_keeper import LimitsKeeper
from trade_engine.execution.order_router import OrderRouter
from trade_engine.execution.ports import Committed
from trade_engine.execution.rulebooks import Rulebooks
from trade_engine.risk import pre_trade
from trade_engine.risk.exposure import Exposure
from trade_engine.storage.postgres.record import PostgresRecord
from trade_engine.storage.postgres.url import connection_words
from trade_engine.storage.redis.risk_store import RedisRiskStore

EVERY = 5
"""A bug that does not show each time shows each fifth time."""


def _put(owner: Any, name: str, broken: Any) -> None:
    setattr(owner, name, broken)


def _each_fifth() -> Callable[[], bool]:
    numbers = itertools.count(1)
    return lambda: next(numbers) % EVERY == 0


# ---- 1: the broker's orders -----------------------------------------------------------------


def _an_order_is_sent_twice() -> None:
    send = PaperBroker.send

    async def twice(self: PaperBroker, orders: Any) -> Any:
        answers = await send(self, orders)
        await send(self, orders)
        return answers

    _put(PaperBroker, "send", twice)


def _new_terms_are_sent_twice() -> None:
    replace_there = PaperBroker.replace

    async def twice(self: PaperBroker, asked: Any) -> Any:
        answers = await replace_there(self, asked)
        await replace_there(self, asked)
        return answers

    _put(PaperBroker, "replace", twice)


def _other_new_terms_are_sent() -> None:
    replace_there = PaperBroker.replace

    async def larger(self: PaperBroker, asked: Any) -> Any:
        grown = [
            replace(each, terms=replace(each.terms, order_qty=each.terms.order_qty + 1))
            for each in asked
        ]
        return await replace_there(self, grown)

    _put(PaperBroker, "replace", larger)


def _another_price_is_sent() -> None:
    send = PaperBroker.send

    async def dearer(self: PaperBroker, orders: Any) -> Any:
        return await send(
            self, [replace(each, price=each.price + Decimal("0.01")) for each in orders]
        )

    _put(PaperBroker, "send", dearer)


# ---- 2: the answers -------------------------------------------------------------------------


def _answered_but_not_committed() -> None:
    commit, now = PostgresRecord.commit, _each_fifth()

    async def lazy(self: PostgresRecord, what: Any) -> Any:
        return Committed.DONE if what.decisions and now() else await commit(self, what)

    _put(PostgresRecord, "commit", lazy)


def _a_repeat_is_answered_otherwise() -> None:
    submit = Engine.submit

    async def forgetful(self: Engine, signal: Any) -> Answer:
        answer = await submit(self, signal)
        if answer.replayed:
            return Answer(replace(answer.decision, message="Seen before."), replayed=True)
        return answer

    _put(Engine, "submit", forgetful)


def _limits_are_acknowledged_and_not_changed() -> None:
    update = LimitsKeeper.update

    async def lazy(self: LimitsKeeper, command: Any) -> Any:
        updated = await update(self, replace(command, validate_only=True))
        return replace(updated, sequences=dict.fromkeys(self._gates, 1))

    _put(LimitsKeeper, "update", lazy)


# ---- 3: the limits --------------------------------------------------------------------------


def _working_orders_do_not_count() -> None:
    def nothing(_self: Exposure, _order: Any, _quantity: Decimal) -> None:
        """Only what is filled counts."""

    _put(Exposure, "work", nothing)


def _limits_are_read_too_high() -> None:
    in_force = Limits.in_force

    def generous(self: Limits, now_ns: int, *ids: str) -> Any:
        found = in_force(self, now_ns, *ids)
        return {
            name: dataclasses.replace(each, value=each.value * 2) for name, each in found.items()
        }

    _put(Limits, "in_force", generous)


def _only_the_first_limits_are_checked() -> None:
    """What was added since is forgotten: open orders, turnover, equity, net and by asset."""
    _put(pre_trade, "CHECKS", pre_trade.FIRST_CHECKS)


def _new_limits_are_not_heard() -> None:
    of = Rulebooks.of
    first: list[Any] = []

    async def stale(self: Rulebooks, state: Any) -> Any:
        first.append(await of(self, state))
        return first[0]

    _put(Rulebooks, "of", stale)


# ---- 4: the approval ------------------------------------------------------------------------


def _an_order_nobody_approved() -> None:
    send, now = PaperBroker.send, _each_fifth()

    async def eager(self: PaperBroker, orders: Any) -> Any:
        answers = await send(self, orders)
        if now():
            await send(self, [replace(orders[0], order_id=f"{orders[0].order_id}-more")])
        return answers

    _put(PaperBroker, "send", eager)


# ---- 5: the halt ----------------------------------------------------------------------------


def _drained_before_it_is_so() -> None:
    halt = halting.Halting.halt
    kept: set[asyncio.Task[Any]] = set()

    async def at_once(self: halting.Halting, command: Any) -> HaltResult:
        async def later() -> None:
            await asyncio.sleep(0.3)
            await halt(self, command)

        kept.add(asyncio.create_task(later()))
        return HaltResult(drained=True)

    _put(halting.Halting, "halt", at_once)


def _the_router_does_not_look() -> None:
    """A halt is only written to the controls: what is approved goes out all the same."""

    async def unheard(_self: Any, gates: Any, *_: Any, **__: Any) -> dict[str, Any]:
        from trade_engine.execution.requests import StateChange  # noqa: PLC0415

        return {gate.account_id: StateChange(1) for gate in gates}

    async def taken(*_: Any) -> list[str]:
        return []

    _put(halting.Halting, "_journal", unheard)
    _put(halting.Halting, "_write_controls", taken)
    _put(halting.Halting, "resume", _resume_nothing)


def _reduce_only_lets_all_through() -> None:
    def generous(*_: Any) -> bool:
        return True

    _put(pre_trade, "_only_reduces", generous)
    _put(order_changes, "_allowed_by", generous)


async def _resume_nothing(_self: Any, _command: Any) -> Any:
    from trade_engine.execution.commands import ResumeResult  # noqa: PLC0415

    return ResumeResult()


# ---- 6: the streams -------------------------------------------------------------------------


def _an_update_is_lost() -> None:
    publish, now = order_tail.Tail.publish, _each_fifth()

    async def leaky(self: order_tail.Tail, what: Any) -> None:
        if now():
            self.position = what.last
            return
        await publish(self, what)

    _put(order_tail.Tail, "publish", leaky)


def _an_update_comes_twice() -> None:
    follow = order_updates.OrderUpdateHub.follow

    def again(self: Any, account_id: str, which: Any, after_sequence: int | None) -> Any:
        return follow(self, account_id, which, max(0, (after_sequence or 0) - 1))

    _put(order_updates.OrderUpdateHub, "follow", again)


# ---- 7: the chain ---------------------------------------------------------------------------


def _an_entry_is_changed_after_it_was_sealed() -> None:
    commit, now = PostgresRecord.commit, _each_fifth()

    async def careless(self: PostgresRecord, what: Any) -> Any:
        if now():
            what.entries[0].recorded_at_ns += 1
        return await commit(self, what)

    _put(PostgresRecord, "commit", careless)


def _hashes_leave_out_what_was_before() -> None:
    seal: Any = chain.seal

    def alone(*given: Any) -> Any:
        *content, prev_hash = given
        entry = seal(*content, bytes(32))
        entry.prev_hash = prev_hash
        return entry

    _put(batch, "seal", alone)


# ---- 8: Redis -------------------------------------------------------------------------------


def _redis_misses_positions() -> None:
    apply = RedisRiskStore.apply

    async def forgetful(self: RedisRiskStore, commit: Any) -> bool:
        return await apply(self, replace(commit, positions=[]))

    _put(RedisRiskStore, "apply", forgetful)


# ---- 9: the books ---------------------------------------------------------------------------


def _commissions_are_forgotten() -> None:
    book: Any = vars(fills)["book"]

    def free(position: Any, side: Any, qty: Any, px: Any, _commission: Any, *more: Any) -> Any:
        return book(position, side, qty, px, Decimal(0), *more)

    _put(fills, "book", free)


def _a_fill_is_booked_in_half() -> None:
    book_fill: Any = fills._book_fill

    def half(what: Any, broker: Any, order: Any, report: Any, fill: Any, *more: Any) -> Any:
        if fill is not None:
            fill = replace(fill, last_qty=fill.last_qty / 2)
        return book_fill(what, broker, order, report, fill, *more)

    _put(fills, "_book_fill", half)


def _a_filled_order_is_called_new() -> None:
    write_order, now = batch.Batch.write_order, _each_fifth()

    def confused(self: batch.Batch, kind: Any, order: Any, payload: Any) -> None:
        write_order(self, kind, order, payload)
        if kind is EntryKind.EXECUTION and order.ord_status is OrdStatus.FILLED and now():
            told = {"report": payload["report"] | {"exec_type": str(ExecType.ORDER_STATUS)}}
            order.ord_status = OrdStatus.NEW
            write_order(self, kind, order, told)
            order.ord_status = OrdStatus.FILLED
            write_order(self, kind, order, told)

    _put(batch.Batch, "write_order", confused)


def _a_bust_is_not_taken_back() -> None:
    def nothing(*_: Any) -> dict[str, Any]:
        return {}

    _put(fills, "rebook", nothing)


# ---- 10: what is left -----------------------------------------------------------------------


def _an_approved_order_is_lost() -> None:
    hand_over, now = OrderRouter._hand_over, _each_fifth()

    async def dropping(self: OrderRouter, orders: Any) -> None:
        if now():
            for order in orders:
                self._ready.pop(order.order_id, None)
                self._sending.add(order.order_id)
            return
        await hand_over(self, orders)

    _put(OrderRouter, "_hand_over", dropping)


def _a_key_is_left_in_redis() -> None:
    put_quotes = RedisRiskStore.put_quotes

    async def littering(self: RedisRiskStore, offered: Any, now_ns: int) -> None:
        await put_quotes(self, offered, now_ns)
        await self._link.run(("SET", "te:{default}:seen:left", "1"))

    _put(RedisRiskStore, "put_quotes", littering)


def _a_connection_is_left_open() -> None:
    running = wiring.running

    def leaking(plan: wiring.Plan) -> Any:
        connection = psycopg.connect(**connection_words(plan.database_url))
        connection.execute("SELECT 1")
        _KEPT.append(connection)
        return running(plan)

    _serve_with(leaking)


def _a_lease_is_kept() -> None:
    async def keep(_self: OrderRouter) -> None:
        """Let it run out."""

    _put(OrderRouter, "release", keep)


# ---- 11: the secret -------------------------------------------------------------------------


def _the_url_is_logged() -> None:
    running = wiring.running

    def chatty(plan: wiring.Plan) -> Any:
        print(f"connecting to {plan.database_url}", file=sys.stderr)
        return running(plan)

    _serve_with(chatty)


def _serve_with(start: Any) -> None:
    from trade_engine import main  # noqa: PLC0415

    _put(main, "running", start)


_KEPT: list[Any] = []

PLANTS: dict[str, tuple[int, Callable[[], None]]] = {
    "an-order-is-sent-twice": (1, _an_order_is_sent_twice),
    "another-price-is-sent": (1, _another_price_is_sent),
    "new-terms-are-sent-twice": (1, _new_terms_are_sent_twice),
    "other-new-terms-are-sent": (1, _other_new_terms_are_sent),
    "answered-but-not-committed": (2, _answered_but_not_committed),
    "a-repeat-is-answered-otherwise": (2, _a_repeat_is_answered_otherwise),
    "limits-are-not-changed": (2, _limits_are_acknowledged_and_not_changed),
    "working-orders-do-not-count": (3, _working_orders_do_not_count),
    "limits-are-read-too-high": (3, _limits_are_read_too_high),
    "only-the-first-limits-are-checked": (3, _only_the_first_limits_are_checked),
    "new-limits-are-not-heard": (3, _new_limits_are_not_heard),
    "an-order-nobody-approved": (4, _an_order_nobody_approved),
    "drained-before-it-is-so": (5, _drained_before_it_is_so),
    "a-halt-that-nobody-hears": (5, _the_router_does_not_look),
    "reduce-only-lets-all-through": (5, _reduce_only_lets_all_through),
    "an-update-is-lost": (6, _an_update_is_lost),
    "an-update-comes-twice": (6, _an_update_comes_twice),
    "an-entry-is-changed": (7, _an_entry_is_changed_after_it_was_sealed),
    "hashes-leave-out-the-past": (7, _hashes_leave_out_what_was_before),
    "redis-misses-positions": (8, _redis_misses_positions),
    "commissions-are-forgotten": (9, _commissions_are_forgotten),
    "a-fill-is-booked-in-half": (9, _a_fill_is_booked_in_half),
    "a-filled-order-is-called-new": (9, _a_filled_order_is_called_new),
    "a-bust-is-not-taken-back": (9, _a_bust_is_not_taken_back),
    "an-approved-order-is-lost": (10, _an_approved_order_is_lost),
    "a-key-is-left-in-redis": (10, _a_key_is_left_in_redis),
    "a-connection-is-left-open": (10, _a_connection_is_left_open),
    "a-lease-is-kept": (10, _a_lease_is_kept),
    "the-url-is-logged": (11, _the_url_is_logged),
}
"""Each bug by its name, with the invariant that it violates."""

OF_REPLACEMENTS = frozenset({"new-terms-are-sent-twice", "other-new-terms-are-sent"})
"""Those that show only where orders are replaced."""
AT_A_HOSTILE_VENUE = frozenset({"a-bust-is-not-taken-back"})
"""Those that show only where the venue takes back what it said."""


def plant(name: str) -> None:
    """Break the engine in this way."""
    _, break_it = PLANTS[name]
    break_it()
