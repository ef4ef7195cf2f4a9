"""What surrounds every call: parsing, errors, cancellation, metrics and the request log.

Handlers are wrapped once, when they are registered, which is outermost and costs a call nothing;
a `grpc.aio.ServerInterceptor` would be looked up and awaited again for each.

How a call ends:
- EngineError: the status that errors.py makes of it;
- CancelledError while gRPC cancels the handler (its client hung up, or its deadline passed): that
  is nobody's error, and goes on to gRPC; so is gRPC's own error when a write finds nobody there;
- CancelledError raised by the handler itself: UNAVAILABLE. gRPC would leave the client waiting
  until its own deadline (grpc#29248);
- anything else: INTERNAL with an incident id, and the traceback in the log under that id.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from time import perf_counter
from typing import Any, Never, TypeAlias

import grpc
import structlog
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from trade_engine.api.errors import Internal, MalformedMessage, status_of
from trade_engine.api.in_flight import InFlight
from trade_engine.domain.errors import EngineError, ShuttingDown

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

log = structlog.get_logger("trade_engine.rpc")

SECONDS_BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5,
)  # fmt: skip


class Metrics:
    """Counts and latencies of calls, by their RPC's short name (`SubmitSignal`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "trade_engine_rpc",
            "Calls that ended, by gRPC status code.",
            ("rpc", "code"),
            registry=registry,
        )
        self.seconds = Histogram(
            "trade_engine_rpc_seconds",
            "Time from the handler's start to its answer, of calls with one answer.",
            ("rpc",),
            registry=registry,
            buckets=SECONDS_BUCKETS,
        )
        self.in_flight = Gauge("trade_engine_rpc_in_flight", "Calls under way.", registry=registry)


class Malformed:
    """Stands where a message should be: the bytes could not be parsed."""


MALFORMED = Malformed()


