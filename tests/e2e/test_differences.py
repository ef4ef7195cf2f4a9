"""A difference with the broker, from the terminal: found at the start, listed, accepted."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from tests.e2e.test_cli import SIGNAL, Cli, Ended, quote
from tests.support.engine_process import engine_process
from trade_engine.storage.postgres.url import connection_words

pytestmark = pytest.mark.stores

BOUGHT_BY_HAND = """
    UPDATE paper.orders SET "order" =
           regexp_replace("order"::text, '"cum_qty": ?"100"', '"cum_qty":"107"')::json"""


def listed(cli: Cli) -> Ended:
    """What `differences` says once the sender has compared."""
    deadline = time.monotonic() + 20
    while True:
        told = cli("differences", "--json")
        if told.out or time.monotonic() > deadline:
            return told


def test_a_difference_is_listed_and_accepted(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    urls = ("--database-url", database_url, "--redis-url", redis_url)
    with engine_process(*urls, log=tmp_path / "log") as engine:
        cli = Cli(engine.target, tmp_path)
        quote(cli)
        assert cli("submit", str(SIGNAL)).code == 0
    with psycopg.connect(**connection_words(database_url), autocommit=True) as connection:
        connection.execute(BOUGHT_BY_HAND)
    with engine_process(*urls, log=tmp_path / "log") as engine:
        cli = Cli(engine.target, tmp_path)
        told = listed(cli)
        assert told.code == 1
        [position] = [each for each in told.json if each["kind"] == "POSITION"]
        assert (position["ours"], position["theirs"]) == ("100", "107")
        assert "does not agree with its broker" in cli("status").out
        for each in told.json:
            done = cli("accept", each["difference_id"], "--reason", "bought by hand")
            assert done.code == 0, done.err
        accepted = cli("differences")
        assert (accepted.code, "bought by hand" in accepted.out) == (0, True)
        assert "HALTED" not in cli("status").out
