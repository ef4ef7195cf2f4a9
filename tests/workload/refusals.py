"""Every refusal that an engine can be brought to, each brought about on purpose.

What a random scenario runs into is a matter of luck, and most limits are wide in it. Here a
strategy has one tight limit each, time is moved on, quotes come late or crossed, and operators let
strategies only reduce, or close what they hold. Each step says what must come of it, so a step that
a change of the rules makes pointless fails when the golden journal is renewed.

It begins on an account that holds nothing, on stores that know no quote.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from exchange_calendars.calendar_utils import global_calendar_dispatcher

from tests.support.trading import until_quiet
from tests.support.wide import wide_toml
from tests.workload.play import DAY_NS, INSTRUMENTS, WorkloadClock, rules
from tests.workload.scenario import ACCOUNT, RATE, STRANGER
from trade_engine.domain.activity import APPROVALS_MAX
from trade_engine.domain.decision import Decision, Outcome, Reason
from trade_engine.domain.market import Quote
from trade_engine.domain.signal import ExposureUnit, Side, Signal, TimeHorizon
from trade_engine.domain.trading_state import Scope, ScopeKind, TradingState
from trade_engine.execution.commands import ClearCommand, HaltCommand, ResumeCommand
from trade_engine.execution.limits_at_start import OnOtherLimits
from trade_engine.wiring import Plan, Running, running

MINUTE_NS = 60 * 10**9
HOUR_MS = 3_600_000
PRICE = Decimal(100)
OPERATOR = "workload"
NEW_YORK, SHANGHAI = "BAC", "MOUTAI"
"""Instruments that trade only while an exchange does; Shanghai's calendar is known to its end."""
MORE_INSTRUMENTS = f"""
[instruments.{NEW_YORK}]
tick = 0.01
lot = 1
currency = "USD"
asset_class = "equity"
calendar = "XNYS"

[instruments.{SHANGHAI}]
tick = 0.01
lot = 1
currency = "USD"
asset_class = "equity"
calendar = "XSHG"
"""
ABSENT = {
    Reason.CURRENCY_MISMATCH: "files with an instrument that no pair converts are not taken",
}
"""The refusals that no scenario brings about, each with why."""
TIGHT = {
    "unsure": "confidence_min = 0.9",
    "careless": "slippage_bps_max = 5",
    "collared": "price_band_bps_max = 10",
    "small": "order_quantity_max = 1",
    "cheap": "order_notional_max = 10",
    "symbol": "symbol_position_notional_max = 10",
    "asset": "asset_exposure_max = 10",
    "concentrated": "asset_concentration_max = 0.00001",
    "class": "asset_class_exposure_max = 10",
    "gross": "gross_exposure_max = 10",
    "net": "net_exposure_max = 10",
    "levered": "leverage_max = 0.00001",
    "broke": "borrowing_max = 0",
    "crowded": "open_orders_max = 1",
    "busy": "turnover_day_max = 10",
    "tired": "repeated_executions_max = 1",
    "loser": "daily_loss_max = 1",
    "sunk": "drawdown_max = 1",
    "twice": f"duplicate_interval_ms_min = {HOUR_MS}",
    "fast": f"strategy_signal_rate = {{ count = 1, per_ms = {HOUR_MS}, burst = 0 }}",
}
"""The one limit that a strategy runs into."""
FREE = ("holder", "patient", "many")
QUICK = "{ count = 100000, per_ms = 1000, burst = 100000 }"
ONE_A_MINUTE = "{ count = 1, per_ms = 60000, burst = 0 }"
TOO_MUCH = {
    "small": Reason.ORDER_QUANTITY_LIMIT,
    "cheap": Reason.ORDER_NOTIONAL_LIMIT,
    "symbol": Reason.SYMBOL_POSITION_LIMIT,
    "asset": Reason.ASSET_EXPOSURE_LIMIT,
    "concentrated": Reason.CONCENTRATION_LIMIT,
    "class": Reason.ASSET_CLASS_EXPOSURE_LIMIT,
    "gross": Reason.GROSS_EXPOSURE_LIMIT,
    "net": Reason.NET_EXPOSURE_LIMIT,
    "levered": Reason.LEVERAGE_LIMIT,
    "busy": Reason.TURNOVER_LIMIT,
}
"""What strategies hear that want ten shares, whatever the account holds."""


