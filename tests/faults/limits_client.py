"""The operator who changes the limits, and asks until somebody says that they are changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import grpc

from tests.faults.client_log import ClientLog
from tests.faults.limits import Values, limits_toml
from tests.support.e2e import Client
from trade_engine.v1 import control_service_pb2 as pb

CALL_S = 3.0
FOR_EVER = 1000


class LimitsClient:
    """One change after the other; `any_client` says at which replica."""

    def __init__(self, log: ClientLog, any_client: Callable[[], Client]) -> None:
        self._log = log
        self._any = any_client
        self._numbers = itertools.count()

    async def change(self, values: Values, tries: int = FOR_EVER) -> None:
        """Replace whatever is in force.

        What was not answered is asked again as it was, under its request_id. Where others are in
        force by now than those to be replaced, one of ours took effect after all: anew.
        """
        request: pb.UpdateLimitsRequest | None = None
        for _ in range(tries):
            client = self._any()
            try:
                request = request or await self._request(client, values)
                answer = await client.control.UpdateLimits(request, timeout=CALL_S)
            except grpc.aio.AioRpcError as error:
                self._log.write(
                    "refused", rpc="UpdateLimits", code=error.code().name, details=error.details()
                )
                if error.code() is grpc.StatusCode.ABORTED:
                    request = None
                continue
            self._log.write(
                "limits",
                version=answer.version,
                values=values,
                sequences={each.account_id: each.sequence for each in answer.account_sequences},
            )
            return

    async def _request(self, client: Client, values: Values) -> pb.UpdateLimitsRequest:
        in_force = await client.control.GetLimits(pb.GetLimitsRequest(), timeout=CALL_S)
        return pb.UpdateLimitsRequest(
            toml=limits_toml(values),
            etag=in_force.etag,
            request_id=f"limits-{next(self._numbers)}",
            reason="a drill",
        )
