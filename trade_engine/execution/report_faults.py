"""What no store could take of a broker's report: found before it gets near one.

A broker's words may be anything. What is only said is made printable; what is a name or a number
must be one, or the report is put aside whole (see `fills.quarantine`): half a report is worse.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from trade_engine.domain.errors import InvalidField
from trade_engine.domain.execution import BrokerReport, CancelReject, ExecutionReport
from trade_engine.domain.money import checked

TEXT_CHARS_MAX = 500
ID_CHARS_MAX = 255
NS_MAX = 2**63 - 1
"""Times are 64 bits wide in the record."""


def printable(words: str) -> str:
    """A broker's words without what no store takes, and no longer than anybody reads."""
    return "".join(letter for letter in words if letter.isprintable())[:TEXT_CHARS_MAX]


def fault_of(report: BrokerReport) -> str:
    """The first thing in a report that cannot be recorded; empty when there is none."""
    if isinstance(report, ExecutionReport) and not report.exec_id:
        return "exec_id is empty"
    if not 0 <= report.transact_time_ns <= NS_MAX:
        return f"transact_time_ns is {report.transact_time_ns}"
    for name, given in _names(report):
        if len(given) > ID_CHARS_MAX or not given.isprintable():
            return f"{name} is longer than {ID_CHARS_MAX} characters or not printable"
    if isinstance(report, ExecutionReport):
        for name, number in _numbers(report):
            try:
                checked(number, name, "")
            except InvalidField as fault:
                return f"{name} is not {fault.allowed}"
        if report.last_qty < 0:
            return "last_qty is below 0"
    return ""


def _names(report: BrokerReport) -> Iterator[tuple[str, str]]:
    yield "cl_ord_id", report.cl_ord_id
    yield "orig_cl_ord_id", report.orig_cl_ord_id
    if not isinstance(report, CancelReject):
        yield "exec_id", report.exec_id
        yield "exec_ref_id", report.exec_ref_id
        yield "broker_order_id", report.broker_order_id
        yield "commission_currency", report.commission_currency


def _numbers(report: ExecutionReport) -> Iterator[tuple[str, Decimal]]:
    yield "last_qty", report.last_qty
    yield "commission", report.commission
    for name, number in (
        ("last_px", report.last_px),
        ("order_qty", report.order_qty),
        ("price", report.price),
    ):
        if number is not None:
            yield name, number