def limits_toml(account_signal_rate: str = QUICK) -> str:
    """Wide limits, strategies that are listed, and a tight limit for most of these.

    `repeated_executions_max` is set for equities alone, so it is not for IBM, a future.
    """
    listed = "".join(f"[strategies.{each}]\n" for each in (*TIGHT, *FREE))
    tight = "".join(f"[limits.strategy.{each}]\n{line}\n" for each, line in TIGHT.items())
    wide = wide_toml(
        1_000_000,
        signal_age_ms_max=60_000,
        quote_age_ms_max=600_000,
        slippage_bps_max=100,
        repeated_executions_max=None,
        account_signal_rate=account_signal_rate,
    )
    equities = "[limits.asset_class.equity]\nrepeated_executions_max = 100000\n"
    return f'{wide}{equities}{tight}{listed}[strategies.abroad]\nsymbols = ["SAP"]\n'


async def every_refusal(database_url: str, redis_url: str, clock: WorkloadClock) -> None:
    """Bring about all of them; the account is flat afterward, and trades."""

    def plan(limits: str, **other: Any) -> Plan:
        return Plan(
            database_url,
            redis_url,
            rules(limits, INSTRUMENTS + MORE_INSTRUMENTS),
            "replica-0",
            other_limits=OnOtherLimits.APPLY,
            clock=clock,
            **other,
        )

    async with _playing(plan(limits_toml()), clock) as play:
        await play.before_there_are_quotes()
        await play.of_who_and_what()
        await play.of_limits()
        await play.of_repetition()
        await play.of_resting_orders()
        await play.of_operators()
        await play.of_losses()
        await play.of_time()
        await play.of_sessions()
        await play.closed()
    slow = limits_toml(account_signal_rate=ONE_A_MINUTE)
    async with _playing(plan(slow), clock) as play:
        await play.of_the_accounts_rate()
    nobody = "unix:/nonexistent/portfolio.sock"
    async with _playing(plan(limits_toml(), portfolio_target=nobody), clock) as play:
        await play.of_the_firms_books()


@asynccontextmanager
async def _playing(plan: Plan, clock: WorkloadClock) -> AsyncIterator[Refusals]:
    async with running(plan) as run:
        yield Refusals(run, clock)


_numbers = itertools.count()


