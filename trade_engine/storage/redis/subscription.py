"""Listening to a channel for as long as the process lives, through every loss of connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from trade_engine.storage.redis.connect import RedisLink

_log = structlog.get_logger(__name__)

SILENCE_S = 5.0
"""After so long without a message the server is asked whether it is still there."""
WAIT_MIN_S = 0.05
WAIT_MAX_S = 2.0
"""Between tries to connect; each wait is twice the one before."""


class Subscription:
    """Calls `heard` with every message of one channel, while started.

    Messages sent while there is no connection are lost. `listening` is set while there is one.
    """

    def __init__(self, link: RedisLink, channel: str, heard: Callable[[bytes], None]) -> None:
        self._link = link
        self._channel = channel
        self._heard = heard
        self._task: asyncio.Task[None] | None = None
        self.listening = asyncio.Event()

    def start(self) -> None:
        """Begin; returns at once, whether or not the server is there."""
        if self._task is None:
            self._task = asyncio.create_task(self._stay(), name=f"listen to {self._channel}")

    async def stop(self) -> None:
        """End, and close the connection."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _stay(self) -> None:
        wait_s = WAIT_MIN_S
        while True:
            connection = self._link.new_connection()
            try:
                await self._listen(connection)
            except (RedisError, OSError, TimeoutError) as error:
                if self.listening.is_set():
                    wait_s = WAIT_MIN_S
                _log.warning("subscription lost", channel=self._channel, error=str(error))
            finally:
                self.listening.clear()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, WAIT_MAX_S)

    async def _listen(self, connection: AbstractConnection) -> None:
        """Subscribe and hear; ends by an error only."""
        await connection.send_command("SUBSCRIBE", self._channel)
        asked = False
        while True:
            reply = await connection.read_response(timeout=SILENCE_S)
            if reply is None:
                if asked:
                    raise TimeoutError(f"no answer to a ping within {SILENCE_S:g} s")
                await connection.send_command("PING")
                asked = True
                continue
            asked = False
            kind, *_, body = reply
            if kind == b"message":
                self._tell(body)
            elif kind == b"subscribe":
                self.listening.set()

    def _tell(self, body: bytes) -> None:
        try:
            self._heard(body)
        except Exception:  # noqa: BLE001 - whatever it is, the next message counts
            _log.exception("a message could not be taken", channel=self._channel)
