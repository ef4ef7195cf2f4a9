"""The synchronous client against a channel in memory: what it sends, again and when it gives up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

import grpc
import grpc_testing
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from trade_engine.client import (
    Decision,
    Order,
    OrderSnapshot,
    OrderUpdate,
    Outcome,
    RetryPolicy,
    SnapshotEnd,
    TradeEngineClient,
    TradeEngineError,
)
from trade_engine.v1 import (
    control_service_pb2,
    market_data_service_pb2,
    signal_service_pb2,
)

SIGNALS = signal_service_pb2.DESCRIPTOR.services_by_name["SignalService"]
CONTROL = control_service_pb2.DESCRIPTOR.services_by_name["ControlService"]
QUOTES = market_data_service_pb2.DESCRIPTOR.services_by_name["MarketDataService"]
SUBMIT = SIGNALS.methods_by_name["SubmitSignal"]
WATCH = SIGNALS.methods_by_name["StreamOrderUpdates"]
A_SIGNAL = {"strategy_id": "momentum-v1", "symbol": "AAPL", "side": "BUY"}


class Rig:
    """A client whose channel is in memory, whose sleeps are recorded, and whose ids are counted."""

    def __init__(self) -> None:
        self.channel = grpc_testing.channel(
            [SIGNALS, CONTROL, QUOTES], grpc_testing.strict_real_time()
        )
        self.slept: list[float] = []
        self.now = 100.0
        self._ids = 0
        self.client = TradeEngineClient(
            channel=self.channel,
            account_id="main",
            policy=RetryPolicy(timeout_s=5, retry_for_s=10, backoff_s=0.1, backoff_s_max=1),
            clock=lambda: self.now,
            now_ns=lambda: 1_700_000_000_000_000_000,
            sleep=self._sleep,
            new_id=self._new_id,
        )

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def _new_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids}"

    def begin(self, call: Callable[[], Any]) -> Future[Any]:
        """Make a call in a thread that holds up nobody, should its answer never come."""
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(call())
            except Exception as error:  # noqa: BLE001  the test's to look at
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future

    def answer(
        self,
        method: Any,
        response: Message | None,
        code: grpc.StatusCode = grpc.StatusCode.OK,
        details: str = "",
        trailing: tuple[Any, ...] = (),
    ) -> Any:
        """Take the next call of a method, answer it, and return its request."""
        _, request, rpc = self.channel.take_unary_unary(method)
        rpc.send_initial_metadata(())
        rpc.terminate(response, trailing, code, details)
        return request

    def refuse(self, method: Any, code: grpc.StatusCode, message: str, *details: Message) -> Any:
        """The same with an error in the engine's form."""
        status = rpc_status.to_status(status_of(code, message, *details))
        return self.answer(method, None, code, message, tuple(status.trailing_metadata))


def status_of(code: grpc.StatusCode, message: str, *details: Message) -> Status:
    packed = []
    for detail in details:
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    return Status(code=code.value[0], message=message, details=packed)


def retry_info(seconds: float) -> RetryInfo:
    info = RetryInfo()
    info.retry_delay.FromMilliseconds(round(seconds * 1000))
    return info


@pytest.fixture
def rig() -> Rig:
    return Rig()


def decided(signal_id: str) -> signal_service_pb2.SubmitSignalResponse:
    return signal_service_pb2.SubmitSignalResponse(
        decision=Decision(signal_id=signal_id, outcome=Outcome.Value("OUTCOME_APPROVED"))
    )


def test_a_signal_gets_an_id_and_the_account(rig: Rig) -> None:
    call = rig.begin(lambda: rig.client.submit(A_SIGNAL, confidence=0.5))
    request = rig.answer(SUBMIT, decided("id-1"))
    assert (request.signal.signal_id, request.signal.account_id) == ("id-1", "main")
    assert request.signal.confidence == 0.5
    done = call.result(5)
    assert (done.signal_id, done.approved, done.replayed) == ("id-1", True, False)
    assert rig.slept == []


