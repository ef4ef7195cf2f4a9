"""A commission in money that cannot be placed: it is not booked, and somebody must look.

The ledger books what a fill cost in the currency of its instrument, as FIX has it (the deal's). A
broker that bills in another one says so, and what that is worth in the account's money depends on a
rate that is the broker's own. Nobody guesses it: the fill is booked without the commission, and the
entry in the journal, and an alert, say what is missing.
"""

from __future__ import annotations

from trade_engine.domain.execution import ExecutionReport
from trade_engine.domain.money import text
from trade_engine.domain.order import Order
from trade_engine.execution.batch import Batch


def unplaced_commission(batch: Batch, order: Order, report: ExecutionReport) -> dict[str, str]:
    """The commission of a report that is in another currency than its instrument; else nothing.

    Of an instrument that left the rulebook no currency is known, so that none is taken for its own.
    """
    currency = report.commission_currency
    if not (currency and report.commission):
        return {}
    instrument = batch.rulebook.instruments.get(order.symbol)
    if instrument is not None and instrument.currency == currency:
        return {}
    return {"amount": text(report.commission), "currency": currency}
