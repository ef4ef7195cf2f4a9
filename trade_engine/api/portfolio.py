"""PortfolioService, served by the engine's own ledger."""
# ruff: noqa: N802, ARG002  # names and arguments are the contract's

from __future__ import annotations

from trade_engine.api.accounts import known
from trade_engine.api.answers import portfolio_message
from trade_engine.api.engine import EnginePort
from trade_engine.api.interceptors import Context
from trade_engine.api.reading import Reader
from trade_engine.domain.signal import checked_id
from trade_engine.v1 import portfolio_service_pb2 as pb
from trade_engine.v1 import portfolio_service_pb2_grpc


class PortfolioService(portfolio_service_pb2_grpc.PortfolioServiceServicer):
    """What an account holds, for those who keep no books of their own."""

    def __init__(self, engine: EnginePort) -> None:
        self._engine = engine

    async def GetPortfolio(
        self, request: pb.GetPortfolioRequest, context: Context
    ) -> pb.GetPortfolioResponse:
        """Tell what an account holds now."""
        fields = Reader()
        account_id = fields.read(checked_id, request.account_id, "account_id")
        fields.done()
        known(self._engine, account_id)
        portfolio = await self._engine.portfolio(account_id)
        return pb.GetPortfolioResponse(portfolio=portfolio_message(portfolio))
