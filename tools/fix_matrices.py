"""Run FIX's order state change matrices through the order machine.

`python -m tools.fix_matrices FILE` takes a file of `scenarios`, each a list of steps as FIX 4.4
Volume 4 Appendix D prints them: a message in (to the broker) or out (from the broker), with
(ClOrdID, OrigClOrdID) and quantities. The machine is fed the messages, LastQty, LastPx, the stated
OrderQty and the ids; after every step its OrdStatus, CumQty and LeavesQty are compared with those
stated, which it never sees. A step of the branch "alt" is another outcome at the same time: it is
tried on a copy and not continued. Exits 1 when a scenario failed.
"""

from __future__ import annotations

import copy
import re
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tools.reference import Case, Outcome, main
from trade_engine.domain.execution import (
    CancelReject,
    ExecRestatementReason,
    ExecType,
    ExecutionReport,
)
from trade_engine.domain.money import ZERO, text
from trade_engine.domain.order import OrdStatus, TimeInForce
from trade_engine.execution.order_chain import OrderChain
from trade_engine.execution.order_facts import RequestKind

Step = dict[str, Any]

MESSAGE = re.compile(
    r"\s*(?P<name>[A-Za-z ]+?)\s*(?:\((?P<id>[^,()]*)(?:,(?P<orig>[^()]*))?\))?\s*"
)
DAY = re.compile(r"\s*D(?:ay)?\s*(\d+)", re.IGNORECASE)
SOME_PRICE = Decimal(100)
"""For fills whose price the matrix leaves open."""

EXEC_TYPES = {
    "REPLACE": ExecType.REPLACED,
    "CANCELLED": ExecType.CANCELED,
    "STATUS": ExecType.ORDER_STATUS,
    "PARTIAL_FILL": ExecType.TRADE,
    "FILL": ExecType.TRADE,
    "TRIGGERED_BY_(TRADING_SYSTEM)": ExecType.NEW,
}
"""What is printed under another name than that of FIX 4.4."""

REASONS = (
    (r"corporate action|split", ExecRestatementReason.GT_CORPORATE_ACTION),
    (r"renewal", ExecRestatementReason.GT_RENEWAL),
    (r"verbal", ExecRestatementReason.VERBAL_CHANGE),
    (r"decline", ExecRestatementReason.PARTIAL_DECLINE),
    (r"halt", ExecRestatementReason.CANCEL_ON_TRADING_HALT),
    (r"not best", ExecRestatementReason.CANCELED_NOT_BEST),
    (r"reprice|repricing", ExecRestatementReason.REPRICING),
)
LIFETIMES = (
    (r"\bday order\b", TimeInForce.DAY),
    (r"\bGT[CD]?\b|good till", TimeInForce.GTC),
    (r"\bIOC\b|immediate or cancel", TimeInForce.IOC),
    (r"\bFOK\b|fill or kill", TimeInForce.FOK),
)
"""Both are told in words, in a comment or the title: the steps have no field for them."""


@dataclass(slots=True)
class Book:
    """Every order of a scenario, under each of its ClOrdIDs."""

    lifetime: TimeInForce
    chains: dict[str, OrderChain] = field(default_factory=dict)
    day: int = 0

    def find(self, *cl_ord_ids: str) -> OrderChain:
        """The order of the first id that is known; a new one, that nobody sent, if none is.

        A message without any id is about the scenario's first order; and an order that was heard
        of without an id (a telephoned one) is meant by any id that is not another's.
        """
        known = [cl_ord_id for cl_ord_id in cl_ord_ids if cl_ord_id]
        for cl_ord_id in known:
            if cl_ord_id in self.chains:
                return self.chains[cl_ord_id]
        if not known and self.chains:
            return next(iter(self.chains.values()))
        return self.chains.get("") or self.open(known[-1] if known else "")

    def open(self, cl_ord_id: str) -> OrderChain:
        """The order of this very id, new if there is none."""
        chain = OrderChain(cl_ord_id, ZERO, time_in_force=self.lifetime)
        return self.chains.setdefault(cl_ord_id, chain)

    def turn_to(self, step: Step) -> None:
        """Turn the day for every order if the step is on a later one."""
        stated = DAY.match(str(step["t"]))
        if stated is not None and int(stated[1]) > self.day:
            if self.day:
                for chain in {id(each): each for each in self.chains.values()}.values():
                    chain.turn_day()
            self.day = int(stated[1])


