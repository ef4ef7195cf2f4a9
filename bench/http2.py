"""A gRPC client that costs next to nothing, so that the server is what is measured.

It speaks just enough HTTP/2 (RFC 9113) to a server it trusts: prepared header bytes that use no
compression table, flow control for what it sends, and counting of what comes back. A response
counts as good only when its trailers carry grpc-status 0.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import cast

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM, END_HEADERS, ACK = 1, 4, 1
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4
WIDE = 2**31 - 1
DEFAULT_WINDOW = 65_535
GOOD = b"\x0bgrpc-status\x010"
"""The trailer as it is written without a compression table."""

Ended = Callable[[int, bytes, bool], None]
"""Takes a stream's number, its data (gRPC frames and all), and whether it ended well."""
Message = Callable[[int, bytes], None]
"""Takes a stream's number and one message of it."""


class Client(asyncio.Protocol):
    """One connection. `ended` is called as each stream ends; `message` as each message comes."""

    def __init__(self, path: str, ended: Ended, message: Message | None = None) -> None:
        self.ready = asyncio.get_running_loop().create_future()
        self._head = _head(path)
        self._ended = ended
        self._message = message
        self._received = bytearray()
        self._bodies: dict[int, bytearray] = {}
        self._next_stream = 1
        self._window = DEFAULT_WINDOW
        self._stream_window = DEFAULT_WINDOW
        self._blocked: deque[tuple[bytes, int]] = deque()
        self._transport: asyncio.Transport | None = None

    # ---- sending ----------------------------------------------------------------------------

    def request(self, body: bytes) -> int:
        """Send a unary call; answers with its stream's number."""
        stream = self.open_stream()
        self.send(stream, body, end=True)
        return stream

    def open_stream(self) -> int:
        """Send the headers of a call."""
        stream = self._next_stream
        self._next_stream += 2
        self._bodies[stream] = bytearray()
        self._write(_frame(HEADERS, END_HEADERS, stream, self._head))
        return stream

    def send(self, stream: int, body: bytes, *, end: bool = False) -> None:
        """Send one message, once the server has room for it."""
        message = b"\0" + struct.pack(">I", len(body)) + body
        self._blocked.append(
            (_frame(DATA, END_STREAM if end else 0, stream, message), len(message))
        )
        self._flush()

    def _flush(self) -> None:
        while self._blocked and self._blocked[0][1] <= self._window:
            frame, size = self._blocked.popleft()
            self._window -= size
            self._write(frame)

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    # ---- receiving --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet: no compression table, and all the room there is."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        settings = struct.pack(">HIHI", HEADER_TABLE_SIZE, 0, INITIAL_WINDOW_SIZE, WIDE)
        self._write(PREFACE + _frame(SETTINGS, 0, 0, settings))
        self._write(_frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WIDE - DEFAULT_WINDOW)))

    def data_received(self, data: bytes) -> None:
        """Take the frames that are complete."""
        received = self._received
        received += data
        start = 0
        while len(received) - start >= 9:
            size = int.from_bytes(received[start : start + 3], "big")
            end = start + 9 + size
            if len(received) < end:
                break
            kind, flags = received[start + 3], received[start + 4]
            stream = int.from_bytes(received[start + 5 : start + 9], "big")
            self._frame(kind, flags, stream, bytes(received[start + 9 : end]))
            start = end
        del received[:start]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            body = self._bodies[stream]
            body += payload
            if self._message is not None:
                _take_messages(stream, body, self._message)
            if flags & END_STREAM:
                self._end(stream, good=False)
        elif kind == HEADERS and flags & END_STREAM:
            self._end(stream, good=GOOD in payload)
        elif kind == RST_STREAM:
            self._end(stream, good=False)
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
            self._flush()
        elif kind == SETTINGS and not flags & ACK:
            self._write(_frame(SETTINGS, ACK, 0, b""))
            if not self.ready.done():
                self.ready.set_result(None)
        elif kind == PING and not flags & ACK:
            self._write(_frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            raise ConnectionError(f"the server hangs up: {payload!r}")

    def _end(self, stream: int, *, good: bool) -> None:
        body = self._bodies.pop(stream, None)
        if body is not None:
            self._ended(stream, bytes(body), good)


async def connect(
    host: str, port: int, path: str, ended: Ended, message: Message | None = None
) -> Client:
    """Open a connection for calls to one method."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Client(path, ended, message), host, port)
    await client.ready
    return client


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    )


def _head(path: str) -> bytes:
    """The request's headers, each written as a literal that enters no table (RFC 7541, 6.2.2)."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(
        b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
        for name, value in headers.items()
    )


def _take_messages(stream: int, body: bytearray, message: Message) -> None:
    while len(body) >= 5:
        size = int.from_bytes(body[1:5], "big")
        if len(body) < 5 + size:
            return
        content = bytes(body[5 : 5 + size])
        del body[: 5 + size]
        message(stream, content)
