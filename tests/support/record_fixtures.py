"""The record's adapters on a test's own database. A test module names this in `pytest_plugins`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.record import PostgresRecord
from trade_engine.storage.postgres.url import connection_words


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def record(database: Database) -> PostgresRecord:
    return PostgresRecord(database)


@pytest.fixture
async def side_door(database_url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection of an operator's, past the adapters; in autocommit."""
    words = connection_words(database_url)
    connection = await psycopg.AsyncConnection.connect(**words, autocommit=True)
    yield connection
    await connection.close()
