"""Loss limits at their boundary, and marks that a bad tick does not move and a lasting one does."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.support.cases import MS, NOW_NS, judged, limits, quote, signal, view
from trade_engine.domain.day import Day
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.signal import Side
from trade_engine.risk.loss_limits import (
    SECOND_LOOK_NS,
    UNPROVEN_NS,
    Marks,
    Seen,
    breaches,
    is_new_peak,
)
from trade_engine.risk.view import View, Worth

D = Decimal
BAND = D(1000)
LOSSES = [
    ("daily_loss", "daily_loss_max", Reason.DAILY_LOSS_LIMIT),
    ("drawdown", "drawdown_max", Reason.DRAWDOWN_LIMIT),
]


def standing(equity: str | None, *, start: str | None = "1000", peak: str | None = "1000") -> View:
    found = view(equity=equity)
    found.worth = Worth(D(start) if start else None, D(peak) if peak else None)
    return found


@pytest.mark.parametrize(("check", "limit", "reason"), LOSSES)
@pytest.mark.parametrize(
    ("equity", "passed", "loss"),
    [
        ("1200", True, "0"),
        ("1000", True, "0"),
        ("900.01", True, "99.99"),
        ("900", True, "100"),
        ("899.99", False, "100.01"),
        ("-5", False, "1005"),
    ],
)
def test_a_loss_up_to_the_limit_passes(
    check: str,
    limit: str,
    reason: Reason,
    equity: str,
    passed: bool,  # noqa: FBT001  a column of the table
    loss: str,
) -> None:
    decision, found = judged(check, view=standing(equity), limits=limits(**{limit: 100}))
    assert found is not None
    assert (found.passed, found.projected, found.limit) == (passed, D(loss), D(100))
    of_loss = [each for each in decision.reasons if each is not Reason.EQUITY_UNKNOWN]
    assert of_loss == ([] if passed else [reason])


@pytest.mark.parametrize(("check", "limit", "reason"), LOSSES)
def test_an_order_that_reduces_passes_a_breach(check: str, limit: str, reason: Reason) -> None:
    held = view(20, equity="1")
    held.worth = Worth(D(1000), D(1000))
    sell = {"signal": signal(1000, Side.SELL), "view": held, "limits": limits(**{limit: 100})}
    decision, found = judged(check, **sell)
    assert decision.outcome is Outcome.APPROVED
    assert found is not None
    assert found.passed
    through = {**sell, "signal": signal(-3000, Side.SELL)}
    assert judged(check, **through)[0].reasons == [reason]


@pytest.mark.parametrize(("check", "limit", "reason"), LOSSES)
def test_a_loss_that_cannot_be_known_refuses(check: str, limit: str, reason: Reason) -> None:
    for worth in (standing(None), standing("1000", start=None, peak=None)):
        decision, found = judged(check, view=worth)
        assert found is not None
        assert not found.passed
        assert Reason.EQUITY_UNKNOWN in decision.reasons
    unset: dict[str, Any] = {limit: None}
    assert judged(check, view=standing("1000"), limits=limits(**unset))[0].reasons == [
        Reason.LIMIT_NOT_SET
    ]


def test_a_decision_from_before_there_were_days_is_decided_again_as_it_was() -> None:
    old = view()
    assert "start_equity" not in old.to_json()
    assert View.from_json(old.to_json()).worth is None
    assert judged("daily_loss", view=old)[1] is None
    assert View.from_json(standing("1", peak=None).to_json()).worth == Worth(D(1000), None)


def test_what_is_exceeded_is_named_with_its_numbers() -> None:
    day = Day("2026-11-20", 1, D(1000), D(1500))
    tight = limits(daily_loss_max=100, drawdown_max=500)
    assert breaches(day, D(1000), tight) == []
    assert [each.cause for each in breaches(day, D("999.99"), tight)] == [Reason.DRAWDOWN_LIMIT]
    daily, drawdown = breaches(day, D(800), tight)
    assert (daily.observed, daily.limit.value) == (200, 100)
    assert (drawdown.observed, drawdown.reference) == (700, 1500)
    assert breaches(Day(), D(-1), tight) == []


def test_a_peak_is_journaled_by_hundredths_of_the_limit() -> None:
    day, tight = Day("2026-11-20", 1, D(1000), D(1000)), limits(drawdown_max=500)
    assert not is_new_peak(day, D("1004.99"), tight)
    assert is_new_peak(day, D(1005), tight)
    assert not is_new_peak(day, D(9000), {})


class Watched:
    """Marks that are asked once per quote, some ms later each time."""

    def __init__(self, paid: str | None = None) -> None:
        self.marks = Marks()
        self.paid = D(paid) if paid else None
        self.now_ns = NOW_NS

    def see(self, price: str | None, *, after_ms: int = 250, again: bool = False) -> Decimal | None:
        """The mark after a quote (None: none is known); again: it is the quote of before."""
        self.now_ns += after_ms * MS
        if not again:
            self.time_ns = self.now_ns
        seen = None if price is None else quote(price, time_ns=self.time_ns)
        return self.marks.price("AAPL", seen, self.paid, BAND, self.now_ns)


def test_quotes_within_the_band_count_at_once() -> None:
    watched = Watched("100")
    assert [watched.see(each) for each in ("100", "110", "99", "90")] == [100, 110, 99, 90]


def test_one_bad_tick_alone_moves_nothing() -> None:
    watched = Watched("100")
    assert [watched.see(each) for each in ("100", "10", "100", "1000", "101")] == [
        100, 100, 100, 100, 101,
    ]  # fmt: skip


def test_a_bad_tick_that_is_seen_again_is_still_one() -> None:
    watched = Watched("100")
    watched.see("100")
    assert watched.see("10") == 100
    assert watched.see("10", again=True) == 100
    assert watched.see("10", again=True, after_ms=4000) == 100


def test_a_second_quote_confirms_a_move() -> None:
    watched = Watched("100")
    watched.see("100")
    assert watched.see("80") == 100
    assert watched.see("79") == 79


def test_two_bad_ticks_that_disagree_confirm_nothing() -> None:
    watched = Watched("100")
    watched.see("100")
    assert [watched.see(each) for each in ("10", "1000", "10")] == [100, 100, 100]


def test_a_move_that_nothing_refutes_counts_after_a_while() -> None:
    watched = Watched("100")
    watched.see("100")
    watched.see("80")
    assert watched.see("80", again=True, after_ms=UNPROVEN_NS // MS - 1) == 100
    assert watched.see("80", again=True, after_ms=1) == 80


def test_a_move_in_which_no_two_quotes_agree_counts_after_a_while() -> None:
    watched = Watched("100")
    watched.see("100")
    looks = UNPROVEN_NS // (250 * MS)
    seen = [watched.see("60" if number % 2 else "75") for number in range(looks)]
    assert seen == [100] * looks
    assert watched.see("60") == 60


def test_a_clock_that_is_set_back_holds_up_no_move() -> None:
    watched = Watched("100")
    watched.see("100")
    watched.see("80")
    assert watched.see("80", again=True, after_ms=-3_600_000) == 100
    assert watched.see("80", again=True, after_ms=UNPROVEN_NS // MS) == 80


def test_a_fall_without_end_counts_after_a_while() -> None:
    watched, price = Watched("100"), D(100)
    watched.see("100")
    for _ in range(UNPROVEN_NS // (250 * MS)):
        price *= D("0.88")
        assert watched.see(str(price)) == 100
    assert watched.see(str(price * D("0.88"))) == price * D("0.88")


def test_a_quote_back_in_the_band_refutes_what_came_before() -> None:
    watched = Watched("100")
    watched.see("100")
    for _ in range(3):
        assert watched.see("60", after_ms=4000) == 100
        assert watched.see("100") == 100


def test_what_a_look_finds_counts_when_the_next_one_finds_it_too() -> None:
    seen = Seen()
    assert seen.again(["a"], NOW_NS) == set()
    assert seen.again(["a"], NOW_NS + SECOND_LOOK_NS - 1) == set(), "looks in a row are one"
    assert seen.again(["a", "b"], NOW_NS + SECOND_LOOK_NS) == {"a"}
    assert seen.again(["b"], NOW_NS + 2 * SECOND_LOOK_NS) == {"b"}
    assert seen.again(["a"], NOW_NS + 3 * SECOND_LOOK_NS) == set(), "it was gone in between"
    assert seen.again(["a"], NOW_NS) == set(), "a clock that was set back"
    assert seen.again(["a"], NOW_NS + SECOND_LOOK_NS) == {"a"}


def test_a_quote_that_is_no_price_moves_nothing() -> None:
    watched = Watched("100")
    watched.see("100")
    crossed = quote("50", bid=D(51))
    assert watched.marks.price("AAPL", crossed, None, BAND, NOW_NS) == 100
    assert watched.see(None) == 100


def test_the_first_quote_is_compared_with_the_price_paid() -> None:
    assert Watched("100").see("95") == 95
    assert Watched("100").see("50") == 100
    assert Watched(None).see("50") is None
    fresh = Watched(None)
    fresh.see("50")
    assert fresh.see("51") == 51


def test_what_is_not_held_any_more_is_forgotten() -> None:
    watched = Watched("100")
    watched.see("100")
    watched.marks.keep_only(["IBM"])
    watched.paid = D(20)
    assert watched.see("21") == 21


@pytest.mark.parametrize(
    ("check", "start", "peak"), [("daily_loss", None, "1"), ("drawdown", "1", None)]
)
def test_what_lets_nothing_grow_passes_where_the_loss_is_unknown(
    check: str, start: str | None, peak: str | None
) -> None:
    held = standing("1000", start=start, peak=peak)
    held.quantity = held.symbol_quantity = D(20)
    closing = signal(0, Side.SELL)
    assert judged(check, signal=closing, view=held)[1] is None
    _, found = judged(check, view=standing("1000", start=start, peak=peak))
    assert found is not None
    assert not found.passed
