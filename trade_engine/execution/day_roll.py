"""The day rolls: once per session of the account's calendar, through the account's writer.

The first batch at or after the end of a day rolls it, before it decides anything; an engine that
was down over the boundary rolls when it opens the account. The entry is part of the account's one
journal, so of many replicas one rolls, and the others see that it was done.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from trade_engine.domain.day import Day, day_after
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.money import optional_text, text
from trade_engine.domain.session import Session
from trade_engine.execution.batch import Batch
from trade_engine.execution.valuation import Prices, equity_at, last_prices


def keep_day(batch: Batch, session: Session | None) -> None:
    """Roll the day if it is over, and open it if its roll could not tell what it starts at."""
    state = batch.state
    before = state.day
    if session is not None and is_over(before, session, batch.now_ns):
        _roll(batch, session)
    elif before.session and before.start_equity is None:
        _open_start(batch)


def is_over(day: Day, session: Session, now_ns: int) -> bool:
    """Whether the session's day follows this one; a clock that is behind rolls nothing back."""
    return now_ns >= day.ends_ns and session.closes_ns > day.ends_ns


def _roll(batch: Batch, session: Session) -> None:
    """Begin the session's day.

    What is held is valued at its last sane quote, however old: when a market has closed, that is
    its closing price. Where there is none the start of the day stays open until there is.
    """
    state = batch.state
    before = state.day
    prices, missing = last_prices(batch)
    state.day = day_after(before, session.name, session.closes_ns, state.realized_pnl, state.fees)
    if not missing:
        state.day.mark(equity_at(batch, prices))
    batch.write(
        EntryKind.DAY_ROLL,
        {
            "session": session.to_json(),
            "day": state.day.to_json(),
            "ended": _result(before, state.realized_pnl, state.fees),
            **prices.to_json(),
            "missing": missing,
        },
    )


def _open_start(batch: Batch) -> None:
    prices, missing = last_prices(batch)
    if not missing:
        mark_equity(batch, prices)


def mark_equity(batch: Batch, prices: Prices) -> None:
    """Journal what the account is worth: the start of its day where that is open, or a new peak."""
    batch.state.day.mark(equity_at(batch, prices))
    batch.write(
        EntryKind.EQUITY_MARKED,
        {
            "day": batch.state.day.to_json(),
            **prices.to_json(),
        },
    )


def _result(before: Day, realized: Decimal, fees: Decimal) -> dict[str, Any]:
    """What the day that ended came to, for whoever reads the journal."""
    return {
        "session": before.session,
        "start_equity": optional_text(before.start_equity),
        "realized_pnl": text(realized - before.realized_before),
        "fees": text(fees - before.fees_before),
    }