@dataclass
class Refusals:
    """The steps, in an order in which each finds what it needs."""

    run: Running
    clock: WorkloadClock
    prices: dict[str, Decimal] = field(default_factory=dict)

    # ---- the steps --------------------------------------------------------------------------

    async def before_there_are_quotes(self) -> None:
        await self.refused(Reason.QUOTE_MISSING, "holder")
        await self.crossed("FB")
        await self.refused(Reason.QUOTE_INVALID, "holder", "FB")
        await self.quotes("FB", "SAP")
        await self.refused(Reason.PRICE_BAND_UNKNOWN, "holder", "FB")
        await self.refused(Reason.FX_QUOTE_MISSING, "abroad", "SAP")
        self.clock.skip(MINUTE_NS)
        await self.quotes("AAPL", "FB", "GOOG", "IBM", "MSFT", "SAP", RATE)
        await self.crossed(RATE)
        await self.refused(Reason.FX_QUOTE_INVALID, "abroad", "SAP")
        self.clock.skip(MINUTE_NS)
        await self.quotes(*self.prices)

    async def of_who_and_what(self) -> None:
        await self.refused(Reason.STRATEGY_UNKNOWN, "nobody")
        await self.refused(Reason.STRATEGY_NOT_PERMITTED, "abroad")
        await self.refused(Reason.INSTRUMENT_UNKNOWN, "holder", STRANGER)
        await self.refused(Reason.INSTRUMENT_RESTRICTED, "holder", "MSFT")
        await self.refused(Reason.LIMIT_NOT_SET, "holder", "IBM", target=5_000)
        await self.refused(Reason.CONFIDENCE_LOW, "unsure")
        await self.refused(Reason.SLIPPAGE_LIMIT, "careless", slippage=50)
        await self.refused(Reason.NOT_SHORTABLE, "holder", "GOOG", target=-1_000, side=Side.SELL)
        now_ns = self.clock()
        await self.refused(Reason.SIGNAL_STALE, "holder", created_at_ns=now_ns - 2 * MINUTE_NS)
        await self.refused(Reason.SIGNAL_FROM_FUTURE, "holder", created_at_ns=now_ns + MINUTE_NS)
        await self.done(Reason.SIDE_MISMATCH, "holder", target=1_000, side=Side.SELL)
        await self.done(Reason.AT_TARGET, "holder", target=0)
        await self.done(Reason.BELOW_LOT, "holder", max_notional=Decimal(50))

    async def of_limits(self) -> None:
        for strategy, reason in TOO_MUCH.items():
            await self.refused(reason, strategy)
        await self.refused(Reason.BUYING_POWER, "broke", target=1_500_000)
        await self.approved("fast")
        await self.refused(Reason.STRATEGY_THROTTLED, "fast", target=2_000)
        await self.approved("tired")
        await self.refused(Reason.REPEATED_EXECUTIONS_LIMIT, "tired", target=0, side=Side.SELL)
        await self.resume(Scope(ScopeKind.STRATEGY, "tired"))
        await self.approved("tired", target=0, side=Side.SELL)

    async def of_repetition(self) -> None:
        """The same order twice; then so many that the first of them are not remembered."""
        await self.approved("twice")
        await self.approved("twice", target=0, side=Side.SELL)
        await self.refused(Reason.DUPLICATE_ORDER, "twice")
        for n in range(1, APPROVALS_MAX + 2):  # the n-th order is for n lots
            await self.approved("many", "GOOG", target=Decimal(n * (n + 1)) / 20)
        await self.refused(Reason.DUPLICATES_UNKNOWN, "twice", "FB")
        self.clock.skip(2 * 60 * MINUTE_NS)
        await self.quotes(*self.prices)

    async def of_resting_orders(self) -> None:
        await self.approved("patient", "FB", slippage=0, rests=True)
        await self.refused(Reason.OPPOSITE_ORDER, "patient", "FB", target=-1_000, side=Side.SELL)
        await self.refused(Reason.OPEN_ORDERS_LIMIT, "crowded")
        await self.cancel_all()

    async def of_operators(self) -> None:
        account, own = Scope(ScopeKind.ACCOUNT, ACCOUNT), Scope(ScopeKind.STRATEGY, "holder")
        await self.approved("holder", target=10_000)
        await self.halt(own, TradingState.HALTED)
        await self.refused(Reason.TRADING_HALTED, "holder", target=0, side=Side.SELL)
        await self.resume(own)
        for scope in (own, account):
            await self.halt(scope, TradingState.REDUCE_ONLY)
            await self.refused(Reason.REDUCE_ONLY, "holder", target=20_000)
            await self.refused(Reason.REDUCE_ONLY, "holder", target=-1_000, side=Side.SELL)
            await self.approved("holder", target=5_000 if scope is own else 4_000, side=Side.SELL)
        await self.flatten(own, [Outcome.APPROVED])
        await self.resume(own)
        await self.resume(account)

    async def of_losses(self) -> None:
        """Ten per cent down: beyond the collar of one strategy, and the losses of two."""
        await self.approved("holder", target=10_000)
        await self.quotes("AAPL", price=90)
        await self.refused(Reason.PRICE_COLLAR, "collared")
        await self.refused(Reason.DAILY_LOSS_LIMIT, "loser")
        await self.refused(Reason.DRAWDOWN_LIMIT, "sunk")

    async def of_time(self) -> None:
        """Quotes stop, but for what is named: what holder has is worth nobody knows what."""
        own = Scope(ScopeKind.STRATEGY, "holder")
        self.clock.skip(11 * MINUTE_NS)
        await self.quotes("FB", "SAP")
        await self.refused(Reason.QUOTE_STALE, "holder", target=20_000)
        await self.refused(Reason.FX_QUOTE_STALE, "abroad", "SAP")
        await self.refused(Reason.MARK_MISSING, "patient", "FB")
        fraction = {"target": Decimal("0.01"), "exposure_unit": ExposureUnit.EQUITY_FRACTION}
        await self.refused(Reason.EQUITY_UNKNOWN, "patient", "FB", **fraction)
        await self.flatten(own, [Outcome.REJECTED])
        await self.quotes(*self.prices)

    async def of_sessions(self) -> None:
        """Closed at midnight UTC, and, once the calendar has ended, not known."""
        self.clock.skip_to_next_day()
        await self.quotes(*self.prices, NEW_YORK, SHANGHAI)
        await self.refused(Reason.SESSION_CLOSED, "holder", NEW_YORK)
        ends = global_calendar_dispatcher._calendar_factories[
            "XSHG"
        ].bound_max()  # as the engine asks
        self.clock.skip(max(ends.value + 2 * DAY_NS - self.clock(), 0))
        await self.quotes(*self.prices, NEW_YORK, SHANGHAI)
        await self.refused(Reason.SESSION_UNKNOWN, "holder", SHANGHAI)

    async def of_the_accounts_rate(self) -> None:
        self.clock.skip(MINUTE_NS)
        await self.quotes("AAPL", "FB")
        await self.approved("patient")
        await self.refused(Reason.ACCOUNT_THROTTLED, "holder")
        await self.closed()

    async def of_the_firms_books(self) -> None:
        """Nobody tells what the firm's books say: only what reduces passes."""
        self.clock.skip(2 * MINUTE_NS)
        await self.quotes("AAPL", "FB")
        await self.refused(Reason.PORTFOLIO_UNKNOWN, "holder")

    async def closed(self) -> None:
        """Close all that is held."""
        result = await self.run.engine.flatten(self._clear(Scope(ScopeKind.ACCOUNT, ACCOUNT)))
        assert {each.outcome for each in result.decisions} == {Outcome.APPROVED}
        await until_quiet(self.run)

    # ---- signals, and what must come of them --------------------------------------------------

    async def approved(self, *words: str, rests: bool = False, **changes: Any) -> None:
        decision = await self._submit(*words, **changes)
        assert decision.outcome is Outcome.APPROVED, decision.message
        if not rests:
            await until_quiet(self.run)

    async def refused(self, reason: Reason, *words: str, **changes: Any) -> None:
        decision = await self._submit(*words, **changes)
        assert decision.outcome is Outcome.REJECTED, decision
        assert reason in decision.reasons, decision

    async def done(self, reason: Reason, *words: str, **changes: Any) -> None:
        decision = await self._submit(*words, **changes)
        assert (decision.outcome, decision.reasons) == (Outcome.NO_ACTION, [reason]), decision

    async def _submit(
        self,
        strategy_id: str,
        symbol: str = "AAPL",
        *,
        target: int | Decimal = 1_000,
        side: Side = Side.BUY,
        slippage: int | None = None,
        **changes: Any,
    ) -> Decision:
        """A wish for ten shares, unless said otherwise."""
        values: dict[str, Any] = {
            "signal_id": f"r-{next(_numbers)}",
            "account_id": ACCOUNT,
            "strategy_id": strategy_id,
            "symbol": symbol,
            "side": side,
            "confidence": Decimal("0.5"),
            "target_exposure": Decimal(target),
            "time_horizon": TimeHorizon.INTRADAY,
            "max_slippage_bps": None if slippage is None else Decimal(slippage),
        }
        return (await self.run.engine.submit(Signal(**(values | changes)))).decision

    # ---- quotes and operators -----------------------------------------------------------------

    async def quotes(self, *symbols: str, price: int | None = None) -> None:
        """Quote symbols, at what they were last at unless another price is given."""
        for symbol in symbols:
            last = self.prices.get(symbol, Decimal("1.1") if symbol == RATE else PRICE)
            self.prices[symbol] = last if price is None else Decimal(price)
        await self._publish((each, Decimal("0.01")) for each in symbols)

    async def crossed(self, symbol: str) -> None:
        """A quote whose bid is above its ask."""
        self.prices.setdefault(symbol, PRICE)
        await self._publish([(symbol, Decimal("-0.05"))])

    async def _publish(self, spreads: Iterable[tuple[str, Decimal]]) -> None:
        now_ns = self.clock()
        quotes = [
            Quote(
                symbol=symbol,
                bid=self.prices[symbol] - off,
                ask=self.prices[symbol] + off,
                bid_size=None,
                ask_size=None,
                last=None,
                time_ns=now_ns,
                source=OPERATOR,
            )
            for symbol, off in spreads
        ]
        await self.run.engine.publish_quotes(quotes)

    async def halt(self, scope: Scope, state: TradingState) -> None:
        command = HaltCommand(scope, state, "by plan", OPERATOR, False, self._id())
        await self.run.engine.halt(command)

    async def resume(self, scope: Scope) -> None:
        await self.run.engine.resume(ResumeCommand(scope, "by plan", OPERATOR, self._id(), False))

    async def flatten(self, scope: Scope, outcomes: list[Outcome]) -> None:
        decided = (await self.run.engine.flatten(self._clear(scope))).decisions
        assert [each.outcome for each in decided] == outcomes, decided
        await until_quiet(self.run)

    async def cancel_all(self) -> None:
        await self.run.engine.cancel_all(self._clear(Scope(ScopeKind.ACCOUNT, ACCOUNT)))
        await until_quiet(self.run)

    def _clear(self, scope: Scope) -> ClearCommand:
        return ClearCommand(scope, "by plan", OPERATOR, self._id())

    def _id(self) -> str:
        return f"refusals-{next(_numbers)}"
