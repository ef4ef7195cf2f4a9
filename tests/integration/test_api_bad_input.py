"""What is malformed is refused in words, by a real server, which then goes on serving."""

from __future__ import annotations

import asyncio
import math
import random
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from tests.support.api_server import Serving, Told, a_signal, serving, told, until
from trade_engine.v1 import (
    control_service_pb2 as control,
)
from trade_engine.v1 import decision_pb2, signal_pb2
from trade_engine.v1 import market_data_service_pb2 as market
from trade_engine.v1 import signal_service_pb2 as pb

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
async def api() -> Any:
    async with serving() as running:
        yield running
        # Whatever was sent before, the server still decides.
        answer = await running.signals.SubmitSignal(
            pb.SubmitSignalRequest(signal=a_signal("afterward"))
        )
        assert answer.decision.outcome == decision_pb2.OUTCOME_APPROVED


async def refusal(call: Any) -> Told:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return told(caught.value)


ID_WORDS = "1 to 64 characters of A-Z a-z 0-9 . _ : -, the first a letter or digit"

BAD_SIGNALS: list[tuple[dict[str, Any], str, str]] = [
    ({"signal_id": None}, "signal_id", f"is required: {ID_WORDS}"),
    ({"signal_id": "x" * 65}, "signal_id", "must be 1 to 64 characters"),
    ({"signal_id": "a b"}, "signal_id", "got a b"),
    ({"signal_id": "-a"}, "signal_id", "the first a letter or digit"),
    ({"signal_id": "a\n"}, "signal_id", "got a\\n"),
    ({"signal_id": "é"}, "signal_id", "got \\xe9"),
    ({"strategy_id": None}, "strategy_id", "is required"),
    ({"strategy_id": "x" * 5000}, "strategy_id", "must be 1 to 64 characters"),
    ({"account_id": "../main"}, "account_id", "got ../main"),
    ({"symbol": None}, "symbol", "is required: 1 to 32 characters"),
    ({"symbol": "A" * 33}, "symbol", "must be 1 to 32 characters"),
    ({"symbol": "AA PL"}, "symbol", "got AA PL"),
    ({"side": None}, "side", "is required: BUY or SELL"),
    ({"side": 99}, "side", "must be BUY or SELL, got 99"),
    ({"side": -1}, "side", "must be BUY or SELL, got -1"),
    ({"time_horizon": None}, "time_horizon", "is required: INTRADAY, SWING or LONG"),
    ({"time_horizon": 99}, "time_horizon", "must be INTRADAY, SWING or LONG, got 99"),
    ({"exposure_unit": 99}, "exposure_unit", "must be NOTIONAL or EQUITY_FRACTION, got 99"),
    ({"confidence": None}, "confidence", "is required: between 0 and 1"),
    ({"confidence": math.nan}, "confidence", "must be a finite number, got nan"),
    ({"confidence": math.inf}, "confidence", "must be a finite number, got inf"),
    ({"confidence": 1.0000001}, "confidence", "must be between 0 and 1, got 1.0000001"),
    ({"confidence": -0.1}, "confidence", "must be between 0 and 1, got -0.1"),
    ({"confidence": 5e-324}, "confidence", "at most 24 decimals, got 5e-324"),
    ({"target_exposure": None}, "target_exposure", "is required"),
    ({"target_exposure": math.nan}, "target_exposure", "must be a finite number, got nan"),
    ({"target_exposure": -math.inf}, "target_exposure", "must be a finite number, got -inf"),
    ({"target_exposure": 1e308}, "target_exposure", "got 1e+308"),
    ({"target_exposure": 1.1e15}, "target_exposure", "between -1000000000000000 and"),
    ({"target_exposure": 1e-25}, "target_exposure", "at most 24 decimals, got 1e-25"),
    (
        {"target_exposure": 15000.0, "exposure_unit": signal_pb2.Signal.EQUITY_FRACTION},
        "target_exposure",
        "must be between -10 and 10 as a fraction of equity, got 15000.0",
    ),
    ({"constraints": {"max_slippage_bps": -1.0}}, "constraints.max_slippage_bps", "0 or more"),
    ({"constraints": {"max_slippage_bps": math.nan}}, "constraints.max_slippage_bps", "finite"),
    ({"constraints": {"max_notional": 0.0}}, "constraints.max_notional", "must be above 0, got 0"),
    ({"constraints": {"max_notional": -5.0}}, "constraints.max_notional", "got -5.0"),
    ({"constraints": {"max_notional": math.inf}}, "constraints.max_notional", "got inf"),
    ({"create_time": {"seconds": -1}}, "create_time", "from 1970-01-01 to 9999-12-31"),
    ({"create_time": {"seconds": 253402300800}}, "create_time", "seconds 253402300800"),
    ({"create_time": {"seconds": 1, "nanos": -1}}, "create_time", "nanos -1"),
    ({"create_time": {"seconds": 1, "nanos": 10**9}}, "create_time", "nanos 1000000000"),
]


