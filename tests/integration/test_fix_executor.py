"""QuickFIX's own `executor` on FIX 4.4: it fills limit orders at once, and refuses the rest."""

from __future__ import annotations

from pathlib import Path

from tests.support import quickfix
from tests.support.fix import fix_broker
from tests.support.paper import RecordingSink, eventually, order
from trade_engine.domain.execution import CancelReject
from trade_engine.domain.order import TimeInForce
from trade_engine.execution.ports import Delivery

DAY = TimeInForce.DAY


async def test_fills_and_refusals_and_a_venue_that_starts_again(tmp_path: Path) -> None:
    sink = RecordingSink()
    with quickfix.running("executor", tmp_path / "venue", ["ENGINE"], "FIX.4.4") as venue:
        broker = fix_broker(tmp_path / "session.sqlite", venue.port)
        await broker.start(sink)
        await broker.open_account("main")
        assert await broker.send([order("o-1", tif=DAY)]) == [Delivery.SENT]
        await eventually(lambda: sink.seen() == ["o-1 TRADE 100@100"])
        await broker.send([order("o-2", price=None, tif=DAY)])
        await eventually(lambda: sink.seen()[1:] == ["o-2 REJECTED"])
        assert await broker.cancel([order("o-1", tif=DAY)]) == [Delivery.SENT]
        await eventually(lambda: len(sink.told()) == 3)  # it knows no cancels
        refusal = sink.told()[2]
        assert isinstance(refusal, CancelReject)
        assert refusal.orig_cl_ord_id == "o-1"
        await broker.stop()
    with quickfix.running("executor", tmp_path / "venue", ["ENGINE"], "FIX.4.4") as venue:
        broker = fix_broker(tmp_path / "session.sqlite", venue.port)
        await broker.start(sink)
        await broker.open_account("main")
        await broker.send([order("o-3", tif=DAY)])  # its ExecIDs begin at 1 again
        await eventually(lambda: sink.seen()[2:] == ["o-3 TRADE 100@100"])
        first, _, third = sink.reports()
        assert (first.exec_id, third.exec_id) == ("o-1/1", "o-3/1")
        await broker.stop()
