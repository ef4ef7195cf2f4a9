"""The client of a firm's own PortfolioService: every answer is checked field by field."""

from __future__ import annotations

import grpc

from trade_engine.api.convert import instant
from trade_engine.domain.errors import EngineError, InvalidField, StoreUnavailable
from trade_engine.domain.money import parse
from trade_engine.portfolio.view import Holding, Portfolio
from trade_engine.v1 import portfolio_pb2, portfolio_service_pb2, portfolio_service_pb2_grpc

NAME_CHARS_MAX = 64


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
    holdings: dict[str, Holding] = {}
    for index, each in enumerate(told.positions):
        symbol = _name(each.symbol, f"positions[{index}].symbol")
        if symbol in holdings:
            raise InvalidField(f"positions[{index}].symbol", symbol, "a symbol not told before")
        holdings[symbol] = Holding(
            parse(each.quantity, f"positions[{symbol}].quantity"),
            parse(each.avg_px, f"positions[{symbol}].avg_px"),
        )
    return Portfolio(
        account_id=account_id,
        currency=_name(told.currency, "currency"),
        cash=parse(told.cash, "cash"),
        equity=parse(told.equity, "equity"),
        holdings=holdings,
        as_of_ns=instant(told.as_of_time, "as_of_time"),
    )


def _name(given: str, field: str) -> str:
    """A name that any store takes: the journal keeps what differs."""
    if not given or len(given) > NAME_CHARS_MAX or not given.isprintable():
        allowed = f"1 to {NAME_CHARS_MAX} printable characters"
        raise InvalidField(field, given[:NAME_CHARS_MAX], allowed)
    return given
