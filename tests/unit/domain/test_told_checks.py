"""What checks said, in short and in full: the same to whoever reads it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.support.cases import inputs, limits
from trade_engine.api import answers
from trade_engine.domain.decision import CheckResult, Checks, Decision, Passed, Reason, Written
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


def test_what_was_written_follows_a_change() -> None:
    checks = Checks([BARE])
    before = checks.to_json()
    assert checks.to_json() is before

    check = checks[0]
    check.message = "first"
    checks.to_json()
    check.message = "second"

    assert checks.to_json() == [check.to_json()]
    assert "second" in str(checks.to_json())


def test_equal_is_what_says_the_same() -> None:
    assert Checks([BARE]) == Checks(list(Checks([BARE])))
    assert Checks([BARE]) != Checks([FULL])
    assert Checks([BARE]) != 1


@pytest.mark.parametrize("changes", [{}, {"limits": limits(leverage_max=0)}])
def test_short_and_full_are_written_alike(changes: dict[str, object]) -> None:
    short, full = decide(inputs(**changes)), in_full(decide(inputs(**changes)))
    assert any(type(each) is tuple for each in short.checks._told)
    assert all(type(each) is CheckResult for each in full.checks._told)

    assert short.to_json() == full.to_json()
    assert Decision.from_json(short.to_json(), 0) == short
    assert answers.decision_message(short) == answers.decision_message(full)


def test_in_the_journal_a_check_that_passed_is_short() -> None:
    refused = CheckResult("leverage", False, "account:main", "USD", Reason.LEVERAGE_LIMIT)
    only_limit: Passed = ("quote", "symbol:A", "ms", "f:x", Decimal(5), None, None)
    no_limit: Passed = ("open", "account:main", "orders", "", None, Decimal(7), None)
    only_after: Passed = ("loss", "account:main", "USD", "", None, None, Decimal("0.50"))
    told = Checks([BARE, FULL, only_limit, no_limit, only_after, refused])

    written = told.to_json()

    assert written == [
        ["books", "account:main", "portfolio"],
        ["leverage", "account:main", "USD", "f:x", "2", "0", "1"],
        ["quote", "symbol:A", "ms", "f:x", "5"],
        ["open", "account:main", "orders", "", "", "7"],
        ["loss", "account:main", "USD", "", "", "", "0.5"],
        {
            "name": "leverage",
            "passed": False,
            "scope": "account:main",
            "unit": "USD",
            "reason": "LEVERAGE_LIMIT",
        },
    ]
    assert Checks.from_json(written) == told


def test_a_check_that_was_written_in_full_is_read_as_one_in_short() -> None:
    before: list[Written] = [
        {"name": "books", "passed": True, "scope": "account:main", "unit": "portfolio"},
        {
            "name": "leverage",
            "passed": True,
            "scope": "account:main",
            "unit": "USD",
            "limit": "2",
            "observed": "0",
            "projected": "1",
            "source": "f:x",
        },
    ]

    read = Checks.from_json(before)

    assert read == Checks([BARE, FULL])
    assert read.to_json() == Checks([BARE, FULL]).to_json()
