"""1, 4, 5: what reached the broker, by its own log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson

from tests.faults.evidence import Evidence, Row, Violations
from tests.workload.holdings import order_of
from tests.workload.prefixes import Prefix
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.trading_state import Scope

SENT = frozenset({"ORDER", "REPLACE"})
"""What at the broker's is an order, or makes another one of it."""
ECONOMIC = ("symbol", "side", "ord_type", "time_in_force", "order_qty", "price")


def one_broker_order_per_signal(evidence: Evidence) -> Violations:
    """1: at most one broker order per signal, each an order of the record with the same terms.

    An order that was replaced came with the terms of its own decision; each new terms that came
    are those of a decision, and came once.
    """
    yield from _replacements(evidence)
    approved = _approved_terms(evidence)
    orders = {(each["account_id"], each["order_id"]): each for each in evidence.orders}
    signals: Counter[tuple[str, str]] = Counter()
    for message in evidence.messages:
        if message["message"]["kind"] != "ORDER":
            continue
        key = message["account_id"], message["cl_ord_id"]
        order = orders.get(key)
        if order is None:
            yield f"the broker has order {key}, which the record has not"
            continue
        signals[order["account_id"], order["signal_id"]] += 1
        terms = message["message"]["terms"]
        for name in ECONOMIC:
            ours = approved.get(key, order) if _is_replaced(order) else order
            if _value(terms[name]) != _value(ours[name]):
                yield f"order {key}: {name} is {terms[name]} there, {ours[name]} in the record"
    for signal, count in signals.items():
        if count > 1:
            yield f"signal {signal} reached the broker {count} times"


def _is_replaced(order: Row) -> bool:
    return len((order["chain"] or {}).get("cl_ord_ids", ())) > 1


def _approved_terms(evidence: Evidence) -> dict[tuple[str, str], Any]:
    """The orders as decisions approved them."""
    return {
        (account_id, order["order_id"]): order
        for account_id in evidence.account_ids
        for entry, payload in evidence.payloads(account_id)
        if entry["kind"] == EntryKind.DECISION
        and (order := order_of(entry["kind"], payload)) is not None
    }


def _replacements(evidence: Evidence) -> Violations:
    """New terms at the broker that no decision approved, or that came more than once."""
    approved = {
        _terms_key(account_id, asked): asked
        for account_id in evidence.account_ids
        for entry, payload in evidence.payloads(account_id)
        if (asked := _new_terms(entry, payload)) is not None
    }
    came: Counter[tuple[str, str, str]] = Counter()
    for message in evidence.messages:
        if message["message"]["kind"] != "REPLACE":
            continue
        terms = message["message"]["terms"]
        key = message["account_id"], message["cl_ord_id"], terms["cl_ord_id"]
        came[key] += 1
        ours = approved.get(key)
        if ours is None or any(terms[name] != ours[name] for name in ("order_qty", "price")):
            yield f"the broker was asked for terms {terms} of {key}, which no decision approved"
        if came[key] == 2:
            yield f"the broker was asked for the terms {key} more than once"


def _new_terms(entry: Row, payload: Row) -> Row | None:
    """The new terms for an order that a decision approved, if it did."""
    if entry["kind"] != EntryKind.DECISION or payload["decision"]["outcome"] != "APPROVED":
        return None
    found: Row | None = payload["decision"].get("replacement")
    return found


def _terms_key(account_id: str, terms: Row) -> tuple[str, str, str]:
    return account_id, terms["order_id"], terms["cl_ord_id"]


def _value(written: Any) -> Any:
    try:
        return Decimal(str(written))
    except ArithmeticError:
        return written or None


def approved_first(evidence: Evidence) -> Violations:
    """4: no order without an approved decision before it, at the broker or in the journal."""
    approved: dict[tuple[str, str], int] = {}
    new_terms = set[tuple[str, str, str]]()
    for account_id in evidence.account_ids:
        for entry, payload in evidence.payloads(account_id):
            if (asked := _new_terms(entry, payload)) is not None:
                new_terms.add(_terms_key(account_id, asked))
            if (
                entry["kind"] == EntryKind.REPLACE_REQUESTED
                and (asked_for := _terms_key(account_id, payload["replacement"])) not in new_terms
            ):
                yield f"{entry['sequence']}: new terms {asked_for} were asked for, never approved"
            order = order_of(entry["kind"], payload)
            if order is None:
                continue
            key = account_id, order["order_id"]
            if entry["kind"] == EntryKind.DECISION:
                if payload["decision"]["outcome"] == "APPROVED":
                    approved.setdefault(key, entry["sequence"])
            elif key not in approved:
                yield f"{key} is in the journal at {entry['sequence']}, never approved before"
    for order in evidence.orders:
        if (order["account_id"], order["order_id"]) not in approved:
            yield f"order {order['order_id']} is in the record, and no decision approved it"
    for message in evidence.messages:
        key = message["account_id"], message["cl_ord_id"]
        if message["message"]["kind"] == "ORDER" and key not in approved:
            yield f"the broker has order {key}, which no decision approved"
        if message["message"]["kind"] == "REPLACE":
            terms_key = *key, message["message"]["terms"]["cl_ord_id"]
            if terms_key not in new_terms:
                yield f"the broker has new terms {terms_key}, which no decision approved"