@pytest.mark.parametrize(("changes", "field", "words"), BAD_SIGNALS)
async def test_a_bad_field_of_a_signal_is_named(
    api: Serving, changes: dict[str, Any], field: str, words: str
) -> None:
    signal = a_signal(**changes)

    submitted = await refusal(api.signals.SubmitSignal(pb.SubmitSignalRequest(signal=signal)))
    evaluated = await refusal(api.signals.EvaluateSignal(pb.EvaluateSignalRequest(signal=signal)))

    assert submitted == evaluated
    assert (submitted.code, submitted.reason) == (INVALID, "INVALID_ARGUMENT_FIELDS")
    assert list(submitted.violations) == [f"signal.{field}"]
    assert words in submitted.violations[f"signal.{field}"]
    assert submitted.message == f"signal.{field}: {submitted.violations[f'signal.{field}']}"
    assert submitted.retry_ms is None
    assert api.engine.submitted == []


async def test_all_faults_of_a_signal_are_named_together(api: Serving) -> None:
    request = pb.SubmitSignalRequest(signal=signal_pb2.Signal(account_id="?"))

    error = await refusal(api.signals.SubmitSignal(request))

    assert set(error.violations) == {
        f"signal.{name}"
        for name in (
            "signal_id",
            "account_id",
            "strategy_id",
            "symbol",
            "side",
            "confidence",
            "target_exposure",
            "time_horizon",
        )
    }


async def test_the_status_stays_within_what_clients_take(api: Serving) -> None:
    wild = "\N{PILE OF POO}" * 2000
    request = pb.SubmitSignalRequest(
        signal=signal_pb2.Signal(signal_id=wild, account_id=wild, strategy_id=wild, symbol=wild)
    )

    error = await refusal(api.signals.SubmitSignal(request))

    assert len(error.violations) == 8
    assert len(error.message) <= 1000


async def test_a_request_without_a_signal(api: Serving) -> None:
    error = await refusal(api.signals.SubmitSignal(pb.SubmitSignalRequest()))

    assert error.violations == {"signal": "is required: a signal"}


async def test_an_account_that_the_engine_does_not_have(api: Serving) -> None:
    request = pb.SubmitSignalRequest(signal=a_signal(account_id="mian"))

    error = await refusal(api.signals.SubmitSignal(request))

    assert error.code is grpc.StatusCode.NOT_FOUND
    assert (error.reason, error.metadata) == ("ACCOUNT_NOT_FOUND", {"account_id": "mian"})


GARBAGE = [b"\xff\xff\xff\xff", b"\x0a\x05abc", b"\x0a\x03\x12\x01\xff", b"\xff" * 60_000]


@pytest.mark.parametrize("data", GARBAGE, ids=["tags", "cut off", "not UTF-8", "60 kB"])
async def test_garbage_instead_of_a_message(api: Serving, data: bytes) -> None:
    call: Any = api.channel.unary_unary("/trade_engine.v1.SignalService/SubmitSignal")

    error = await refusal(call(data))

    assert (error.code, error.reason) == (INVALID, "MALFORMED_MESSAGE")
    assert error.metadata == {"rpc": "SubmitSignal"}


