"""Servers, links and stores for the tests of the Redis adapters.

A test module names this file in `pytest_plugins`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.private_redis import PrivateRedis
from trade_engine.embedded.binaries import locate
from trade_engine.storage.redis.connect import RedisLink
from trade_engine.storage.redis.risk_store import RedisRiskStore


@pytest.fixture(params=["valkey", "redis"])
def private_redis(request: pytest.FixtureRequest) -> Iterator[PrivateRedis]:
    """A fresh server: the bundled Valkey, and the system's Redis where there is one."""
    valkey = request.param == "valkey"
    program = str(locate().valkey_server) if valkey else shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on this machine")
    # The path of a Unix socket has to be short.
    folder = Path(tempfile.mkdtemp(prefix="te-redis-"))
    server = PrivateRedis(program, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
async def redis_link(redis_url: str) -> AsyncIterator[RedisLink]:
    """A link to the suite's server; its database is empty."""
    opened = RedisLink(redis_url)
    await opened.run(("FLUSHDB",))
    yield opened
    await opened.run(("FLUSHDB",))
    await opened.close()


@pytest.fixture
def risk_store(redis_link: RedisLink) -> RedisRiskStore:
    return RedisRiskStore(redis_link, "replica-1")