def nothing_after_a_halt(evidence: Evidence) -> Violations:
    """5: after DRAINED nothing of the scope arrived until Resume; after IN_DOUBT only the named.

    Where no journal took the halt: and what was approved by then. New terms for an order are as an
    order.
    """
    orders = {each["order_id"]: each for each in evidence.orders}
    closing, past_halts = _by_the_journal(evidence)
    approvals = _approvals(evidence)
    yield from past_halts
    for halt in evidence.events_of("halt"):
        if halt["result"] not in ("DRAINED", "IN_DOUBT"):
            continue
        scope, over_ns = Scope.parse(halt["scope"]), _over_ns(evidence, halt)
        for message in evidence.messages:
            order_id, kind = message["cl_ord_id"], message["message"]["kind"]
            if kind not in SENT or order_id in halt["in_doubt"]:
                continue
            if not halt["at_ns"] < message["arrived_at_ns"] < over_ns:
                continue
            terms = message["message"]["terms"]
            sent_as = terms.get("cl_ord_id", order_id)
            account_id = message["account_id"]
            if _unknown_then(halt, account_id, approvals.get((account_id, sent_as))):
                continue
            order = orders.get(order_id, {"strategy_id": "", **terms})
            if not scope.covers(account_id, order["strategy_id"], order["symbol"]):
                continue
            if halt["mode"] == "HALTED" or sent_as not in closing:
                late_ms = (message["arrived_at_ns"] - halt["at_ns"]) / 1e6
                yield (
                    f"{kind} {sent_as} arrived {late_ms:.1f} ms after the halt of"
                    f" {halt['scope']} ({halt['mode']}) had returned {halt['result']}"
                )


def _unknown_then(halt: Row, account_id: str, approved_ns: int | None) -> bool:
    """Whether the replica that halted could not know of it: no journal told what was approved."""
    unread = halt["result"] == "IN_DOUBT" and account_id not in halt["journaled"]
    return unread and approved_ns is not None and approved_ns < halt["at_ns"]


def _approvals(evidence: Evidence) -> dict[tuple[str, str], int]:
    """When which ClOrdID of an account was approved, in ns."""
    found = {}
    for account_id in evidence.account_ids:
        for entry, payload in evidence.payloads(account_id):
            if entry["kind"] != EntryKind.DECISION:
                continue
            decision = payload["decision"]
            for each, name in (
                (decision["order"], "order_id"),
                (decision.get("replacement"), "cl_ord_id"),
            ):
                if each:
                    found[account_id, each[name]] = entry["recorded_at_ns"]
    return found


def _over_ns(evidence: Evidence, halt: Row) -> int:
    """When a halt may have been taken back at the earliest."""
    resumed = (
        each["asked_ns"]
        for each in evidence.events_of("resume")
        if each["scope"] == halt["scope"] and each["asked_ns"] > halt["asked_ns"]
    )
    return min(resumed, default=evidence.taken_at_ns)


def _by_the_journal(evidence: Evidence) -> tuple[set[str], list[str]]:
    """What only closed for its strategy when the intent to send was committed, by its ClOrdID.

    And, in words, what was approved although the journal halts it.
    """
    closing, past_halts = set[str](), list[str]()
    for account_id in evidence.account_ids:
        prefix = Prefix(account_id, evidence.prices)
        for entry in evidence.entries(account_id):
            list(prefix.take(entry))
            order = order_of(entry.kind, orjson.loads(entry.payload))
            if order is None or entry.kind not in (EntryKind.DECISION, EntryKind.DELIVERY):
                continue
            for sent_as in _being_sent(order):
                closing.discard(sent_as)
                if prefix.closes(order):
                    closing.add(sent_as)
        past_halts += (f"{account_id} {said}" for said in prefix.past_halts)
    return closing, past_halts


def _being_sent(order: Row) -> Iterator[str]:
    """The ClOrdIDs under which an order, or new terms for it, are on their way."""
    if order["delivery"] == "SENDING":
        yield order["order_id"]
    for each in (order.get("chain") or {}).get("requests", ()):
        if each.get("delivery") == "SENDING":
            yield each["cl_ord_id"]
