"""PostgreSQL and Valkey of the engine's own, from its start to its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from trade_engine.embedded import postgres, valkey
from trade_engine.embedded.binaries import Binaries, locate
from trade_engine.embedded.data_dir import DataDir, claim, run_dir
from trade_engine.embedded.postgres import Postgres
from trade_engine.embedded.supervisor import Supervisor
from trade_engine.embedded.valkey import Valkey

_START_S = 120.0  # a recovery after a crash is the longest that a start can take

_log = logging.getLogger(__name__)


def urls_of(data_dir: Path) -> tuple[str, str]:
    """Where PostgreSQL and Valkey are reached while an engine runs on data_dir, whoever asks."""
    run = run_dir(data_dir.expanduser().resolve())
    return postgres.url_at(run), valkey.url_at(run)


class EmbeddedServers:
    """Both servers, running. Nothing here needs an event loop; `start` and `stop` block.

    In an asyncio program call `start` before the loop runs, or either with `asyncio.to_thread`.
    However this process ends, the servers end with it; `stop` makes it orderly.
    """

    def __init__(self, place: DataDir, binaries: Binaries) -> None:
        """Use `start`: here nothing runs yet."""
        self._place = place
        self._postgres_server = Postgres(place, binaries)
        self._valkey_server = Valkey(place, binaries)
        self._postgres = Supervisor(self._postgres_server)
        self._valkey = Supervisor(self._valkey_server)
        self._stop_lock = threading.Lock()

    @classmethod
    def start(cls, data_dir: Path, *, say: Callable[[str], None] = _log.info) -> Self:
        """Start both servers on `data_dir`, made if it is not there; return when both serve.

        `say` is told, in a line each, what takes a while. Raises BinaryNotFound, DataDirBusy,
        DataDirUnusable, WrongServerVersion or ServerDidNotStart, and leaves nothing running.
        """
        binaries = locate()
        place = claim(data_dir, binaries.postgres, say)
        servers = cls(place, binaries)
        try:
            servers._bring_up(say)
        except BaseException:
            servers.stop()
            raise
        return servers

    @property
    def database_url(self) -> str:
        """SQLAlchemy's URL of the database `trade_engine`, which exists; user postgres."""
        return self._postgres_server.url

    @property
    def redis_url(self) -> str:
        """redis-py's URL of Valkey's database 0."""
        return self._valkey_server.url

    @property
    def postgres_pid(self) -> int | None:
        """The process of PostgreSQL's postmaster; None while it does not serve."""
        return self._postgres.pid

    @property
    def valkey_pid(self) -> int | None:
        """The process of Valkey; None while it does not serve."""
        return self._valkey.pid

    def stop(self) -> None:
        """Stop both servers in an orderly way, and let go of the data directory.

        By force after 15 s. Stopping twice does nothing, nor does it in a fork of this process,
        which has no part in what keeps the servers.
        """
        with self._stop_lock:
            supervisors = (self._postgres, self._valkey)
            for supervisor in supervisors:
                supervisor.request_stop()
            for supervisor in supervisors:
                supervisor.join()
            self._place.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _bring_up(self, say: Callable[[str], None]) -> None:
        self._valkey.start()
        self._postgres_server.prepare(say)
        self._postgres.start()
        self._postgres.wait_until_ready(_START_S)
        self._postgres_server.create_database()
        self._valkey.wait_until_ready(_START_S)
