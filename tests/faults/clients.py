"""The clients of a run: strategies, an operator, subscribers and a market-data feed.

They do what good clients do: repeat what was not answered, under the same id, at any replica, and
come back with their last sequence. Everything that they are told goes into the client's log.
"""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from typing import Any, TypeVar

import grpc

from tests.faults.client_log import ClientLog
from tests.faults.plan import ACCOUNTS, LOAD_S, PRICE, SYMBOLS, Halt, Plan, Signal
from tests.faults.replica import Replica
from tests.support.e2e import Client
from trade_engine.v1 import (
    control_service_pb2,
    decision_pb2,
    market_data_service_pb2,
    order_pb2,
    signal_pb2,
    signal_service_pb2,
)

T = TypeVar("T")

CALL_S = 1.5
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
        self._channels: list[grpc.aio.Channel] = []
        self._clients: list[Client] = []
        self._signals = iter(plan.signals)
        self._unanswered: dict[str, Signal] = {}
        self._halted: set[str] = set()
        self._last: dict[tuple[str, str], int] = {}
        self._until = 0.0
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
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.close()
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def load(self) -> None:
        """Signals, cancels and halts, for as long as the plan says, or until its last halt."""
        began = time.monotonic()
        self._until = began + self._plan.load_s
        await asyncio.gather(
            *(self._submit() for _ in range(self._plan.workers)), self._operate(began)
        )

    async def make_up(self) -> None:
        """After the faults: resume what is halted, and ask again about what was not answered."""
        while self._halted:
            for scope in sorted(self._halted):
                await self._resume(scope, self._any())
        waiting = list(self._unanswered.values())
        while waiting:
            await asyncio.gather(*(self._ask(signal) for signal in waiting))
            waiting = [each for each in waiting if each.signal_id in self._unanswered]
            if waiting:
                await asyncio.sleep(0.1)

    # ---- strategies -------------------------------------------------------------------------

    def _any(self) -> Client:
        return self._chance.choice(self._clients)

    def _name(self, client: Client) -> str:
        return self._replicas[self._clients.index(client)].name

    async def _submit(self) -> None:
        while time.monotonic() < self._until:
            signal = next(self._signals)
            self._unanswered[signal.signal_id] = signal
            decision = None
            while decision is None and time.monotonic() < self._until:
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
            self._log.write(
                "refused",
                rpc=rpc,
                replica=self._name(client),
                code=error.code().name,
                details=f"{error.details()} {error.trailing_metadata()}",
            )
            return None

    # ---- the operator -----------------------------------------------------------------------

    async def _operate(self, began: float) -> None:
        for halt in self._plan.halts:
            await asyncio.sleep(max(0.0, halt.at_s - (time.monotonic() - began)))
            if time.monotonic() > self._until:
                return
            await self._halt(halt)
            await asyncio.sleep(halt.holds_s)
            for _ in range(3):
                if await self._resume(halt.scope, self._any()):
                    break
        if self._plan.load_s > LOAD_S:
            self._until = time.monotonic()

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
        result, in_doubt = "REFUSED", list[str]()
        if answer is not None:
            result = control_service_pb2.HaltResult.Name(answer.result).removeprefix("HALT_RESULT_")
            in_doubt = list(answer.in_doubt_order_ids)
        self._log.write(
            "halt",
            scope=halt.scope,
            mode=halt.mode,
            result=result,
            in_doubt=in_doubt,
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
        request = market_data_service_pb2.PublishQuotesRequest()
        for symbol in SYMBOLS:
            quote = request.quotes.add(symbol=symbol, bid=f"{PRICE - 1}.99", ask=f"{PRICE}.01")
            quote.quote_time.FromNanoseconds(time.time_ns())
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
            with suppress(TimeoutError, grpc.aio.AioRpcError):
                async with asyncio.timeout(stay_s):
                    await self._read(name, account_id, call)
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
        for number, (account_id, client) in enumerate(
            (account_id, client) for account_id in ACCOUNTS for client in self._clients
        ):
            signal = Signal(
                f"probe-{number}", account_id, f"probe-{number}", "AAPL", True, 600.0, 0, False
            )
            request = signal_service_pb2.SubmitSignalRequest(signal=_message(signal))
            try:
                answer = await client.signals.SubmitSignal(request, timeout=CALL_S * 2)
            except grpc.aio.AioRpcError as error:
                self._log.write(
                    "probe", passed=False, said=f"{error.code().name} {error.details()}"
                )
                continue
            self._log.write(
                "ack",
                signal_id=signal.signal_id,
                account_id=account_id,
                replica=self._name(client),
                replayed=answer.replayed,
                decision=base64.b64encode(
                    answer.decision.SerializeToString(deterministic=True)
                ).decode(),
            )
            reasons = list(answer.decision.reasons)
            passed = all(reason.endswith("_LIMIT") for reason in reasons)
            self._log.write("probe", passed=passed, said=", ".join(reasons) or "approved")


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
            yield f"{who}: still halted: {[state.reason for state in each.scope_states]}"


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
