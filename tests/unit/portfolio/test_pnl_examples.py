"""Published examples of profit and loss, and the runner that compares the ledger with them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tools import pnl_examples

DATA = Path(__file__).parents[2] / "data" / "pnl_examples_sample.json"
ROOT = Path(__file__).parents[3]


def examples() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DATA.read_text(encoding="utf-8"))["examples"]
    return found


def named(example_id: str) -> dict[str, Any]:
    return copy.deepcopy(next(each for each in examples() if each["id"] == example_id))


@pytest.mark.parametrize("example", examples(), ids=lambda example: example["id"])
def test_example(example: dict[str, Any]) -> None:
    outcome = pnl_examples.check(example)
    assert outcome.faults == []
    assert outcome.notes == []


@pytest.mark.parametrize("example", examples(), ids=lambda example: example["id"])
def test_every_stated_value_is_compared(example: dict[str, Any]) -> None:
    """Falsify each in turn, in its last digit but one: the run must name it."""
    for origin in ("published", "computed_average_cost"):
        for number, row in enumerate(example[origin]):
            for name in row.keys() - {"after_trade", "mark"}:
                falsified = copy.deepcopy(example)
                value = Decimal(row[name])
                falsified[origin][number][name] = str(value + Decimal(2).scaleb(_last_digit(value)))
                faults = pnl_examples.check(falsified).faults
                assert len(faults) == 1
                assert f"{name} is" in faults[0]


def _last_digit(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return min(exponent, 0)


@pytest.mark.parametrize(
    ("ours", "stated", "decimals", "agree"),
    [
        ("582.036", "582.04", 0, True),
        ("582.045", "582.04", 0, True),  # half may be rounded either way
        ("582.0451", "582.04", 0, False),
        ("100", "1E+2", 0, True),
        ("101", "1E+2", 0, False),
        ("19.4", "19", 0, True),
        ("19.4", "19", 6, False),
        ("19.0000004", "19", 6, True),
    ],
)
def test_values_agree_to_the_digits_that_are_stated(
    ours: str, stated: str, decimals: int, *, agree: bool
) -> None:
    assert pnl_examples.agrees(Decimal(ours), Decimal(stated), decimals) is agree


def test_a_value_that_is_not_a_number_is_no_agreement() -> None:
    with pytest.raises(TypeError, match="not a finite number"):
        pnl_examples.agrees(Decimal(1), Decimal("NaN"))


def test_another_method_is_skipped() -> None:
    outcome = pnl_examples.check(named("avg-10-reopen") | {"method": "FIFO"})
    assert outcome.skipped == "method FIFO"


def test_a_source_that_is_known_to_compute_otherwise_is_told_not_failed() -> None:
    example = named("avg-05-scale-in-all-out") | {"verified": False}
    example["published"][1]["realized_net"] = "11.20"
    outcome = pnl_examples.check(example)
    assert outcome.faults == []
    assert outcome.notes == ["published, after trade 3: realized_net is 11.20, the ledger has 11"]
    del example["computed_average_cost"]
    assert pnl_examples.check(example).faults != []


def test_a_name_that_the_ledger_does_not_know_is_noted() -> None:
    example = named("avg-11-flip-fold")
    example["published"][0]["sharpe"] = "3"
    assert pnl_examples.check(example).notes == [
        "published, after trade 2: sharpe was not compared"
    ]


def test_an_example_that_states_nothing_fails() -> None:
    example = named("avg-11-flip-fold") | {"published": [], "computed_average_cost": None}
    assert pnl_examples.check(example).faults == ["it states nothing that could be compared"]


def run(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.pnl_examples", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_program_prints_a_line_each_and_the_sum(tmp_path: Path) -> None:
    bad = named("avg-11-flip-fold")
    bad["published"][1]["avg_price"] = "4"
    other = named("avg-10-reopen") | {"method": "LIFO"}
    path = tmp_path / "some.json"
    path.write_text(json.dumps({"examples": [named("avg-01-tt"), bad, other]}), encoding="utf-8")
    done = run(path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("PASS avg-01-tt")
    assert lines[1].startswith("FAIL avg-11-flip-fold")
    assert "avg_price is 4, the ledger has 3" in lines[2]
    assert lines[3].startswith("SKIP avg-10-reopen")
    assert lines[-1] == "1 passed, 1 failed, 1 skipped"


def test_the_program_succeeds_on_the_sample() -> None:
    done = run(DATA)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "6 passed, 0 failed"
