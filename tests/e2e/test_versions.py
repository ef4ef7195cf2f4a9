"""Two versions of the engine over the same stores, as processes: who starts, and who does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.engine_process import engine_process, refused_start
from trade_engine.storage.postgres.migrate import engine_of, known_version
from trade_engine.storage.redis import scripts

pytestmark = pytest.mark.stores

OTHER = "0123456789ab"


def with_other_scripts(and_then: str = "") -> tuple[str, str]:
    """What Python is told to run: an engine whose scripts have another digest."""
    lines = [
        "import sys",
        "from trade_engine.storage.redis import scripts",
        f"scripts.DIGEST = '{OTHER}'",
        "import trade_engine.main",
        and_then,
        "from trade_engine.cli import main",
        "sys.exit(main(['serve', *sys.argv[1:]]))",
    ]
    return ("-c", "\n".join(lines))


def test_an_engine_with_other_scripts_joins_only_when_told_to_or_alone(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    start = ("--database-url", database_url, "--redis-url", redis_url)
    log = tmp_path / "log"
    other = with_other_scripts()
    with engine_process(*start, log=log) as engine:
        # It does not as much as look whether there is something to migrate.
        unasked = with_other_scripts("trade_engine.main.migrate = lambda url: sys.exit(99)")
        line = refused_start(*start, program=unasked)
        assert f"is alive with scripts {scripts.DIGEST} at migration {known_version()}" in line
        assert f"this engine has scripts {OTHER} at migration {known_version()}" in line
        assert "--join-other-versions" in line

        told_to = (*start, "--join-other-versions")
        with engine_process(*told_to, log=log, program=other) as beside:
            assert f"is alive with scripts {OTHER}" in refused_start(*start)
            assert beside.stop() == 0
        with engine_process(*start, log=log) as twin:
            assert twin.stop() == 0
        assert engine.stop() == 0
    with engine_process(*start, log=log, program=other) as alone:
        assert alone.stop() == 0


def test_an_engine_older_than_the_tables_does_not_start(database_url: str, redis_url: str) -> None:
    with engine_of(database_url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    line = refused_start("--database-url", database_url, "--redis-url", redis_url)
    assert "the database is at step 9999, which this version does not know" in line
    line = refused_start(
        "--database-url", database_url, "--redis-url", redis_url, "--join-other-versions"
    )
    assert "step 9999" in line
