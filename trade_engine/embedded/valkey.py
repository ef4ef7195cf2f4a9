"""The private Valkey: what it is told, and when it serves."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from trade_engine.embedded.binaries import Binaries
from trade_engine.embedded.data_dir import DataDir
from trade_engine.embedded.guarded import Command

_ANSWER_S = 0.5

_SETTINGS = {
    "port": "0",  # nothing listens on a network
    "unixsocketperm": "700",
    "daemonize": "no",
    # A fold of the journal: losing a second costs a rebuild, losing a key in silence must not be.
    "appendonly": "yes",
    "appendfsync": "everysec",
    "aof-load-truncated": "yes",  # a killed server's file may end in the middle of a command
    "save": "",
    "maxmemory-policy": "noeviction",
    "maxclients": "1000",
    "dir": ".",
    "logfile": "",  # standard output: the guard keeps the log, and its size
    "always-show-logo": "no",
}


SOCKET = "valkey.sock"


def url_at(run: Path) -> str:
    """redis-py's URL of database 0 of the server whose socket is in `run`."""
    return f"unix://{run / SOCKET}?db=0"


class Valkey:
    """The private Valkey of one data directory."""

    name = "Valkey"

    def __init__(self, place: DataDir, binaries: Binaries) -> None:
        """`place` is held by this process."""
        self._place = place
        self._binaries = binaries
        self._socket = place.run / SOCKET
        self.log = place.log / "valkey.log"

    @property
    def url(self) -> str:
        """redis-py's URL of database 0."""
        return url_at(self._socket.parent)

    def command(self) -> Command:
        """Return the server to run."""
        settings = {"unixsocket": str(self._socket), **_SETTINGS}
        flags = (word for name, value in settings.items() for word in (f"--{name}", value))
        return Command(
            name="valkey-server",
            argv=(str(self._binaries.valkey_server), *flags),
            cwd=self._place.valkey,
            log=self.log,
            stop_signal=signal.SIGTERM,  # writes and syncs the append-only file
            run_as=self._place.run_as,
            lock_fd=self._place.servers_lock.fd,
        )

    def is_ready(self, _pid: int) -> bool:
        """Say whether the server answers, and has loaded its file."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_ANSWER_S)
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
