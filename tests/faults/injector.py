"""Does the faults of a plan, each at its moment, takes them back, and counts what happened."""

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
from tests.faults.plan import POINT_FAULTS, Fault, Plan
from tests.faults.replica import START_S, Replica
from tests.faults.servers import Servers
from tests.proxy import Proxy

STRIKES_FOR_S = 0.1
"""How long a point may still strike after it was told not to."""
LEASE_OVER_S = 1.0
"""How long past its lease an engine is kept frozen."""


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
        self._stops_s: dict[str, float] = {}

    def on_point(self, replica: Replica, action: str, point: str) -> None:
        """A replica reached an armed point, and is dead or frozen there."""
        name = f"{action} {point}"
        self._note(name)
        for each in self.replicas:
            if each is not replica:
                each.command(f"disarm {point}")
        if action == "stop":
            self._later(self._stops_s.get(name, 0.5), lambda: self._signal(replica, signal.SIGCONT))

    async def run(self) -> None:
        began = time.monotonic()
        for fault in self._plan.faults:
            await asyncio.sleep(max(0.0, fault.at_s - (time.monotonic() - began)))
            try:
                await self._do(fault)
            except (psycopg.Error, redis.RedisError, OSError) as error:
                # What was to be broken is broken already, by the fault before.
                self._log.write("not injected", name=fault.name, why=repr(error))

    async def heal(self) -> None:
        """Take everything back, and wait until all serve again; all that is armed is laid down."""
        if self._undoing:
            await asyncio.wait(self._undoing)
        for replica in self.replicas:
            replica.command("disarm")
            replica.command("clock 0")
            replica.signal(signal.SIGCONT)
        for wires in self._wires:
            for proxy in (wires.postgres, wires.redis):
                proxy.heal()
        await asyncio.to_thread(self._servers.free_disk)
        await asyncio.to_thread(self._servers.wake)
        await asyncio.to_thread(self._servers.wait_ready)
        # What was armed may have struck just before it heard: look until nobody is missing.
        while not all(  # noqa: ASYNC110  asked of processes
            [await self._serves(replica) for replica in self.replicas]
        ):
            await asyncio.sleep(STRIKES_FOR_S)
        self._log.write("healed")

    async def _serves(self, replica: Replica) -> bool:
        """Wait until a replica is ready; False when it was not so all the time."""
        was_ready = replica.ready.is_set()
        await asyncio.wait_for(replica.ready.wait(), START_S)
        replica.command("disarm")
        replica.signal(signal.SIGCONT)
        await asyncio.sleep(STRIKES_FOR_S)
        return was_ready and replica.ready.is_set()

    # ---- one fault --------------------------------------------------------------------------

    async def _do(self, fault: Fault) -> None:
        replica, wires = self.replicas[fault.replica], self._wires[fault.replica]
        words = fault.name.split(" ", 1)
        if fault.name in POINT_FAULTS:
            # Some points are the sender's alone: whoever comes to it first is the one.
            self._stops_s[fault.name] = fault.lasts_s
            for each in self.replicas:
                each.command(f"arm {words[0]} {fault.amount} {words[1]}")
            return
        match words:
            case ["engine", how]:
                self._to_engine(fault, how, replica)
            case ["postgres" | "redis", how] if how.startswith("proxy "):
                proxy = wires.postgres if words[0] == "postgres" else wires.redis
                self._to_wire(fault, how.removeprefix("proxy "), proxy)
            case ["postgres", how]:
                await self._to_postgres(fault, how)
            case [_, how]:
                await self._to_redis(fault, how)
            case _:
                raise AssertionError(fault.name)

    def _to_engine(self, fault: Fault, how: str, replica: Replica) -> None:
        if replica.pid is None:
            return
        match how:
            case "kill":
                replica.signal(signal.SIGKILL)
            case "terminate":
                replica.signal(signal.SIGTERM)
            case "clock +1h" | "clock -1h":
                replica.command(f"clock {3600 if '+' in how else -3600}")
                self._later(fault.lasts_s, lambda: replica.command("clock 0"))
            case _:
                lasts_s = fault.lasts_s
                if how != "stop":
                    lasts_s = self._plan.lease_ttl_ms / 1000 + LEASE_OVER_S
                replica.signal(signal.SIGSTOP)
                self._later(lasts_s, lambda: self._signal(replica, signal.SIGCONT))
        self._note(fault.name)

    def _to_wire(self, fault: Fault, how: str, proxy: Proxy) -> None:
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
                self._later(1.0, lambda: self._note(fault.name, happened=proxy.cuts > cuts))
                return
            case _:
                lost = proxy.lost_replies
                proxy.lose_reply(cut="silence" not in how)
                self._later(1.0, lambda: self._note(fault.name, happened=proxy.lost_replies > lost))
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

    def _note(self, name: str, *, happened: bool = True) -> None:
        if happened:
            self.happened[name] += 1
            self._log.write("fault", name=name)

    def _signal(self, replica: Replica, number: signal.Signals) -> None:
        replica.signal(number)

    def _later(self, after_s: float, undo: Callable[[], object]) -> None:
        async def wait_and_undo() -> None:
            await asyncio.sleep(after_s)
            undo()

        task = asyncio.create_task(wait_and_undo())
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)
