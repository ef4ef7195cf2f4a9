"""One run of a load, in a process of its own, so that it takes no turn of the server's loop."""

from __future__ import annotations

import itertools
import multiprocessing
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from bench import echo_server, load, signals

HOST = "127.0.0.1"
SUBMIT = "/trade_engine.v1.SignalService/SubmitSignal"
STREAM = "/trade_engine.v1.SignalService/SubmitSignals"
PER_MESSAGE = 16
SPARE = 512
SIGNALS_PER_S_MAX = 12_000
"""Requests are prepared for this rate; a faster server would run out of them, and say so."""


def echo(port: int, in_flight: int, seconds: float) -> load.Outcome:
    """Unary calls against the bare echo."""
    return _apart(_echo, port, in_flight, seconds)


def unary(port: int, in_flight: int, seconds: float) -> load.Outcome:
    """Signals through SubmitSignal."""
    return _apart(_unary, port, in_flight, seconds)


def streamed(port: int, in_flight: int, seconds: float) -> load.Outcome:
    """Signals through SubmitSignals, `PER_MESSAGE` per message."""
    return _apart(_streamed, port, in_flight, seconds)


def _apart(function: Callable[..., load.Outcome], *arguments: Any) -> load.Outcome:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _echo(port: int, in_flight: int, seconds: float) -> load.Outcome:
    body = next(signals.unary_bodies("echo"))
    bodies = itertools.repeat(body)
    return load.unary(HOST, port, echo_server.PATH, bodies, in_flight, seconds)


def _unary(port: int, in_flight: int, seconds: float) -> load.Outcome:
    bodies = _prepared(signals.unary_bodies(secrets.token_hex(4)), seconds)
    return load.unary(HOST, port, SUBMIT, bodies, in_flight, seconds)


def _streamed(port: int, in_flight: int, seconds: float) -> load.Outcome:
    source = signals.streamed_bodies(secrets.token_hex(4), PER_MESSAGE)
    bodies = _prepared(source, seconds / PER_MESSAGE)
    return load.streamed(HOST, port, STREAM, bodies, PER_MESSAGE, in_flight, seconds)


def _prepared(bodies: Iterator[bytes], seconds: float) -> Iterator[bytes]:
    """Make the requests before the clock runs."""
    return iter(list(itertools.islice(bodies, int(SIGNALS_PER_S_MAX * seconds) + SPARE)))