async def test_garbage_on_a_stream_ends_that_stream(api: Serving) -> None:
    good = pb.SubmitSignalsRequest(signals=[a_signal()]).SerializeToString()
    method: Any = api.channel.stream_stream("/trade_engine.v1.SignalService/SubmitSignals")
    call = method(iter([good, GARBAGE[0]]))

    async def read() -> None:
        async for _ in call:
            pass

    error = await refusal(read())

    assert (error.code, error.reason) == (INVALID, "MALFORMED_MESSAGE")


@pytest.mark.parametrize("size", [65 * 1024, 5 * 1024 * 1024])
async def test_a_message_that_is_too_large(api: Serving, size: int) -> None:
    request = pb.SubmitSignalRequest(signal=a_signal("x" * size))

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.signals.SubmitSignal(request)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in (caught.value.details() or "")
    assert "65536" in (caught.value.details() or "")


async def test_a_message_just_within_the_limit_is_read(api: Serving) -> None:
    request = pb.SubmitSignalRequest(signal=a_signal("x" * 65_000))
    assert 65_000 < request.ByteSize() <= 65_536

    error = await refusal(api.signals.SubmitSignal(request))

    assert error.code is INVALID


async def test_metadata_that_is_too_large(api: Serving) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.signals.SubmitSignal(
            pb.SubmitSignalRequest(signal=a_signal()), metadata=[("x-filler", "x" * 9000)]
        )

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_call_that_does_not_exist(api: Serving) -> None:
    call: Any = api.channel.unary_unary("/trade_engine.v1.SignalService/Nothing")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_deadline_that_has_passed(api: Serving) -> None:
    request = pb.SubmitSignalRequest(signal=a_signal("in-a-hurry"))
    gate = api.engine.gate = asyncio.Event()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.signals.SubmitSignal(request, timeout=1e-6)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    api.engine.gate = None
    gate.set()


