"""Messages into domain values; what is refused is tested over a real server (bad input)."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.api_server import a_signal
from trade_engine.api.answers import decision_message
from trade_engine.api.convert import signal_of
from trade_engine.api.reading import Reader, optional_id
from trade_engine.domain.decision import Decision, Outcome
from trade_engine.domain.errors import InvalidField, InvalidFields
from trade_engine.domain.money import MAX_ABS, MAX_DECIMALS
from trade_engine.domain.signal import ExposureUnit, checked_id
from trade_engine.v1 import signal_pb2


def has_few_decimals(number: float) -> bool:
    exponent = Decimal(repr(number)).normalize().as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -MAX_DECIMALS


IN_RANGE: st.SearchStrategy[float] = (
    st.floats(-1e15, 1e15).filter(has_few_decimals).map(lambda number: number + 0.0)  # -0.0 is 0.0
)


@given(number=IN_RANGE)
def test_a_double_is_the_decimal_that_was_typed(number: float) -> None:
    signal = signal_of(a_signal(target_exposure=number), "main", "")

    assert signal.target_exposure == Decimal(repr(number))
    assert float(signal.target_exposure) == number


@given(number=st.floats())
def test_any_double_is_taken_exactly_or_refused(number: float) -> None:
    message = a_signal(
        target_exposure=number,
        confidence=number,
        constraints={"max_slippage_bps": number, "max_notional": number},
    )
    with suppress(InvalidFields):
        signal = signal_of(message, "main", "")
        assert float(signal.target_exposure) == number
        assert abs(signal.target_exposure) <= MAX_ABS
        assert 0 <= signal.confidence <= 1
        assert signal.max_notional is not None
        assert signal.max_notional > 0


@pytest.mark.parametrize("number", [0.0, 1.0])
def test_the_ends_of_the_range_of_confidence_are_in_it(number: float) -> None:
    assert signal_of(a_signal(confidence=number), "main", "").confidence == int(number)


@pytest.mark.parametrize("number", [-10.0, 0.0, 10.0])
def test_the_ends_of_the_range_of_a_fraction_are_in_it(number: float) -> None:
    message = a_signal(target_exposure=number, exposure_unit=signal_pb2.Signal.EQUITY_FRACTION)

    assert signal_of(message, "main", "").target_exposure == int(number)


def test_what_is_absent_gets_its_default() -> None:
    signal = signal_of(a_signal(), "main", "")

    assert signal.account_id == "main"
    assert signal.exposure_unit is ExposureUnit.NOTIONAL
    assert signal.max_slippage_bps is None
    assert signal.max_notional is None
    assert signal.created_at_ns is None


def test_what_is_given_and_zero_is_not_absent() -> None:
    message = a_signal(
        target_exposure=0.0, constraints={"max_slippage_bps": 0.0}, create_time={"seconds": 0}
    )
    signal = signal_of(message, "main", "")

    assert signal.target_exposure == 0
    assert signal.max_slippage_bps == 0
    assert signal.created_at_ns == 0


def test_the_account_that_is_named_goes_before_the_default() -> None:
    assert signal_of(a_signal(account_id="second"), "main", "").account_id == "second"


@pytest.mark.parametrize("number", [-0.0, 0.0])
def test_zero_has_one_content(number: float) -> None:
    signal = signal_of(a_signal(target_exposure=number), "main", "")

    assert signal.to_json()["target_exposure"] == "0"


@given(
    exposure=IN_RANGE,
    confidence=st.floats(0, 1)
    .filter(lambda number: number == 0 or number > 1e-12)
    .map(lambda number: round(number, 12)),
    side=st.sampled_from([signal_pb2.Signal.BUY, signal_pb2.Signal.SELL]),
    horizon=st.sampled_from(
        [signal_pb2.Signal.INTRADAY, signal_pb2.Signal.SWING, signal_pb2.Signal.LONG]
    ),
    time_ns=st.none() | st.integers(0, 253402300799 * 10**9 + 999_999_999),
    bounds=st.fixed_dictionaries(
        {},
        optional={
            "max_slippage_bps": st.floats(0, 1e4).map(lambda number: round(number, 6)),
            "max_notional": st.floats(0.01, 1e9).map(lambda number: round(number, 4)),
        },
    ),
)
def test_a_signal_is_told_in_its_decision_as_it_came(
    exposure: float,
    confidence: float,
    side: int,
    horizon: int,
    time_ns: int | None,
    bounds: dict[str, float],
) -> None:
    optional: dict[str, Any] = {"constraints": bounds} if bounds else {}
    if time_ns is not None:
        seconds, nanos = divmod(time_ns, 10**9)
        optional["create_time"] = {"seconds": seconds, "nanos": nanos}
    message = a_signal(
        target_exposure=exposure,
        confidence=confidence,
        side=side,
        time_horizon=horizon,
        exposure_unit=signal_pb2.Signal.NOTIONAL,
        account_id="main",
        **optional,
    )

    decision = Decision(signal_of(message, "main", ""), Outcome.NO_ACTION, 1, "v", "m")

    assert decision_message(decision).signal == message


def test_the_reader_names_every_fault_by_its_path() -> None:
    reader = Reader("signal.")
    assert reader.read(checked_id, "good", "a") == "good"
    reader.read(checked_id, "", "b")
    reader.read(checked_id, "no good", "c")

    with pytest.raises(InvalidFields) as caught:
        reader.done()

    assert [(fault.field, fault.given) for fault in caught.value.faults] == [
        ("signal.b", ""),
        ("signal.c", "no good"),
    ]


def test_the_reader_lets_other_errors_through() -> None:
    def broken(_given: str, _field: str) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Reader().read(broken, "", "a")


def test_an_optional_id_is_held_to_its_pattern_when_it_is_there() -> None:
    assert optional_id("", "f") == ""
    assert optional_id("r-1", "f") == "r-1"
    with pytest.raises(InvalidField):
        optional_id("no good", "f")
