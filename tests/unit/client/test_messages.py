"""Signals, quotes and scopes from what people write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trade_engine.client import Quote, Scope, Signal, to_json
from trade_engine.client.messages import quote_of, scope_of, signal_of, with_id

ROOT = Path(__file__).resolve().parents[3]
SIGNAL = json.loads((ROOT / "examples" / "signal.json").read_text())


def test_the_json_form_is_read_as_it_stands() -> None:
    signal = signal_of(SIGNAL, {})
    assert signal.side == Signal.BUY
    assert signal.time_horizon == Signal.INTRADAY
    assert (signal.confidence, signal.target_exposure) == (0.82, 15000)
    assert signal.constraints.max_slippage_bps == 10


def test_a_wrapped_signal_is_the_same() -> None:
    assert signal_of({"signal": SIGNAL}, {}) == signal_of(SIGNAL, {})


def test_fields_replace_and_do_not_change_what_was_given() -> None:
    given = signal_of(SIGNAL, {})
    changed = signal_of(given, {"side": "SELL", "constraints": {"max_notional": 5}})
    assert changed.side == Signal.SELL
    assert not changed.constraints.HasField("max_slippage_bps")
    assert given.side == Signal.BUY


@pytest.mark.parametrize(
    "given", [{"sied": "BUY"}, {"side": "BYU"}, {"confidence": "much"}, {"constraints": 5}]
)
def test_what_is_no_signal_is_refused_in_words(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not the JSON form of a signal"):
        signal_of(given, {})
    with pytest.raises(ValueError, match="not the JSON form of a signal"):
        signal_of(None, given)


def test_an_id_is_made_only_where_there_is_none() -> None:
    assert with_id(Signal(), lambda: "new").signal_id == "new"
    assert with_id(Signal(signal_id="mine"), lambda: "new").signal_id == "mine"


def test_a_quote_without_a_time_is_of_now() -> None:
    quote = quote_of({"symbol": "AAPL", "bid": "1"}, 1_500_000_000_000_000_000)
    assert quote.quote_time.ToNanoseconds() == 1_500_000_000_000_000_000
    timed = {"symbol": "AAPL", "quote_time": "2024-05-01T14:30:00.250Z"}
    assert quote_of(timed, 5).quote_time.seconds == 1714573800
    message = Quote(symbol="AAPL")
    assert quote_of(message, 7).quote_time.nanos == 7
    assert not message.HasField("quote_time")


def test_scopes_are_read_from_json() -> None:
    assert scope_of({"global": True}).WhichOneof("kind") == "global"
    assert scope_of(Scope(symbol="AAPL")).symbol == "AAPL"
    with pytest.raises(ValueError, match="not the JSON form of a scope"):
        scope_of({"everything": True})


def test_json_has_the_contracts_names_and_what_is_false() -> None:
    document = to_json(Signal(strategy_id="s", side=Signal.SELL))
    assert document["strategy_id"] == "s"
    assert document["side"] == "SELL"
    assert document["exposure_unit"] == "EXPOSURE_UNIT_UNSPECIFIED"
    assert "confidence" not in document  # not given is not 0
