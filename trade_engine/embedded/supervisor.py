"""Keep one server running: start it, notice its end, start it again.

A server that ends by itself is started again on the same socket, so that the engine heals. One
that is frozen is left alone: whoever froze it will wake it, and the engine treats it as a store
that does not answer. A server that never served is not tried twice.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Protocol

from trade_engine.embedded.errors import OWN_SERVERS, ServerDidNotStart
from trade_engine.embedded.guarded import (
    STOP_WAIT_S,
    Command,
    Ended,
    GuardedProcess,
    Running,
)
from trade_engine.embedded.logs import LogTail

_READY_POLL_S = 0.01
_RESTART_AFTER_S = 0.1  # and twice as long after each further failure
_RESTART_AFTER_S_MAX = 5.0
_HEALTHY_AFTER_S = 30.0  # a server that served so long has not failed at starting

_log = logging.getLogger(__name__)


class Server(Protocol):
    """A server that can be supervised."""

    name: str
    log: Path

    def command(self) -> Command:
        """Return what to run, each time it is started."""
        ...

    def is_ready(self, pid: int, /) -> bool:
        """Say at once whether it serves."""
        ...


class Supervisor:
    """One server, one guard, and the thread that watches them."""

    def __init__(self, server: Server) -> None:
        """Nothing runs before `start`."""
        self._server = server
        self._thread = threading.Thread(
            target=self._supervise, name=f"supervisor of {server.name}", daemon=True
        )
        self._stopping = threading.Event()
        self._settled = threading.Event()  # it serves, or it will not
        self._guard: GuardedProcess | None = None
        self._guard_lock = threading.Lock()
        self._served = False
        self._failure: ServerDidNotStart | None = None
        self.pid: int | None = None  # while it serves

    def start(self) -> None:
        """Start the server, and return before it serves."""
        self._thread.start()

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait until the server serves for the first time. Raises ServerDidNotStart."""
        if not self._settled.wait(timeout_s):
            raise ServerDidNotStart(
                f"{self._server.name} does not serve after {timeout_s:.0f} s: see "
                f"{self._server.log}; give it more time by starting again, or {OWN_SERVERS}"
            )
        if self._failure is not None:
            raise self._failure
        if not self._served:
            raise ServerDidNotStart(f"{self._server.name} was stopped before it served")

    def request_stop(self) -> None:
        """Ask for an orderly stop, and return before it is done."""
        with self._guard_lock:
            self._stopping.set()
            if self._guard is not None:
                self._guard.request_stop()

    def join(self) -> None:
        """Wait until the server and its guard are gone; `request_stop` comes first."""
        if self._thread.ident is None:  # never started
            return
        self._thread.join(STOP_WAIT_S)
        if self._thread.is_alive() and self._guard is not None:
            self._guard.kill()
            self._thread.join()

    def _supervise(self) -> None:
        try:
            self._keep_running()
        finally:
            self._settled.set()

    def _keep_running(self) -> None:
        pause_s = _RESTART_AFTER_S
        while not self._stopping.is_set():
            began = time.monotonic()
            tail = LogTail(self._server.log)
            try:
                how = self._run_once()
            except Exception as error:  # noqa: BLE001  whatever it was: nobody else starts it again
                how = f"could not be run: {error!r}"
            if self._stopping.is_set():
                return
            if not self._served:
                self._failure = ServerDidNotStart(
                    f"{self._server.name} did not start: it {how}.{tail.read()}"
                )
                return
            if time.monotonic() - began > _HEALTHY_AFTER_S:
                pause_s = _RESTART_AFTER_S
            _log.warning(
                "%s %s; starting it again in %.1f s (its log is %s)",
                self._server.name, how, pause_s, self._server.log,
            )  # fmt: skip
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, _RESTART_AFTER_S_MAX)

    def _run_once(self) -> str:
        """Run the server until it ends; returns how it ended."""
        with self._guard_lock:
            if self._stopping.is_set():
                return "was not started"
            guard = self._guard = GuardedProcess(self._server.command())
        try:
            return self._watch(guard)
        finally:
            self.pid = None
            guard.close()

    def _watch(self, guard: GuardedProcess) -> str:
        starting: int | None = None
        while True:
            report = guard.next_report(None if starting is None else _READY_POLL_S)
            if isinstance(report, Ended):
                return report.how
            if isinstance(report, Running):
                starting = report.pid
            if starting is not None and self._server.is_ready(starting):
                self._serves(starting)
                starting = None

    def _serves(self, pid: int) -> None:
        if self._served:
            _log.warning("%s serves again (process %d)", self._server.name, pid)
        self.pid = pid
        self._served = True
        self._settled.set()
