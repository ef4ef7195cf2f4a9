"""Which replicas are alive, and by which rules each of them reads and writes the stores.

Two versions of a script, of the fold, or of the tables, side by side, may each be right and spoil
what the other wrote. So every replica says in Redis, again and again, which are its own, and one
that would join others asks first. What is said is forgotten by itself; a Redis that lost it hears
it again within `BEAT_S`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from trade_engine.domain.errors import ConfigError, StoreUnavailable
from trade_engine.storage.redis import keys, scripts
from trade_engine.storage.redis.connect import RedisLink

_log = structlog.get_logger(__name__)

ALIVE_MS = 10_000
"""For so long after it was last heard of, a replica counts as alive."""
BEAT_S = 1.0


@dataclass(frozen=True, slots=True)
class Rules:
    """By what a replica works: the digest of its scripts and fold, and its last migration."""

    scripts: str
    step: str

    def __str__(self) -> str:
        """As it is kept, and compared; both are of one word."""
        return f"{self.scripts} {self.step}"


class OtherRulesAlive(ConfigError):
    """Replicas by other scripts or another migration are alive; the engine does not join them."""

    reason = "REPLICAS_DIFFER"


class RedisReplicas:
    """This replica's place among those on one Redis."""

    def __init__(self, link: RedisLink, replica_id: str, rules: Rules) -> None:
        self._link = link
        self._replica_id = replica_id
        self._rules = rules
        self._others: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    async def ask(self) -> None:
        """See that this replica may join; nothing is written.

        Raises:
            OtherRulesAlive: it may not.
            StoreUnavailable: Redis does not answer.
        """
        self._refuse(await self._call("ask"))

    async def join(self, *, whatever_others: bool) -> None:
        """Count as alive from now on, until `leave`; whatever_others: also beside other rules.

        Raises:
            OtherRulesAlive: others are alive; nothing was written.
            StoreUnavailable: Redis does not answer.
        """
        others = await self._call("stay" if whatever_others else "join")
        if not whatever_others:
            self._refuse(others)
        self._tell(others)
        self._task = asyncio.create_task(self._beat(), name="replicas")

    async def leave(self) -> None:
        """Count as gone at once."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        try:
            await self._link.run(("HDEL", keys.REPLICAS, self._replica_id))
        except StoreUnavailable as error:
            _log.info("replica not signed off", error=error.message)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                self._tell(await self._call("stay"))
            except StoreUnavailable:
                continue  # That closes the gate, which says so.

    async def _call(self, how: str) -> dict[str, str]:
        """The replicas by other rules, and those."""
        command = scripts.JOIN.call(
            [keys.REPLICAS], [self._replica_id, str(self._rules), str(ALIVE_MS), how]
        )
        (flat,) = await self._link.run(command)
        words = iter([each.decode(errors="replace") for each in flat])
        return dict(sorted(zip(words, words, strict=True)))

    def _tell(self, others: dict[str, str]) -> None:
        if others and others != self._others:
            _log.warning("replicas by other rules", own=str(self._rules), others=others)
        self._others = others

    def _refuse(self, others: dict[str, str]) -> None:
        for replica, rules in others.items():
            there_scripts, _, there_step = rules.partition(" ")
            raise OtherRulesAlive(
                f"replica {replica} is alive with scripts {there_scripts} at migration "
                f"{there_step}, this engine has scripts {self._rules.scripts} at migration "
                f"{self._rules.step}{_more(len(others) - 1)}. Stop the others first (one that was "
                f"killed counts as gone after {ALIVE_MS // 1000} s), or, where the notes of this "
                "release allow both side by side, start this one with --join-other-versions",
                replica=replica,
                others=rules,
                own=str(self._rules),
            )


def _more(count: int) -> str:
    return f" ({count} more {'differs' if count == 1 else 'differ'} too)" if count else ""
