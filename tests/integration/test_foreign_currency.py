"""An instrument in euros on an account in dollars, from the signal to the rebuilt Redis."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import orjson
import pytest

from tests.integration.test_gate import command, state_in_redis
from tests.support.audited import audit
from tests.support.trading import (
    ACCOUNT,
    eventually,
    quote,
    replicas,
    rulebook,
    signal,
    until_quiet,
)
from trade_engine.auditing import AuditKind
from trade_engine.auditing import audit as audit_elsewhere
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.fx import FxPair
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.market import Instrument
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.signal import Side
from trade_engine.domain.trading_state import TradingState
from trade_engine.wiring import Running

pytestmark = pytest.mark.stores
D = Decimal
SAP = Instrument("SAP", D("0.01"), D(1), "EUR", "EQUITY")


def rules(**limits: int) -> Rulebook:
    """Shares in euros beside those in dollars."""
    made = rulebook(**limits)
    made.instruments["SAP"] = SAP
    made.fx = {("EUR", "USD"): FxPair("EUR", "USD", "EURUSD", D(60_000), D(2000))}
    return made


async def rates(run: Running, euro: str, sap: int = 100) -> None:
    await run.engine.publish_quotes([quote("EURUSD", euro), quote("SAP", sap)])


async def test_submit_fill_lose_verify_replay_and_rebuild(
    database_url: str, redis_url: str
) -> None:
    async with replicas(2, database_url, redis_url, rules(daily_loss_max=1_500)) as (one, two):
        await rates(one, "1.10")
        decision = (await one.engine.submit(signal(11_110, symbol="SAP"))).decision
        assert decision.outcome is Outcome.APPROVED, decision.message
        assert decision.order is not None
        # At worst a euro is 1.11, and a share 111.
        assert (decision.order.order_qty, decision.order.fx_rate) == (100, D("1.11"))
        await until_quiet(one)
        [position] = await two.engine.queries.list_positions(ACCOUNT, "", "", None, 10)
        assert (position.local_cost, position.cost) == (10_001, D("11001.1"))
        assert position.avg_px(D(1)) == D("100.01")
        status = (await two.engine.status(ACCOUNT)).accounts[0]
        assert status.currency == "USD"
        [told] = status.rates
        assert (told.pair.base, told.reference, told.worst) == ("EUR", D("1.1"), D("1.11"))
        assert status.equity == 1_000_000 - D("11001.1") + 11_000

        # Half of it is sold at another rate.
        await rates(one, "1.2")
        sold = await two.engine.submit(signal(6_050, symbol="SAP", side=Side.SELL))
        assert sold.decision.outcome is Outcome.APPROVED, sold.decision.message
        await until_quiet(two)
        [position] = await two.engine.queries.list_positions(ACCOUNT, "", "", None, 10)
        assert position.quantity == 50
        assert position.realized_pnl == 50 * (D("99.99") * D("1.2") - D("100.01") * D("1.1"))

        # The rate alone loses more than a day may.
        await rates(one, "1.0")
        for euro in ("0.9", "0.8", "0.7"):
            await asyncio.sleep(0.6)
            await rates(one, euro, 90)

        async def stopped() -> bool:
            return (await two.engine.status(ACCOUNT)).accounts[
                0
            ].trading_state is TradingState.REDUCE_ONLY

        await eventually(stopped)
        kinds = frozenset({EntryKind.TRADING_STATE})
        [entry] = await one.engine.queries.entries(ACCOUNT, 0, 1000, kinds)
        breach = orjson.loads(entry.payload)["breach"]
        assert breach["prices"].keys() == {"SAP"}
        assert breach["rates"].keys() == {"EUR"}
        await audit(one)

        # Redis is laid anew from the record, field by field.
        before = await state_in_redis(redis_url)
        await command(redis_url, "DEL", f"te:{{{ACCOUNT}}}:state")
        await eventually(lambda: state_in_redis(redis_url))
        assert await state_in_redis(redis_url) == before
        assert b'"local_cost"' in before[b"pos:momentum-v1|SAP"]
    for kind in AuditKind:
        [found] = await audit_elsewhere(kind, database_url, [ACCOUNT], lambda *_: None)
        assert found.faults == []


async def test_without_a_rate_nothing_is_approved_and_a_what_if_says_why(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url, rules()) as [run]:
        await run.engine.publish_quotes([quote("SAP", 100)])
        refused = (await run.engine.submit(signal(1_000, symbol="SAP"))).decision
        assert refused.reasons[0] is Reason.FX_QUOTE_MISSING
        await rates(run, "1.1")
        assert (await run.engine.evaluate(signal(1_000, symbol="SAP"))).sizing is not None
        await run.engine.publish_quotes([quote("EURUSD", "2.2")])
        refused = await run.engine.evaluate(signal(1_000, symbol="SAP"))
        assert refused.reasons[0] is Reason.FX_QUOTE_INVALID
        assert "more than 2000 bps from the earlier one at 1.1" in refused.message
        at_home = (await run.engine.submit(signal(15_000))).decision
        assert at_home.outcome is Outcome.APPROVED
        await until_quiet(run)
        await audit(run)
