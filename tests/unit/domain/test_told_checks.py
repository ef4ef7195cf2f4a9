"""What checks said, in short and in full: the same to whoever reads it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.support.cases import inputs, limits
from trade_engine.api import answers
from trade_engine.domain.decision import CheckResult, Checks, Decision, Passed
from trade_engine.risk.pre_trade import decide

BARE: Passed = ("books", "account:main", "portfolio", "", None, None, None)
FULL: Passed = ("leverage", "account:main", "USD", "f:x", Decimal("2.0"), Decimal(0), Decimal(1))


def in_full(decision: Decision) -> Decision:
    """The same, with nothing told in short."""
    return replace(decision, checks=Checks([replace(each) for each in decision.checks]))


def test_what_passed_unfolds_when_it_is_looked_at_and_stays_so() -> None:
    checks = Checks([BARE, FULL])

    assert checks[1] == CheckResult(
        "leverage", True, "account:main", "USD", None, Decimal(2), Decimal(0), Decimal(1), "f:x"
    )
    checks[0].passed = False
    assert [each.passed for each in checks] == [False, True]
    assert checks[:1] == [checks[0]]
    assert checks.to_json()[0] == checks[0].to_json()


def test_equal_is_what_says_the_same() -> None:
    assert Checks([BARE]) == Checks(list(Checks([BARE])))
    assert Checks([BARE]) != Checks([FULL])
    assert Checks([BARE]) != 1


@pytest.mark.parametrize("changes", [{}, {"limits": limits(leverage_max=0)}])
def test_short_and_full_are_written_alike(changes: dict[str, object]) -> None:
    short, full = decide(inputs(**changes)), in_full(decide(inputs(**changes)))
    assert any(type(each) is tuple for each in short.checks.told)
    assert all(type(each) is CheckResult for each in full.checks.told)

    assert short.to_json() == full.to_json()
    assert answers.decision_message(short) == answers.decision_message(full)
