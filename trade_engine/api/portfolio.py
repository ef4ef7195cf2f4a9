"""PortfolioService, which the engine's own ledger will serve."""
# ruff: noqa: N802, ARG002  # names and arguments are the contract's

from __future__ import annotations

from trade_engine.api.errors import UnimplementedYet
from trade_engine.api.interceptors import Context
from trade_engine.v1 import portfolio_service_pb2 as pb
from trade_engine.v1 import portfolio_service_pb2_grpc


class PortfolioService(portfolio_service_pb2_grpc.PortfolioServiceServicer):
    """What an account holds, for those who keep no books of their own."""

    async def GetPortfolio(
        self, request: pb.GetPortfolioRequest, context: Context
    ) -> pb.GetPortfolioResponse:
        """Not served yet."""
        raise UnimplementedYet("GetPortfolio", "Use ControlService.ListPositions and GetStatus.")
