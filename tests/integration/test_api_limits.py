"""GetLimits and UpdateLimits over a real server: what is translated, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from tests.support.api_server import Serving, serving, told
from tests.support.memory_engine import START_NS, a_change
from trade_engine.domain.limits_change import FileText
from trade_engine.execution.commands import EtagMismatch, UpdateLimitsCommand
from trade_engine.v1 import control_service_pb2 as pb


@pytest.fixture
async def api() -> AsyncIterator[Serving]:
    async with serving() as running:
        yield running


async def test_the_limits_in_force_are_told_with_who_set_them(api: Serving) -> None:
    answer = await api.control.GetLimits(pb.GetLimitsRequest(account_id="main"))

    assert (answer.toml, answer.instruments_toml) == ("# limits of main", "# instruments")
    assert (answer.version, answer.etag) == ("0123456789abcdef", "3-0123456789abcdef")
    assert (answer.operator, answer.reason) == ("ann", "more room")
    assert answer.change_time.ToNanoseconds() == START_NS
    [raised] = answer.raises
    assert raised == pb.LimitRaise(
        name="quarter-end",
        limit_name="order_notional_max",
        level="symbol",
        level_id="AAPL",
        limit="9",
        regular_limit="7",
        start_time=raised.start_time,
        end_time=raised.end_time,
        operator="ann",
        reason="rebalancing",
        active=True,
    )
    assert raised.start_time.ToNanoseconds() == START_NS
    assert raised.end_time.ToNanoseconds() == START_NS + 1


async def test_limits_of_an_account_that_is_not_there(api: Serving) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.control.GetLimits(pb.GetLimitsRequest(account_id="mian"))

    assert told(caught.value).reason == "ACCOUNT_NOT_FOUND"


async def test_an_update_names_differences_and_breaches(api: Serving) -> None:
    answer = await api.control.UpdateLimits(
        pb.UpdateLimitsRequest(
            toml="# l",
            etag="2-x",
            request_id="r-1",
            reason="more room",
            instruments_toml="# i",
            file_name="mine.toml",
        )
    )

    assert api.engine.updates == [
        UpdateLimitsCommand(
            limits=FileText("mine.toml", "# l"),
            instruments=FileText("instruments.toml", "# i"),
            etag="2-x",
            validate_only=False,
            reason="more room",
            operator="anonymous",
            request_id="r-1",
        )
    ]
    assert answer == pb.UpdateLimitsResponse(
        version="0123456789abcdef",
        etag="3-0123456789abcdef",
        differences=[
            pb.LimitDifference(path="limits.symbol.AAPL.order_notional_max", before="", after="7")
        ],
        breaches=[
            pb.LimitBreach(
                account_id="main",
                scope="order:o-1",
                limit_name="order_notional_max",
                source="limits.toml:symbol AAPL",
                limit="7",
                observed="",
                order_ids=["o-1"],
            )
        ],
        account_sequences=[
            pb.AccountSequence(account_id="b", sequence=0),
            pb.AccountSequence(account_id="main", sequence=12),
        ],
    )


async def test_a_comparison_gives_no_etag_to_go_on_with(api: Serving) -> None:
    answer = await api.control.UpdateLimits(
        pb.UpdateLimitsRequest(toml="# l", etag="2-x", reason="r", validate_only=True)
    )

    assert answer.etag == ""
    [command] = api.engine.updates
    assert (command.validate_only, command.limits.name) == (True, "limits.toml")
    assert command.instruments is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"toml": ""}, "toml"),
        ({"etag": ""}, "etag"),
        ({"reason": ""}, "reason"),
        ({"reason": "r" * 501}, "reason"),
        ({"file_name": "a/b.toml"}, "file_name"),
        ({"file_name": "a\n"}, "file_name"),
        ({"file_name": "a" * 65}, "file_name"),
        ({"request_id": "a b"}, "request_id"),
    ],
)
async def test_a_bad_update_is_refused_by_field(
    api: Serving, change: dict[str, Any], field: str
) -> None:
    given = {"toml": "# l", "etag": "2-x", "reason": "r"} | change
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.control.UpdateLimits(pb.UpdateLimitsRequest(**given))

    error = told(caught.value)
    assert (error.code, list(error.violations)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        [field],
    )
    assert api.engine.updates == []


async def test_limits_that_somebody_else_changed(api: Serving) -> None:
    api.engine.failure = EtagMismatch("2-x", a_change().etag)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.control.UpdateLimits(pb.UpdateLimitsRequest(toml="# l", etag="2-x", reason="r"))

    error = told(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert error.metadata == {"etag": "3-0123456789abcdef"}
