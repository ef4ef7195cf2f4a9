"""docs/fail-closed.md names tests that exist and alerts that are raised."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trade_engine.execution.observer import Alert

ROOT = Path(__file__).parents[2]
ROWS = [
    line.strip("| ").split(" | ")
    for line in (ROOT / "docs/fail-closed.md").read_text().splitlines()
    if "::" in line
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_names_a_test_and_an_alert(row: list[str]) -> None:
    _what, answer, alert, test = row
    assert answer
    path, _, name = test.strip("`").partition("::")
    assert f"def {name}(" in (ROOT / path).read_text()
    named = re.findall(r"`(\w+)`", alert.partition("(")[0])
    assert named or alert.startswith("none")
    assert {*named} <= {each.value for each in Alert}


def test_there_are_rows() -> None:
    assert len(ROWS) > 15
