"""The order is found in its decision's journal entry whatever else stands there."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from trade_engine.audit.chain import canonical
from trade_engine.execution.orders_out import approved_terms

TERMS = {"order_id": "o-1", "order_qty": "100", "price": "150.75", "text": ""}


def entry(order: dict[str, Any] | None, message: str = "approved") -> bytes:
    decision = {"checks": [{"name": "quote"}], "message": message, "order": order, "outcome": "X"}
    sizing = {"order_quantity": "100", "order_notional": "15075"}
    return canonical({"context": {"now_ns": 1}, "decision": {**decision, "sizing": sizing}})


@pytest.mark.parametrize(
    "order",
    [
        TERMS,
        TERMS | {"text": "a } brace"},
        TERMS | {"text": '"}'},
        TERMS | {"text": '"order":{"order_id":"o-2"}'},
        TERMS | {"chain": {"cl_ord_ids": ["o-1"], "requests": [{"kind": "CANCEL"}]}},
        None,
    ],
    ids=["plain", "brace", "quote", "disguise", "nested", "none"],
)
@pytest.mark.parametrize("message", ["approved", 'says "order":{"order_id":"o-3"}'])
def test_as_a_reading_of_the_whole_entry_finds_it(
    order: dict[str, Any] | None, message: str
) -> None:
    payload = entry(order, message)
    assert orjson.loads(payload)["decision"]["order"] == order
    assert approved_terms(payload) == order
