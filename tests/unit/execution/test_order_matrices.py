"""The order state change matrices of FIX 4.4, and the runner that feeds them to the machine."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import fix_matrices

DATA = Path(__file__).parents[2] / "data"
ROOT = Path(__file__).parents[3]
APPENDIX_D = (
    "A.1.ab B.1.abcdef C.1.abc C.2.a C.3.abc D.1.abc D.2.abcd E.1.abcdef F.1.abc G.1.abc "
    "H.1.abcd I.1.ab J.1.abcd K.1.ab L.1.ab"
)
"""Its index; D.2.d is not in every edition."""


def scenarios() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in ("fix_scenarios_sample.json", "fix_scenarios_more.json"):
        found += json.loads((DATA / name).read_text(encoding="utf-8"))["scenarios"]
    return found


def named(scenario_id: str) -> dict[str, Any]:
    return copy.deepcopy(next(each for each in scenarios() if each["id"] == scenario_id))


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario["id"])
def test_matrix(scenario: dict[str, Any]) -> None:
    outcome = fix_matrices.check(scenario)
    assert outcome.faults == []
    assert outcome.notes == []  # OrderQty and the quantities of the day agree too
    assert outcome.compared > 0


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario["id"])
def test_every_stated_value_is_compared(scenario: dict[str, Any]) -> None:
    """Falsify each value in turn: the run must fail at that step."""
    for number, step in enumerate(scenario["steps"]):
        if not step["out"]:
            continue
        for name, wrong in (
            ("ord_status", "Suspended" if step["ord_status"] != "Suspended" else "New"),
            ("cum_qty", -1),
            ("leaves_qty", -1),
        ):
            if step[name] is None:
                continue
            falsified = copy.deepcopy(scenario)
            falsified["steps"][number][name] = wrong
            faults = fix_matrices.check(falsified).faults
            assert len(faults) == 1
            assert f"t={step['t']}" in faults[0]


def test_every_matrix_of_the_specification_is_there() -> None:
    indexed = {f"{each[:4]}{letter}" for each in APPENDIX_D.split() for letter in each[4:]}
    assert len(indexed) == 48
    assert indexed <= {each["id"] for each in scenarios()}


def test_leaves_qty_that_breaks_the_first_rule_of_the_specification_is_a_misprint() -> None:
    """The pages print 0 for a telephoned order that nobody has filled yet."""
    scenario = named("E.1.a")
    scenario["steps"][1]["leaves_qty"] = 0
    outcome = fix_matrices.check(scenario)
    assert outcome.faults == []
    assert outcome.notes == ["t=2 ExecutionReport New: leaves_qty is printed 0, and must be 10000"]
    scenario["steps"][1]["order_qty"] = 9000  # so a machine that had 10000 would be wrong
    assert fix_matrices.check(scenario).faults


def test_an_order_by_amount_may_print_the_amount_as_its_quantity() -> None:
    scenario = named("L.1.b")
    scenario["steps"][0]["order_qty"] = 10000
    assert fix_matrices.check(scenario).faults == []


def test_a_held_order_that_is_triggered_works() -> None:
    scenario = named("E.1.f")
    triggered = scenario["steps"][3]
    assert triggered["t"] == "3"
    triggered["exec_type"] = "Triggered by (Trading System)"
    assert fix_matrices.check(scenario).faults == []


def test_an_alternative_is_not_continued() -> None:
    scenario = named("A.1.a")
    rejected = next(step for step in scenario["steps"] if step["branch"] == "alt")
    rejected["branch"] = "main"
    assert fix_matrices.check(scenario).faults


def test_an_alternative_starts_before_the_answer_that_it_replaces() -> None:
    """Printed after the main row of its time, it is still the other outcome of that time."""
    scenario = named("B.1.a")
    steps = scenario["steps"]
    alt = next(step for step in steps if step["t"] == "5" and step["branch"] == "alt")
    steps.remove(alt)
    steps.append(alt)
    assert fix_matrices.check(scenario).faults == []


def test_a_message_that_the_machine_refuses_fails_the_scenario() -> None:
    scenario = named("A.1.a")
    scenario["steps"].append(
        scenario["steps"][-1] | {"t": "6", "exec_type": "Suspended", "ord_status": "Filled"}
    )
    assert fix_matrices.check(scenario).faults == [
        "t=6 ExecutionReport(X) Suspended: refused: SUSPENDED cannot come while the order is FILLED"
    ]


def run(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.fix_matrices", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_program_prints_a_line_each_and_the_sum(tmp_path: Path) -> None:
    good, bad = named("A.1.a"), named("A.1.b")
    bad["steps"][-1]["leaves_qty"] = 7000
    unreadable = named("B.1.a") | {"id": "?"}
    unreadable["steps"][0]["in"] = "(("
    path = tmp_path / "some.json"
    path.write_text(json.dumps({"scenarios": [good, bad, unreadable]}), encoding="utf-8")
    done = run(path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("PASS A.1.a")
    assert lines[1].startswith("FAIL A.1.b")
    assert "leaves_qty 0, stated 7000" in lines[2]
    assert lines[3].startswith("FAIL ?")
    assert "cannot be read" in lines[4]
    assert lines[-1] == "1 passed, 2 failed"


def test_the_program_succeeds_on_the_sample() -> None:
    done = run(DATA / "fix_scenarios_sample.json")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "12 passed, 0 failed"


def test_the_program_says_what_file_it_wants(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}", encoding="utf-8")
    done = run(path)
    assert done.returncode == 2
    assert "holds no list 'scenarios'" in done.stderr
