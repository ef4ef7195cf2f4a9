"""MarketDataService: quotes in, and out again."""
# ruff: noqa: N802, ARG002  # names and arguments are the contract's

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from trade_engine.api import answers, convert
from trade_engine.api.engine import EnginePort
from trade_engine.api.errors import message_of
from trade_engine.api.in_flight import InFlight
from trade_engine.api.interceptors import Context, current_task
from trade_engine.domain.clock import Clock
from trade_engine.domain.decision import Reason
from trade_engine.domain.errors import InvalidFields, ShuttingDown
from trade_engine.domain.market import Quote
from trade_engine.v1 import market_data_service_pb2 as pb
from trade_engine.v1 import market_data_service_pb2_grpc

REJECTIONS_MAX = 100


class MarketDataService(market_data_service_pb2_grpc.MarketDataServiceServicer):
    """The service that quotes come in by."""

    def __init__(self, engine: EnginePort, in_flight: InFlight, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._in_flight = in_flight

    async def PublishQuotes(
        self, request_iterator: AsyncIterator[pb.PublishQuotesRequest], context: Context
    ) -> pb.PublishQuotesResponse:
        """Take quotes as they are read; count, and name the first of those refused."""
        told = pb.PublishQuotesResponse()
        try:
            with self._in_flight.ended_by(current_task().cancel):
                async for request in request_iterator:
                    quotes = _sane(request, told, self._clock())
                    if quotes:
                        await self._in_flight.finish(self._engine.publish_quotes(quotes))
                        told.accepted_count += len(quotes)
        except asyncio.CancelledError:
            if not self._in_flight.closing:
                raise
            raise ShuttingDown("this replica is stopping. Open the stream again.") from None
        return told

    async def GetQuotes(
        self, request: pb.GetQuotesRequest, context: Context
    ) -> pb.GetQuotesResponse:
        """Answer with the latest quotes, in the order asked for."""
        symbols = convert.symbols_of(request)
        found = await self._engine.quotes(symbols)
        return pb.GetQuotesResponse(
            quotes=[answers.quote_message(found[symbol]) for symbol in symbols if symbol in found],
            missing_symbols=[symbol for symbol in symbols if symbol not in found],
        )


def _sane(
    request: pb.PublishQuotesRequest, told: pb.PublishQuotesResponse, received_ns: int
) -> list[Quote]:
    """The quotes that can be taken; the others are counted in `told`."""
    quotes = []
    for message in request.quotes:
        try:
            quotes.append(convert.quote_of(message, received_ns))
        except InvalidFields as error:
            told.rejected_count += 1
            if len(told.rejections) < REJECTIONS_MAX:
                told.rejections.add(
                    symbol=message.symbol, reason=Reason.QUOTE_INVALID, message=message_of(error)
                )
    return quotes
