"""The client of a firm's own PortfolioService: every answer is checked field by field."""

from __future__ import annotations

import grpc

from trade_engine.domain.errors import EngineError, InvalidField, StoreUnavailable
from trade_engine.domain.money import parse
from trade_engine.portfolio.view import Holding, Portfolio
from trade_engine.v1 import portfolio_pb2, portfolio_service_pb2, portfolio_service_pb2_grpc


class GrpcPortfolioSource:
    """One service at `target`; each call is given `deadline_s`."""

    def __init__(self, target: str, deadline_s: float) -> None:
        self._target = target
        self._deadline_s = deadline_s
        self._channel = grpc.aio.insecure_channel(target)
        self._stub: portfolio_service_pb2_grpc.PortfolioServiceAsyncStub
        self._stub = portfolio_service_pb2_grpc.PortfolioServiceStub(self._channel)

    async def close(self) -> None:
        """Let the connection go."""
        await self._channel.close()

    async def portfolio(self, account_id: str) -> Portfolio:
        """What the firm's books say of an account.

        Raises:
            StoreUnavailable: no answer within the deadline, an error, or an answer that is not as
                the contract has it; says which.
        """
        request = portfolio_service_pb2.GetPortfolioRequest(account_id=account_id)
        try:
            answer = await self._stub.GetPortfolio(request, timeout=self._deadline_s)
        except grpc.aio.AioRpcError as error:
            raise StoreUnavailable(
                f"{self._target} answers {error.code().name}: {error.details()}"
            ) from error
        try:
            return _read(answer.portfolio, account_id)
        except EngineError as error:
            raise StoreUnavailable(f"{self._target} answers wrongly: {error.message}") from error


def _read(told: portfolio_pb2.Portfolio, account_id: str) -> Portfolio:
    if told.account_id != account_id:
        raise InvalidField("account_id", told.account_id, f"{account_id}, which was asked for")
    if not told.HasField("as_of_time"):
        raise InvalidField("as_of_time", "", "the time that it all holds for")
    holdings = {
        each.symbol: Holding(
            parse(each.quantity, f"positions[{each.symbol}].quantity"),
            parse(each.avg_px, f"positions[{each.symbol}].avg_px"),
        )
        for each in told.positions
    }
    return Portfolio(
        account_id=account_id,
        currency=told.currency,
        cash=parse(told.cash, "cash"),
        equity=parse(told.equity, "equity"),
        holdings=holdings,
        as_of_ns=told.as_of_time.ToNanoseconds(),
    )
