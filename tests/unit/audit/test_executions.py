"""Executions as an auditor counts them: busts and corrections by the names that they go by."""

from __future__ import annotations

from decimal import Decimal

from trade_engine.audit.executions import Executions
from trade_engine.domain.execution import ExecType, ExecutionReport
from trade_engine.domain.signal import Side

D = Decimal
AT = ("momentum", "AAPL")


def told(kind: ExecType, exec_id: str, of: str = "", qty: int = 0) -> ExecutionReport:
    return ExecutionReport("o-1", exec_id, kind, 1, D(qty), D(100), exec_ref_id=of)


def test_what_was_busted_stays_so_whatever_amends_it_later() -> None:
    executions = Executions()
    executions.take("paper", "o-1", AT, Side.BUY, told(ExecType.TRADE, "e-1", qty=10), None)
    for amendment in (
        told(ExecType.TRADE_CANCEL, "e-2", "e-1"),
        told(ExecType.TRADE_CORRECT, "e-3", "e-2", qty=5),
        told(ExecType.TRADE_CORRECT, "e-4", "e-3", qty=7),
    ):
        found = executions.find("paper", "o-1", amendment)
        assert found is not None
        executions.amend("paper", "o-1", found, amendment)
    assert list(executions.surviving(AT)) == []
