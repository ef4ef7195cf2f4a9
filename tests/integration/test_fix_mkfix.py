"""mkfix on FIX 4.4: it corrects and busts what it filled, fills too much, garbles a message.

Once as the adapter tells it, and once to the end: what of it stands in Postgres.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from tests.integration.test_order_life import recorded
from tests.support import mkfix
from tests.support.alerts import Alerts
from tests.support.audited import audit
from tests.support.fix import fix_broker, fix_config
from tests.support.paper import RecordingSink, order
from tests.support.trading import ACCOUNT, eventually, quote, rulebook, signal
from trade_engine.brokers.fix_look import look_into
from trade_engine.domain.decision import Reason
from trade_engine.domain.execution import ExecutionReport
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.order import OrdStatus
from trade_engine.execution.observer import Alert
from trade_engine.execution.ports import Delivery
from trade_engine.wiring import Plan, Running, running

MACRO = """
on order
    accept
    fill qty: 40, price: order.price
    correct last trade, qty: 30, price: order.price - 1
    bust first trade
    fill qty: order.order_qty, price: order.price
    fill qty: 7, price: order.price, extra: '10=000'
    fill qty: 20, price: order.price, text: 'the last one'
"""


def told(sink: RecordingSink) -> list[tuple[str, str, str]]:
    return [(each.exec_type.value, str(each.last_qty), price(each)) for each in sink.reports()]


def price(report: ExecutionReport) -> str:
    return "" if report.last_px is None else str(int(report.last_px))


async def test_corrections_busts_overfills_and_a_bad_checksum(tmp_path: Path) -> None:
    store = tmp_path / "session.sqlite"
    sink = RecordingSink()
    with mkfix.running(MACRO, tmp_path / "venue") as venue:
        broker = fix_broker(store, venue.port)
        await broker.start(sink)
        await broker.open_account("main")
        assert await broker.send([order("o-1")]) == [Delivery.SENT]
        await eventually(lambda: "the last one" in [each.text for each in sink.reports()])
        await broker.stop()
    new, filled, corrected, busted, *overfills = sink.reports()
    assert told(sink) == [
        ("NEW", "0", ""),
        ("TRADE", "40", "100"),
        ("TRADE_CORRECT", "30", "99"),
        ("TRADE_CANCEL", "0", ""),
        ("TRADE", "100", "100"),
        ("TRADE", "7", "100"),  # more than was ordered is told all the same, and once
        ("TRADE", "20", "100"),
    ]
    assert (new.exec_ref_id, filled.exec_ref_id) == ("", "")
    assert corrected.exec_ref_id == filled.exec_id
    assert busted.exec_ref_id == corrected.exec_id
    assert len({each.exec_id for each in sink.reports()}) == 4 + len(overfills)
    [garbled] = look_into(store).quarantined  # put aside, and asked for again
    assert "CheckSum(10) is wrong, so it is asked for again" in garbled.why
    assert "|32=7|" in garbled.message


# ---- to the end -----------------------------------------------------------------------------

TOO_MUCH = """
on order
    accept
    fill qty: 40, price: order.price
    correct last trade, qty: 30, price: order.price - 1
    fill qty: 20, price: order.price
    bust last trade
    fill qty: order.order_qty, price: order.price, text: 'the last one'
"""


async def booked(run: Running) -> dict[str, object]:
    """What Postgres has of it: each execution as it now counts, the position, the cash."""
    fills = await run.record.find_fills(ACCOUNT, "momentum-v1", "AAPL")
    [position] = await run.engine.queries.list_positions(ACCOUNT, "", "", None, 10)
    state = await run.record.load(ACCOUNT)
    assert state is not None
    return {
        "fills": [(each.last_qty, each.last_px, len(each.amended_by)) for each in fills],
        "position": (position.quantity, position.cost),
        "cash": state.cash,
        "realized": state.realized_pnl,
    }


@pytest.mark.stores
async def test_a_correction_a_bust_and_an_overfill_are_booked_and_the_overfill_halts(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    rules = rulebook()
    rules.accounts[ACCOUNT] = replace(rules.accounts[ACCOUNT], broker="venue")
    with mkfix.running(TOO_MUCH, tmp_path / "venue") as venue:
        session = fix_config(tmp_path / "session.sqlite", venue.port)
        alerts = Alerts()
        plan = Plan(database_url, redis_url, rules, "one", fix=[session], observer=alerts)
        async with running(plan) as run:
            await run.engine.publish_quotes([quote()])
            wish = signal(15_000)
            wish.max_slippage_bps = Decimal(0)  # so that its limit is 150
            order = (await run.engine.submit(wish)).decision.order
            assert order is not None

            async def all_of_it() -> bool:
                return (await recorded(run, order.order_id)).text == "the last one"

            await eventually(all_of_it)
            found = await booked(run)
            # 30 at 149 and 100 at 150; the 20 count for nothing
            assert found == {
                "fills": [(30, 149, 1), (0, 0, 1), (100, 150, 0)],
                "position": (130, 19_470),
                "cash": 1_000_000 - 19_470,
                "realized": 0,
            }
            after = await recorded(run, order.order_id)
            assert (after.ord_status, after.cum_qty) == (OrdStatus.FILLED, 130)
            [halted] = await run.engine.queries.entries(
                ACCOUNT, 0, 100, frozenset({EntryKind.TRADING_STATE})
            )
            told = orjson.loads(halted.payload)
            assert told["state"]["state"] == "HALTED"
            assert (told["overfill"]["order_qty"], told["overfill"]["cum_qty"]) == ("100", "130")
            assert Alert.OVERFILLED in alerts.raised
            refused = (await run.engine.submit(signal(45_000))).decision
            assert Reason.TRADING_HALTED in refused.reasons
            assert (await audit(run, "venue"))["amendments"] == 2
        async with running(replace(plan, replica_id="two")) as again:  # the session resumes
            await again.engine.publish_quotes([quote()])
            await eventually(lambda: again.engine._routers[ACCOUNT].agrees)
            assert (
                Reason.TRADING_HALTED
                in (await again.engine.submit(signal(45_000))).decision.reasons
            )
            assert await booked(again) == found
