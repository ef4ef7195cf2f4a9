"""Quotes in Redis: the last of each symbol, and the telling of every one that was taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from trade_engine.domain.clock import FUTURE_TOLERANCE_NS
from trade_engine.domain.market import Quote
from trade_engine.domain.money import ZERO
from trade_engine.storage.redis import encoding, keys, scripts
from trade_engine.storage.redis.connect import Command, RedisLink
from trade_engine.storage.redis.encoding import Argument
from trade_engine.storage.redis.subscription import Subscription

BATCH_MAX = 500
"""Quotes per script: it holds the server up for a few milliseconds."""

SAMPLE_S, SAMPLES = 20, 3
"""So many quotes are kept, so many seconds apart or more. The price of orders is held against the
middle one of them by price: a true one, or between two true ones, where one of the three is bad."""

QuotesHeard = Callable[[list[Quote]], None]
"""Takes the quotes of one batch, in order; must not wait."""


def asking(symbols: Sequence[str], earlier: Sequence[str] = ()) -> Command:
    """The command that fetches the last quotes of symbols, and then the earlier ones of others."""
    return ("MGET", *map(keys.quote, symbols), *map(keys.earlier_quote, earlier))


def answered(values: Sequence[bytes | None]) -> dict[str, Quote]:
    """Read what was asked of last quotes; unknown symbols, and what nobody can read, are absent."""
    return _by_symbol(map(_last, values))


def answered_earlier(values: Sequence[bytes | None]) -> dict[str, Quote]:
    """Read what was asked of earlier quotes: of each symbol the middle one of its samples."""
    return _by_symbol(map(_middle, values))


def _by_symbol(quotes: Iterable[Quote | None]) -> dict[str, Quote]:
    return {each.symbol: each for each in quotes if each is not None}


def _last(value: bytes | None) -> Quote | None:
    try:
        return None if value is None else encoding.read_quote(value)
    except encoding.UNREADABLE:
        return None


@lru_cache(maxsize=4096)
def _middle(value: bytes | None) -> Quote | None:
    """The middle one by price; of two the older one: which is the bad tick cannot be told."""
    found = [each for each in map(_last, value.split(b"\n")) if each] if value else []
    if len(found) < SAMPLES:
        return found[0] if found else None
    return sorted(found, key=lambda each: each.reference or ZERO)[SAMPLES // 2]


def offering(quotes: Sequence[Quote], now_ns: int, database: int) -> Iterator[Command]:
    """The commands that remember and tell quotes, in order."""
    latest = encoding.time_digits(now_ns + FUTURE_TOLERANCE_NS)
    channel = keys.quotes_channel(database)
    for start in range(0, len(quotes), BATCH_MAX):
        batch = quotes[start : start + BATCH_MAX]
        args: list[Argument] = [
            channel,
            str(SAMPLE_S),
            str(SAMPLES),
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
