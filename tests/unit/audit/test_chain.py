from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from trade_engine.audit.chain import canonical, entry_hash, seal
from trade_engine.domain.account import GENESIS_HASH
from trade_engine.domain.journal import EntryKind

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_the_hash_is_as_documented() -> None:
    entry = seal("main", 1, 7, EntryKind.TRADING_STATE, b'{"a":"\xc3\xa9"}', GENESIS_HASH)
    written = (
        '{"account_id":"main","kind":"TRADING_STATE","payload":{"a":"é"},'
        '"recorded_at_ns":7,"sequence":1}'
    )
    assert entry.hash == hashlib.sha256(bytes(32) + written.encode()).digest()
    assert entry.prev_hash == bytes(32)


@given(values)
def test_canonical_does_not_depend_on_the_order_of_keys(value: object) -> None:
    assert canonical(_turned(value)) == canonical(value)


def _turned(value: object) -> object:
    if isinstance(value, dict):
        return {name: _turned(value[name]) for name in reversed(value)}
    return [_turned(each) for each in value] if isinstance(value, list) else value


def test_every_part_of_an_entry_is_in_its_hash() -> None:
    hashes = {
        entry_hash("main", 1, 7, "DECISION", b"{}", bytes(32)),
        entry_hash("mai", 1, 7, "DECISION", b"{}", bytes(32)),
        entry_hash("main", 2, 7, "DECISION", b"{}", bytes(32)),
        entry_hash("main", 1, 8, "DECISION", b"{}", bytes(32)),
        entry_hash("main", 1, 7, "DELIVERY", b"{}", bytes(32)),
        entry_hash("main", 1, 7, "DECISION", b"[]", bytes(32)),
        entry_hash("main", 1, 7, "DECISION", b"{}", bytes(31) + b"\x01"),
    }
    assert len(hashes) == 7
