"""Another client of a venue: a FIX session that waits for each answer, and keeps nothing."""

from __future__ import annotations

import itertools
import socket
import time
from types import TracebackType
from typing import Self

from fixcore.message.message import Message
from fixcore.transport.framer import MessageFramer

WAIT_S = 10


class OtherClient:
    """Logs on with sequence numbers that begin at 1; resting orders are its own."""

    def __init__(self, port: int, name: str = "OTHER", version: str = "FIX.4.2") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self._framer = MessageFramer()
        self._read: list[Message] = []
        self._name, self._version = name, version
        self._seq = itertools.count(1)
        self._ids = itertools.count(1)
        self._resting: dict[str, tuple[str, str]] = {}
        self._send("A", {98: "0", 108: "30", 141: "Y"})
        self._until("A")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def trade(self, side: str, quantity: str, price: str, symbol: str = "AAPL") -> str:
        """Enter a limit order, and wait until the venue has it: 1 buys, 2 sells."""
        cl_ord_id = f"other-{next(self._ids)}"
        order = {11: cl_ord_id, 21: "1", 55: symbol, 54: side, 38: quantity, 40: "2", 44: price}
        self._send("D", {**order, 59: "0", 60: self._now()})
        self._until("8", cl_ord_id)
        self._resting[cl_ord_id] = (symbol, side)
        return cl_ord_id

    def withdraw(self) -> None:
        """Cancel what rests of its orders; those that are gone get no answer."""
        for cl_ord_id, (symbol, side) in self._resting.items():
            request = {41: cl_ord_id, 11: f"{cl_ord_id}-c", 55: symbol, 54: side, 38: "1"}
            self._send("F", {**request, 60: self._now()})
        self._resting.clear()
        self._send("1", {112: f"withdrawn-{next(self._ids)}"})
        self._until("0")

    def _send(self, msg_type: str, fields: dict[int, str]) -> None:
        message = Message()
        message.header.set(8, self._version)
        message.header.set(35, msg_type)
        header = {49: self._name, 56: "VENUE", 34: str(next(self._seq)), 52: self._now()}
        for tag, value in {**header, **fields}.items():
            message.set_field(tag, value)
        self._socket.sendall(message.encode())

    def _until(self, msg_type: str, cl_ord_id: str = "") -> Message:
        while True:
            while self._read:
                message = self._read.pop(0)
                if message.msg_type == msg_type and cl_ord_id in ("", message.get(11)):
                    return message
                if message.msg_type in ("3", "5", "j"):
                    raise AssertionError(f"the venue refuses: {message!r}")
            data = self._socket.recv(65_536)
            assert data, "the venue hung up"
            self._read += [Message.decode(raw) for raw in self._framer.feed(data)]

    @staticmethod
    def _now() -> str:
        return time.strftime("%Y%m%d-%H:%M:%S", time.gmtime())
