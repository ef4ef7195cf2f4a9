"""The golden journal: kept so that a change of any verdict shows in review."""

from __future__ import annotations

import gzip
from base64 import b64decode, b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from trade_engine.domain.journal import EntryKind, JournalEntry

GOLDEN = Path(__file__).parents[1] / "data" / "golden_journal.jsonl.gz"


def write(entries: Iterable[JournalEntry], file: Path = GOLDEN) -> None:
    """Keep a journal; the same entries make the same bytes."""
    lines = b"".join(
        orjson.dumps(
            {
                "account_id": entry.account_id,
                "sequence": entry.sequence,
                "recorded_at_ns": entry.recorded_at_ns,
                "kind": entry.kind.value,
                "payload": entry.payload.decode(),
                "prev_hash": b64encode(entry.prev_hash).decode(),
                "hash": b64encode(entry.hash).decode(),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for entry in entries
    )
    file.write_bytes(gzip.compress(lines, mtime=0))


def read(file: Path = GOLDEN) -> list[JournalEntry]:
    """What `write` kept."""
    return [_entry(orjson.loads(line)) for line in gzip.decompress(file.read_bytes()).splitlines()]


def _entry(doc: dict[str, Any]) -> JournalEntry:
    return JournalEntry(
        account_id=doc["account_id"],
        sequence=doc["sequence"],
        recorded_at_ns=doc["recorded_at_ns"],
        kind=EntryKind(doc["kind"]),
        payload=doc["payload"].encode(),
        prev_hash=b64decode(doc["prev_hash"]),
        hash=b64decode(doc["hash"]),
    )
