"""mkfix on FIX 4.4: it corrects and busts what it filled, fills too much, garbles a message."""

from __future__ import annotations

from pathlib import Path

from tests.support import mkfix
from tests.support.fix import fix_broker
from tests.support.paper import RecordingSink, eventually, order
from trade_engine.brokers.fix_look import look_into
from trade_engine.domain.execution import ExecutionReport
from trade_engine.execution.ports import Delivery

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
