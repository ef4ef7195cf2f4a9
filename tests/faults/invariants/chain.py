"""7: the chain verifies, and whoever harms it is found out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import orjson

from tests.faults.evidence import Evidence, Row, Violations, as_entry
from trade_engine.audit.verify import Verification
from trade_engine.domain.account import AccountState
from trade_engine.portfolio.ledger import book


def chain_holds(evidence: Evidence) -> Violations:
    """7: the chain verifies; and an entry changed, deleted or cut off would be found."""
    for account_id in evidence.account_ids:
        entries = [each for each in evidence.journal if each["account_id"] == account_id]
        yield from (f"{account_id} {fault}" for fault in _chain_faults(entries))
        [row] = [each for each in evidence.accounts if each["account_id"] == account_id]
        if (row["sequence"], row["head_hash_hex"]) != (
            entries[-1]["sequence"],
            entries[-1]["hash"],
        ):
            yield f"{account_id}: the head is not the journal's last entry"
        for name, harmed in _harms(entries):
            if not _audit_finds(account_id, harmed, row):
                yield f"{account_id}: `audit verify` does not find {name}"


def _chain_faults(entries: list[Row]) -> Iterator[str]:
    prev_hash = bytes(32).hex()
    for number, entry in enumerate(entries, start=1):
        if entry["sequence"] != number:
            yield f"{number}: missing, {entry['sequence']} stands there"
            return
        content = {
            "account_id": entry["account_id"],
            "kind": entry["kind"],
            "payload": orjson.Fragment(entry["payload"].encode()),
            "recorded_at_ns": entry["recorded_at_ns"],
            "sequence": entry["sequence"],
        }
        canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
        digest = hashlib.sha256(bytes.fromhex(prev_hash) + canonical).hexdigest()
        if entry["prev_hash"] != prev_hash or entry["hash"] != digest:
            yield f"{number}: does not chain to what is before it, or has not its hash"
        prev_hash = entry["hash"]


def _harms(entries: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    middle = len(entries) // 2
    changed = dict(entries[middle])
    changed["recorded_at_ns"] += 1
    yield "a changed entry", [*entries[:middle], changed, *entries[middle + 1 :]]
    yield "a deleted entry", [*entries[:middle], *entries[middle + 1 :]]
    yield "a cut-off entry", entries[:-1]


def _audit_finds(account_id: str, entries: list[Row], head: Row) -> bool:
    """Whether the product's own audit finds a fault in these entries under this head."""
    audit = Verification(account_id, book)
    for each in entries:
        audit.take(as_entry(each))
    chain = len(audit.findings.faults)
    state = AccountState(account_id, "", "", head["sequence"], bytes.fromhex(head["head_hash_hex"]))
    audit.compare(state, [], set())
    faults = audit.findings.faults
    return bool(chain) or any("the head is not" in fault.what for fault in faults)
