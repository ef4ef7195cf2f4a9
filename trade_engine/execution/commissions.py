"""A commission that cannot be placed: it is not booked, and somebody must look.

The ledger books what a fill cost in the currency of its instrument, as FIX has it (the deal's). A
broker that bills in another one says so, and what that is worth in the account's money depends on a
rate that is the broker's own. Nobody guesses it, nor what a commission is that is no amount of
money: the fill is booked without it, and the entry in the journal, and an alert, say what is
missing.
"""

from __future__ import annotations

from trade_engine.domain.execution import ExecutionReport
from trade_engine.domain.money import text
from trade_engine.domain.order import Order
from trade_engine.execution.batch import Batch


def unplaced_commission(batch: Batch, order: Order, report: ExecutionReport) -> dict[str, str]:
    """What a report says of its commission where that cannot be booked; else nothing.

    That is: in another currency than the instrument's, or no amount of money. Of an instrument that
    left the rulebook no currency is known, so that none is taken for its own.
    """
    if not report.commission:
        return {}
    currency, kind = report.commission_currency, report.commission_kind
    stated = {"amount": text(report.commission)}
    if kind:
        return stated | {"kind": kind}
    instrument = batch.rulebook.instruments.get(order.symbol)
    if not currency or (instrument is not None and instrument.currency == currency):
        return {}
    return stated | {"currency": currency}