def check(scenario: Case) -> Outcome:
    """Feed the scenario to the machine, step by step, both branches."""
    outcome = Outcome()
    book = Book(_lifetime(scenario))
    before_answer: tuple[Any, Book] | None = None
    alternative: Book | None = None
    for number, step in enumerate(scenario["steps"]):
        book.turn_to(step)
        if step.get("branch") == "alt":
            if alternative is None:
                answered = before_answer is not None and before_answer[0] == step["t"]
                base = before_answer[1] if answered and before_answer else book
                alternative = copy.deepcopy(base)
            _take(outcome, alternative, scenario, step, number)
            if step.get("out"):
                alternative = None
            continue
        alternative = None
        answers = step.get("out") and not step.get("crosses")
        if answers and (before_answer is None or before_answer[0] != step["t"]):
            before_answer = (step["t"], copy.deepcopy(book))
        _take(outcome, book, scenario, step, number)
    if not outcome.compared:
        outcome.faults.append("it states nothing that could be compared")
    return outcome


def _take(outcome: Outcome, book: Book, scenario: Case, step: Step, number: int) -> None:
    """Feed one step, and compare what the machine makes of it."""
    if step.get("in"):
        why = _message_in(book, step)
        if why:
            outcome.faults.append(f"{_place(step)}: refused: {why}")
    if step.get("out"):
        chain, why = _message_out(book, scenario, step, number)
        if why:
            outcome.faults.append(f"{_place(step)}: refused: {why}")
        _compare(outcome, chain, step)


def _message_in(book: Book, step: Step) -> str:
    name, cl_ord_id, orig = _message(step["in"])
    order_qty = _quantity(step, "order_qty")
    if "Status" in name:
        book.find(cl_ord_id)
        return ""
    if "Cancel" in name or "Replace" in name:
        kind = RequestKind.REPLACE if "Replace" in name else RequestKind.CANCEL
        chain = book.find(orig or cl_ord_id)
        why = chain.request_refusal(kind, cl_ord_id)
        if not why:
            chain.request(kind, cl_ord_id, order_qty)
            book.chains.setdefault(cl_ord_id, chain)
        return why
    chain = book.open(cl_ord_id)
    if not chain.sent and not chain.acknowledged:
        chain.cash_order = order_qty is None or "cashorderqty" in _words(step)
        chain.order_qty = ZERO if chain.cash_order else order_qty or ZERO
    chain.send(cl_ord_id)
    return ""


def _message_out(book: Book, scenario: Case, step: Step, number: int) -> tuple[OrderChain, str]:
    name, cl_ord_id, orig = _message(step["out"])
    chain = book.find(cl_ord_id, orig)
    if "Reject" in name:
        reject = CancelReject(
            cl_ord_id=cl_ord_id,
            orig_cl_ord_id=orig,
            transact_time_ns=number,
            unknown_order="unknown order" in _words(step),
        )
        why = chain.reject_refusal(reject)
        if not why:
            chain.reject_request(reject)
        return chain, why
    report = _report(chain, scenario, step, number)
    why = chain.refusal(report)
    if not why:
        chain.fold(report)
        book.chains.setdefault(cl_ord_id, chain)
    return chain, why


def _report(chain: OrderChain, scenario: Case, step: Step, number: int) -> ExecutionReport:
    _, cl_ord_id, orig = _message(step["out"])
    exec_type = _exec_type(step.get("exec_type") or "Order Status")
    order_qty = _quantity(step, "order_qty")
    restates = exec_type is ExecType.RESTATED and order_qty not in (None, chain.order_qty)
    reason = _reason(_words(step))
    if restates and reason is None:
        reason = _reason(str(scenario.get("title", "")))
    last_px = _quantity(step, "last_px")
    return ExecutionReport(
        cl_ord_id=cl_ord_id,
        orig_cl_ord_id=orig,
        exec_id=step.get("exec_id") or f"step-{number}",
        exec_ref_id=step.get("exec_ref_id") or "",
        exec_type=exec_type,
        transact_time_ns=number,
        last_qty=_quantity(step, "last_qty") or ZERO,
        last_px=SOME_PRICE if last_px is None and exec_type is ExecType.TRADE else last_px,
        order_qty=order_qty,
        exec_restatement_reason=reason,
    )


