"""PostgreSQL and Redis for tests: the engine's own embedded servers, or those of two URLs.

`database_url` is a database of the test's own, made from a template that the migrations filled
once; `redis_url` is an empty Redis database. With TRADE_ENGINE_TEST_DATABASE_URL (its user may
create databases) and TRADE_ENGINE_TEST_REDIS_URL (its database number is emptied; with workers of
pytest-xdist also the numbers below it, one for each) both set, those servers are used. A test that
kills, freezes or fills a server starts one for itself.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
import redis
import sqlalchemy
from psycopg import sql

from trade_engine.embedded import EmbeddedServers

DATABASE_VARIABLE = "TRADE_ENGINE_TEST_DATABASE_URL"
REDIS_VARIABLE = "TRADE_ENGINE_TEST_REDIS_URL"

_USED = pytest.StashKey[str]()
_USED_BY_WORKER = "stores"
"""What a worker of pytest-xdist tells the session that started it."""


@dataclass(frozen=True, slots=True)
class StoreUrls:
    """The servers that this session runs on."""

    database_url: str  # SQLAlchemy's; its user may create databases
    redis_url: str
    mode: Literal["embedded", "own"]

    def __str__(self) -> str:
        if self.mode == "embedded":
            return "the EMBEDDED PostgreSQL and Valkey"
        return f"YOUR OWN servers ({DATABASE_VARIABLE}, {REDIS_VARIABLE})"


@pytest.fixture(scope="session")
def stores(request: pytest.FixtureRequest) -> Iterator[StoreUrls]:
    """The servers, started if need be."""
    own = _own_servers()
    if own is not None:
        _note_used(request.config, own)
        yield own
        return
    folder = Path(tempfile.mkdtemp(prefix="trade-engine-stores-"))
    try:
        with EmbeddedServers.start(folder / "data") as servers:
            urls = StoreUrls(servers.database_url, servers.redis_url, "embedded")
            _note_used(request.config, urls)
            yield urls
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template_migrator() -> Callable[[str], None]:
    """Fill the template that test databases are made from, given its SQLAlchemy URL.

    Overridden by a fixture of this name in a conftest.py.
    """

    def leave_empty(_database_url: str) -> None: ...

    return leave_empty


@pytest.fixture(scope="session")
def template_database(stores: StoreUrls, template_migrator: Callable[[str], None]) -> Iterator[str]:
    """The name of the migrated database that each test gets a copy of."""
    with _fresh_database(stores, "template") as name:
        template_migrator(_with_database(stores.database_url, name))
        # A copy cannot be made while anybody, autovacuum included, is connected.
        _administer(stores, "ALTER DATABASE {} ALLOW_CONNECTIONS false", name)
        yield name


@pytest.fixture
def database_url(stores: StoreUrls, template_database: str) -> Iterator[str]:
    """SQLAlchemy's URL of a migrated database of the test's own."""
    with _fresh_database(stores, "test", template_database) as name:
        yield _with_database(stores.database_url, name)


@pytest.fixture
def redis_url(stores: StoreUrls) -> Iterator[str]:
    """The URL of a Redis database that is empty before the test and after it."""
    url = stores.redis_url
    if stores.mode == "embedded":  # a client that outlives its test meets nobody else's keys
        url = f"{url.partition('?')[0]}?db={next(_redis_numbers)}"
    _empty(url)
    yield url
    _empty(url)


_redis_numbers = itertools.cycle(range(16))


def pytest_configure() -> None:
    given = {name for name in (DATABASE_VARIABLE, REDIS_VARIABLE) if os.environ.get(name)}
    if len(given) == 1:
        raise pytest.UsageError(
            f"{given.pop()} is set alone: set both {DATABASE_VARIABLE} and {REDIS_VARIABLE} to "
            "test on servers of your own, or neither to test on the embedded ones"
        )


def _note_used(config: pytest.Config, stores: StoreUrls) -> None:
    """Remember what the tests ran on, for the summary at the end."""
    used = config.stash[_USED] = f"{stores}: {_versions(stores)}"
    if hasattr(config, "workeroutput"):
        config.workeroutput[_USED_BY_WORKER] = used


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended."""
    used = getattr(node, "workeroutput", {}).get(_USED_BY_WORKER)
    if used is not None:
        node.config.stash[_USED] = used


def pytest_report_header() -> str:
    return f"stores: {_own_servers() or StoreUrls('', '', 'embedded')}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    used = terminalreporter.config.stash.get(_USED, None)
    if used is not None:
        terminalreporter.write_sep("=", "stores", bold=True)
        terminalreporter.write_line(f"Ran on {used}.")


def _own_servers() -> StoreUrls | None:
    database_url, redis_url = os.environ.get(DATABASE_VARIABLE), os.environ.get(REDIS_VARIABLE)
    if not database_url or not redis_url:
        return None
    url = sqlalchemy.make_url(database_url).set(drivername="postgresql+psycopg")
    return StoreUrls(
        url.render_as_string(hide_password=False), _redis_of_this_worker(redis_url), "own"
    )


def _redis_of_this_worker(redis_url: str) -> str:
    """The given database number for the first worker of pytest-xdist, the next lower for each."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    if not worker:
        return redis_url
    server, _, number = redis_url.rpartition("/")
    if not number.isdecimal() or int(number) < worker:
        raise pytest.UsageError(
            f"{REDIS_VARIABLE}={redis_url} gives worker {worker} no database of its own: name one "
            f"whose number is {worker} at least, or use fewer workers"
        )
    return f"{server}/{int(number) - worker}"


def _versions(stores: StoreUrls) -> str:
    with _connect(stores.database_url) as connection:
        postgres = connection.info.parameter_status("server_version")
    with redis.Redis.from_url(stores.redis_url) as client:
        info: dict[str, Any] = client.info("server")
    name = str(info.get("server_name", "redis")).capitalize()
    return f"PostgreSQL {postgres}, {name} {info.get('valkey_version', info['redis_version'])}"


def _connect(database_url: str) -> psycopg.Connection[tuple[Any, ...]]:
    url = sqlalchemy.make_url(database_url).set(drivername="postgresql")
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


def _with_database(database_url: str, name: str) -> str:
    url = sqlalchemy.make_url(database_url).set(database=name)
    return url.render_as_string(hide_password=False)


@contextmanager
def _fresh_database(stores: StoreUrls, kind: str, template: str = "template1") -> Iterator[str]:
    name = f"trade_engine_{kind}_{secrets.token_hex(6)}"
    _administer(stores, "CREATE DATABASE {} TEMPLATE {}", name, template)
    try:
        yield name
    finally:
        _administer(stores, "DROP DATABASE {} WITH (FORCE)", name)


def _administer(stores: StoreUrls, command: str, *names: str) -> None:
    with _connect(stores.database_url) as connection:
        connection.execute(sql.SQL(command).format(*map(sql.Identifier, names)))


def _empty(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
