"""`serve` and `migrate`: the engine itself, and its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trade_engine.cli.output import say

Listen = Annotated[str | None, typer.Option(metavar="ADDRESS", help="HOST:PORT or unix:PATH.")]
DataDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where the private PostgreSQL and Valkey keep their data."),
]
DatabaseUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="Your own PostgreSQL: postgresql://user@host/name")
]
RedisUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="Your own Redis or Valkey: redis://host:6379/0")
]
Limits = Annotated[Path | None, typer.Option(metavar="FILE", help="Accounts and limits (TOML).")]
Instruments = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What may be traded (TOML).")
]

Brokers = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Venues beside the paper one (TOML).")
]
ApplyLimits = Annotated[
    bool,
    typer.Option("--apply-limits", help="Put these files into force, where others are."),
]
JoinOtherVersions = Annotated[
    bool,
    typer.Option("--join-other-versions", help="Start beside replicas of another version."),
]


def serve(
    listen: Listen = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
    limits: Limits = None,
    instruments: Instruments = None,
    brokers: Brokers = None,
    apply_limits: ApplyLimits = False,
    join_other_versions: JoinOtherVersions = False,
) -> int:
    """Start the engine, and serve until Ctrl-C. SIGHUP lets it read both files again.

    Without URLs it starts private servers. Every option is a TRADE_ENGINE_* variable too;
    docs/configuration.md has them all.
    """
    from trade_engine.config.loading import load_settings  # noqa: PLC0415  slow to import
    from trade_engine.main import serve as serve_engine  # noqa: PLC0415

    settings = load_settings(
        listen=listen,
        data_dir=data_dir,
        database_url=database_url,
        redis_url=redis_url,
        limits_file=limits,
        instruments_file=instruments,
        brokers_file=brokers,
        apply_limits=apply_limits or None,
        join_other_versions=join_other_versions or None,
    )
    return serve_engine(settings)


def migrate(
    database_url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar=["TRADE_ENGINE_DATABASE_URL", "DATABASE_URL"],
            help="Your own PostgreSQL: postgresql://user@host/name",
        ),
    ],
) -> None:
    """Bring a database of your own to this version's tables. `serve` does it by itself."""
    from trade_engine.storage.postgres.migrate import (  # noqa: PLC0415  slow to import
        migrate as migrate_database,
    )
    from trade_engine.storage.postgres.migrate import schema_version  # noqa: PLC0415

    migrate_database(database_url)
    say(f"The database is at step {schema_version(database_url)}.")