def _compare(outcome: Outcome, chain: OrderChain, step: Step) -> None:
    where = _place(step)
    if step.get("ord_status"):
        outcome.compared += 1
        stated_status = OrdStatus(_enum_name(step["ord_status"]))
        if chain.ord_status is not stated_status:
            outcome.faults.append(f"{where}: OrdStatus {chain.ord_status}, stated {stated_status}")
    for name in ("cum_qty", "leaves_qty"):
        stated, ours = _quantity(step, name), getattr(chain, name)
        if name == "leaves_qty" and _is_misprinted(step):
            stated = (_quantity(step, "order_qty") or ZERO) - (_quantity(step, "cum_qty") or ZERO)
            outcome.notes.append(f"{where}: leaves_qty is printed 0, and must be {text(stated)}")
        if stated is not None:
            outcome.compared += 1
            if ours != stated:
                outcome.faults.append(f"{where}: {name} {text(ours)}, stated {text(stated)}")
    if step.get("ord_status") == "Rejected" or not step.get("exec_type"):
        return
    for name in ("order_qty", "day_order_qty", "day_cum_qty"):  # stated too, but not judged
        stated, ours = _quantity(step, name), getattr(chain, name)
        if stated is not None and ours != stated:
            outcome.notes.append(f"{where}: {name} {text(ours)}, stated {text(stated)}")


def _is_misprinted(step: Step) -> bool:
    """Whether LeavesQty is printed 0 of an order that works and is not filled.

    The pages do so for a telephoned order, against their own first rule: OrderQty is CumQty plus
    LeavesQty, unless the order can't fill any more.
    """
    order_qty, cum_qty = _quantity(step, "order_qty"), _quantity(step, "cum_qty")
    works = step.get("ord_status") in ("New", "Partially Filled")
    if not works or order_qty is None or cum_qty is None or step.get("exec_type") == "Rejected":
        return False
    return _quantity(step, "leaves_qty") == 0 and cum_qty < order_qty


def _message(written: str) -> tuple[str, str, str]:
    """Read `Name(ClOrdID,OrigClOrdID)`; ids that are not given are empty."""
    found = MESSAGE.fullmatch(written)
    if found is None:
        raise ValueError(f"{written!r} is not Name(ClOrdID,OrigClOrdID)")
    return found["name"], (found["id"] or "").strip(), (found["orig"] or "").strip()


def _exec_type(printed: str) -> ExecType:
    name = _enum_name(printed)
    return EXEC_TYPES.get(name) or ExecType(name)


def _enum_name(printed: str) -> str:
    return printed.strip().upper().replace(" ", "_")


def _quantity(step: Step, name: str) -> Decimal | None:
    value = step.get(name)
    return None if value is None else Decimal(str(value))


def _words(step: Step) -> str:
    return str(step.get("comment") or "").lower()


def _reason(words: str) -> ExecRestatementReason | None:
    return next(
        (reason for words_of, reason in REASONS if re.search(words_of, words, re.IGNORECASE)), None
    )


def _lifetime(scenario: Case) -> TimeInForce:
    """TimeInForce as comment or title tell it; an order that sees a second day is no DAY order."""
    first: Step = next((step for step in scenario["steps"] if step.get("in")), {})
    for told in (_words(first), str(scenario.get("title", "")), str(scenario.get("notes") or "")):
        for words, lifetime in LIFETIMES:
            if re.search(words, told, re.IGNORECASE):
                return lifetime
    days = {found[1] for step in scenario["steps"] if (found := DAY.match(str(step["t"])))}
    return TimeInForce.GTC if len(days) > 1 else TimeInForce.DAY


def _place(step: Step) -> str:
    alt = " (alt)" if step.get("branch") == "alt" else ""
    return f"t={step['t']}{alt} {step.get('out') or step.get('in')} {step.get('exec_type') or ''}"


if __name__ == "__main__":
    sys.exit(main("fix_matrices", "scenarios", check))
