"""The client for programs without an event loop."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from tenacity import Retrying

from trade_engine.client import calls
from trade_engine.client.calls import CHANNEL_OPTIONS, Call, Pages, Stubs
from trade_engine.client.errors import TradeEngineError, ended_early, nobody_answers
from trade_engine.client.flight import Flight
from trade_engine.client.messages import (
    QuoteLike,
    ScopeLike,
    SignalLike,
    quote_of,
    signal_of,
    wall_clock_ns,
    with_id,
)
from trade_engine.client.results import Result, Submitted
from trade_engine.client.retrying import Attempts, Clock, RetryPolicy
from trade_engine.client.watching import Event, Watch
from trade_engine.v1 import (
    control_service_pb2,
    decision_pb2,
    market_data_service_pb2,
    order_pb2,
    portfolio_pb2,
    signal_service_pb2,
)

T = TypeVar("T")


class TradeEngineClient:
    """Calls to one engine, each made until it has an answer or its time is up.

    Every call raises TradeEngineError. What changes something is sent again under the same id, so
    that it happens once. Safe to use from several threads; close it, or use it in a `with`.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:50051",
        *,
        timeout_s: float = 5,
        channel: grpc.Channel | None = None,
        account_id: str = "",
        policy: RetryPolicy | None = None,
        clock: Clock = time.monotonic,
        now_ns: Callable[[], int] = wall_clock_ns,
        sleep: Callable[[float], None] = time.sleep,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        """Connect at the first call.

        timeout_s is one attempt's; policy says more, and replaces it. A channel given is used as it
        is, and left open. account_id is that of signals and calls that name none.
        """
        self._target = target
        self._policy = policy or RetryPolicy(timeout_s=timeout_s, retry_for_s=4 * timeout_s)
        self._account_id = account_id
        self._clock = clock
        self._now_ns = now_ns
        self._sleep = sleep
        self._new_id = new_id
        self._owned = None
        if channel is None:
            channel = self._owned = grpc.insecure_channel(target, CHANNEL_OPTIONS)
        self._channel = channel
        self._stubs = Stubs(channel)

    def connect(self, timeout_s: float) -> None:
        """Connect now instead of at the first call; for whoever wants to know at once.

        Raises:
            TradeEngineError: UNAVAILABLE, nobody answers.
        """
        try:
            grpc.channel_ready_future(self._channel).result(timeout_s)
        except grpc.FutureTimeoutError:
            raise nobody_answers(self._target) from None

    def close(self) -> None:
        """Close the connection, unless it was given."""
        if self._owned is not None:
            self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    # ---- signals ----------------------------------------------------------------------------

    def submit(self, signal: SignalLike | None = None, /, **fields: Any) -> Submitted:
        """Submit a signal and wait for its decision; a REJECTED one is an answer, not an error.

        Give a message, its JSON form, or its fields by name; fields replace what the signal has.
        Without a signal_id it gets one, which the result tells.
        """
        return self._call(calls.submit(self._signal(signal, fields)))

    def submit_many(
        self, signals: Iterable[SignalLike], *, in_flight_max: int = 256
    ) -> Iterator[Result]:
        """Submit signals over one stream; yields results as they come, in no promised order.

        `signals` is read in a thread of its own, so it may wait for the world. What the engine
        cannot decide comes out as Failed; what raises is only what ends all of it.
        """
        flight = Flight(self._policy, self._clock, in_flight_max)
        feed = _Feed(flight, lambda given: self._signal(given, {}))
        feed.start(signals)
        attempts = Attempts(self._policy, self._clock)
        try:
            while not feed.finished:
                stream = self._stubs.signals.SubmitSignals(feed.requests())
                try:
                    for message in stream:
                        attempts.begin_again()
                        yield from feed.take(message)
                    if not feed.finished:
                        self._pause(attempts, ended_early())
                except grpc.RpcError as error:
                    self._pause(attempts, TradeEngineError.from_call(error, self._target))
                finally:
                    stream.cancel()
        finally:
            feed.close()
        if feed.fault is not None:
            raise feed.fault

    def evaluate(self, signal: SignalLike | None = None, /, **fields: Any) -> decision_pb2.Decision:
        """Ask what `submit` would decide now; nothing is written."""
        return self._call(calls.evaluate(self._signal(signal, fields)))

    def get_decision(self, signal_id: str, *, account_id: str = "") -> decision_pb2.Decision:
        """The decision on a signal."""
        return self._call(calls.get_decision(account_id or self._account_id, signal_id))

    def list_decisions(
        self,
        *,
        strategy_id: str = "",
        symbol: str = "",
        outcome: decision_pb2.Outcome.ValueType = decision_pb2.OUTCOME_UNSPECIFIED,
        account_id: str = "",
        page_size: int = 0,
    ) -> Iterator[decision_pb2.Decision]:
        """Decisions, newest first, fetched a page at a time."""
        account_id = account_id or self._account_id
        return self._list(calls.list_decisions(account_id, strategy_id, symbol, outcome, page_size))

    # ---- orders -----------------------------------------------------------------------------

    def get_order(self, order_id: str, *, account_id: str = "") -> order_pb2.Order:
        """An order as it stands now."""
        return self._call(calls.get_order(account_id or self._account_id, order_id))

    def list_orders(
        self,
        *,
        strategy_id: str = "",
        symbol: str = "",
        open_only: bool = False,
        account_id: str = "",
        page_size: int = 0,
    ) -> Iterator[order_pb2.Order]:
        """Orders, newest first, fetched a page at a time."""
        account_id = account_id or self._account_id
        return self._list(
            calls.list_orders(
                account_id, strategy_id, symbol, open_only=open_only, page_size=page_size
            )
        )

    def cancel_order(
        self, order_id: str, *, reason: str = "", account_id: str = "", request_id: str = ""
    ) -> order_pb2.Order:
        """Ask for an order to be canceled; it may still fill while PENDING_CANCEL."""
        account_id = account_id or self._account_id
        request_id = request_id or self._new_id()
        return self._call(calls.cancel_order(account_id, order_id, reason, request_id))

    def watch(
        self,
        *,
        strategy_id: str = "",
        symbol: str = "",
        account_id: str = "",
        after_sequence: int | None = None,
    ) -> Iterator[Event]:
        """Follow orders without an end: OrderSnapshot of each open one, SnapshotEnd, OrderUpdate.

        With after_sequence, no snapshot and every update after it. A broken or lagging stream is
        resumed by itself, and each update is yielded once.
        """
        watch = Watch(account_id or self._account_id, strategy_id, symbol, after_sequence)
        attempts = Attempts(self._policy, self._clock)
        while True:
            stream = self._stubs.signals.StreamOrderUpdates(watch.request())
            try:
                for message in stream:
                    attempts.begin_again()
                    yield from watch.take(message)
                self._pause(attempts, ended_early())
            except grpc.RpcError as error:
                told = TradeEngineError.from_call(error, self._target)
                self._pause(attempts, watch.resumable(told))
            finally:
                stream.cancel()

    # ---- quotes -----------------------------------------------------------------------------

    def publish_quotes(
        self, quotes: Iterable[QuoteLike]
    ) -> market_data_service_pb2.PublishQuotesResponse:
        """Publish quotes, messages or JSON forms; one without a quote_time is of now."""
        return self._call(calls.publish_quotes(quote_of(each, self._now_ns()) for each in quotes))

    def get_quotes(self, symbols: Iterable[str]) -> market_data_service_pb2.GetQuotesResponse:
        """The latest quotes, and the symbols without one."""
        return self._call(calls.get_quotes(symbols))

    # ---- control ----------------------------------------------------------------------------

    def positions(
        self,
        *,
        strategy_id: str = "",
        symbol: str = "",
        account_id: str = "",
        page_size: int = 0,
    ) -> Iterator[portfolio_pb2.Position]:
        """Positions by strategy and symbol, fetched a page at a time."""
        account_id = account_id or self._account_id
        return self._list(calls.list_positions(account_id, strategy_id, symbol, page_size))

    def halt(
        self,
        scope: ScopeLike,
        reason: str,
        *,
        mode: control_service_pb2.TradingState.ValueType = control_service_pb2.TRADING_STATE_HALTED,
        cancel_open_orders: bool = False,
        request_id: str = "",
    ) -> control_service_pb2.HaltResponse:
        """Stop a scope, such as {"global": True}; if this raises, take it for not halted."""
        request_id = request_id or self._new_id()
        return self._call(
            calls.halt(
                scope, reason, mode, cancel_open_orders=cancel_open_orders, request_id=request_id
            )
        )

    def resume(
        self, scope: ScopeLike, reason: str, *, override: bool = False, request_id: str = ""
    ) -> control_service_pb2.ResumeResponse:
        """Take back the halt of exactly this scope."""
        request_id = request_id or self._new_id()
        return self._call(calls.resume(scope, reason, override=override, request_id=request_id))

    def cancel_all_orders(
        self, scope: ScopeLike, reason: str, *, request_id: str = ""
    ) -> control_service_pb2.CancelAllOrdersResponse:
        """Cancel every open order of a scope; its trading state stays as it is."""
        request_id = request_id or self._new_id()
        return self._call(calls.cancel_all_orders(scope, reason, request_id=request_id))

    def flatten_positions(
        self, scope: ScopeLike, reason: str, *, request_id: str = ""
    ) -> control_service_pb2.FlattenPositionsResponse:
        """Close every position of a scope that is not halted."""
        request_id = request_id or self._new_id()
        return self._call(calls.flatten_positions(scope, reason, request_id=request_id))

    def accept_difference(
        self, difference_id: str, reason: str, *, account_id: str = "", request_id: str = ""
    ) -> control_service_pb2.Difference:
        """Take a difference between an account and its broker as it is."""
        account_id, request_id = account_id or self._account_id, request_id or self._new_id()
        return self._call(
            calls.accept_difference(account_id, difference_id, reason, request_id=request_id)
        )

    def limits(self, account_id: str = "") -> control_service_pb2.GetLimitsResponse:
        """The limits in force, and the etag that a change of them needs."""
        return self._call(calls.limits(account_id))

    def update_limits(
        self,
        toml: str,
        etag: str,
        reason: str,
        *,
        instruments_toml: str = "",
        file_name: str = "",
        validate_only: bool = False,
        request_id: str = "",
    ) -> control_service_pb2.UpdateLimitsResponse:
        """Replace the limits of this etag, or (validate_only) hear what that would do."""
        request = control_service_pb2.UpdateLimitsRequest(
            toml=toml,
            etag=etag,
            reason=reason,
            instruments_toml=instruments_toml,
            file_name=file_name,
            validate_only=validate_only,
            request_id=request_id or self._new_id(),
        )
        return self._call(calls.update_limits(request))

    def status(self, account_id: str = "") -> control_service_pb2.GetStatusResponse:
        """How the engine and an account stand; "" is every account."""
        return self._call(calls.status(account_id))

    # ---- how --------------------------------------------------------------------------------

    def _signal(self, given: SignalLike | None, fields: dict[str, Any]) -> Any:
        signal = with_id(signal_of(given, fields), self._new_id)
        signal.account_id = signal.account_id or self._account_id
        return signal

    def _call(self, call: Call[T]) -> T:
        attempts = Attempts(self._policy, self._clock)

        def attempt() -> Any:
            try:
                return call.rpc(self._stubs)(call.argument(), timeout=attempts.timeout_s)
            except grpc.RpcError as error:
                raise TradeEngineError.from_call(error, self._target) from error

        try:
            answer = Retrying(sleep=self._sleep, **attempts.tenacity())(attempt)
        except TradeEngineError as error:
            raise attempts.last_word(error) from error.__cause__
        return call.read(answer)

    def _list(self, pages: Pages[T]) -> Iterator[T]:
        items, token = self._call(pages.page(""))
        yield from items
        while token:
            items, token = self._call(pages.page(token))
            yield from items

    def _pause(self, attempts: Attempts, error: TradeEngineError) -> None:
        pause = attempts.pause_after(error)
        if pause is None:
            raise error
        self._sleep(pause)


