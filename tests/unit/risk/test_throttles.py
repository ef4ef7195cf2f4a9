from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_engine.domain.errors import InvalidField
from trade_engine.domain.limits import Rate
from trade_engine.risk.throttles import HORIZON_NS, Verdict, emission_ns, gcra

S = 1_000_000_000
NOW = 1_700_000_000 * S + 123_456_789
VECTOR = Rate(count=30, period_ns=60 * S, burst=15, source="limits.toml:1")


def rates() -> st.SearchStrategy[Rate]:
    periods = st.sampled_from([S // 1000, S, 60 * S, 3600 * S])
    return st.builds(
        Rate, st.integers(1, 5000), periods, st.integers(0, 200), st.just("limits.toml:1")
    )


def test_first_call_as_redis_cell_answers_it() -> None:
    verdict, tat_ns = gcra(None, NOW, VECTOR)
    assert verdict == Verdict(allowed=True, limit=16, remaining=15, retry_after_ns=0)
    assert tat_ns == NOW + 2 * S


def test_a_burst_then_one_each_interval() -> None:
    tat_ns: int | None = None
    for remaining in range(15, -1, -1):
        verdict, tat_ns = gcra(tat_ns, NOW, VECTOR)
        assert verdict == Verdict(True, 16, remaining, 0)
    refused, after = gcra(tat_ns, NOW, VECTOR)
    assert refused == Verdict(False, 16, 0, 2 * S)
    assert after == tat_ns, "a refused signal must cost nothing"
    refused, _ = gcra(tat_ns, NOW + 2 * S - 1, VECTOR)
    assert refused == Verdict(False, 16, 0, 1)
    allowed, _ = gcra(tat_ns, NOW + 2 * S, VECTOR)
    assert allowed == Verdict(True, 16, 0, 0)


def test_all_is_back_after_a_pause() -> None:
    tat_ns: int | None = None
    for _ in range(16):
        _, tat_ns = gcra(tat_ns, NOW, VECTOR)
    verdict, tat_ns = gcra(tat_ns, NOW + 32 * S, VECTOR)
    assert verdict == Verdict(True, 16, 15, 0)
    verdict, _ = gcra(tat_ns, NOW + 3600 * S, VECTOR)
    assert verdict == Verdict(True, 16, 15, 0), "a long pause must not add up"


def test_no_burst_is_one_at_a_time() -> None:
    rate = Rate(count=1, period_ns=S, burst=0, source="limits.toml:1")
    verdict, tat_ns = gcra(None, NOW, rate)
    assert verdict == Verdict(True, 1, 0, 0)
    verdict, _ = gcra(tat_ns, NOW, rate)
    assert verdict == Verdict(False, 1, 0, S)


def test_a_rate_that_does_not_divide_lets_no_more_through() -> None:
    assert emission_ns(Rate(3, S, 2, "limits.toml:1")) == (333_333_334, 1_000_000_002)
    assert emission_ns(Rate(7, 5, 0, "limits.toml:1")) == (1, 1), "never 0, which would be no limit"


def test_a_clock_that_was_set_back_refuses() -> None:
    _, tat_ns = gcra(None, NOW, VECTOR)
    verdict, after = gcra(tat_ns, NOW - 60 * S, VECTOR)
    assert verdict == Verdict(False, 16, 0, 32 * S)
    assert after == tat_ns
    verdict, _ = gcra(tat_ns, 0, VECTOR)
    assert not verdict.allowed
    assert verdict.retry_after_ns == HORIZON_NS - 30 * S


@pytest.mark.parametrize(
    ("count", "period_ns", "burst"),
    [(0, S, 1), (-1, S, 1), (1, 0, 1), (1, -S, 1), (1, S, -1), (1, 86_400 * S, 60)],
)
def test_a_rate_that_is_none_is_refused(count: int, period_ns: int, burst: int) -> None:
    rate = Rate(count, period_ns, burst, "limits.toml:7")
    with pytest.raises(InvalidField) as caught:
        gcra(None, NOW, rate)
    assert caught.value.field == "limits.toml:7"
    assert str(count) in caught.value.given


@given(rates(), st.lists(st.integers(0, 3 * S), min_size=1, max_size=60))
def test_never_more_than_the_rate_and_the_burst(rate: Rate, pauses: list[int]) -> None:
    """In any window, at most what the rate lets through in it, and the burst, and one."""
    now_ns, tat_ns = NOW, None
    passed: list[int] = []
    for pause in pauses:
        now_ns += pause
        verdict, tat_ns = gcra(tat_ns, now_ns, rate)
        if verdict.allowed:
            passed.append(now_ns)
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            width = passed[last] - start
            assert (last - first + 1 - (rate.burst + 1)) * rate.period_ns <= width * rate.count


@given(rates(), st.integers(0, 300))
def test_remaining_is_what_passes_and_retry_after_is_when(rate: Rate, already: int) -> None:
    tat_ns: int | None = None
    verdict, tat_ns = gcra(tat_ns, NOW, rate)
    for _ in range(already):
        verdict, tat_ns = gcra(tat_ns, NOW, rate)
    for _ in range(verdict.remaining):
        passed, tat_ns = gcra(tat_ns, NOW, rate)
        assert passed.allowed
    refused, tat_ns = gcra(tat_ns, NOW, rate)
    assert not refused.allowed
    assert refused.remaining == 0
    early, _ = gcra(tat_ns, NOW + refused.retry_after_ns - 1, rate)
    assert not early.allowed
    due, _ = gcra(tat_ns, NOW + refused.retry_after_ns, rate)
    assert due.allowed
