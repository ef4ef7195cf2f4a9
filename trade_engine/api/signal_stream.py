"""One SubmitSignals stream: many signals in flight, answers in whatever order they are ready.

A task reads signals and hands them to the engine in the order of the stream; answers gather in a
list that the handler sends off as one message whenever it gets to. When more than `waiting_max`
signals are without an answer that the client took, reading stops, and with it, by HTTP/2's flow
control, the client's sending.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from trade_engine.api.accounts import known
from trade_engine.api.answers import submit_result
from trade_engine.api.auth import Caller
from trade_engine.api.convert import signal_of
from trade_engine.api.engine import EnginePort
from trade_engine.api.errors import signal_error_of
from trade_engine.api.in_flight import InFlight
from trade_engine.domain.errors import EngineError, ShuttingDown
from trade_engine.execution.commands import Answer
from trade_engine.v1 import signal_pb2, signal_service_pb2

Result = signal_service_pb2.SubmitSignalsResult

WAITING_MAX = 1024
RESULTS_PER_MESSAGE_MAX = 100


class SignalStream:
    """The state of one stream; `incident` makes an error of an unexpected exception."""

    def __init__(
        self,
        engine: EnginePort,
        in_flight: InFlight,
        caller: Caller,
        incident: Callable[[BaseException], EngineError],
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._engine = engine
        self._in_flight = in_flight
        self._caller = caller
        self._incident = incident
        self._waiting_max = waiting_max
        self._waiting = 0
        self._ready: list[Result] = []
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def results(
        self, requests: AsyncIterator[signal_service_pb2.SubmitSignalsRequest]
    ) -> AsyncGenerator[list[Result], None]:
        """Submit what comes in; give out results, until the client is done and all are out.

        Raises:
            ShuttingDown: the server stops; what was submitted before has its result.
            EngineError: the stream itself cannot be read.
        """
        reader = self._reader = asyncio.create_task(self._read(requests))
        reader.add_done_callback(lambda _: self._changed.set())
        try:
            with self._in_flight.ended_by(reader.cancel):
                while not (reader.done() and self._waiting == 0):
                    await self._changed.wait()
                    self._changed.clear()
                    while self._ready:
                        batch = self._ready[:RESULTS_PER_MESSAGE_MAX]
                        del self._ready[:RESULTS_PER_MESSAGE_MAX]
                        yield batch
                        self._waiting -= len(batch)
                        self._room.set()
            if reader.cancelled():
                raise ShuttingDown("this replica is stopping. Open the stream again.")
            reader.result()
        finally:
            reader.cancel()

    async def _read(self, requests: AsyncIterator[signal_service_pb2.SubmitSignalsRequest]) -> None:
        async for request in requests:
            for message in request.signals:
                self._submit(message)
            while self._waiting >= self._waiting_max:
                self._room.clear()
                await self._room.wait()

    def _submit(self, message: signal_pb2.Signal) -> None:
        self._waiting += 1
        try:
            signal = signal_of(message, self._caller.default_account, "")
            known(self._engine, signal.account_id)
        except EngineError as error:
            self._answer(_refused(message.signal_id, error))
            return
        task = self._in_flight.start(self._engine.submit(signal))
        task.add_done_callback(lambda done: self._answer(self._result(signal.signal_id, done)))

    def _answer(self, result: Result) -> None:
        self._ready.append(result)
        self._changed.set()

    def _result(self, signal_id: str, done: asyncio.Task[Answer]) -> Result:
        if done.cancelled():
            return _refused(
                signal_id, ShuttingDown("the engine is stopping. Retry with the same id.")
            )
        error = done.exception()
        if error is None:
            return submit_result(signal_id, done.result())
        return _refused(
            signal_id, error if isinstance(error, EngineError) else self._incident(error)
        )


def _refused(signal_id: str, error: EngineError) -> Result:
    return Result(signal_id=signal_id, error=signal_error_of(error))
