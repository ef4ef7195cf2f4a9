"""The doorbell: a hint, to every task of every replica, that an account's journal grew.

Readers go to the record from their own cursor when it rings, and now and then when it does not: a
ring may be lost, come late, or come twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from trade_engine.domain.errors import StoreUnavailable
from trade_engine.storage.redis import keys
from trade_engine.storage.redis.connect import RedisLink
from trade_engine.storage.redis.subscription import Subscription

_log = structlog.get_logger(__name__)

SPACING_S = 0.005
"""Between two tellings to other replicas; what rings meanwhile goes in one."""
AFTER_FAULT_S = 0.2

Rung = Callable[[str, int], None]
"""Takes an account and the sequence that its journal has reached; must not wait."""


class RedisDoorbell:
    """Rings in this process at once, and in the other replicas through Redis pub/sub.

    Rings are coalesced by account: the highest sequence is told. While Redis cannot be reached,
    this process is still rung.
    """

    def __init__(self, link: RedisLink, replica_id: str) -> None:
        self._link = link
        self._origin = replica_id
        self._channel = keys.doorbell_channel(link.database)
        self._subscription = Subscription(link, self._channel, self._heard)
        self._rung: list[Rung] = []
        self._untold: dict[str, int] = {}
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def ring(self, account_id: str, sequence: int) -> None:
        """Say that the journal reached `sequence`. Never blocks, never raises."""
        if sequence > self._untold.get(account_id, -1):
            self._untold[account_id] = sequence
            self._work.set()
        self._tell_here(account_id, sequence)

    def subscribe(self, rung: Rung) -> Callable[[], None]:
        """Have `rung` called at each ring, of any replica; call the result to end that."""
        self._rung.append(rung)

        def unsubscribe() -> None:
            if rung in self._rung:
                self._rung.remove(rung)

        return unsubscribe

    def start(self) -> None:
        """Begin to tell other replicas, and to hear them; returns at once."""
        if self._task is None:
            self._task = asyncio.create_task(self._tell_others(), name="doorbell")
            self._subscription.start()

    async def stop(self) -> None:
        """End both."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self._subscription.stop()

    @property
    def listening(self) -> asyncio.Event:
        """Set while other replicas are heard."""
        return self._subscription.listening

    async def _tell_others(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            untold, self._untold = self._untold, {}
            try:
                await self._link.run(
                    *(
                        ("PUBLISH", self._channel, f"{self._origin} {account_id} {sequence}")
                        for account_id, sequence in untold.items()
                    )
                )
            except StoreUnavailable as error:
                _log.warning("doorbell not heard by other replicas", error=error.message)
                await asyncio.sleep(AFTER_FAULT_S)
            await asyncio.sleep(SPACING_S)

    def _heard(self, message: bytes) -> None:
        origin, account_id, sequence = message.decode().rsplit(" ", 2)
        if origin != self._origin:
            self._tell_here(account_id, int(sequence))

    def _tell_here(self, account_id: str, sequence: int) -> None:
        for rung in tuple(self._rung):
            try:
                rung(account_id, sequence)
            except Exception:  # noqa: BLE001 - a ring never raises
                _log.exception("a doorbell's listener failed", account_id=account_id)
