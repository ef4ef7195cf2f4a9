"""The journal's chain: canonical bytes, and the hash that ties each entry to all before it.

    hash = SHA-256(prev_hash || canonical(account_id, kind, payload, recorded_at_ns, sequence))

Canonical JSON here is UTF-8 without spaces and with keys sorted; values are strings, integers,
booleans, null, lists and objects. There are no floats: decimals are strings.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from trade_engine.domain.journal import EntryKind, JournalEntry


def canonical(value: Any) -> bytes:
    """The one way to write a JSON value."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def seal(
    account_id: str,
    sequence: int,
    recorded_at_ns: int,
    kind: EntryKind,
    payload: bytes,
    prev_hash: bytes,
) -> JournalEntry:
    """Chain a new entry to `prev_hash`. payload is canonical JSON."""
    digest = entry_hash(account_id, sequence, recorded_at_ns, kind, payload, prev_hash)
    return JournalEntry(account_id, sequence, recorded_at_ns, kind, payload, prev_hash, digest)


def entry_hash(
    account_id: str,
    sequence: int,
    recorded_at_ns: int,
    kind: str,
    payload: bytes,
    prev_hash: bytes,
) -> bytes:
    """Hash an entry, as the head of this file says."""
    content = canonical(
        {
            "account_id": account_id,
            "kind": kind,
            "payload": orjson.Fragment(payload),
            "recorded_at_ns": recorded_at_ns,
            "sequence": sequence,
        }
    )
    return hashlib.sha256(prev_hash + content).digest()
