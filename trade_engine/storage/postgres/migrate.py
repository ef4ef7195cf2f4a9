"""Bring a database's tables to what this version of the engine expects."""

from __future__ import annotations

import psycopg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from trade_engine.domain.errors import EngineError, StoreUnavailable
from trade_engine.resources import migrations_dir
from trade_engine.storage.postgres.url import connection_words

_LOCK_KEY = 0x7472616465  # "trade": which advisory lock the migrating replicas queue for
_LOCK_WAIT_S_MAX = 60
_CONNECT_S_MAX = 10


class SchemaTooNew(EngineError):
    """The database was migrated by a newer version of the engine; upgrade this one."""

    reason = "SCHEMA_TOO_NEW"


def migrate(database_url: str) -> None:
    """Run every step that the database lacks, in one transaction: all or none.

    Replicas that start together queue for an advisory lock of that transaction; the later ones
    find nothing left to do.

    Raises:
        SchemaTooNew: the database has a step that this version does not know.
        StoreUnavailable: the database does not answer or refused a step.
    """
    scripts = _config()
    known = ScriptDirectory.from_config(scripts)
    try:
        with engine_of(database_url).begin() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_WAIT_S_MAX}s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            _refuse_newer(connection, known)
            scripts.attributes["connection"] = connection
            command.upgrade(scripts, "head")
    except DBAPIError as error:
        raise StoreUnavailable(f"the database cannot be migrated: {_line(error)}") from error


def schema_version(database_url: str) -> str | None:
    """Name the last step that the database has; None when it has none.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    try:
        with engine_of(database_url).connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    except DBAPIError as error:
        raise StoreUnavailable(f"the database does not answer: {_line(error)}") from error


def known_version() -> str:
    """Name the last step that this version of the engine knows."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def engine_of(database_url: str) -> Engine:
    """An engine without a pool, for the odd connection."""
    ours = {"connect_timeout": _CONNECT_S_MAX, "application_name": "trade-engine migrate"}
    words = {**ours, **connection_words(database_url)}
    return create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(**words), poolclass=NullPool
    )


def _config() -> Config:
    config = Config()
    # Config interpolates percent signs.
    config.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _line(error: DBAPIError) -> str:
    """The driver's words, which may be several lines, as one."""
    return " ".join(str(error.orig).split())


def _refuse_newer(connection: Connection, known: ScriptDirectory) -> None:
    steps = {step.revision for step in known.walk_revisions()}
    for found in MigrationContext.configure(connection).get_current_heads():
        if found not in steps:
            raise SchemaTooNew(
                f"the database is at step {found}, which this version does not know (its last is "
                f"{known.get_current_head()}): install the version of trade-engine that migrated "
                "it, or a later one",
                database=found,
                known=known.get_current_head() or "",
            )
