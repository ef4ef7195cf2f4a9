"""A Redis or Valkey of a test's own, to be frozen, killed, emptied and started again."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import redis


class PrivateRedis:
    """A server that a test may freeze, kill, fill up and start again. Its data is kept."""

    def __init__(self, program: str, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self._folder = folder
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def start(self) -> None:
        assert self._process is None
        arguments = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self._folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
        }
        words = [word for name, value in arguments.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen([self._program, *words], stdout=subprocess.DEVNULL)
        self.client().ping()

    def client(self) -> redis.Redis:
        """A plain client that waits for the server."""
        retry = redis.retry.Retry(redis.backoff.ConstantBackoff(0.02), 200)
        errors: list[type[Exception]] = [redis.ConnectionError, FileNotFoundError]
        return redis.Redis(
            unix_socket_path=str(self.socket), retry=retry, retry_on_error=errors, protocol=2
        )

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def freeze(self) -> None:
        """It takes connections (the kernel does), and answers nothing."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is None:
            return
        self.thaw()
        self._process.kill()
        self._process.wait(10)
        self._process = None

    def restart(self, *, empty: bool = False) -> None:
        """Kill it and start it again, with its data or without."""
        self.stop()
        if empty:
            shutil.rmtree(self._folder / "appendonlydir")
        self.start()
