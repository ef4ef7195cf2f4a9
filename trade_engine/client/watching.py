"""Following order updates over any number of streams, each update once."""

from __future__ import annotations

from collections.abc import Iterator

from trade_engine.client.errors import TradeEngineError
from trade_engine.v1 import order_pb2, signal_service_pb2

Event = order_pb2.OrderUpdate | signal_service_pb2.OrderSnapshot | signal_service_pb2.SnapshotEnd
"""What a watch yields: the open orders, the end of that snapshot, and then every change."""


class Watch:
    """Where a watch stands, whatever stream it reads from.

    A snapshot is held back until its end has come: cut off before, it is none, and the next stream
    brings another. After that everything hangs on the last sequence.
    """

    def __init__(
        self, account_id: str, strategy_id: str, symbol: str, after_sequence: int | None
    ) -> None:
        self._filter = {"account_id": account_id, "strategy_id": strategy_id, "symbol": symbol}
        self._last = after_sequence
        self._snapshot: list[signal_service_pb2.OrderSnapshot] = []

    def request(self) -> signal_service_pb2.StreamOrderUpdatesRequest:
        """The request of the next stream."""
        self._snapshot.clear()
        return signal_service_pb2.StreamOrderUpdatesRequest(
            **self._filter, after_sequence=self._last
        )

    def resumable(self, error: TradeEngineError) -> TradeEngineError:
        """The same error; one that says that this reader lagged is worth resuming at once."""
        if error.reason == "SUBSCRIBER_LAGGED":
            error.retry_after_s = 0.0
        return error

    def take(self, message: signal_service_pb2.StreamOrderUpdatesResponse) -> Iterator[Event]:
        """Read one message; yields what is new in it."""
        match message.WhichOneof("item"):
            case "snapshot":
                self._snapshot.append(message.snapshot)
            case "snapshot_end":
                self._last = message.snapshot_end.sequence
                yield from self._snapshot
                self._snapshot.clear()
                yield message.snapshot_end
            case "updates":
                for update in message.updates.updates:
                    if self._last is None or update.sequence > self._last:
                        self._last = update.sequence
                        yield update
            case "heartbeat":
                if self._last is not None:
                    self._last = max(self._last, message.heartbeat.head_sequence)
            case None:
                pass  # of a later version of the contract