class Surroundings:
    """Wraps the handlers of services; see the head of this file."""

    def __init__(
        self, in_flight: InFlight, metrics: Metrics, new_incident_id: Callable[[], str]
    ) -> None:
        self._in_flight = in_flight
        self._metrics = metrics
        self._new_incident_id = new_incident_id
        self._calls: set[asyncio.Task[Any]] = set()
        self._writing: set[asyncio.Task[Any]] = set()
        self._refused = 0
        metrics.in_flight.set_function(self._calls.__len__)

    def wrapped(self, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
        """Wrap the handlers of a service, given by their RPC's short name."""
        return {rpc: self._wrap(rpc, handler) for rpc, handler in handlers.items()}

    async def drained(self) -> None:
        """Wait until no call is under way."""
        while self._calls:
            await asyncio.wait(self._calls)

    async def quiet(self, for_s: float) -> None:
        """Wait until no call had to be refused for so long.

        gRPC tells whoever comes while it stops CANCELLED, which says nothing; it is better to go
        on refusing, until clients have heard that this replica is stopping.
        """
        refused = -1
        while refused != self._refused:
            refused = self._refused
            await asyncio.sleep(for_s)

    async def cut_stalled(self, patience_s: float) -> None:
        """Cut off the streams whose client does not read: they cannot even be told to end."""
        stalled = self._writing.copy()
        if stalled:
            _, stalled = await asyncio.wait(stalled, timeout=patience_s)
        for call in stalled & self._writing:
            call.cancel()

    def incident(self, rpc: str, error: BaseException) -> Internal:
        """Log a fault of our own, and make the error that tells its id."""
        incident_id = self._new_incident_id()
        log.error("internal error", rpc=rpc, incident_id=incident_id, exc_info=error)
        return Internal(incident_id)

    def _wrap(self, rpc: str, handler: Handler) -> Handler:
        parse = _lenient(handler.request_deserializer)
        serialize = handler.response_serializer
        match handler.request_streaming, handler.response_streaming:
            case False, False:
                return grpc.unary_unary_rpc_method_handler(
                    self._one_answer(rpc, handler.unary_unary, _checked), parse, serialize
                )
            case True, False:
                return grpc.stream_unary_rpc_method_handler(
                    self._one_answer(rpc, handler.stream_unary, _each_checked), parse, serialize
                )
            case False, True:
                return grpc.unary_stream_rpc_method_handler(
                    self._many_answers(rpc, handler.unary_stream, _checked),
                    parse,
                    _or_bytes(serialize),
                )
            case _:
                return grpc.stream_stream_rpc_method_handler(
                    self._many_answers(rpc, handler.stream_stream, _each_checked),
                    parse,
                    _or_bytes(serialize),
                )

    def _one_answer(self, rpc: str, method: Any, checked: Callable[[str, Any], Any]) -> Any:
        seconds = self._metrics.seconds.labels(rpc)
        ok = self._metrics.calls.labels(rpc, grpc.StatusCode.OK.name)
        calls, in_flight = self._calls, self._in_flight

        async def call(request: Any, context: Context) -> Any:
            started = perf_counter()
            task = current_task()
            calls.add(task)
            try:
                if in_flight.closing:
                    raise self._refusal()  # noqa: TRY301  # ends as every error does
                answer = await method(checked(rpc, request), context)
            except BaseException as error:  # noqa: BLE001  # turned into a status, or raised on
                await self._fail(rpc, error, context, perf_counter() - started)
            finally:
                calls.discard(task)
            took_s = perf_counter() - started
            seconds.observe(took_s)
            ok.inc()
            log.debug("rpc", rpc=rpc, code="OK", took_ms=round(took_s * 1000, 3))
            return answer

        return call

    def _many_answers(self, rpc: str, method: Any, checked: Callable[[str, Any], Any]) -> Any:
        ok = self._metrics.calls.labels(rpc, grpc.StatusCode.OK.name)
        calls, in_flight, writing = self._calls, self._in_flight, self._writing

        async def call(request: Any, context: Context) -> None:
            started = perf_counter()
            task = current_task()
            calls.add(task)
            try:
                if in_flight.closing:
                    raise self._refusal()  # noqa: TRY301  # ends as every error does
                await context.send_initial_metadata(())  # the stream is open: nothing to wait for
                async with aclosing(method(checked(rpc, request), context)) as answers:
                    async for answer in answers:
                        writing.add(task)
                        await context.write(answer)
                        writing.discard(task)
            except BaseException as error:  # noqa: BLE001  # turned into a status, or raised on
                await self._fail(rpc, error, context, perf_counter() - started)
            finally:
                calls.discard(task)
                writing.discard(task)
            ok.inc()
            log.debug("rpc", rpc=rpc, code="OK", took_s=round(perf_counter() - started, 3))

        return call

    def _refusal(self) -> ShuttingDown:
        self._refused += 1
        return _shutting_down()

    async def _fail(self, rpc: str, error: BaseException, context: Context, took_s: float) -> Never:
        """End the call with the error's status; always raises."""
        try:
            if isinstance(error, asyncio.CancelledError):
                if current_task().cancelling():
                    self._count(rpc, grpc.StatusCode.CANCELLED.name, took_s, "the client hung up")
                    raise error
                told: EngineError = _shutting_down()
            elif isinstance(error, EngineError):
                told = error
            elif isinstance(error, grpc.aio.InternalError):
                # gRPC's word for a call that it can neither write to nor read from any more.
                self._count(rpc, grpc.StatusCode.CANCELLED.name, took_s, "the client hung up")
                raise asyncio.CancelledError from error
            elif isinstance(error, Exception):
                told = self.incident(rpc, error)
            else:
                raise error
            status = rpc_status.to_status(status_of(told))
            self._count(rpc, status.code.name, took_s, told.message)
            await context.abort_with_status(status)
        finally:
            # Raised on, it holds this frame by its traceback, and all that was to be sent below it:
            # that must not wait for the collector.
            del error

    def _count(self, rpc: str, code: str, took_s: float, message: str) -> None:
        self._metrics.calls.labels(rpc, code).inc()
        log.info("rpc", rpc=rpc, code=code, took_ms=round(took_s * 1000, 3), message=message)


def current_task() -> asyncio.Task[Any]:
    """The task that gRPC runs this handler in, and cancels when the client goes away."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a handler runs in a task")
    return task


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("this replica is stopping. Retry with the same id: another will answer.")


def _lenient(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Parse, or say that it cannot be: gRPC's own answer to an error here is UNKNOWN."""
    if parse is None:
        raise RuntimeError("generated handlers have a deserializer")

    def parsed(data: bytes) -> Any:
        try:
            return parse(data)
        except Exception:  # noqa: BLE001  # of protobuf's DecodeError and ValueError, and what comes
            return MALFORMED

    return parsed


def _or_bytes(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes]:
    """Serialize, or pass on what was serialized once for many subscribers."""
    if serialize is None:
        raise RuntimeError("generated handlers have a serializer")
    return lambda answer: answer if isinstance(answer, bytes) else serialize(answer)


def _checked(rpc: str, request: Any) -> Any:
    if request is MALFORMED:
        raise MalformedMessage(rpc)
    return request


async def _each_checked(rpc: str, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(rpc, request)
