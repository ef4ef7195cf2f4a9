"""The floors of the stores: one script on Redis, one commit on Postgres, one at a time."""

from __future__ import annotations

import time

import psycopg
import uvloop
from redis.asyncio import Redis

SCRIPT = """
local sum = 0
for i = 1, #KEYS do sum = sum + (tonumber(redis.call('INCR', KEYS[i])) or 0) end
return sum
"""
KEYS = tuple(f"bench:floor:{number}" for number in range(10))
COMMIT = """
WITH head AS (UPDATE bench_floor_head SET n = n + 1 WHERE id = 1 RETURNING n),
     row AS (INSERT INTO bench_floor_rows SELECT n, 1, repeat('x', 1000) FROM head)
INSERT INTO bench_floor_rows SELECT n, 2, repeat('y', 200) FROM head
"""


def script_ms(redis_url: str, seconds: float) -> float:
    """Median time of a script that touches ten keys, ms."""
    return uvloop.run(_script_ms(redis_url, seconds))


async def _script_ms(redis_url: str, seconds: float) -> float:
    redis = Redis.from_url(redis_url)
    script = redis.register_script(SCRIPT)
    times = []
    deadline = time.perf_counter() + seconds
    while (start := time.perf_counter()) < deadline:
        await script(keys=KEYS)
        times.append(time.perf_counter() - start)
    await redis.delete(*KEYS)
    await redis.aclose()
    return sorted(times)[len(times) // 2] * 1000


def commit_ms(database_url: str, seconds: float) -> float:
    """Median time of a transaction that writes three rows in one statement, ms."""
    return uvloop.run(_commit_ms(database_url, seconds))


async def _commit_ms(database_url: str, seconds: float) -> float:
    url = database_url.replace("postgresql+psycopg://", "postgresql://")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("CREATE TABLE bench_floor_head (id int PRIMARY KEY, n bigint)")
        await connection.execute(
            "CREATE TABLE bench_floor_rows (n bigint, part int, body text, PRIMARY KEY (n, part))"
        )
        await connection.execute("INSERT INTO bench_floor_head VALUES (1, 0)")
        times = []
        deadline = time.perf_counter() + seconds
        while (start := time.perf_counter()) < deadline:
            await connection.execute(COMMIT)
            times.append(time.perf_counter() - start)
        await connection.execute("DROP TABLE bench_floor_head, bench_floor_rows")
    return sorted(times)[len(times) // 2] * 1000
