"""`quotes get`, `quotes set`, `quotes publish`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Annotated

import typer

from trade_engine.cli.connecting import engine_at
from trade_engine.cli.files import read_objects
from trade_engine.cli.options import DEFAULT_TARGET, Json, Target
from trade_engine.cli.output import clock, complain, print_json, say, table
from trade_engine.client import PublishQuotesResponse, QuoteLike

REFUSED = 1
SOURCE = "trade-engine quotes"
AT_ONCE = 100

Price = Annotated[str, typer.Option(metavar="PRICE")]
Size = Annotated[str, typer.Option(metavar="QUANTITY")]


def get(
    symbols: Annotated[list[str], typer.Argument(metavar="SYMBOL...", help="Which.")],
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> int:
    """Show the latest quotes, however old. The exit code is 1 if a symbol has none."""
    with engine_at(target) as engine:
        told = engine.get_quotes(symbols)
    if as_json:
        for quote in told.quotes:
            print_json(quote)
    elif told.quotes:
        table(
            ["symbol", "bid", "ask", "bid size", "ask size", "last", "quoted (UTC)", "source"],
            (
                [
                    each.symbol,
                    each.bid,
                    each.ask,
                    each.bid_size,
                    each.ask_size,
                    each.last,
                    clock(each.quote_time),
                    each.source,
                ]
                for each in told.quotes
            ),
            "",
        )
    for symbol in told.missing_symbols:
        complain(f"{symbol} has no quote")
    return REFUSED if told.missing_symbols else 0


def set_quote(
    symbol: Annotated[str, typer.Argument(help="The instrument.")],
    bid: Price = "",
    ask: Price = "",
    last: Price = "",
    bid_size: Size = "",
    ask_size: Size = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> int:
    """Publish one quote, as of now: --bid and --ask, or --last, or all three."""
    quote = {
        "symbol": symbol,
        "bid": bid,
        "ask": ask,
        "last": last,
        "bid_size": bid_size,
        "ask_size": ask_size,
        "source": SOURCE,
    }
    return _publish([[quote]], target, as_json=as_json)


def publish(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-", help="JSON quotes, an array or one a line; - reads stdin."
        ),
    ],
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> int:
    """Publish quotes. Those without a quote_time are as of now; from stdin, as each line comes."""
    objects = read_objects(file)
    at_once = 1 if file == "-" else AT_ONCE
    chunks = iter(lambda: list(islice(objects, at_once)), [])
    return _publish(chunks, target, as_json=as_json)


def _publish(chunks: Iterable[Sequence[QuoteLike]], target: str, *, as_json: bool) -> int:
    total = PublishQuotesResponse()
    with engine_at(target) as engine:
        for quotes in chunks:
            told = engine.publish_quotes(quotes)
            total.accepted_count += told.accepted_count
            total.rejected_count += told.rejected_count
            total.rejections.extend(told.rejections)
            for refused in told.rejections:
                complain(f"{refused.symbol}: {refused.reason}: {refused.message}")
    if as_json:
        print_json(total)
    else:
        say(f"{total.accepted_count} taken, {total.rejected_count} refused.")
    return REFUSED if total.rejected_count else 0
