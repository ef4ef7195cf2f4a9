"""The harness at work: a few seeded runs, the checker on forged evidence, and planted bugs.

The long forms are `make faults`, `make faults-plants` and `make halt-race`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.checker import report
from tests.faults.evidence import Evidence
from tests.faults.forgeries import forged
from tests.faults.invariants import CHECKS, check
from tests.faults.plan import ALL_FAULTS, POINT_FAULTS, faults_of, plan_of
from tests.faults.plants import PLANTS
from tests.faults.plants_main import find
from tests.faults.run import Outcome, run
from tests.faults.servers import Servers, private_servers

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SEEDS = (4,)
PLANTED = "drained-before-it-is-so"


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with private_servers() as started:
        yield started


def clean_run(servers: Servers, folder: Path) -> Outcome:
    """A run without faults that has something of everything: in the first, mostly."""
    for seed in (7, 8, 9):
        plan = replace(plan_of(seed, faultless=True), halts=[], replacements=3)
        outcome = asyncio.run(run(plan, servers, folder / str(seed)))
        assert not outcome.violations, report(outcome.violations)
        if outcome.counts["replacements"]:
            return outcome
    raise AssertionError("three loads brought the venue no replacement")


def test_the_checker_finds_every_forgery_and_nothing_in_a_clean_run(
    servers: Servers, tmp_path: Path
) -> None:
    outcome = clean_run(servers, tmp_path)
    assert outcome.counts["broker orders"] > 5
    assert outcome.counts["fills"] > 5
    evidence = Evidence.load(outcome.folder / "evidence.json")
    missed = {
        name for name, number, spoiled in forged(evidence) if number not in check(spoiled, [number])
    }
    assert not missed


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seeded_run_with_faults_violates_nothing(
    servers: Servers, tmp_path: Path, seed: int
) -> None:
    outcome = asyncio.run(run(plan_of(seed), servers, tmp_path))
    assert not outcome.violations, report(outcome.violations)
    assert outcome.happened
    assert outcome.counts["ack"] > 10


def test_a_planted_bug_is_found(servers: Servers, tmp_path: Path) -> None:
    found, said = find(PLANTED, 1, servers, tmp_path)
    assert found, said


def test_every_invariant_has_a_planted_bug() -> None:
    assert {number for number, _ in PLANTS.values()} == set(CHECKS)
    assert len(PLANTS) >= 14


def test_a_seed_says_all_and_the_seeds_meet_every_fault_evenly() -> None:
    assert plan_of(3) == plan_of(3)
    assert plan_of(3) != plan_of(4)
    assert Counter(faults_of(3)) == Counter(each.name for each in plan_of(3).faults)
    for first in (0, 1, 12_345):
        met = Counter(name for seed in range(first, first + 500) for name in faults_of(seed))
        assert set(met) == set(ALL_FAULTS)
        assert min(met.values()) >= 24, "some of them find nothing to strike"
    assert len(POINT_FAULTS) == 60
