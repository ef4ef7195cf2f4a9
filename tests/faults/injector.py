"""Does the faults of a plan, each at its moment, takes them back, and counts what happened.

A fault that finds nothing to strike (the engines are being started, a server is down) waits for it,
and one at a point waits until an engine comes by, for `PATIENCE_S` once one serves: the load goes
on meanwhile.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import redis

from tests.faults.client_log import ClientLog
from tests.faults.patience import patience
from tests.faults.plan import POINT_FAULTS, Fault, Plan
from tests.faults.replica import START_S, Replica
from tests.faults.servers import Servers
from tests.proxy import Proxy

STRIKES_FOR_S = 0.1
"""How long a point may still strike after it was told not to."""
LEASE_OVER_S = 1.0
"""How long past its lease an engine is kept frozen."""
AGAIN_AFTER_S = 0.2
PATIENCE_S = 3.0
"""How long a fault waits for something to strike."""
LOOK_EVERY_S = 0.02


@dataclass
class Wires:
    """The proxies through which one replica speaks to the stores."""

    postgres: Proxy
    redis: Proxy


class Injector:
    """Makes one run's faults happen."""

    def __init__(
        self, plan: Plan, database: str, servers: Servers, wires: list[Wires], log: ClientLog
    ) -> None:
        self.happened: Counter[str] = Counter()
        self.replicas: list[Replica] = []
        self._plan = plan
        self._database = database
        self._servers = servers
        self._wires = wires
        self._log = log
        self._undoing: set[asyncio.Task[None]] = set()
        self._armed: dict[str, Fault] = {}
        self._awaited: dict[str, Callable[[], bool]] = {}

    def on_start(self, replica: Replica) -> None:
        """A replica starts again, and knows of nothing that is armed."""
        for fault in self._armed.values():
            replica.command(_arming(fault))

    def on_point(self, replica: Replica, action: str, point: str) -> None:
        """A replica reached an armed point, and is dead or frozen there."""
        name = f"{action} {point}"
        fault = self._armed.pop(name, None)
        self._note(name)
        for each in self.replicas:
            if each is not replica:
                each.command(f"disarm {point}")
        if action == "stop":
            lasts_s = fault.lasts_s if fault else 0.5
            self._later(lasts_s, lambda: replica.signal(signal.SIGCONT))

    async def run(self) -> None:
        """Do all faults; over when each happened, or had `PATIENCE_S` to."""
        began = time.monotonic()
        for fault in self._plan.faults:
            await asyncio.sleep(max(0.0, fault.at_s - (time.monotonic() - began)))
            await self._try(fault)
        await self._one_serves()
        until = time.monotonic() + PATIENCE_S
        while self._is_awaited() and time.monotonic() < until:  # noqa: ASYNC110  many states
            await asyncio.sleep(LOOK_EVERY_S)

    def _is_awaited(self) -> bool:
        """Whether some fault has not happened yet; notes what has."""
        for name in [name for name, happened in self._awaited.items() if happened()]:
            del self._awaited[name]
            self._note(name)
        return bool(self._armed or self._awaited)

    async def _one_serves(self) -> None:
        waiting = [asyncio.create_task(each.ready.wait()) for each in self.replicas]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=START_S)
        for each in waiting:
            each.cancel()

    async def _try(self, fault: Fault) -> None:
        await self._one_serves()
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await self._do(fault)
            except (psycopg.Error, redis.RedisError, OSError) as error:
                # What was to be broken is broken already, by the fault before.
                if time.monotonic() > until:
                    self._log.write("not injected", name=fault.name, why=repr(error))
                    return None
            await asyncio.sleep(AGAIN_AFTER_S)

    async def heal(self) -> None:
        """Take everything back, and wait until all serve again; all that is armed is laid down."""
        self._armed.clear()
        if self._undoing:
            await asyncio.wait(self._undoing)
        for replica in self.replicas:
            replica.command("disarm")
            replica.jump(0)
            replica.signal(signal.SIGCONT)
        for wires in self._wires:
            for proxy in (wires.postgres, wires.redis):
                proxy.heal()
        await asyncio.to_thread(self._servers.free_disk)
        await asyncio.to_thread(self._servers.wake)
        await asyncio.to_thread(self._servers.wait_ready)
        # What was armed may have struck just before it heard: look until nobody is missing.
        while not all(  # noqa: ASYNC110  asked of processes
            await asyncio.gather(*map(self._serves, self.replicas))
        ):
            await asyncio.sleep(STRIKES_FOR_S)
        self._log.write("healed")

    async def _serves(self, replica: Replica) -> bool:
        """Wait until a replica is ready; False when it was not so all the time."""
        was_ready = replica.ready.is_set()
        async with patience(START_S):
            await replica.ready.wait()
        replica.command("disarm")
        replica.signal(signal.SIGCONT)
        await asyncio.sleep(STRIKES_FOR_S)
        return was_ready and replica.ready.is_set()

    # ---- one fault --------------------------------------------------------------------------

    async def _do(self, fault: Fault) -> None:
        words = fault.name.split(" ", 1)
        if fault.name in POINT_FAULTS:
            # Some points are the sender's alone: whoever comes to it first is the one.
            self._armed[fault.name] = fault
            for each in self.replicas:
                each.command(_arming(fault))
            return
        number = self._one_that_serves(fault.replica)
        wires = self._wires[number]
        match words:
            case ["engine", how]:
                self._to_engine(fault, how, self.replicas[number])
            case ["postgres" | "redis", how] if how.startswith("proxy "):
                proxy = wires.postgres if words[0] == "postgres" else wires.redis
                self._to_wire(fault, how.removeprefix("proxy "), proxy)
            case ["postgres", how]:
                await self._to_postgres(fault, how)
            case [_, how]:
                await self._to_redis(fault, how)
            case _:
                raise AssertionError(fault.name)

    def _one_that_serves(self, number: int) -> int:
        """This replica's number, if it serves, or another's that does."""
        count = len(self.replicas)
        for each in range(number, number + count):
            if self.replicas[each % count].ready.is_set():
                return each % count
        raise ProcessLookupError("no engine serves")

    def _to_engine(self, fault: Fault, how: str, replica: Replica) -> None:
        match how:
            case "kill":
                replica.signal(signal.SIGKILL)
            case "terminate":
                replica.signal(signal.SIGTERM)
            case "clock +1h" | "clock -1h":
                replica.jump(3600 if "+" in how else -3600)
                self._later(fault.lasts_s, lambda: replica.jump(0))
            case _:
                lasts_s = fault.lasts_s
                if how != "stop":
                    lasts_s = self._plan.lease_ttl_ms / 1000 + LEASE_OVER_S
                replica.signal(signal.SIGSTOP)
                self._later(lasts_s, lambda: replica.signal(signal.SIGCONT))
        self._note(fault.name)

    def _to_wire(self, fault: Fault, how: str, proxy: Proxy) -> None:
        if not proxy.connections:
            raise ConnectionError("nobody is connected through it")
        match how:
            case "delay":
                proxy.delay_s = 0.05
                self._later(fault.lasts_s, proxy.heal)
            case "cut":
                proxy.cut()
            case "black hole":
                proxy.black_hole = True
                self._later(fault.lasts_s, proxy.heal)
            case "cut at byte":
                cuts = proxy.cuts
                proxy.cut_after(fault.amount)
                self._awaited[fault.name] = lambda: proxy.cuts > cuts
                return
            case _:
                lost = proxy.lost_replies
                proxy.lose_reply(cut="silence" not in how)
                self._awaited[fault.name] = lambda: proxy.lost_replies > lost
                return
        self._note(fault.name)

    async def _to_postgres(self, fault: Fault, how: str) -> None:
        servers = self._servers
        match how:
            case "stop":
                await asyncio.to_thread(servers.freeze_postgres)
                self._later(fault.lasts_s, servers.wake)
            case "kill":
                servers.kill_postgres()
            case "immediate shutdown":
                servers.stop_postgres_at_once()
            case "backend kill":
                await asyncio.to_thread(servers.kill_backend, self._database)
            case "sessions terminated":
                await asyncio.to_thread(servers.terminate_sessions, self._database)
            case _:
                if not servers.on_tmpfs:
                    return
                await asyncio.to_thread(servers.fill_disk)
                self._later(fault.lasts_s, servers.free_disk)
        self._note(fault.name)

    async def _to_redis(self, fault: Fault, how: str) -> None:
        servers = self._servers
        match how:
            case "stop":
                servers.freeze_redis()
                self._later(fault.lasts_s, servers.wake)
            case "kill":
                servers.kill_redis()
            case _:
                await asyncio.to_thread(self._ask_redis, how)
        self._note(fault.name)

    def _ask_redis(self, how: str) -> None:
        with self._servers.redis() as client:
            match how:
                case "FLUSHALL":
                    client.flushall()
                case "SCRIPT FLUSH":
                    client.script_flush()
                case _:
                    client.delete("te:{default}:state")

    # ---- afterward --------------------------------------------------------------------------

    def _note(self, name: str) -> None:
        self.happened[name] += 1
        self._log.write("fault", name=name)

    def _later(self, after_s: float, undo: Callable[[], object]) -> None:
        async def wait_and_undo() -> None:
            await asyncio.sleep(after_s)
            undo()

        task = asyncio.create_task(wait_and_undo())
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)


def _arming(fault: Fault) -> str:
    action, point = fault.name.split(" ", 1)
    return f"arm {action} {fault.amount} {point}"
