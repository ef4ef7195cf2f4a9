"""The clients of a run: strategies, an operator, subscribers and a market-data feed.

They do what good clients do: repeat what was not answered, under the same id, at any replica, and
come back with their last sequence. Everything that they are told goes into the client's log.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from typing import Any, TypeVar

import grpc

from tests.faults.client_log import ClientLog
from tests.faults.limits import BASE
from tests.faults.limits_client import LimitsClient
from tests.faults.market import Market
from tests.faults.patience import patience
from tests.faults.plan import ACCOUNTS, Halt, Plan, Signal
from tests.faults.replica import Replica
from tests.support.e2e import Client
from trade_engine.v1 import (
    control_service_pb2,
    decision_pb2,
    order_pb2,
    signal_pb2,
    signal_service_pb2,
)

T = TypeVar("T")

CALL_S = 1.5
REPLACED_S = 20.0
"""So long the load goes on for the replacements that it is to bring; see `patience`."""
HALTED = "still halted"
THROTTLED = "ACCOUNT_THROTTLED"
LIMITED = frozenset(
    {
        "ORDER_QUANTITY_LIMIT",
        "ORDER_NOTIONAL_LIMIT",
        "SYMBOL_POSITION_LIMIT",
        "ASSET_EXPOSURE_LIMIT",
        "CONCENTRATION_LIMIT",
        "ASSET_CLASS_EXPOSURE_LIMIT",
        "GROSS_EXPOSURE_LIMIT",
        "NET_EXPOSURE_LIMIT",
        "LEVERAGE_LIMIT",
        "BUYING_POWER",
        "OPEN_ORDERS_LIMIT",
        "TURNOVER_LIMIT",
    }
)
"""Why a signal may be refused by an engine that serves."""
CHANNEL = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]


class Clients:
    """All clients of one run."""

    def __init__(self, plan: Plan, replicas: list[Replica], log: ClientLog) -> None:
        self._plan = plan
        self._replicas = replicas
        self._log = log
        self._chance = random.Random(plan.seed + 1)
        self._market = Market(plan.seed + 2, plan.quote_size)
        self._channels: list[grpc.aio.Channel] = []
        self._clients: list[Client] = []
        self._signals = iter(plan.signals)
        self._unanswered: dict[str, Signal] = {}
        self._halted: set[str] = set()
        self._came_back: Counter[str] = Counter()
        self._last: dict[tuple[str, str], int] = {}
        self._over = asyncio.Event()
        self._replaced = asyncio.Semaphore(0)
        self._limits = LimitsClient(log, self._any)
        self._probes = itertools.count()
        self._following: list[asyncio.Task[None]] = []
        self._feed: asyncio.Task[None] | None = None

    # ---- life -------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, give the market its prices, and follow the orders."""
        for replica in self._replicas:
            channel = grpc.aio.insecure_channel(replica.target, CHANNEL)
            self._channels.append(channel)
            self._clients.append(Client(channel))
        await self._publish(self._clients[0], 10.0)
        self._feed = asyncio.create_task(self._publish_forever())
        for number, stay_s in enumerate(self._plan.reconnect_s):
            for account_id in ACCOUNTS:
                follow = self._follow(f"subscriber-{number}", account_id, stay_s)
                self._following.append(asyncio.create_task(follow))

    async def close(self) -> None:
        tasks = [*self._following, *([self._feed] if self._feed else [])]
        gone = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.close()
        for error in ended:
            if isinstance(error, Exception):
                raise error
        assert not gone, f"clients that ended by themselves: {gone}"

    async def load(self) -> None:
        """Signals and cancels, until `end_load`."""
        await asyncio.gather(*(self._submit() for _ in range(self._plan.workers)))

    async def replaced(self) -> None:
        """Wait until as many replacements were approved as the plan wants; not for ever.

        Whatever keeps them away is found by what the load leaves behind, not by waiting for it.
        """
        with suppress(TimeoutError):
            async with patience(REPLACED_S):
                for _ in range(self._plan.replacements):
                    await self._replaced.acquire()

    def end_load(self) -> None:
        """No new signal from now on; what has no answer yet is asked again by `make_up`."""
        self._over.set()

    async def make_up(self) -> None:
        """After the faults: resume what is halted, ask again about what was not answered.

        The limits become the widest, so that what is left open can be told from what is refused.
        What waits for a price gets it, so that what stays open can be told from what is stuck.
        """
        self._market.meets_always = True
        if self._plan.changes:
            await self._limits.change(BASE)
        while self._halted:
            for scope in sorted(self._halted):
                await self._resume(scope, self._any())
        waiting = list(self._unanswered.values())
        while waiting:
            await asyncio.gather(*(self._ask(signal) for signal in waiting))
            waiting = [each for each in waiting if each.signal_id in self._unanswered]
            if waiting:
                await asyncio.sleep(0.1)

    async def resume_again(self) -> None:
        """Resume what stands though it was resumed: a replica that was away may bring a halt back.

        It may once, and so may each; a halt that comes back more often stays, and is left over.
        """
        status = await self._clients[0].control.GetStatus(
            control_service_pb2.GetStatusRequest(), timeout=CALL_S
        )
        for account in status.accounts:
            for state in account.scope_states:
                scope = _written(state.scope)
                if self._came_back[scope] < len(self._clients):
                    self._came_back[scope] += 1
                    await self._resume(scope, self._any())

    # ---- strategies -------------------------------------------------------------------------

    def _any(self) -> Client:
        return self._chance.choice(self._clients)

    def _name(self, client: Client) -> str:
        return self._replicas[self._clients.index(client)].name

    async def _submit(self) -> None:
        while not self._over.is_set():
            signal = next(self._signals)
            self._unanswered[signal.signal_id] = signal
            decision = None
            while decision is None and not self._over.is_set():
                decision = await self._ask(signal)
            for _ in range(signal.again if decision else 0):
                await self._ask(signal)
            if decision is not None and decision.order_id and signal.cancel:
                await self._cancel(signal.account_id, decision.order_id)
            await asyncio.sleep(self._plan.pace_s)

    async def _ask(self, signal: Signal) -> decision_pb2.Decision | None:
        client = self._any()
        request = signal_service_pb2.SubmitSignalRequest(signal=_message(signal))
        answer = await self._told(
            "SubmitSignal", client, client.signals.SubmitSignal(request, timeout=CALL_S)
        )
        if answer is None:
            await asyncio.sleep(0.05)
            return None
        self._unanswered.pop(signal.signal_id, None)
        self._log.write(
            "ack",
            signal_id=signal.signal_id,
            account_id=signal.account_id,
            replica=self._name(client),
            replayed=answer.replayed,
            decision=base64.b64encode(
                answer.decision.SerializeToString(deterministic=True)
            ).decode(),
        )
        if answer.decision.HasField("replacement"):
            self._replaced.release()
        return answer.decision

    async def _cancel(self, account_id: str, order_id: str) -> None:
        client = self._any()
        request = signal_service_pb2.CancelOrderRequest(
            account_id=account_id, order_id=order_id, request_id=f"cancel-{order_id}"
        )
        answer = await self._told(
            "CancelOrder", client, client.signals.CancelOrder(request, timeout=CALL_S)
        )
        self._log.write("canceled", order_id=order_id, result="DONE" if answer else "REFUSED")

    async def _told(self, rpc: str, client: Client, call: Awaitable[T]) -> T | None:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            code, details = error.code().name, f"{error.details()} {error.trailing_metadata()}"
        except asyncio.CancelledError:
            # grpc.aio cancels a call by itself whose requests it could not write: nobody asked
            # this task to end, and a feed that ended here would leave orders without a price.
            if asked_to_end():
                raise
            code, details = "CANCELLED", "its requests could not be written"
        self._log.write("refused", rpc=rpc, replica=self._name(client), code=code, details=details)
        return None

    # ---- the operator -----------------------------------------------------------------------

    async def operate(self) -> None:
        """The halts and the changes of limits of the plan, each at its moment."""
        began = time.monotonic()
        await asyncio.gather(self._halt_and_resume(began), self._change_limits(began))

    async def _change_limits(self, began: float) -> None:
        for change in self._plan.changes:
            await asyncio.sleep(max(0.0, change.at_s - (time.monotonic() - began)))
            await self._limits.change(change.values, tries=3)

    async def _halt_and_resume(self, began: float) -> None:
        load_s = self._plan.load_s
        for halt in self._plan.halts:
            await asyncio.sleep(max(0.0, halt.at_s - (time.monotonic() - began)))
            if load_s and time.monotonic() - began > load_s:
                return  # the ones before took long
            await self._halt(halt)
            await asyncio.sleep(halt.holds_s)
            for _ in range(3):
                if await self._resume(halt.scope, self._any()):
                    break

    async def _halt(self, halt: Halt) -> None:
        client = self._clients[halt.replica]
        asked_ns = time.time_ns()
        self._halted.add(halt.scope)
        request = control_service_pb2.HaltRequest(
            scope=_scope(halt.scope),
            mode=control_service_pb2.TradingState.Value(f"TRADING_STATE_{halt.mode}"),
            reason="a drill",
            cancel_open_orders=halt.cancel_open_orders,
        )
        answer = await self._told("Halt", client, client.control.Halt(request, timeout=6))
        result, in_doubt, journaled = "REFUSED", list[str](), list[str]()
        if answer is not None:
            result = control_service_pb2.HaltResult.Name(answer.result).removeprefix("HALT_RESULT_")
            in_doubt = list(answer.in_doubt_order_ids)
            journaled = [each.account_id for each in answer.account_sequences if each.sequence]
        self._log.write(
            "halt",
            scope=halt.scope,
            mode=halt.mode,
            result=result,
            in_doubt=in_doubt,
            journaled=journaled,
            asked_ns=asked_ns,
            replica=self._name(client),
        )

    async def _resume(self, scope: str, client: Client) -> bool:
        asked_ns = time.time_ns()
        request = control_service_pb2.ResumeRequest(
            scope=_scope(scope), reason="the drill is over", override=True
        )
        answer = await self._told("Resume", client, client.control.Resume(request, timeout=6))
        if answer is not None:
            self._halted.discard(scope)
        self._log.write(
            "resume",
            scope=scope,
            result="REFUSED" if answer is None else "DONE",
            asked_ns=asked_ns,
            replica=self._name(client),
        )
        return answer is not None

    # ---- the feed ---------------------------------------------------------------------------

    async def _publish_forever(self) -> None:
        while True:
            await self._publish(self._any(), 1.0)
            await asyncio.sleep(0.2)

    async def _publish(self, client: Client, timeout_s: float) -> None:
        request = self._market.quotes()
        call = client.quotes.PublishQuotes(iter([request]), timeout=timeout_s)
        await self._told("PublishQuotes", client, call)

    # ---- subscribers ------------------------------------------------------------------------

    async def _follow(self, name: str, account_id: str, stay_s: float) -> None:
        key = name, account_id
        while True:
            client = self._any()
            after = self._last.get(key, 0)
            replica = self._name(client)
            self._log.write(
                "subscribed", subscriber=name, account_id=account_id, after=after, replica=replica
            )
            request = signal_service_pb2.StreamOrderUpdatesRequest(
                account_id=account_id, after_sequence=after
            )
            call = client.signals.StreamOrderUpdates(request)
            try:
                with suppress(TimeoutError, grpc.aio.AioRpcError):
                    async with asyncio.timeout(stay_s):
                        await self._read(name, account_id, call)
            except asyncio.CancelledError:  # as in `_told`
                if asked_to_end():
                    raise
            call.cancel()
            await asyncio.sleep(0.02)

    async def _read(self, name: str, account_id: str, call: Any) -> None:
        async for response in call:
            for update in response.updates.updates:
                self._last[name, account_id] = update.sequence
                self._log.write(
                    "update",
                    subscriber=name,
                    account_id=account_id,
                    sequence=update.sequence,
                    order_id=update.order.order_id,
                    ord_status=order_pb2.OrdStatus.Name(update.order.ord_status).removeprefix(
                        "ORD_STATUS_"
                    ),
                    cum_qty=update.order.cum_qty,
                )

    def behind(self, account_id: str, sequence: int) -> list[str]:
        """The subscribers of an account that have not got the update at this sequence yet."""
        return [
            name
            for name in (f"subscriber-{number}" for number in range(len(self._plan.reconnect_s)))
            if self._last.get((name, account_id), 0) < sequence
        ]

    # ---- looking ----------------------------------------------------------------------------

    async def left(self) -> list[str]:
        """What is not quiet yet, at any replica, in words."""
        return [
            words for client in self._clients async for words in _left(client, self._name(client))
        ]

    async def probe(self) -> None:
        """One more signal for each account: the engine serves again, or a limit says why not."""
        await self._publish(self._any(), CALL_S)  # those before may have gone with Redis
        for account_id in ACCOUNTS:
            for client in self._clients:
                await self._probe(account_id, client)

    async def _probe(self, account_id: str, client: Client) -> None:
        """Ask until it is served: a clock that was ahead holds the throttles up for a while."""
        reasons = [THROTTLED]
        while THROTTLED in reasons:
            number = next(self._probes)
            signal = Signal(
                f"probe-{number}", account_id, f"probe-{number}", "AAPL", True, 600.0, 0, False
            )
            decision = await self._ask(signal)
            reasons = list(decision.reasons) if decision else ["no answer"]
            self._log.write("probe", said=", ".join(reasons) or "approved", number=number,
                            passed=THROTTLED in reasons or LIMITED.issuperset(reasons))  # fmt: skip
            if THROTTLED in reasons:
                await asyncio.sleep(0.2)