async def test_a_deadline_in_mid_flight_does_not_stop_the_decision(api: Serving) -> None:
    api.engine.gate = asyncio.Event()
    request = pb.SubmitSignalRequest(signal=a_signal("patient"))

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.signals.SubmitSignal(request, timeout=0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(
        lambda: api.count("SubmitSignal", "CANCELLED")
    )  # the handler is gone, the signal is not

    found = await decided(api, "patient")
    assert found.outcome == decision_pb2.OUTCOME_APPROVED


@pytest.mark.parametrize("how", ["unary", "stream"])
async def test_a_client_that_hangs_up_does_not_stop_the_decision(api: Serving, how: str) -> None:
    api.engine.gate = asyncio.Event()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{api.port}") as other:
        signals = type(api.signals)(other)
        call: Any
        if how == "unary":
            call = signals.SubmitSignal(pb.SubmitSignalRequest(signal=a_signal("gone")))
        else:
            call = signals.SubmitSignals()
            await call.write(pb.SubmitSignalsRequest(signals=[a_signal("gone")]))
        await until(lambda: api.engine.submitted)
    rpc = "SubmitSignal" if how == "unary" else "SubmitSignals"
    await until(lambda: api.count(rpc, "CANCELLED"))

    assert (await decided(api, "gone")).outcome == decision_pb2.OUTCOME_APPROVED


async def test_clients_that_cancel_at_any_moment_leave_nothing_behind(api: Serving) -> None:
    chance = random.Random(1)
    api.engine.delay_s = 0.002
    tasks_before = len(asyncio.all_tasks())

    async def one(number: int) -> None:
        signals = api.signals
        call: Any
        match number % 3:
            case 0:
                call = signals.SubmitSignal(pb.SubmitSignalRequest(signal=a_signal(f"c-{number}")))
            case 1:
                call = signals.SubmitSignals()
                await call.write(pb.SubmitSignalsRequest(signals=[a_signal(f"c-{number}")]))
            case _:
                call = signals.StreamOrderUpdates(pb.StreamOrderUpdatesRequest(after_sequence=0))
        await asyncio.sleep(chance.random() * 0.01)
        call.cancel()

    for start in range(0, 600, 50):
        async with asyncio.TaskGroup() as group:
            for number in range(start, start + 50):
                group.create_task(one(number))

    await until(lambda: api.registry.get_sample_value("trade_engine_rpc_in_flight") == 0)
    await until(lambda: len(asyncio.all_tasks()) <= tasks_before)
    submitted = {signal.signal_id for signal in api.engine.submitted}
    await until(lambda: submitted == set(api.engine.record.decisions))


async def decided(api: Serving, signal_id: str) -> decision_pb2.Decision:
    """The decision that comes although its client has gone."""
    request = pb.GetDecisionRequest(signal_id=signal_id)
    assert (await refusal(api.signals.GetDecision(request))).reason == "DECISION_NOT_FOUND"
    assert api.engine.gate is not None
    api.engine.gate.set()
    await until(lambda: signal_id in api.engine.record.decisions)
    return (await api.signals.GetDecision(request)).decision


ANY_SCOPE = control.Scope(account_id="main")
NOT_GLOBAL = json_format.Parse('{"global": false}', control.Scope())

BAD_REQUESTS: list[tuple[str, str, Any, dict[str, str]]] = [
    ("signals", "GetDecision", pb.GetDecisionRequest(), {"signal_id": "is required"}),
    ("signals", "GetDecision", pb.GetDecisionRequest(signal_id="?"), {"signal_id": "got ?"}),
    (
        "signals",
        "GetDecision",
        pb.GetDecisionRequest(account_id="?"),
        {"account_id": "got ?", "signal_id": "is required"},
    ),
    ("signals", "GetOrder", pb.GetOrderRequest(), {"order_id": "is required"}),
    ("signals", "ListOrders", pb.ListOrdersRequest(page_size=-1), {"page_size": "got -1"}),
    ("signals", "ListOrders", pb.ListOrdersRequest(symbol="?"), {"symbol": "got ?"}),
    ("signals", "ListOrders", pb.ListOrdersRequest(strategy_id="?"), {"strategy_id": "got ?"}),
    ("signals", "ListOrders", pb.ListOrdersRequest(page_token="%%"), {"page_token": "got %%"}),
    (
        "signals",
        "ListDecisions",
        pb.ListDecisionsRequest(outcome=99),  # type: ignore[arg-type]  # proto3 lets it through
        {"outcome": "must be APPROVED, REJECTED or NO_ACTION, got 99"},
    ),
    (
        "signals",
        "ListDecisions",
        pb.ListDecisionsRequest(page_size=-5, page_token="made-up", symbol="a b"),
        {"page_size": "got -5", "page_token": "same filter", "symbol": "got a b"},
    ),
    ("signals", "CancelOrder", pb.CancelOrderRequest(), {"order_id": "is required"}),
    (
        "signals",
        "CancelOrder",
        pb.CancelOrderRequest(order_id="o-1", request_id="a b", reason="x" * 501),
        {"request_id": "got a b", "reason": "at most 500 printable characters"},
    ),
    (
        "signals",
        "CancelOrder",
        pb.CancelOrderRequest(order_id="o-1", reason="tab\0bed"),
        {"reason": "got tab\\x00bed"},
    ),
    (
        "control",
        "Halt",
        control.HaltRequest(),
        {"scope": "global (true), account_id, strategy_id or symbol", "reason": "is required"},
    ),
    (
        "control",
        "Halt",
        control.HaltRequest(scope=NOT_GLOBAL, reason="r"),
        {"scope": "is required"},
    ),
    (
        "control",
        "Halt",
        control.HaltRequest(scope=control.Scope(account_id="a/b"), reason=" "),
        {"scope.account_id": "got a/b", "reason": "is required"},
    ),
    (
        "control",
        "Halt",
        control.HaltRequest(scope=control.Scope(symbol="a b"), reason="r", request_id="a b"),
        {"scope.symbol": "got a b", "request_id": "got a b"},
    ),
    (
        "control",
        "Halt",
        control.HaltRequest(
            scope=control.Scope(strategy_id=""), reason="r", mode=control.TRADING_STATE_ACTIVE
        ),
        {"scope.strategy_id": "is required", "mode": "must be HALTED or REDUCE_ONLY, got 1"},
    ),
    (
        "control",
        "Halt",
        control.HaltRequest(scope=ANY_SCOPE, reason="r", mode=99),  # type: ignore[arg-type]
        {"mode": "got 99"},
    ),
    ("control", "Resume", control.ResumeRequest(scope=ANY_SCOPE), {"reason": "is required"}),
    ("control", "GetStatus", control.GetStatusRequest(account_id="?"), {"account_id": "got ?"}),
    (
        "control",
        "ListPositions",
        control.ListPositionsRequest(page_size=-1, strategy_id="?", symbol="?"),
        {"page_size": "got -1", "strategy_id": "got ?", "symbol": "got ?"},
    ),
    ("quotes", "GetQuotes", market.GetQuotesRequest(), {"symbols": "1 to 500 symbols"}),
    (
        "quotes",
        "GetQuotes",
        market.GetQuotesRequest(symbols=["A"] * 501),
        {"symbols": "must be 1 to 500 symbols, got 501"},
    ),
    (
        "quotes",
        "GetQuotes",
        market.GetQuotesRequest(symbols=["AAPL", "", "a b"]),
        {"symbols[1]": "is required", "symbols[2]": "got a b"},
    ),
]


@pytest.mark.parametrize(
    ("service", "rpc", "request_", "expected"),
    BAD_REQUESTS,
    ids=[f"{number}-{case[1]}" for number, case in enumerate(BAD_REQUESTS)],
)
async def test_a_bad_field_of_any_request_is_named(
    api: Serving, service: str, rpc: str, request_: Any, expected: dict[str, str]
) -> None:
    error = await refusal(getattr(getattr(api, service), rpc)(request_))

    assert (error.code, error.reason) == (INVALID, "INVALID_ARGUMENT_FIELDS")
    assert set(error.violations) == set(expected)
    for field, words in expected.items():
        assert words in error.violations[field]


@pytest.mark.parametrize("after", [-1, -(2**63)])
async def test_a_stream_cannot_resume_before_the_beginning(api: Serving, after: int) -> None:
    call = api.signals.StreamOrderUpdates(pb.StreamOrderUpdatesRequest(after_sequence=after))

    error = await refusal(call.read())

    assert (error.code, list(error.violations)) == (INVALID, ["after_sequence"])


UNKNOWN_ACCOUNT: list[tuple[str, str, Any]] = [
    ("signals", "GetDecision", pb.GetDecisionRequest(account_id="mian", signal_id="s")),
    ("signals", "ListDecisions", pb.ListDecisionsRequest(account_id="mian")),
    ("signals", "GetOrder", pb.GetOrderRequest(account_id="mian", order_id="o")),
    ("signals", "ListOrders", pb.ListOrdersRequest(account_id="mian")),
    ("signals", "CancelOrder", pb.CancelOrderRequest(account_id="mian", order_id="o")),
    ("control", "GetStatus", control.GetStatusRequest(account_id="mian")),
    ("control", "ListPositions", control.ListPositionsRequest(account_id="mian")),
    (
        "control",
        "Halt",
        control.HaltRequest(scope=control.Scope(account_id="mian"), reason="r"),
    ),
    (
        "control",
        "Resume",
        control.ResumeRequest(scope=control.Scope(account_id="mian"), reason="r"),
    ),
]


@pytest.mark.parametrize(("service", "rpc", "request_"), UNKNOWN_ACCOUNT)
async def test_an_unknown_account_is_named(
    api: Serving, service: str, rpc: str, request_: Any
) -> None:
    error = await refusal(getattr(getattr(api, service), rpc)(request_))

    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND")
    assert error.metadata == {"account_id": "mian"}
