"""3, 9: the journal folded by hand: limits, positions, cash, and what may follow what."""

from __future__ import annotations

from decimal import Decimal

import orjson

from tests.faults.evidence import Evidence, Row, Violations
from tests.workload.holdings import AMENDMENTS, ZERO, Holdings, order_of
from tests.workload.prefixes import Prefix
from trade_engine.domain.journal import EntryKind


def within_limits(evidence: Evidence) -> Violations:
    """3: at every sequence, held and working within each limit in force, or not grown."""
    for account_id in evidence.account_ids:
        prefix = Prefix(account_id, evidence.prices)
        for entry in evidence.entries(account_id):
            yield from (f"{account_id} {said}" for said in prefix.take(entry))


_CLOSED = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED"})
_FROM_PENDING_NEW = {"NEW", "PARTIALLY_FILLED", "PENDING_CANCEL"} | _CLOSED
LEGAL = {
    "PENDING_NEW": _FROM_PENDING_NEW,
    "NEW": {"PARTIALLY_FILLED", "PENDING_CANCEL"} | _CLOSED,
    "PARTIALLY_FILLED": {"PENDING_CANCEL", "FILLED", "CANCELED", "EXPIRED"},
    # A cancel that was refused, or crossed a fill, shows what it hid.
    "PENDING_CANCEL": {"NEW", "PARTIALLY_FILLED", "PENDING_NEW"} | _CLOSED,
    "FILLED": set[str](),
    "CANCELED": {"PARTIALLY_FILLED", "FILLED"},  # the fill came late
    "REJECTED": set[str](),
    "EXPIRED": {"PARTIALLY_FILLED", "FILLED"},
}
"""What may follow what at the paper venue, which knows no stop or suspension."""
AMENDED = {
    # Less is filled: what is left works again, or was canceled while it was not there.
    "FILLED": {"PARTIALLY_FILLED", "NEW", "CANCELED"},
    "PARTIALLY_FILLED": {"NEW"},
}
"""What may follow by a bust or a correction beside that."""
REPLACED = {
    "FILLED": {"PARTIALLY_FILLED"},  # filled on the old terms, and larger on the new ones
}
"""What may follow by new terms beside that."""


def books_are_the_fold(evidence: Evidence) -> Violations:
    """9: positions, cash and CumQty are the fold of the fills; only legal transitions."""
    yield from _fills_are_the_brokers(evidence)
    yield from _terms_are_the_brokers(evidence)
    for account_id in evidence.account_ids:
        prefix, status = Prefix(account_id, evidence.prices), dict[str, str]()
        for entry in evidence.entries(account_id):
            list(prefix.take(entry))
            payload = orjson.loads(entry.payload)
            order = order_of(entry.kind, payload)
            if order is not None:
                for said in _order_follows(order, entry.kind, payload, status, prefix.now):
                    yield f"{account_id} {entry.sequence}: {said}"
        yield from _account_is(evidence, account_id, prefix.now)
        for order in _of(account_id, evidence.orders):
            if status.get(order["order_id"]) != order["ord_status"]:
                yield (
                    f"order {order['order_id']} is {order['ord_status']},"
                    f" not as the journal left it"
                )


def _order_follows(
    order: Row, kind: EntryKind, payload: Row, status: dict[str, str], now: Holdings
) -> Violations:
    """Whether an order may be so after this entry, and what it filled is what was told."""
    order_id, after = order["order_id"], order["ord_status"]
    before = status.get(order_id, "PENDING_NEW")
    status[order_id] = after
    may_follow = LEGAL.get(before, set())
    exec_type = payload["report"]["exec_type"] if kind is EntryKind.EXECUTION else ""
    if exec_type in AMENDMENTS:
        may_follow = may_follow | AMENDED.get(before, set())
    elif exec_type == "REPLACED":
        may_follow = may_follow | REPLACED.get(before, set())
    if after not in may_follow | {before}:
        yield f"{order_id} went {before} to {after}"
    if Decimal(order["cum_qty"]) != now.filled.get(order_id, ZERO):
        yield f"CumQty of {order_id} is {order['cum_qty']}, not {now.filled.get(order_id, ZERO)}"


def _account_is(evidence: Evidence, account_id: str, now: Holdings) -> Violations:
    """Hold the tables of an account against what its journal comes to."""
    held = dict(now.held)
    for row in _of(account_id, evidence.positions):
        key = row["strategy_id"], row["symbol"]
        if Decimal(row["quantity"]) != held.pop(key, ZERO):
            yield f"position {account_id} {key} is {row['quantity']}, not the sum of its fills"
    for key, quantity in held.items():
        if quantity:
            yield f"position {account_id} {key} of {quantity} is missing"
    for row in _of(account_id, evidence.accounts):
        if Decimal(row["summary"]["cash"]) != now.cash:
            yield f"cash of {account_id} is {row['summary']['cash']}, the fills make it {now.cash}"
    for order in _of(account_id, evidence.orders):
        filled = now.filled.get(order["order_id"], ZERO)
        if Decimal(order["cum_qty"]) != filled:
            yield f"CumQty of {order['order_id']} is {order['cum_qty']}, its fills make {filled}"


def _of(account_id: str, rows: list[Row]) -> list[Row]:
    return [each for each in rows if each["account_id"] == account_id]


def _fills_are_the_brokers(evidence: Evidence) -> Violations:
    """The broker's word: every trade that it reported is booked once, as it last stood."""
    names = ("last_qty", "last_px", "commission")
    theirs: dict[tuple[str, str], tuple[Decimal, ...]] = {}
    for each in evidence.reports:
        report = each["report"]
        if "refused" in report:
            continue
        if report["exec_type"] == "TRADE":
            theirs[each["account_id"], each["exec_id"]] = _numbers(report)
        elif report["exec_type"] in AMENDMENTS:
            theirs[each["account_id"], report["exec_ref_id"]] = _numbers(report)
    ours = {(each["account_id"], each["exec_id"]): _numbers(each) for each in evidence.fills}
    for key in sorted(theirs.keys() | ours.keys()):
        if theirs.get(key) != ours.get(key):
            yield (
                f"execution {key}: {names} are {theirs.get(key)} at the broker,"
                f" {ours.get(key)} here"
            )


def _terms_are_the_brokers(evidence: Evidence) -> Violations:
    """An order that was replaced is as the broker last said."""
    theirs = {
        (each["account_id"], each["cl_ord_id"]): each["report"]
        for each in evidence.reports
        if each["report"].get("exec_type") == "REPLACED"
    }
    for order in evidence.orders:
        said = theirs.get((order["account_id"], order["order_id"]), order)
        for name in ("order_qty", "price"):
            if Decimal(said[name]) != Decimal(order[name]):
                yield (
                    f"order {order['order_id']}: {name} is {said[name]} at the broker,"
                    f" {order[name]} here"
                )


def _numbers(report: Row) -> tuple[Decimal, ...]:
    """Quantity, price and commission; of what was busted nothing counts."""
    quantity = Decimal(report["last_qty"])
    if not quantity:
        return ZERO, ZERO, ZERO
    return quantity, Decimal(report["last_px"]), Decimal(report["commission"])
