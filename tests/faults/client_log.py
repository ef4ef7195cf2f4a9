"""What the harness's clients saw, as they saw it: one JSON object a line, each with its time.

| what | and |
|---|---|
| ack | signal_id, replica, replayed, decision (the message's bytes, base64) |
| refused | rpc, code, details, replica |
| halt | scope, mode, result (DRAINED, IN_DOUBT or an error's code), in_doubt, journaled, asked_ns |
| resume | scope, result, asked_ns |
| canceled | order_id, result |
| limits | version, values (those that were asked for), sequences (by account) |
| subscribed | subscriber, account_id, after, replica |
| update | subscriber, account_id, sequence, order_id, ord_status, cum_qty, kind |
| opened, loaded, healed, stopped | where the run has come to |
| fault, not injected | name |
| probe | number, passed, said |
| settled | of (what), quiet (whether nothing was stuck in time), left, took_s |
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson


class ClientLog:
    """Appends to a file, and keeps it all at hand."""

    def __init__(self, file: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self._file = file.open("ab")

    def write(self, what: str, **words: Any) -> None:
        event = {"what": what, "at_ns": time.time_ns(), **words}
        self.events.append(event)
        self._file.write(orjson.dumps(event) + b"\n")

    def close(self) -> None:
        self._file.close()
