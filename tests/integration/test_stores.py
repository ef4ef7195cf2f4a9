"""The suite's own stores: every test gets an empty world, on whichever servers."""

from __future__ import annotations

import pytest
import redis
import sqlalchemy

from tests.stores import StoreUrls

pytestmark = pytest.mark.stores

_left_open: list[sqlalchemy.Connection] = []


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_database_is_the_tests_own(database_url: str, attempt: int) -> None:
    engine = sqlalchemy.create_engine(database_url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE left_behind (word text)"))
    if attempt == 1:
        _left_open.append(engine.connect())


def test_a_database_is_dropped_though_somebody_is_connected(stores: StoreUrls) -> None:
    (left_open,) = _left_open
    engine = sqlalchemy.create_engine(stores.database_url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        names = connection.scalars(sqlalchemy.text("SELECT datname FROM pg_database")).all()
    assert left_open.engine.url.database not in names
    with pytest.raises(sqlalchemy.exc.OperationalError):
        left_open.execute(sqlalchemy.text("SELECT 1"))
    left_open.close()


@pytest.mark.parametrize("_attempt", [1, 2])
def test_a_redis_database_is_empty(redis_url: str, _attempt: int) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")
