"""A short piece of the long workloads; `make concurrency` and `make workload` run them whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from tests.workload import concurrency, limits_change
from tests.workload.elsewhere import audit_elsewhere
from tests.workload.play import Player, WorkloadClock, engines, settle
from tests.workload.refusals import ABSENT, every_refusal
from tests.workload.scenario import scenario
from trade_engine.domain.decision import Reason
from trade_engine.domain.journal import EntryKind

pytestmark = pytest.mark.stores

SIGNALS = 300


async def test_what_was_decided_is_decided_again_by_another_process(
    database_url: str, redis_url: str
) -> None:
    clock = WorkloadClock()
    async with engines(2, database_url, redis_url, clock) as replicas:
        player = Player(replicas, clock)
        await player.play(scenario(seed=11, signals=SIGNALS))
        await settle(replicas[0])
    assert player.counts["signals"] == SIGNALS
    assert min(player.counts[each] for each in ("halts", "nights", "limit changes")) > 0
    verified = await asyncio.to_thread(audit_elsewhere, "verify", database_url)
    assert verified["faults"] == []
    replayed = await asyncio.to_thread(audit_elsewhere, "replay", database_url)
    assert replayed["faults"] == []
    assert replayed["counts"]["decisions"] == SIGNALS


async def test_every_refusal_is_brought_about_and_decided_again(
    database_url: str, redis_url: str
) -> None:
    """What `make golden` begins with; each step says what must come of it."""
    await every_refusal(database_url, redis_url, WorkloadClock())
    journal = await concurrency.journal(database_url)
    decided = [orjson.loads(each.payload) for each in journal if each.kind is EntryKind.DECISION]
    seen = {reason for each in decided for reason in each["decision"]["reasons"]}
    assert {each for each in Reason if each not in seen} == set(ABSENT)
    replayed = await asyncio.to_thread(audit_elsewhere, "replay", database_url)
    assert replayed["faults"] == []


async def test_no_prefix_of_the_journal_passes_a_limit(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    outcomes, passed = await concurrency.run(
        database_url, redis_url, tmp_path, replicas=3, signals=400, seed=3
    )
    assert passed == []
    assert sum(outcomes.values()) == 400
    assert outcomes["OUTCOME_APPROVED"] > 25
    assert outcomes["OUTCOME_REJECTED"] > 25


async def test_limits_that_change_under_load_make_every_decision_after_them(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    found = await limits_change.run(database_url, redis_url, tmp_path, replicas=3, changes=6)
    assert found.wrong == []
    assert len(found.versions) == 2
    assert min(found.versions.values()) > 10
    assert found.outcomes[True] > 10
    assert found.outcomes[False] > 10
