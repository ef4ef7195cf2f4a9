"""One engine of a run: a process that is armed, frozen, killed, and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.faults import machine_clock
from tests.faults.machine_clock import MachineClock
from tests.faults.patience import patience

START_S = 60.0
STOP_S = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Replica:
    """Keeps one engine running: whatever ends it, it is started again, until `stop`."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        first_arguments: list[str],
        environment: dict[str, str],
        log: Path,
        on_start: Callable[[Replica], None],
        on_point: Callable[[Replica, str, str], None],
        *,
        clock_jumps: bool = False,
    ) -> None:
        """first_arguments are for the first start alone. on_start is told of every start.

        on_point is told the action and the point as one happens at it. clock_jumps: whether
        `jump` will be called, for which the machine's clock is faked where that can be done.
        """
        self.name = name
        self.port = free_port()
        self.metrics_port = free_port()
        self.log = log
        self.starts = 0
        self.exit_codes: list[int] = []
        self.ready = asyncio.Event()
        self._arguments = arguments
        self._first_arguments = first_arguments
        self._on_start = on_start
        self._clock = _machine_clock(log.with_suffix(".clock")) if clock_jumps else None
        self._environment = environment | (self._clock.environment if self._clock else {})
        self._on_point = on_point
        self._process: Process | None = None
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_running(), name=self.name)

    async def stop(self) -> int:
        """Ask it to stop; answers with its exit code, which is 0 after an orderly stop."""
        self._stopping = True
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        return await self._ended()

    async def end(self) -> None:
        """Be gone, in whatever way."""
        self._stopping = True
        self.signal(signal.SIGKILL)
        await self._ended()

    async def _ended(self) -> int:
        assert self._task is not None
        try:
            async with patience(STOP_S):
                await asyncio.wait({self._task})
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._task
        return self.exit_codes[-1]

    def signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if number in (signal.SIGKILL, signal.SIGTERM):
            self.ready.clear()
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def command(self, line: str) -> None:
        """Tell the running process; one that is gone hears nothing."""
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(f"{line}\n".encode())

    def jump(self, seconds: int) -> None:
        """Let its clock be off by so much from now on; 0 sets it right."""
        if self._clock is None:
            self.command(f"clock {seconds}")
        else:
            self._clock.set(seconds)

    async def _keep_running(self) -> None:
        while not self._stopping:
            await self._run_once()
            self.ready.clear()

    async def _run_once(self) -> None:
        command = [
            sys.executable,
            "-m",
            "tests.faults.engine_main",
            *self._arguments,
            *(() if self.starts else self._first_arguments),
            "--listen",
            self.target,
        ]
        environment = self._environment | {
            "TRADE_ENGINE_METRICS_LISTEN": f"127.0.0.1:{self.metrics_port}"
        }
        with self.log.open("ab") as errors:
            process = self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=environment,
            )
        self.starts += 1
        self._on_start(self)
        try:
            assert process.stdout is not None
            async for line in process.stdout:
                self._heard(line.decode().rstrip())
        finally:
            self.exit_codes.append(await process.wait())
            if process.stdin is not None:
                process.stdin.close()

    def _heard(self, line: str) -> None:
        if " is ready on " in line:
            self.ready.set()
        elif line.startswith("POINT "):
            _, action, point = line.split(" ", 2)
            if action == "kill":
                self.ready.clear()
            self._on_point(self, action, point)
        elif line.startswith("UNKNOWN COMMAND"):
            raise AssertionError(line)


def _machine_clock(file: Path) -> MachineClock | None:
    library = machine_clock.library()
    if library is None:
        return None
    clock = MachineClock(library, file)
    clock.set(0)
    return clock
