"""What a run trades, and what its market says: prices that never move, and orders that wait.

Every quote's mid is `PRICE`, so what a limit counts is known without a market. Orders in `RESTING`
wait at the mid until both sides meet there for a moment, so signals find them working, and give
them new terms.
"""

from __future__ import annotations

import random
import time
from decimal import Decimal

from trade_engine.v1 import market_data_service_pb2

PRICE = 150
RESTING = "MSFT"
SYMBOLS = ("AAPL", "IBM", RESTING)
MEETS = 0.2
"""How often both sides of `RESTING` meet, by quote."""
MEETING_SIZE = "5"

_INSTRUMENT = """[instruments.{symbol}]
tick = 0.01
lot = 1
currency = "USD"
asset_class = "equity"
"""
_RESTS = """order_policy = "LIMIT"
working_orders = "REPLACE"
"""


def instruments_toml() -> str:
    """The instruments file of a run."""
    return "\n".join(
        _INSTRUMENT.format(symbol=symbol) + (_RESTS if symbol == RESTING else "")
        for symbol in SYMBOLS
    )


class Market:
    """What the feed publishes, from a seed; size is of every quote, without limit when empty."""

    def __init__(self, seed: int, size: str) -> None:
        self.meets_always = False
        """Whether whatever waits is to fill now."""
        self._chance = random.Random(seed)
        self._size = size

    def quotes(self) -> market_data_service_pb2.PublishQuotesRequest:
        """A quote of every symbol, as of now."""
        request = market_data_service_pb2.PublishQuotesRequest()
        for symbol in SYMBOLS:
            half, size = Decimal("0.01"), self._size
            if symbol == RESTING and self.meets_always:
                half, size = Decimal(0), ""
            elif symbol == RESTING and self._chance.random() < MEETS:
                half, size = Decimal(0), MEETING_SIZE
            quote = request.quotes.add(
                symbol=symbol,
                bid=str(PRICE - half),
                ask=str(PRICE + half),
                bid_size=size,
                ask_size=size,
            )
            quote.quote_time.FromNanoseconds(time.time_ns())
        return request
