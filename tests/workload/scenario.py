"""What happens in a workload, all of it from one seed: signals, quotes, operators and nights.

A scenario is a list of steps. Those of one kind that come in a row may be carried out together;
what comes out of them depends on the engines, so a scenario repeats itself and a journal does not.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import cycle

from trade_engine.domain.signal import ExposureUnit, Side, Signal, TimeHorizon
from trade_engine.domain.trading_state import Scope, ScopeKind, TradingState

ACCOUNT = "default"
SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT", "SAP")
RATE = "EURUSD"
"""What converts SAP's euros; nothing is traded in it."""
STRATEGIES = tuple(f"strategy-{number:02d}" for number in range(16))
IN_A_ROW = 20
"""Signals that are submitted at once."""
REPLACED = ("AAPL", "IBM")
"""Whose working orders get new terms."""
FOLLOWED = 3
"""So many of the last patient signals are followed up."""
TIGHT: dict[str, dict[str, float | str | None]] = {
    "nothing": {},
    "losses of a day": {"daily_loss_max": 0.01},
    "executions": {"repeated_executions_max": 1},
    "open orders": {"open_orders_max": 1},
    "drawdown": {"drawdown_max": 0.01},
    "confidence": {"confidence_min": 0.9},
    "age of a quote": {"quote_age_ms_max": 0.001},
    "equal orders": {"duplicate_interval_ms_min": 86_400_000},
    "rate of a strategy": {"strategy_signal_rate": "{ count = 1, per_ms = 600000, burst = 0 }"},
    "quantity": {"order_quantity_max": 2},
    "rate of the account": {"account_signal_rate": "{ count = 1, per_ms = 600000, burst = 2 }"},
    "price band": {"price_band_bps_max": 1},
    "asset": {"asset_exposure_max": 500},
    "concentration": {"asset_concentration_max": 0.0005},
    "asset class": {"asset_class_exposure_max": 500},
    "net": {"net_exposure_max": 500},
    "leverage": {"leverage_max": 0.0005},
    "turnover": {"turnover_day_max": 5_000},
    "not set": {"net_exposure_max": None},
}
"""What operators tighten, one after the other."""
LOSSES = ("losses of a day", "drawdown")
"""What stops the account by itself, until somebody resumes it."""
STRANGER = "ZZZZ"
"""A symbol that no instruments file has."""


@dataclass(frozen=True, slots=True)
class Signals:
    """Signals from several strategies at once; some of them come twice."""

    signals: tuple[Signal, ...]


@dataclass(frozen=True, slots=True)
class Quotes:
    """New middle prices. One that is None has gone stale: no quote comes for it."""

    prices: dict[str, Decimal | None]


@dataclass(frozen=True, slots=True)
class Halt:
    """An operator halts a scope, or lets it only reduce."""

    scope: Scope
    state: TradingState
    cancel_open_orders: bool


@dataclass(frozen=True, slots=True)
class Resume:
    """An operator lets a scope trade again."""

    scope: Scope


@dataclass(frozen=True, slots=True)
class CancelSome:
    """An operator cancels up to so many of the open orders."""

    count: int


@dataclass(frozen=True, slots=True)
class Night:
    """The clock moves on to the next day."""


@dataclass(frozen=True, slots=True)
class NewLimits:
    """Operators change the limits: to so many per cent of what they were at first.

    tight names what is so tight besides that hardly a signal passes it; see `TIGHT`.
    """

    per_cent: int
    tight: str


Step = Signals | Quotes | Halt | Resume | CancelSome | Night | NewLimits


def scenario(seed: int, signals: int, *, mostly_tight: bool = False) -> Iterator[Step]:
    """The steps of a workload of so many signals.

    mostly_tight: one limit or another is, for as many refusals as there can be.
    """
    draw = random.Random(seed)
    prices = {symbol: Decimal(draw.randint(20, 400)) for symbol in SYMBOLS}
    prices[RATE] = Decimal("1.1")
    halted: list[Scope] = []
    tightened = _tightened(draw, mostly_tight=mostly_tight)
    patient: list[Signal] = []
    made = 0
    yield Quotes(dict(prices))
    while made < signals:
        count = min(draw.randint(1, IN_A_ROW), signals - made)
        yield Signals(tuple(_signals(draw, seed, made, count, patient)))
        made += count
        yield _moved(draw, prices)
        yield from _events(draw, halted, tightened)
    for scope in halted:
        yield Resume(scope)


