from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import redis_values as make
from trade_engine.domain.account import AccountState
from trade_engine.domain.market import Quote
from trade_engine.domain.order import OrdStatus
from trade_engine.domain.position import Position
from trade_engine.domain.trading_state import ScopeState
from trade_engine.storage.redis import encoding, keys


def flat(fields: list[encoding.Argument]) -> list[bytes]:
    """As Redis gives them back."""
    return [each if isinstance(each, bytes) else each.encode() for each in fields]


@given(make.states())
def test_a_fold_reads_back_as_it_was(state: AccountState) -> None:
    found = encoding.read_fold(state.account_id, flat(encoding.fold_fields(state)))
    state.positions = {key: held for key, held in state.positions.items() if held != Position(*key)}
    assert found == state


@given(make.states())
def test_equal_states_are_equal_bytes(state: AccountState) -> None:
    twin = copy.deepcopy(state)
    twin.positions = dict(reversed(twin.positions.items()))
    twin.trading = dict(reversed(twin.trading.items()))
    for held in twin.positions.values():
        held.quantity = held.quantity.normalize()
    pairs = flat(encoding.fold_fields(state))
    twins = flat(encoding.fold_fields(twin))
    assert sorted(zip(pairs[::2], pairs[1::2], strict=True)) == sorted(
        zip(twins[::2], twins[1::2], strict=True)
    )


def test_another_fold_is_another_version() -> None:
    """Where this fails, raise FOLD_VERSION if an older engine cannot read the new fold."""
    written = b"\n".join(flat(encoding.fold_fields(make.account_state())))
    known = (1, "8624ee45ec1f92ea")
    assert (encoding.FOLD_VERSION, hashlib.sha256(written).hexdigest()[:16]) == known


def test_json_is_canonical() -> None:
    one, other = (
        {"b": [1, {"d": "é", "c": 2}], "a": None},
        {"a": None, "b": [1, {"c": 2, "d": "é"}]},
    )
    assert encoding.canonical(one) == encoding.canonical(other)
    assert encoding.canonical(one) == '{"a":null,"b":[1,{"c":2,"d":"é"}]}'.encode()


def test_a_position_that_was_only_looked_up_is_no_field() -> None:
    state = make.account_state(positions={})
    bare = encoding.fold_fields(state)
    state.position("momentum-v1", "AAPL")
    assert encoding.fold_fields(state) == bare


def test_a_commit_removes_closed_orders_and_sets_the_rest() -> None:
    commit = make.commit_to(
        make.account_state(8),
        make.account_state(7),
        orders=[
            make.order("o-1", OrdStatus.FILLED),
            make.order("o-2", OrdStatus.PARTIALLY_FILLED),
            make.order("o-3", OrdStatus.CANCELED),
            make.order("o-4", OrdStatus.DONE_FOR_DAY, leaves_qty=Decimal(60)),
        ],
        positions=[make.position("AAPL", "0"), Position("momentum-v1", "MSFT")],
    )
    fields, gone = encoding.commit_fields(commit)
    names = fields[::2]
    assert gone == ["pos:momentum-v1|MSFT", "ord:o-1", "ord:o-3"]
    assert names == [
        "epoch",
        "seq",
        "hash",
        "summary",
        "pos:momentum-v1|AAPL",
        "ord:o-2",
        "ord:o-4",  # it may fill tomorrow
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seq", b"x"),
        ("hash", b"zz"),
        ("summary", b"{"),
        ("summary", b"{}"),
        ("summary", b"[]"),
        ("ord:o-1", b'{"order_id":"o-1"}'),
        ("pos:momentum-v1|AAPL", b'{"strategy_id":"a","symbol":"b","quantity":"?"}'),
    ],
)
def test_what_somebody_else_wrote_is_unreadable(name: str, value: bytes) -> None:
    fields = encoding.fold_fields(make.account_state())
    fields[fields.index(name) + 1] = value
    with pytest.raises(encoding.UNREADABLE):
        encoding.read_fold(make.ACCOUNT, flat(fields))


@pytest.mark.parametrize("name", ["epoch", "seq", "hash", "summary"])
def test_a_fold_without_a_head_field_is_unreadable(name: str) -> None:
    fields = encoding.fold_fields(make.account_state())
    at = fields.index(name)
    with pytest.raises(encoding.UNREADABLE):
        encoding.read_fold(make.ACCOUNT, flat(fields[:at] + fields[at + 2 :]))


@given(make.quotes)
def test_a_quote_reads_back_as_it_was(quote: Quote) -> None:
    assert encoding.read_quote(encoding.quote_value(quote)) == quote


@given(st.lists(make.quotes, max_size=3))
def test_a_message_of_quotes_reads_back(quotes: list[Quote]) -> None:
    told = [encoding.quote_value(each)[encoding.TIME_DIGITS :] for each in quotes]
    assert encoding.read_quote_batch(b"[" + b",".join(told) + b"]") == quotes


@given(make.quotes, st.integers(0, 2**63 - 1))
def test_times_of_quotes_compare_as_texts(quote: Quote, time_ns: int) -> None:
    other = replace(quote, time_ns=time_ns)
    mine, others = encoding.quote_value(quote), encoding.quote_value(other)
    digits = encoding.TIME_DIGITS
    assert (mine[:digits] < others[:digits]) == (quote.time_ns < time_ns)


@given(st.lists(make.scope_states, max_size=5))
def test_controls_read_back_when_they_are_complete(states: list[ScopeState]) -> None:
    rows = flat(encoding.control_fields(states))
    assert encoding.read_controls(rows) is None
    rows += [encoding.COMPLETE_FIELD, b"1"]
    assert encoding.read_controls(rows) == {each.scope: each for each in states}


def test_an_account_cannot_be_named_like_a_table_of_all() -> None:
    """Ids begin with a letter or a digit, so these tags are nobody's."""
    assert keys.state("quotes") != keys.quote("state")
    for shared in (keys.CONTROLS, keys.quote("AAPL"), keys.quotes_channel(0)):
        assert shared.startswith("te:{_")


def test_all_keys_of_an_account_share_a_slot() -> None:
    for key in (keys.state("a.b"), keys.throttle("a.b", "strategy:x"), keys.batch("a.b", "r")):
        assert key[key.index("{") + 1 : key.index("}")] == "a.b"