def test_what_the_caller_named_stays(rig: Rig) -> None:
    call = rig.begin(lambda: rig.client.submit(A_SIGNAL, signal_id="mine", account_id="other"))
    request = rig.answer(SUBMIT, decided("mine"))
    assert (request.signal.signal_id, request.signal.account_id) == ("mine", "other")
    assert call.result(5).signal_id == "mine"


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_a_lost_call_is_made_again_under_the_same_id(rig: Rig, code: grpc.StatusCode) -> None:
    call = rig.begin(lambda: rig.client.submit(A_SIGNAL))
    first = rig.answer(SUBMIT, None, code, "gone")
    second = rig.answer(SUBMIT, None, code, "gone")
    third = rig.answer(SUBMIT, decided("id-1"))
    assert first == second == third
    assert call.result(5).signal_id == "id-1"
    assert len(rig.slept) == 2


def test_it_waits_what_the_engine_asks_for(rig: Rig) -> None:
    call = rig.begin(lambda: rig.client.submit(A_SIGNAL))
    info = ErrorInfo(reason="QUEUE_FULL", domain="trade-engine")
    rig.refuse(SUBMIT, grpc.StatusCode.RESOURCE_EXHAUSTED, "full", info, retry_info(0.4))
    rig.answer(SUBMIT, decided("id-1"))
    call.result(5)
    assert len(rig.slept) == 1
    assert 0.4 <= rig.slept[0] <= 0.5


def test_it_gives_up_when_its_time_is_over(rig: Rig) -> None:
    call = rig.begin(lambda: rig.client.submit(A_SIGNAL))
    info = ErrorInfo(reason="GATE_CLOSED", metadata={"gate_reason": "rebuilding"})
    for _ in range(3):
        rig.refuse(SUBMIT, grpc.StatusCode.UNAVAILABLE, "closed", info, retry_info(4))
    with pytest.raises(TradeEngineError) as caught:
        call.result(5)
    assert caught.value.reason == "GATE_CLOSED"
    assert sum(rig.slept) < 10


def test_an_error_is_read_whole_and_not_tried_again(rig: Rig) -> None:
    call = rig.begin(lambda: rig.client.submit(A_SIGNAL))
    rig.refuse(
        SUBMIT,
        grpc.StatusCode.INVALID_ARGUMENT,
        "signal.side: is required",
        ErrorInfo(reason="INVALID_ARGUMENT_FIELDS", metadata={"a": "b"}),
        BadRequest(field_violations=[{"field": "signal.side", "description": "is required"}]),
    )
    with pytest.raises(TradeEngineError, match=r"INVALID_ARGUMENT_FIELDS: signal\.side") as caught:
        call.result(5)
    error = caught.value
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.metadata == {"a": "b"}
    assert error.field_violations == (("signal.side", "is required"),)
    assert error.retry_after_s is None
    assert rig.slept == []


def test_a_conflict_is_not_tried_again(rig: Rig) -> None:
    call = rig.begin(lambda: rig.client.submit(A_SIGNAL))
    info = ErrorInfo(reason="SIGNAL_ID_CONFLICT", metadata={"differs": "side"})
    rig.refuse(SUBMIT, grpc.StatusCode.ALREADY_EXISTS, "differs", info)
    with pytest.raises(TradeEngineError) as caught:
        call.result(5)
    assert caught.value.metadata["differs"] == "side"


def test_an_error_of_the_connection_names_the_target(rig: Rig) -> None:
    call = rig.begin(rig.client.status)
    _, _, rpc = rig.channel.take_unary_unary(CONTROL.methods_by_name["GetStatus"])
    rig.now += 10
    rpc.send_initial_metadata(())
    rpc.terminate(None, (), grpc.StatusCode.UNAVAILABLE, "no")
    with pytest.raises(
        TradeEngineError, match=r"no engine answers at 127\.0\.0\.1:50051"
    ) as caught:
        call.result(5)
    assert caught.value.reason == "UNAVAILABLE"


def test_pages_are_fetched_until_the_last(rig: Rig) -> None:
    call = rig.begin(lambda: list(rig.client.list_orders(symbol="AAPL", page_size=2)))
    method = SIGNALS.methods_by_name["ListOrders"]
    page = signal_service_pb2.ListOrdersResponse
    first = rig.answer(
        method, page(orders=[Order(order_id="o-1"), Order(order_id="o-2")], next_page_token="t")
    )
    second = rig.answer(method, page(orders=[Order(order_id="o-3")]))
    assert (first.page_token, second.page_token) == ("", "t")
    assert (second.symbol, second.page_size, second.account_id) == ("AAPL", 2, "main")
    assert [order.order_id for order in call.result(5)] == ["o-1", "o-2", "o-3"]