def asked_to_end() -> bool:
    """Whether somebody wants this task to end."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def _left(client: Client, name: str) -> AsyncIterator[str]:
    try:
        status = await client.control.GetStatus(control_service_pb2.GetStatusRequest(), timeout=2)
    except grpc.aio.AioRpcError as error:
        yield f"{name} says {error.code().name} {error.details()}"
        return
    for each in status.accounts:
        who = f"{name} {each.account_id}"
        if not each.gate_open:
            yield f"{who}: the gate is closed: {each.gate_reason}"
        if each.open_orders or each.queued_orders or each.in_doubt_orders:
            yield (
                f"{who}: {each.open_orders} orders open, {each.queued_orders} queued,"
                f" {each.in_doubt_orders} in doubt"
            )
        if each.sequence != each.redis_sequence:
            yield f"{who}: Redis is at {each.redis_sequence}, the record at {each.sequence}"
        if not each.sender:
            yield f"{who}: nobody sends"
        if each.scope_states:
            yield f"{who}: {HALTED}: {[state.reason for state in each.scope_states]}"


def _message(signal: Signal) -> signal_pb2.Signal:
    return signal_pb2.Signal(
        signal_id=signal.signal_id,
        account_id=signal.account_id,
        strategy_id=signal.strategy_id,
        symbol=signal.symbol,
        side=signal_pb2.Signal.BUY if signal.buy else signal_pb2.Signal.SELL,
        confidence=0.5,
        target_exposure=signal.target,
        time_horizon=signal_pb2.Signal.INTRADAY,
        constraints=signal_pb2.SignalConstraints(max_slippage_bps=20),
    )


def _written(scope: control_service_pb2.Scope) -> str:
    kind = str(scope.WhichOneof("kind"))
    scope_id = "" if kind == "global" else getattr(scope, kind)
    return f"{kind.removesuffix('_id').upper()}:{scope_id}".removesuffix(":")


def _scope(written: str) -> control_service_pb2.Scope:
    kind, _, scope_id = written.partition(":")
    scope = control_service_pb2.Scope()
    match kind:
        case "GLOBAL":
            setattr(scope, "global", True)
        case "ACCOUNT":
            scope.account_id = scope_id
        case "STRATEGY":
            scope.strategy_id = scope_id
        case _:
            scope.symbol = scope_id
    return scope
