"""MarketDataService over a real server: sane quotes in, the others counted and named."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from tests.support.api_server import Serving, serving, told
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.market import Quote
from trade_engine.v1 import market_data_service_pb2 as pb


@pytest.fixture
async def api() -> AsyncIterator[Serving]:
    async with serving() as running:
        yield running


def a_quote(**changes: Any) -> pb.Quote:
    fields = {
        "symbol": "AAPL",
        "bid": "189.99",
        "ask": "190.01",
        "bid_size": "300",
        "ask_size": "200",
        "last": "190.00",
        "quote_time": "2024-05-01T14:30:00.250Z",
        "source": "sip",
    } | changes
    return json_format.ParseDict(
        {name: value for name, value in fields.items() if value is not None}, pb.Quote()
    )


def one_message(*quotes: pb.Quote) -> Any:
    return iter([pb.PublishQuotesRequest(quotes=quotes)])


async def test_a_quote_comes_back_as_it_went_in(api: Serving) -> None:
    counts = await api.quotes.PublishQuotes(one_message(a_quote()))
    answer = await api.quotes.GetQuotes(pb.GetQuotesRequest(symbols=["MSFT", "AAPL", "AAPL"]))

    assert (counts.accepted_count, counts.rejected_count) == (1, 0)
    assert api.engine.quotes_known["AAPL"] == Quote(
        "AAPL",
        Decimal("189.99"),
        Decimal("190.01"),
        Decimal(300),
        Decimal(200),
        Decimal("190.00"),
        1_714_573_800_250_000_000,
        "sip",
    )
    assert answer.quotes == [a_quote(last="190")]
    assert answer.missing_symbols == ["MSFT"]


async def test_an_undated_quote_is_of_when_it_came(api: Serving) -> None:
    before = time.time_ns()
    await api.quotes.PublishQuotes(one_message(a_quote(quote_time=None)))
    assert before <= api.engine.quotes_known["AAPL"].time_ns <= time.time_ns()


async def test_a_quote_takes_effect_when_it_is_read(api: Serving) -> None:
    call = api.quotes.PublishQuotes()
    await call.write(pb.PublishQuotesRequest(quotes=[a_quote()]))

    while "AAPL" not in api.engine.quotes_known:  # noqa: ASYNC110  # no event tells of it
        await asyncio.sleep(0.01)

    await call.done_writing()
    assert (await call).accepted_count == 1


SANE = [
    {"bid": None, "ask": None, "bid_size": None, "ask_size": None},
    {"last": None, "source": None},
    {"bid": "190.01"},
    {"bid_size": "0"},
]


@pytest.mark.parametrize("changes", SANE)
async def test_a_quote_may_be_a_trade_or_a_pair_or_locked(
    api: Serving, changes: dict[str, Any]
) -> None:
    counts = await api.quotes.PublishQuotes(one_message(a_quote(**changes)))

    assert (counts.accepted_count, counts.rejected_count) == (1, 0)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"symbol": None}, "symbol: is required"),
    ({"symbol": "A B"}, "symbol: must be"),
    ({"bid": "190.02"}, "bid is above ask (crossed)), got bid 190.02, ask 190.01"),
    ({"bid": "0"}, "bid is not positive"),
    ({"ask": "-1"}, "ask is not positive"),
    ({"last": "0.00"}, "last is not positive"),
    ({"bid": None, "last": None}, "neither bid and ask nor last is known"),
    ({"bid": "1e2"}, "bid: must be a decimal string in plain notation"),
    ({"bid": "NaN"}, "bid: must be a decimal string"),
    ({"bid": "Infinity"}, "bid: must be a decimal string"),
    ({"bid": "1_0"}, "bid: must be a decimal string"),
    ({"bid": " 1"}, "bid: must be a decimal string"),
    ({"bid": "+1"}, "bid: must be a decimal string"),
    ({"bid": "\u0661"}, "bid: must be a decimal string"),
    ({"bid": "1."}, "bid: must be a decimal string"),
    ({"ask": "9" * 5000}, "ask: must be a decimal string"),
    ({"ask": "1" + "0" * 16}, "ask: must be a number between"),
    ({"ask": "1." + "0" * 12 + "1"}, "ask: must be a number with at most 12 decimals"),
    ({"bid_size": "-1"}, "bid_size: must be 0 or more, got -1"),
    ({"quote_time": "1969-12-31T23:59:59Z"}, "quote_time: must be a time from 1970-01-01"),
    ({"quote_time": "2099-01-01T00:00:00Z"}, "quote_time: must be at most 1000 ms ahead of"),
    ({"quote_time": "9999-12-31T23:59:59Z"}, "quote_time: must be at most 1000 ms ahead of"),
    ({"source": "x" * 65}, "source: must be at most 64 printable characters"),
    ({"source": "a\nb"}, "source: must be at most 64 printable characters"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG)
async def test_a_quote_that_makes_no_sense_keeps_the_one_before(
    api: Serving, changes: dict[str, Any], words: str
) -> None:
    await api.quotes.PublishQuotes(one_message(a_quote()))
    before = api.engine.quotes_known["AAPL"]

    counts = await api.quotes.PublishQuotes(
        one_message(a_quote(symbol="MSFT"), a_quote(**changes), a_quote(symbol="IBM"))
    )

    assert (counts.accepted_count, counts.rejected_count) == (2, 1)
    [rejection] = counts.rejections
    assert rejection.reason == "QUOTE_INVALID"
    assert rejection.symbol == (changes.get("symbol", "AAPL") or "")
    assert words in rejection.message
    assert api.engine.quotes_known["AAPL"] is before
    assert set(api.engine.quotes_known) == {"AAPL", "MSFT", "IBM"}


async def test_only_the_first_refusals_are_named(api: Serving) -> None:
    bad = [a_quote(symbol=f"S{number}", bid="0") for number in range(150)]

    counts = await api.quotes.PublishQuotes(one_message(*bad))

    assert (counts.accepted_count, counts.rejected_count) == (0, 150)
    assert [each.symbol for each in counts.rejections] == [f"S{n}" for n in range(100)]


async def test_a_quote_store_that_is_down_ends_the_stream(api: Serving) -> None:
    api.engine.failure = StoreUnavailable("Redis does not answer", store="redis")

    with pytest.raises(grpc.RpcError) as caught:
        await api.quotes.PublishQuotes(one_message(a_quote()))

    error = told(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


async def test_a_server_that_stops_ends_the_stream_with_words(api: Serving) -> None:
    call = api.quotes.PublishQuotes()
    await call.write(pb.PublishQuotesRequest(quotes=[a_quote()]))
    while "AAPL" not in api.engine.quotes_known:  # noqa: ASYNC110  # no event tells of it
        await asyncio.sleep(0.01)
    loop = asyncio.get_running_loop()
    started = loop.time()

    await api.server.stop(10)

    assert loop.time() - started < 2
    with pytest.raises(grpc.RpcError) as caught:
        await call
    assert told(caught.value).reason == "SHUTTING_DOWN"
