"""A soak of a few seconds, and what it would say of an engine that leaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.soak import Sample, grows, slope_per_hour, soak

SOAK_S = 8.0


@pytest.mark.faults
@pytest.mark.slow
def test_a_short_soak_answers_throughout_and_plots_itself(tmp_path: Path) -> None:
    samples, growing = soak(SOAK_S, tmp_path)
    assert growing == []
    assert sum(each.answers for each in samples) > 50
    assert sum(each.given_up for each in samples) > 0
    assert (tmp_path / "soak.csv").read_text().count("\n") == len(samples) + 1
    assert (tmp_path / "soak.svg").read_text().count("<polyline") == 5


def steady(count: int = 40) -> list[Sample]:
    return [Sample(float(at), 100.0, 50, 20, 30, 10, 1, 1.0, 2.0) for at in range(count)]


def test_what_is_steady_does_not_grow() -> None:
    assert grows(steady()) == []
    assert slope_per_hour(steady()) == 0


@pytest.mark.parametrize("name", ["fds", "connections", "threads"])
def test_a_leak_of_handles_is_said(name: str) -> None:
    leaking = [replace(each, **{name: 50 + 3 * at}) for at, each in enumerate(steady())]
    assert [words.split()[0] for words in grows(leaking)] == [name]


def test_a_leak_of_memory_is_said_and_measured() -> None:
    leaking = [replace(each, rss_mb=100.0 + 5 * each.at_s) for each in steady()]
    assert grows(leaking) == ["memory from 200.0 MB to 295.0 MB"]
    assert slope_per_hour(leaking) == pytest.approx(5 * 3600)
