"""SignalService over a real server: submitting, streaming, finding, listing, canceling."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from tests.support.api_server import Serving, Told, a_signal, serving, told, until
from tests.support.memory_engine import MemoryEngine
from tests.support.memory_engine import filled as fill
from trade_engine.api.signal_stream import RESULTS_PER_MESSAGE_MAX, WAITING_MAX
from trade_engine.domain.decision import Outcome
from trade_engine.domain.errors import (
    EngineError,
    GateClosed,
    QueueFull,
    ShuttingDown,
    StoreUnavailable,
)
from trade_engine.domain.order import OrdStatus
from trade_engine.domain.signal import ExposureUnit, Side, Signal, TimeHorizon
from trade_engine.execution.commands import RequestIdConflict
from trade_engine.v1 import decision_pb2, order_pb2, signal_pb2
from trade_engine.v1 import signal_service_pb2 as pb

Code = grpc.StatusCode


@pytest.fixture
async def api() -> AsyncIterator[Serving]:
    async with serving() as running:
        yield running


async def submit(api: Serving, signal: signal_pb2.Signal) -> pb.SubmitSignalResponse:
    return await api.signals.SubmitSignal(pb.SubmitSignalRequest(signal=signal))


async def refusal(call: Any) -> Told:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return told(caught.value)


# ---- SubmitSignal ---------------------------------------------------------------------------


async def test_a_signal_reaches_the_engine_exact_and_its_decision_comes_back(api: Serving) -> None:
    signal = a_signal(
        confidence=0.1,
        target_exposure=-0.3,
        exposure_unit=signal_pb2.Signal.EQUITY_FRACTION,
        constraints={"max_slippage_bps": 2.5, "max_notional": 20000.07},
        create_time={"seconds": 1_700_000_000, "nanos": 123_456_789},
    )

    answer = await submit(api, signal)

    assert api.engine.submitted == [
        Signal(
            signal_id="s-1",
            account_id="main",
            strategy_id="momentum-v1",
            symbol="AAPL",
            side=Side.BUY,
            confidence=Decimal("0.1"),
            target_exposure=Decimal("-0.3"),
            time_horizon=TimeHorizon.INTRADAY,
            exposure_unit=ExposureUnit.EQUITY_FRACTION,
            max_slippage_bps=Decimal("2.5"),
            max_notional=Decimal("20000.07"),
            created_at_ns=1_700_000_000_123_456_789,
        )
    ]
    signal.account_id = "main"
    decision = answer.decision
    assert not answer.replayed
    assert decision.signal == signal
    assert (decision.account_id, decision.signal_id, decision.sequence) == ("main", "s-1", 1)
    assert decision.outcome == decision_pb2.OUTCOME_APPROVED
    assert decision.order_id == decision.order.order_id == decision.order.cl_ord_id
    assert decision.order.ord_status == order_pb2.ORD_STATUS_PENDING_NEW
    assert decision.sizing.order_notional == "15025"
    assert [check.projected for check in decision.checks] == ["15000.5"] * 8


async def test_the_json_of_the_contract_is_a_signal(api: Serving) -> None:
    written = """{"signal_id": "s-1", "strategy_id": "momentum-v1", "symbol": "AAPL",
        "side": "BUY", "confidence": 0.82, "target_exposure": 15000, "time_horizon": "INTRADAY",
        "constraints": {"max_slippage_bps": 10, "max_notional": 20000}}"""
    request = json_format.Parse(
        json.dumps({"signal": json.loads(written)}), pb.SubmitSignalRequest()
    )

    answer = await api.signals.SubmitSignal(request)

    assert answer.decision.outcome == decision_pb2.OUTCOME_APPROVED
    assert api.engine.submitted[0].max_slippage_bps == 10


async def test_the_first_decision_comes_again(api: Serving) -> None:
    first = await submit(api, a_signal())

    again = await submit(api, a_signal())

    assert again.replayed
    assert again.decision == first.decision


async def test_other_content_under_the_same_id_is_told_what_differs(api: Serving) -> None:
    await submit(api, a_signal())

    error = await refusal(submit(api, a_signal(side=signal_pb2.Signal.SELL, target_exposure=-1.0)))

    assert (error.code, error.reason) == (Code.ALREADY_EXISTS, "SIGNAL_ID_CONFLICT")
    assert error.metadata == {"signal_id": "s-1", "differs": "side,target_exposure"}


FAILURES: list[tuple[BaseException, Code, str, int | None]] = [
    (GateClosed("rebuilding", gate_reason="rebuilding"), Code.UNAVAILABLE, "GATE_CLOSED", 250),
    (QueueFull("full", queued="9"), Code.RESOURCE_EXHAUSTED, "QUEUE_FULL", 50),
    (ShuttingDown("stopping"), Code.UNAVAILABLE, "SHUTTING_DOWN", 500),
    (StoreUnavailable("no answer", store="redis"), Code.UNAVAILABLE, "STORE_UNAVAILABLE", 1000),
    (RequestIdConflict("r-1"), Code.ALREADY_EXISTS, "REQUEST_ID_CONFLICT", None),
    (EngineError("odd"), Code.INTERNAL, "ENGINE_ERROR", None),
    (ZeroDivisionError("secret"), Code.INTERNAL, "INTERNAL", None),
    (asyncio.CancelledError(), Code.UNAVAILABLE, "SHUTTING_DOWN", 500),
]


@pytest.mark.parametrize(("failure", "code", "reason", "retry_ms"), FAILURES)
async def test_what_the_engine_raises_is_told_by_its_status(
    api: Serving, failure: BaseException, code: Code, reason: str, retry_ms: int | None
) -> None:
    api.engine.failure = failure

    error = await refusal(api.signals.SubmitSignal(
        pb.SubmitSignalRequest(signal=a_signal()), timeout=5  # it must come long before
    ))  # fmt: skip

    assert (error.code, error.reason, error.retry_ms) == (code, reason, retry_ms)
    assert "secret" not in error.message
    if isinstance(failure, EngineError):
        assert error.metadata == failure.metadata
    if isinstance(failure, ZeroDivisionError):
        assert error.metadata == {"incident_id": "incident-1"}
    assert api.count("SubmitSignal", code.name) == 1


async def test_evaluating_has_no_order_and_no_sequence(api: Serving) -> None:
    answer = await api.signals.EvaluateSignal(pb.EvaluateSignalRequest(signal=a_signal()))

    assert answer.decision.sequence == 0
    assert not answer.decision.HasField("order")
    assert answer.decision.order_id == ""
    assert api.engine.submitted == []


# ---- SubmitSignals --------------------------------------------------------------------------


def batch(*signals: signal_pb2.Signal) -> pb.SubmitSignalsRequest:
    return pb.SubmitSignalsRequest(signals=signals)


async def test_every_signal_of_a_stream_gets_one_result(api: Serving) -> None:
    async def requests() -> AsyncIterator[pb.SubmitSignalsRequest]:
        for number in range(300):
            yield batch(*(a_signal(f"s-{number}-{part}") for part in range(number % 4)))

    results = [
        result
        async for response in api.signals.SubmitSignals(requests())
        for result in response.results
    ]

    sent = [f"s-{number}-{part}" for number in range(300) for part in range(number % 4)]
    assert sorted(result.signal_id for result in results) == sorted(sent)
    assert all(result.decision.signal_id == result.signal_id for result in results)
    # Decided in the order of the stream, whatever the order of the answers.
    assert [signal.signal_id for signal in api.engine.submitted] == sent


async def test_many_signals_are_in_flight_and_answers_that_are_ready_come_together(
    api: Serving,
) -> None:
    api.engine.gate = asyncio.Event()
    call = api.signals.SubmitSignals()
    for number in range(250):
        await call.write(batch(a_signal(f"s-{number}")))
    await until(lambda: len(api.engine.submitted) == 250)
    api.engine.gate.set()
    await call.done_writing()

    sizes = [len(response.results) async for response in call]

    assert sum(sizes) == 250
    assert max(sizes) <= RESULTS_PER_MESSAGE_MAX
    assert len(sizes) <= 10


async def test_an_error_of_one_signal_leaves_the_stream_going(api: Serving) -> None:
    await submit(api, a_signal("taken"))
    call = api.signals.SubmitSignals()
    await call.write(
        batch(
            a_signal("good"),
            a_signal("taken", side=signal_pb2.Signal.SELL),
            a_signal("taken"),
            a_signal("bad", confidence=2.0, symbol=None),
            a_signal("mian", account_id="mian"),
            a_signal(None),  # type: ignore[arg-type]
        )
    )
    await call.done_writing()
    results = {result.signal_id: result async for one in call for result in one.results}
    results_of_taken = [
        result
        async for one in api.signals.SubmitSignals(iter([batch(a_signal("taken"))]))
        for result in one.results
    ]

    assert results["good"].decision.outcome == decision_pb2.OUTCOME_APPROVED
    assert results["bad"].error.code == Code.INVALID_ARGUMENT.value[0]
    assert results["bad"].error.reason == "INVALID_ARGUMENT_FIELDS"
    assert {each.field: each.description for each in results["bad"].error.field_violations} == {
        "symbol": "is required: 1 to 32 characters of A-Z a-z 0-9 . _ - /, the first a letter or "
        "digit",
        "confidence": "must be between 0 and 1, got 2.0",
    }
    assert results["mian"].error.reason == "ACCOUNT_NOT_FOUND"
    assert results[""].error.field_violations[0].field == "signal_id"
    assert results_of_taken[0].replayed


async def test_a_conflict_on_a_stream_tells_what_the_call_would(api: Serving) -> None:
    await submit(api, a_signal("taken"))
    other = a_signal("taken", side=signal_pb2.Signal.SELL)
    alone = await refusal(submit(api, other))

    [response] = [one async for one in api.signals.SubmitSignals(iter([batch(other)]))]

    error = response.results[0].error
    assert (error.code, error.reason) == (alone.code.value[0], alone.reason)
    assert (error.message, dict(error.metadata)) == (alone.message, alone.metadata)


@pytest.mark.parametrize(("failure", "code", "reason", "retry_ms"), FAILURES)
async def test_a_failure_on_a_stream_is_that_signals_error(
    api: Serving, failure: BaseException, code: Code, reason: str, retry_ms: int | None
) -> None:
    api.engine.failure = failure

    [response] = [one async for one in api.signals.SubmitSignals(iter([batch(a_signal())]))]

    error = response.results[0].error
    assert (error.code, error.reason) == (code.value[0], reason)
    assert error.metadata.get("retry_delay_ms") == (str(retry_ms) if retry_ms else None)
    assert "secret" not in error.message


async def test_reading_stops_while_too_many_answers_wait(api: Serving) -> None:
    """A client that sends for ever and does not read is held back, and loses nothing."""
    total = 6 * WAITING_MAX
    per_message = 64
    call = api.signals.SubmitSignals()

    async def send() -> None:
        for start in range(0, total, per_message):
            ids = range(start, start + per_message)
            await call.write(batch(*(a_signal(f"s-{number}") for number in ids)))
        await call.done_writing()

    api.engine.gate = asyncio.Event()  # nothing is answered at first
    sending = asyncio.create_task(send())
    async with asyncio.timeout(20):
        while len(api.engine.submitted) < WAITING_MAX:  # noqa: ASYNC110  a list has no event
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)  # time enough to read on, were it not for the bound
    assert len(api.engine.submitted) < WAITING_MAX + per_message
    api.engine.gate.set()
    results = [result.signal_id async for one in call for result in one.results]
    await sending

    assert sorted(results) == sorted(f"s-{number}" for number in range(total))


async def test_a_client_that_reads_nothing_at_all_stops_only_itself(api: Serving) -> None:
    idle = api.signals.SubmitSignals()

    async def flood() -> None:
        number = 0
        while True:
            await idle.write(batch(*(a_signal(f"f-{number + part}") for part in range(50))))
            number += 50

    flooding = asyncio.create_task(flood())
    seen = -1
    while len(api.engine.submitted) != seen:  # until the flood has run dry
        seen = len(api.engine.submitted)
        await asyncio.sleep(0.3)

    answer = await submit(api, a_signal("other"))

    assert answer.decision.outcome == decision_pb2.OUTCOME_APPROVED
    flooding.cancel()
    idle.cancel()


# ---- finding and listing --------------------------------------------------------------------


async def test_a_decision_and_its_order_are_found_by_their_ids(api: Serving) -> None:
    made = (await submit(api, a_signal())).decision

    found = await api.signals.GetDecision(pb.GetDecisionRequest(signal_id="s-1"))
    order = await api.signals.GetOrder(pb.GetOrderRequest(order_id=made.order_id))

    assert found.decision == made
    assert order.order == made.order


async def test_what_is_not_there_is_not_found(api: Serving) -> None:
    decision = await refusal(api.signals.GetDecision(pb.GetDecisionRequest(signal_id="s-9")))
    order = await refusal(api.signals.GetOrder(pb.GetOrderRequest(order_id="o-9")))

    assert (decision.code, decision.reason) == (Code.NOT_FOUND, "DECISION_NOT_FOUND")
    assert decision.metadata == {"account_id": "main", "signal_id": "s-9"}
    assert (order.code, order.reason) == (Code.NOT_FOUND, "ORDER_NOT_FOUND")
    assert order.metadata == {"account_id": "main", "order_id": "o-9"}


async def test_a_record_that_does_not_answer_is_told(api: Serving) -> None:
    api.engine.record.failure = StoreUnavailable("PostgreSQL does not answer", store="postgres")

    error = await refusal(api.signals.GetDecision(pb.GetDecisionRequest(signal_id="s-1")))

    assert (error.code, error.reason) == (Code.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert error.metadata == {"store": "postgres"}


@pytest.fixture
async def filled(api: Serving) -> Serving:
    for number in range(450):
        strategy = ("momentum-v1", "pairs")[number % 3 == 0]
        symbol = ("AAPL", "MSFT")[number % 2]
        await submit(api, a_signal(f"s-{number}", strategy_id=strategy, symbol=symbol))
    return api


async def list_all(method: Any, request: Any, items: str) -> tuple[list[Any], list[int]]:
    found: list[Any] = []
    sizes = []
    while True:
        page = await method(request)
        found += getattr(page, items)
        sizes.append(len(getattr(page, items)))
        if not page.next_page_token:
            return found, sizes
        request.page_token = page.next_page_token


async def test_decisions_page_newest_first(filled: Serving) -> None:
    signals = filled.signals
    found, sizes = await list_all(signals.ListDecisions, pb.ListDecisionsRequest(), "decisions")

    assert [decision.sequence for decision in found] == list(range(450, 0, -1))
    assert sizes == [50] * 9


@pytest.mark.parametrize(
    ("page_size", "sizes"),
    [(100, [100] * 4 + [50]), (200, [200, 200, 50]), (2**31 - 1, [200, 200, 50])],
)
async def test_the_size_of_a_page_is_bounded(
    filled: Serving, page_size: int, sizes: list[int]
) -> None:
    request = pb.ListOrdersRequest(page_size=page_size)

    found, given = await list_all(filled.signals.ListOrders, request, "orders")

    assert given == sizes
    assert len({order.order_id for order in found}) == 450
    times = [order.create_time.ToNanoseconds() for order in found]
    assert times == sorted(times, reverse=True)


async def test_what_is_added_while_paging_makes_nothing_appear_twice(filled: Serving) -> None:
    first = await filled.signals.ListDecisions(pb.ListDecisionsRequest(page_size=20))
    await submit(filled, a_signal("late"))

    second = await filled.signals.ListDecisions(
        pb.ListDecisionsRequest(page_size=20, page_token=first.next_page_token)
    )

    assert [decision.sequence for decision in second.decisions] == list(range(430, 410, -1))


async def test_lists_are_filtered(filled: Serving) -> None:
    signals = filled.signals
    wanted = pb.ListDecisionsRequest(
        strategy_id="pairs", symbol="MSFT", outcome=decision_pb2.OUTCOME_APPROVED, page_size=200
    )
    found, _ = await list_all(signals.ListDecisions, wanted, "decisions")
    rejected = await signals.ListDecisions(
        pb.ListDecisionsRequest(outcome=decision_pb2.OUTCOME_REJECTED)
    )
    orders, _ = await list_all(signals.ListOrders, pb.ListOrdersRequest(symbol="MSFT"), "orders")

    assert len(found) == 75
    assert {(each.signal.strategy_id, each.signal.symbol) for each in found} == {("pairs", "MSFT")}
    assert not rejected.decisions
    assert len(orders) == 225


async def test_open_orders_are_listed_alone(filled: Serving) -> None:
    for order in list(filled.engine.record.orders.values())[10:]:
        fill(order, "e-1")

    answer = await filled.signals.ListOrders(pb.ListOrdersRequest(open_only=True))

    assert len(answer.orders) == 10


async def test_a_token_of_another_filter_is_refused(filled: Serving) -> None:
    signals = filled.signals
    token = (await signals.ListDecisions(pb.ListDecisionsRequest())).next_page_token
    others = [
        pb.ListDecisionsRequest(page_token=token, symbol="AAPL"),
        pb.ListDecisionsRequest(page_token=token, account_id="second"),
        pb.ListDecisionsRequest(page_token=token, outcome=decision_pb2.OUTCOME_REJECTED),
        pb.ListDecisionsRequest(page_token=token[:-1]),
    ]

    errors = [await refusal(signals.ListDecisions(other)) for other in others]
    errors.append(await refusal(signals.ListOrders(pb.ListOrdersRequest(page_token=token))))

    assert [list(error.violations) for error in errors] == [["page_token"]] * 5
    # The size may change between pages, and an account be named that was the default.
    more = await signals.ListDecisions(
        pb.ListDecisionsRequest(page_token=token, account_id="main", page_size=7)
    )
    assert len(more.decisions) == 7


# ---- CancelOrder ----------------------------------------------------------------------------


async def test_a_cancel_names_who_and_why(api: Serving) -> None:
    made = (await submit(api, a_signal())).decision
    request = pb.CancelOrderRequest(
        order_id=made.order_id, request_id="r-1", reason="fat finger, naïvely"
    )

    answer = await api.signals.CancelOrder(request)

    assert answer.order.ord_status == order_pb2.ORD_STATUS_PENDING_CANCEL
    assert api.engine.cancels == [
        ("main", made.order_id, "r-1", "fat finger, naïvely", "anonymous")
    ]


async def test_an_order_that_is_done_cannot_be_canceled(api: Serving) -> None:
    made = (await submit(api, a_signal())).decision
    fill(api.engine.record.orders[made.order_id], "e-1")

    error = await refusal(api.signals.CancelOrder(pb.CancelOrderRequest(order_id=made.order_id)))

    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "ORDER_NOT_OPEN")
    assert error.metadata == {"order_id": made.order_id, "ord_status": "FILLED"}


async def test_a_cancel_goes_on_when_its_client_has_gone() -> None:
    async with serving(MemoryEngine()) as api:
        made = (await submit(api, a_signal())).decision
        api.engine.gate = asyncio.Event()
        with pytest.raises(grpc.aio.AioRpcError):
            await api.signals.CancelOrder(
                pb.CancelOrderRequest(order_id=made.order_id), timeout=0.1
            )
        await until(lambda: api.count("CancelOrder", "CANCELLED"))
        api.engine.gate.set()

        order = api.engine.record.orders[made.order_id]
        await until(lambda: order.ord_status is OrdStatus.PENDING_CANCEL)


def test_every_outcome_can_be_asked_for() -> None:
    names = {name.removeprefix("OUTCOME_") for name in decision_pb2.Outcome.keys()}  # noqa: SIM118

    assert names - {"UNSPECIFIED"} == {outcome.name for outcome in Outcome}
