"""Quotes in Redis: the last of each symbol, and the telling of every one that was taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from trade_engine.domain.clock import FUTURE_TOLERANCE_NS
from trade_engine.domain.market import Quote
from trade_engine.storage.redis import encoding, keys, scripts
from trade_engine.storage.redis.connect import Command, RedisLink
from trade_engine.storage.redis.encoding import Argument
from trade_engine.storage.redis.subscription import Subscription

BATCH_MAX = 500
"""Quotes per script: it holds the server up for about a millisecond."""

EARLIER_S = 60
"""How long an earlier quote stays before the last one takes its place: what the price of orders is
held against is at most so much older than the quote before."""

QuotesHeard = Callable[[list[Quote]], None]
"""Takes the quotes of one batch, in order; must not wait."""


def asking(symbols: Sequence[str], earlier: Sequence[str] = ()) -> Command:
    """The command that fetches the last quotes of symbols, and then the earlier ones of others."""
    return ("MGET", *map(keys.quote, symbols), *map(keys.earlier_quote, earlier))


def answered(values: Sequence[bytes | None]) -> dict[str, Quote]:
    """Read the reply to `asking`; unknown symbols, and what nobody can read, are absent."""
    known: dict[str, Quote] = {}
    for value in values:
        if value is None:
            continue
        try:
            quote = encoding.read_quote(value)
        except encoding.UNREADABLE:
            continue
        known[quote.symbol] = quote
    return known


def offering(quotes: Sequence[Quote], now_ns: int, database: int) -> Iterator[Command]:
    """The commands that remember and tell quotes, in order."""
    latest = encoding.time_digits(now_ns + FUTURE_TOLERANCE_NS)
    channel = keys.quotes_channel(database)
    for start in range(0, len(quotes), BATCH_MAX):
        batch = quotes[start : start + BATCH_MAX]
        args: list[Argument] = [
            channel,
            str(EARLIER_S),
            latest,
            *map(encoding.quote_value, batch),
        ]
        symbols = [each.symbol for each in batch]
        asked = [*map(keys.quote, symbols), *map(keys.earlier_quote, symbols)]
        yield scripts.PUT_QUOTES.call(asked, args)


def subscribe_quotes(link: RedisLink, callback: QuotesHeard) -> Subscription:
    """Hear every quote that any replica takes, from now on; start and stop what is returned.

    A message may be lost: the last quotes are always in the store.
    """

    def heard(message: bytes) -> None:
        callback(encoding.read_quote_batch(message))

    return Subscription(link, keys.quotes_channel(link.database), heard)
