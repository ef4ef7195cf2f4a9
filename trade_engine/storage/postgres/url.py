"""Database URLs, as libpq reads them: every form of its own is accepted."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from trade_engine.domain.errors import InvalidField

_ALLOWED = "postgresql://user@host:port/name"


def connection_words(database_url: str) -> dict[str, Any]:
    """Read a `postgresql://user@host:port/name?word=value` URL into libpq's connection words.

    Several hosts, sockets' folders and `postgres://` are taken too, and so is SQLAlchemy's
    `postgresql+psycopg://`.

    Raises:
        InvalidField: it is no such URL.
    """
    # The given URL is never repeated whole: it may carry a password.
    scheme, separator, rest = database_url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise InvalidField("database_url", scheme, _ALLOWED)
    try:
        return conninfo_to_dict(f"postgresql://{rest}")
    except psycopg.ProgrammingError:
        raise InvalidField("database_url", f"{scheme}://...", _ALLOWED) from None