def _signals(
    draw: random.Random, seed: int, first: int, count: int, patient: list[Signal]
) -> Iterator[Signal]:
    """Signals in a row; patient ones, whose orders may rest, are followed up in a later row."""
    made: list[Signal] = []
    waiting, patient[:] = patient[-FOLLOWED:], patient[-FOLLOWED:]
    for number in range(first, first + count):
        if made and draw.random() < 0.03:
            yield draw.choice(made)
        signal_id = f"w{seed}-{number}"
        if waiting and draw.random() < 0.25:
            made.append(_follow_up(draw, draw.choice(waiting), signal_id))
        else:
            made.append(_signal(draw, signal_id))
        if made[-1].max_slippage_bps == 0 and made[-1].symbol in REPLACED:
            patient.append(made[-1])
        yield made[-1]


def _follow_up(draw: random.Random, before: Signal, signal_id: str) -> Signal:
    """The same strategy wants more, or less, of what its order may still work for."""
    factor = draw.choice((Decimal("0.5"), Decimal("1.5"), Decimal(2)))
    return replace(before, signal_id=signal_id, target_exposure=before.target_exposure * factor)


def _signal(draw: random.Random, signal_id: str) -> Signal:
    by_equity = draw.random() < 0.15
    size = Decimal(draw.randint(-300, 300)) / 10_000 if by_equity else draw.randint(-60, 60) * 500
    return Signal(
        signal_id=signal_id,
        account_id=ACCOUNT,
        strategy_id=draw.choice(STRATEGIES),
        symbol=STRANGER if draw.random() < 0.01 else draw.choice(SYMBOLS),
        side=draw.choice((Side.BUY, Side.SELL)),
        confidence=Decimal(draw.randint(0, 100)) / 100,
        target_exposure=Decimal(size),
        time_horizon=draw.choice(tuple(TimeHorizon)),
        exposure_unit=ExposureUnit.EQUITY_FRACTION if by_equity else ExposureUnit.NOTIONAL,
        max_slippage_bps=draw.choice((None, Decimal(0), Decimal(5), Decimal(20), Decimal(500))),
        max_notional=draw.choice((None, None, Decimal(1_000), Decimal(8_000))),
    )


def _moved(draw: random.Random, prices: dict[str, Decimal]) -> Quotes:
    """A random walk in steps of at most one per cent; now and then a symbol falls silent."""
    for symbol, price in prices.items():
        moved = price * (10_000 + draw.randint(-100, 100)) / 10_000
        least, step = (Decimal("0.5"), "0.0001") if symbol == RATE else (Decimal(5), "0.01")
        prices[symbol] = max(moved, least).quantize(Decimal(step))
    silent = draw.choice((*SYMBOLS, RATE)) if draw.random() < 0.06 else ""
    return Quotes({symbol: None if symbol == silent else prices[symbol] for symbol in prices})


def _events(draw: random.Random, halted: list[Scope], tightened: Iterator[str]) -> Iterator[Step]:
    if halted and draw.random() < 0.5:
        yield Resume(halted.pop())
    if draw.random() < 0.12:
        scope = _scope(draw)
        if scope not in halted:
            halted.append(scope)
        state = draw.choice((TradingState.HALTED, TradingState.REDUCE_ONLY))
        yield Halt(scope, state, cancel_open_orders=draw.random() < 0.5)
    if draw.random() < 0.2:
        yield CancelSome(draw.randint(1, 5))
    tight = next(tightened)
    if tight:
        yield NewLimits(draw.choice((40, 70, 100, 150)), tight)
    if tight in LOSSES:
        halted.append(Scope(ScopeKind.ACCOUNT, ACCOUNT))
    if draw.random() < 0.08:
        yield Night()


def _tightened(draw: random.Random, *, mostly_tight: bool) -> Iterator[str]:
    """What operators tighten after each row, and soon loosen again; mostly nothing: empty."""
    for tight in cycle(TIGHT):
        while draw.random() > 0.35:
            yield ""
        yield tight
        while not mostly_tight and draw.random() > 0.5:
            yield ""
        if not mostly_tight:
            yield "nothing"


def _scope(draw: random.Random) -> Scope:
    return draw.choice(
        (
            Scope(ScopeKind.GLOBAL, ""),
            Scope(ScopeKind.ACCOUNT, ACCOUNT),
            Scope(ScopeKind.STRATEGY, draw.choice(STRATEGIES)),
            Scope(ScopeKind.SYMBOL, draw.choice(SYMBOLS)),
        )
    )
