"""2, 6: what clients were told is what the record has."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

from tests.faults.evidence import Evidence, Row, Violations
from tests.workload.holdings import order_of
from trade_engine.api.answers import decision_message
from trade_engine.domain.decision import Decision
from trade_engine.domain.journal import ORDER_KINDS, EntryKind
from trade_engine.v1 import decision_pb2


def answers_stand(evidence: Evidence) -> Violations:
    """2: every acknowledged decision is in the record as acknowledged; repeats gave the same."""
    yield from _limits_stand(evidence)
    recorded = {}
    for account_id in evidence.account_ids:
        for entry, payload in evidence.payloads(account_id):
            if entry["kind"] == EntryKind.DECISION:
                decision = Decision.from_json(payload["decision"], entry["sequence"])
                recorded[account_id, decision.signal.signal_id] = decision
    told: dict[tuple[str, str], str] = {}
    for ack in evidence.events_of("ack"):
        key = ack["account_id"], ack["signal_id"]
        if told.setdefault(key, ack["decision"]) != ack["decision"]:
            yield f"signal {key} was answered in two ways"
    rows = {(each["account_id"], each["signal_id"]): each for each in evidence.decisions}
    for key, written in told.items():
        found = recorded.get(key)
        if found is None:
            yield f"signal {key} was answered, and the journal has no decision on it"
            continue
        message = decision_pb2.Decision.FromString(base64.b64decode(written))
        if message != decision_message(found):
            yield f"signal {key} was answered otherwise than the journal has it"
        row = rows.get(key)
        if row is None or row["sequence"] != found.sequence:
            yield f"signal {key} is not found in the record's index of decisions"


def _limits_stand(evidence: Evidence) -> Violations:
    """A change of limits that was acknowledged is in each journal where the answer said."""
    changes = {
        (account_id, entry["sequence"]): payload
        for account_id in evidence.account_ids
        for entry, payload in evidence.payloads(account_id)
        if entry["kind"] == EntryKind.LIMITS_CHANGED
    }
    for told in evidence.events_of("limits"):
        for account_id, sequence in told["sequences"].items():
            # 0: a later change stands there already.
            found = changes.get((account_id, sequence)) if sequence else None
            if sequence and (found is None or not _says(found, told)):
                yield (
                    f"limits {told['version']} were acknowledged at {sequence} of {account_id},"
                    f" where they are not"
                )


def _says(rulebook: Row, told: Row) -> bool:
    """Whether a rulebook is the one told of, and has the limits that were asked for."""
    values = {
        each["name"]: Decimal(each["value"])
        for each in rulebook["limits"]
        if each["level"] == "default"
    }
    asked = {name: Decimal(str(value)) for name, value in told["values"].items()}
    return rulebook["version"] == told["version"] and asked.items() <= values.items()


def streams_equal_the_journal(evidence: Evidence) -> Violations:
    """6: each subscriber's stream, over all its connections, is the journal: no gap, no double."""
    journals = {
        account_id: [
            (entry["sequence"], order["order_id"], order["ord_status"], Decimal(order["cum_qty"]))
            for entry, payload in evidence.payloads(account_id)
            if entry["kind"] in ORDER_KINDS
            and (order := order_of(entry["kind"], payload)) is not None
        ]
        for account_id in evidence.account_ids
    }
    seen: dict[tuple[str, str], list[Any]] = {
        (each["subscriber"], each["account_id"]): [] for each in evidence.events_of("subscribed")
    }
    for each in evidence.events_of("update"):
        seen[each["subscriber"], each["account_id"]].append(
            (each["sequence"], each["order_id"], each["ord_status"], Decimal(each["cum_qty"]))
        )
    for (subscriber, account_id), updates in seen.items():
        journal = journals.get(account_id, [])
        if updates == journal:
            continue
        place = next(
            (at for at, (one, two) in enumerate(zip(updates, journal, strict=False)) if one != two),
            min(len(updates), len(journal)),
        )  # fmt: skip
        yield (
            f"{subscriber} of {account_id} got {len(updates)} updates, the journal has"
            f" {len(journal)}; they part at number {place + 1}:"
            f" {updates[place : place + 2]} instead of {journal[place : place + 2]}"
        )
