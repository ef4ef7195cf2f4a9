"""The tables: made by the migrations, as the code knows them, and a journal that only grows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from tests.support.record import decisions, opened, signal
from trade_engine.domain.errors import InvalidField, StoreUnavailable
from trade_engine.storage.postgres.migrate import (
    SchemaTooNew,
    engine_of,
    known_version,
    migrate,
    schema_version,
)
from trade_engine.storage.postgres.record import PostgresRecord
from trade_engine.storage.postgres.tables import metadata
from trade_engine.storage.postgres.url import connection_words

pytest_plugins = ["tests.support.record_fixtures"]
pytestmark = pytest.mark.stores


@pytest.fixture
def bare_url(database_url: str) -> str:
    """A database that no migration has touched."""
    with engine_of(database_url).begin() as connection:
        connection.execute(text("DROP SCHEMA paper CASCADE"))
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    assert schema_version(database_url) is None
    return database_url


def differences(database_url: str) -> list[Any]:
    options = {"include_schemas": True, "compare_type": True}
    with engine_of(database_url).connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))


def test_migrations_make_the_tables_that_the_code_knows(database_url: str) -> None:
    assert differences(database_url) == []


def test_a_table_that_differs_is_noticed(database_url: str) -> None:
    with engine_of(database_url).begin() as connection:
        connection.execute(text("ALTER TABLE fills DROP COLUMN commission"))
        connection.execute(text("DROP INDEX paper.orders_open"))
    assert len(differences(database_url)) == 2


def test_replicas_that_start_together_migrate_once(bare_url: str) -> None:
    with ThreadPoolExecutor(4) as replicas:
        list(replicas.map(migrate, [bare_url] * 4))
    assert schema_version(bare_url) == known_version()
    assert differences(bare_url) == []


def test_a_newer_database_is_refused(database_url: str) -> None:
    with engine_of(database_url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    words = f"step 9999, which this version does not know .*{known_version()}"
    with pytest.raises(SchemaTooNew, match=words):
        migrate(database_url)
    assert schema_version(database_url) == "9999"


def test_a_database_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        migrate("postgresql://engine:secret@127.0.0.1:1/trade")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u@h:1/d", {"user": "u", "host": "h", "port": "1", "dbname": "d"}),
        ("postgres://h/d", {"host": "h", "dbname": "d"}),
        ("postgresql+psycopg://u@/d?host=%2Fpg", {"user": "u", "host": "/pg", "dbname": "d"}),
        ("postgresql://a:1,b:2/d", {"host": "a,b", "port": "1,2", "dbname": "d"}),
    ],
)  # fmt: skip
def test_every_form_of_url_is_read(url: str, words: dict[str, str]) -> None:
    assert connection_words(url) == words


@pytest.mark.parametrize(
    "url", ["", "trade", "mysql://h/d", "postgresql://u:secret@h/d?nonsense=1"]
)
def test_what_is_no_url_is_refused_without_repeating_a_password(url: str) -> None:
    with pytest.raises(InvalidField, match="postgresql://user@host:port/name") as caught:
        connection_words(url)
    assert "secret" not in caught.value.message


OVERWRITE = """
    INSERT INTO journal (account_id, sequence, recorded_at_ns, kind, payload, prev_hash, hash)
    SELECT account_id, sequence, recorded_at_ns, kind, payload, prev_hash, hash FROM journal
    ON CONFLICT (account_id, sequence) DO UPDATE SET kind = 'LIE'"""


@pytest.mark.parametrize(
    "change",
    [
        OVERWRITE,
        "UPDATE journal SET kind = 'LIE'",
        "DELETE FROM journal",
        "DELETE FROM journal WHERE false",
        "TRUNCATE journal",
        "SET session_replication_role = replica; DELETE FROM journal",
    ],
)
async def test_the_journal_refuses_every_change(
    record: PostgresRecord, side_door: psycopg.AsyncConnection[Any], change: str
) -> None:
    state = await opened(record)
    await record.commit(decisions(state, signal(1), signal(2)))
    before = await record.entries("main", 0, 10)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="the journal only grows"):
        await side_door.execute(change)
    await side_door.rollback()
    assert await record.entries("main", 0, 10) == before


async def test_its_owner_has_no_privilege_to_change_the_journal(
    side_door: psycopg.AsyncConnection[Any],
) -> None:
    cursor = await side_door.execute(
        "SELECT privilege_type FROM information_schema.role_table_grants"
        " WHERE table_name = 'journal' AND privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE')"
    )
    assert await cursor.fetchall() == []


async def test_no_payload_is_compressed_slowly(side_door: psycopg.AsyncConnection[Any]) -> None:
    payload = orjson.dumps({"checks": ["all alike"] * 1000})
    await side_door.execute(
        "INSERT INTO journal (account_id, sequence, recorded_at_ns, kind, payload, prev_hash, hash)"
        " VALUES ('main', 7, 1, 'DECISION', %s::text::json, '', '')",
        (payload.decode(),),
    )
    cursor = await side_door.execute(
        "SELECT pg_column_compression(payload), payload::text FROM journal WHERE sequence = 7"
    )
    [(compressed_by, kept)] = await cursor.fetchall()
    assert compressed_by in (None, "lz4")
    assert kept.encode() == payload


async def test_an_entry_shows_when_it_was_recorded(
    record: PostgresRecord, side_door: psycopg.AsyncConnection[Any]
) -> None:
    await opened(record)
    cursor = await side_door.execute(
        "SELECT recorded_at AT TIME ZONE 'UTC', opened_at AT TIME ZONE 'UTC'"
        " FROM journal JOIN accounts USING (account_id, sequence)"
    )
    row = await cursor.fetchone()
    assert row is not None
    assert [str(each) for each in row] == ["2023-11-14 22:13:20.123457"] * 2
