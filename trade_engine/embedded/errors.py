"""What can go wrong with the embedded servers. Every message says what to do about it."""

from __future__ import annotations

from trade_engine.domain.errors import EngineError

OWN_SERVERS = "give your own servers with --database-url and --redis-url"


class EmbeddedError(EngineError):
    """The embedded servers cannot be had."""

    reason = "EMBEDDED_SERVERS"


class BinaryNotFound(EmbeddedError):
    """A bundled server is not installed, or not for this platform."""

    reason = "BINARY_NOT_FOUND"


class DataDirBusy(EmbeddedError):
    """Another engine, or what is left of one, holds the data directory."""

    reason = "DATA_DIR_BUSY"


class DataDirUnusable(EmbeddedError):
    """The data directory cannot be created, entered or owned by the user of this process."""

    reason = "DATA_DIR_UNUSABLE"


class WrongServerVersion(EmbeddedError):
    """The data directory was written by another major version of PostgreSQL."""

    reason = "WRONG_SERVER_VERSION"


class ServerDidNotStart(EmbeddedError):
    """A server ended before it served; carries the end of its log."""

    reason = "SERVER_DID_NOT_START"
