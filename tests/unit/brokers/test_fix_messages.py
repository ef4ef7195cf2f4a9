"""Orders and requests on the wire, in both versions."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.fix import fix_config
from tests.support.paper import NOON_NS, order
from trade_engine.brokers import fix_fields as tag
from trade_engine.brokers.fix_fields import fields_of, is_intact, shown
from trade_engine.brokers.fix_messages import (
    Accepted,
    new_order_single,
    order_cancel_replace_request,
    order_cancel_request,
    order_status_request,
    request_id_of,
    timestamp,
)
from trade_engine.domain.order import TimeInForce, order_id_of
from trade_engine.domain.replacement import Replacement, Terms
from trade_engine.domain.signal import Side

CONFIG = fix_config(Path("unused"), 1, accounts={"main": "ACC-1"})


def test_a_limit_order() -> None:
    message = new_order_single(CONFIG, order("o-1", Side.SELL, "7", "99.50"), NOON_NS)
    assert message.msg_type == "D"
    assert message.body == {
        tag.CL_ORD_ID: "o-1",
        tag.ACCOUNT: "ACC-1",
        tag.HANDL_INST: "1",
        tag.SYMBOL: "AAPL",
        tag.SIDE: "2",
        tag.TRANSACT_TIME: "20241004-12:00:00.000",
        tag.ORDER_QTY: "7",
        tag.ORD_TYPE: "2",
        tag.PRICE: "99.5",
        tag.TIME_IN_FORCE: "1",
    }


def test_a_market_order_has_no_price() -> None:
    message = new_order_single(CONFIG, order("o-1", price=None), NOON_NS)
    assert (message[tag.ORD_TYPE], tag.PRICE in message) == ("1", False)


@pytest.mark.parametrize(
    ("time_in_force", "code"),
    [
        (TimeInForce.DAY, "0"),
        (TimeInForce.GTC, "1"),
        (TimeInForce.IOC, "3"),
        (TimeInForce.FOK, "4"),
    ],
)
def test_time_in_force(time_in_force: TimeInForce, code: str) -> None:
    message = new_order_single(CONFIG, order("o-1", tif=time_in_force), NOON_NS)
    assert message[tag.TIME_IN_FORCE] == code


def test_no_exponent_goes_out() -> None:
    small = order("o-1", quantity="0.0000001")
    small.order_qty = Decimal("1E+3")
    assert new_order_single(CONFIG, small, NOON_NS)[tag.ORDER_QTY] == "1000"


def test_an_account_without_a_name_there_sends_none() -> None:
    message = new_order_single(CONFIG, order("o-1", account_id="other"), NOON_NS)
    assert tag.ACCOUNT not in message


def test_a_cancel_has_a_cl_ord_id_of_its_own() -> None:
    request_id = request_id_of("o-1", 12)
    accepted = Accepted("o-1.r7", Decimal(60))
    message = order_cancel_request(CONFIG, order("o-1"), accepted, request_id, NOON_NS)
    assert (message[tag.ORIG_CL_ORD_ID], message[tag.CL_ORD_ID]) == ("o-1.r7", request_id)
    assert message[tag.ORDER_QTY] == "60"
    assert order_id_of(request_id) == "o-1" != request_id


def test_a_replacement_states_the_whole_quantity_and_its_price() -> None:
    terms = Terms("o-1", "o-1.r9", Decimal(60), Decimal("99.50"))
    asked = Replacement(order("o-1"), terms, "o-1.r7")
    message = order_cancel_replace_request(CONFIG, asked, NOON_NS)
    assert message.msg_type == "G"
    assert message.body == {
        tag.ORIG_CL_ORD_ID: "o-1.r7",
        tag.CL_ORD_ID: "o-1.r9",
        tag.ACCOUNT: "ACC-1",
        tag.HANDL_INST: "1",
        tag.SYMBOL: "AAPL",
        tag.SIDE: "1",
        tag.TRANSACT_TIME: "20241004-12:00:00.000",
        tag.ORDER_QTY: "60",
        tag.ORD_TYPE: "2",
        tag.PRICE: "99.5",
        tag.TIME_IN_FORCE: "1",
    }


def test_a_question_names_symbol_and_side() -> None:
    message = order_status_request("o-1", "AAPL", Side.BUY)
    assert message.body == {tag.CL_ORD_ID: "o-1", tag.SYMBOL: "AAPL", tag.SIDE: "1"}


def test_times_are_in_milliseconds() -> None:
    assert timestamp(NOON_NS + 1_234_567) == "20241004-12:00:00.001"


def test_looking_at_raw_bytes() -> None:
    raw = b"8=FIX.4.2\x019=5\x0135=0\x0110=161\x01"
    assert fields_of(raw)[35] == "0"
    assert fields_of(b"\x01\x01=\x01x=1\x01=") == {}
    assert is_intact(raw)
    assert not is_intact(raw.replace(b"35=0", b"35=1"))
    assert not is_intact(b"")
    assert not is_intact(raw[:-1])


def test_secrets_are_struck_out() -> None:
    assert shown("35=A|553=me|554=sesame|96=x|58=554") == "35=A|553=***|554=***|96=***|58=554"
