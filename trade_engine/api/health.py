"""grpc.health.v1.Health: what balancers and orchestrators ask.

A replica serves while it answers, its gate closed or not: Halt, GetStatus and the streams work
then too, and a signal is answered with GATE_CLOSED. So the health of the whole and of each service
is about the replica alone. Whether an account may trade is told under a name of its own,
`account/<account_id>`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from grpc_health.v1 import health, health_pb2

from trade_engine.api.engine import EnginePort

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.25
"""How often it is looked whether the accounts may trade."""

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """The health of the whole (the empty name) and of each service, which is the same."""

    def __init__(self, services: Sequence[str]) -> None:
        self.servicer = health.aio.HealthServicer()
        self._services = ["", *services]

    async def set_serving(self, *, serving: bool) -> None:
        """Tell those who ask or watch."""
        for service in self._services:
            await self.servicer.set(service, SERVING if serving else NOT_SERVING)

    async def stop(self) -> None:
        """Tell them that it is over for good."""
        await self.servicer.enter_graceful_shutdown()


class AccountHealth:
    """Tells of each account whether it may trade: SERVING, or NOT_SERVING."""

    def __init__(self, health: Health, engine: EnginePort) -> None:
        self._health = health
        self._engine = engine
        self._told: dict[str, bool] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Tell how it stands, and keep telling."""
        await self._tell()
        self._task = asyncio.create_task(self._follow(), name="account health")

    async def stop(self) -> None:
        """Tell no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._tell()

    async def _tell(self) -> None:
        try:
            found = await self._engine.may_trade()
        except Exception as error:  # noqa: BLE001  what is not known must not go on as SERVING
            log.warning("account_health_unknown", why=repr(error))
            found = dict.fromkeys(self._told, False)
        for account_id, may_trade in found.items():
            if self._told.get(account_id) is not may_trade:
                self._told[account_id] = may_trade
                status = SERVING if may_trade else NOT_SERVING
                await self._health.servicer.set(f"account/{account_id}", status)
