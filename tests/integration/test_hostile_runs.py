"""A few of the runs of `make hostile`, and that they would find a difference if there were one."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy

from tests.support import hostile_runs
from tests.support.hostile_runs import Alerts, Run, account_of, compare, fleet, quick, run_all

pytestmark = pytest.mark.stores


async def test_seeded_runs_leave_no_difference(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostile_runs, "TOGETHER", 4)  # one engine after another, on what is there
    outcomes = [each async for each in run_all(database_url, redis_url, [*range(1, 9)], Alerts())]
    assert [(each.seed, each.faults) for each in outcomes if each.faults] == []
    assert sum(each.orders for each in outcomes) > 10
    assert sum(each.fills for each in outcomes) > 10
    assert sum(sum(each.misdeeds.values()) for each in outcomes) > 50


PLANTS = {
    "execution": "DELETE FROM fills WHERE account_id = %(account)s",
    "order": "UPDATE orders SET cum_qty = cum_qty + 1 WHERE account_id = %(account)s",
    "positions": "UPDATE positions SET quantity = quantity + 1 WHERE account_id = %(account)s",
    "cash": """UPDATE accounts SET summary = json_build_object('cash', '7')
        WHERE account_id = %(account)s""",
}


async def test_a_difference_would_be_found(database_url: str, redis_url: str) -> None:
    seed = 5
    with quick():
        async with fleet(database_url, redis_url, [seed], Alerts()) as [run]:
            await run.live()
    assert (await compare(database_url, run)).faults == []
    for named, plant in PLANTS.items():
        assert await _faults_of(database_url, run, plant, named), named


async def _faults_of(database_url: str, run: Run, plant: str, named: str) -> list[str]:
    """The faults that name what was planted."""
    url = sqlalchemy.make_url(database_url).set(drivername="postgresql")
    async with await psycopg.AsyncConnection.connect(
        url.render_as_string(hide_password=False), autocommit=True
    ) as connection:
        await connection.execute(plant, {"account": account_of(run.seed)})
    return [each for each in (await compare(database_url, run)).faults if each.startswith(named)]