def test_a_cancel_is_sent_again_under_the_same_request_id(rig: Rig) -> None:
    call = rig.begin(lambda: rig.client.cancel_order("o-1", reason="late"))
    method = SIGNALS.methods_by_name["CancelOrder"]
    first = rig.answer(method, None, grpc.StatusCode.UNAVAILABLE, "gone")
    second = rig.answer(method, signal_service_pb2.CancelOrderResponse(order=Order(order_id="o-1")))
    assert first == second
    assert (first.request_id, first.reason) == ("id-1", "late")
    assert call.result(5).order_id == "o-1"


def test_a_halt_says_its_scope_and_mode(rig: Rig) -> None:
    call = rig.begin(lambda: rig.client.halt({"global": True}, "feed", cancel_open_orders=True))
    request = rig.answer(CONTROL.methods_by_name["Halt"], control_service_pb2.HaltResponse())
    call.result(5)
    assert request.scope.WhichOneof("kind") == "global"
    assert request.mode == control_service_pb2.TRADING_STATE_HALTED
    assert (request.reason, request.cancel_open_orders, request.request_id) == (
        "feed",
        True,
        "id-1",
    )


def test_a_resume_says_override(rig: Rig) -> None:
    call = rig.begin(lambda: rig.client.resume({"symbol": "AAPL"}, "fine", override=True))
    request = rig.answer(CONTROL.methods_by_name["Resume"], control_service_pb2.ResumeResponse())
    call.result(5)
    assert (request.scope.symbol, request.override, request.request_id) == ("AAPL", True, "id-1")


def test_a_watch_resumes_after_the_last_update_and_repeats_none(rig: Rig) -> None:
    events = rig.client.watch(symbol="AAPL")
    received: SimpleQueue[Any] = SimpleQueue()

    def read(count: int) -> None:
        for _ in range(count):
            received.put(next(events))

    def message(**item: Any) -> signal_service_pb2.StreamOrderUpdatesResponse:
        return signal_service_pb2.StreamOrderUpdatesResponse(**item)

    call = rig.begin(lambda: read(5))
    _, request, stream = rig.channel.take_unary_stream(WATCH)
    assert not request.HasField("after_sequence")
    stream.send_initial_metadata(())
    stream.send_response(message(snapshot={"order": {"order_id": "o-1"}}))
    stream.send_response(message(snapshot_end={"sequence": 4, "count": 1}))
    stream.send_response(message(updates={"updates": [{"sequence": 5}, {"sequence": 6}]}))
    # The channel in memory forgets what was not read when its call ends.
    seen = [received.get(timeout=5) for _ in range(4)]
    lagged = ErrorInfo(reason="SUBSCRIBER_LAGGED", metadata={"resume_sequence": "9"})
    details = rpc_status.to_status(
        status_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "lagged", lagged)
    ).trailing_metadata
    stream.terminate(tuple(details), grpc.StatusCode.RESOURCE_EXHAUSTED, "lagged")
    _, request, stream = rig.channel.take_unary_stream(WATCH)
    assert request.after_sequence == 6
    assert request.symbol == "AAPL"
    stream.send_initial_metadata(())
    stream.send_response(message(updates={"updates": [{"sequence": 6}, {"sequence": 8}]}))
    call.result(5)
    seen.append(received.get(timeout=5))
    assert [type(each) for each in seen] == [OrderSnapshot, SnapshotEnd, *[OrderUpdate] * 3]
    assert [each.sequence for each in seen[2:]] == [5, 6, 8]


def test_a_watch_ends_with_what_cannot_be_resumed(rig: Rig) -> None:
    call = rig.begin(lambda: next(rig.client.watch(after_sequence=900)))
    _, request, stream = rig.channel.take_unary_stream(WATCH)
    assert request.after_sequence == 900
    stream.send_initial_metadata(())
    stream.terminate((), grpc.StatusCode.OUT_OF_RANGE, "ahead")
    with pytest.raises(TradeEngineError) as caught:
        call.result(5)
    assert caught.value.code is grpc.StatusCode.OUT_OF_RANGE


def test_a_channel_that_was_given_stays_open(rig: Rig) -> None:
    with rig.client:
        pass
    call = rig.begin(lambda: rig.client.submit(A_SIGNAL))
    rig.answer(SUBMIT, decided("id-1"))
    assert call.result(5).approved
