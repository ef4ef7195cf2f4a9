"""grpc.health.v1.Health: what balancers and orchestrators ask.

A replica serves while it answers, its gate closed or not: Halt, GetStatus and the streams work
then too, and a signal is answered with GATE_CLOSED. So health is about the replica alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from grpc_health.v1 import health, health_pb2

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
