"""Requests that carry a request_id: the same one again gets the first answer, and does nothing.

What runs twice all the same (the first time ended without an answer, or is still at it) is harmless
by itself: cancels and halts are asked for once, and orders have ids derived from the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
from google.protobuf.message import Message

from trade_engine.domain.errors import StoreUnavailable
from trade_engine.execution.commands import RequestIdConflict
from trade_engine.execution.ports import RequestLedger

M = TypeVar("M", bound=Message)

log = structlog.get_logger(__name__)

HALT_LOOKS_UP_S = 0.25
"""How long a halt may wait to learn whether it was asked for before: then it halts."""


async def once(
    ledger: RequestLedger,
    caller: str,
    request: Any,
    answer_type: type[M],
    act: Callable[[], Awaitable[M]],
    *,
    is_final: Callable[[M], bool] = lambda _: True,
    stops: bool = False,
) -> M:
    """Answer a request as it was answered the first time, or act on it.

    is_final says whether an answer is worth keeping: one that is not, is worked out anew. stops is
    for what must work while the record does not.

    Raises:
        RequestIdConflict: the request_id was used before, for another request.
        StoreUnavailable: it cannot be known whether it was (not with stops).
    """
    request_id = request.request_id
    if not request_id:
        return await act()
    content = _content(request)
    try:
        async with asyncio.timeout(HALT_LOOKS_UP_S if stops else None):
            first, answer = await ledger.begin(caller, request_id, content)
    except (StoreUnavailable, TimeoutError):
        if not stops:
            raise
        return await act()
    if first != content:
        raise RequestIdConflict(request_id)
    if answer is not None:
        return answer_type.FromString(answer)
    given = await act()
    if is_final(given):
        try:
            await ledger.answer(caller, request_id, given.SerializeToString())
        except StoreUnavailable as error:
            log.warning("answer_not_kept", request_id=request_id, why=error.message)
    return given


def _content(request: Message) -> bytes:
    """What was asked: the RPC's message and all of its fields."""
    return (
        request.DESCRIPTOR.full_name.encode() + b" " + request.SerializeToString(deterministic=True)
    )