class _Feed:
    """A flight that three threads share: the caller's, the feeder's and grpc's sender."""

    def __init__(self, flight: Flight, signal_of: Callable[[SignalLike], Any]) -> None:
        self.fault: Exception | None = None
        self._flight = flight
        self._signal_of = signal_of
        self._changed = threading.Condition()
        self._stream = 0
        self._closed = False

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to send or to wait for."""
        with self._changed:
            return self._flight.finished

    def start(self, signals: Iterable[SignalLike]) -> None:
        """Read signals in a thread, as far as there is room."""
        threading.Thread(target=self._feed, args=(signals,), daemon=True).start()

    def _feed(self, signals: Iterable[SignalLike]) -> None:
        try:
            for given in signals:
                signal = self._signal_of(given)
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or self._flight.has_room)
                    if self._closed:
                        return
                    self._flight.add(signal)
                    self._changed.notify_all()
        except Exception as error:  # noqa: BLE001  the caller's own: raised again in its thread
            self.fault = error
        finally:
            with self._changed:
                self._flight.end()
                self._changed.notify_all()

    def requests(self) -> Iterator[signal_service_pb2.SubmitSignalsRequest]:
        """Begin a new stream; what the one before left without an answer is sent again."""
        with self._changed:
            self._stream += 1
            self._flight.rewind()
            self._changed.notify_all()
            return self._requests(self._stream)

    def _requests(self, stream: int) -> Iterator[signal_service_pb2.SubmitSignalsRequest]:
        while True:
            with self._changed:
                while True:
                    if self._closed or self._stream != stream or self._flight.finished:
                        return
                    batch = self._flight.batch()
                    if batch is not None:
                        break
                    self._changed.wait(self._flight.pause_s or None)
            yield batch

    def take(self, message: signal_service_pb2.SubmitSignalsResponse) -> list[Result]:
        """Read what came; the results that are final."""
        with self._changed:
            results = [self._flight.take(each) for each in message.results]
            self._changed.notify_all()
        return [each for each in results if each is not None]

    def close(self) -> None:
        """End the threads, as soon as the caller's iterator lets go of them."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
