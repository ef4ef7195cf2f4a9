"""The bundled PostgreSQL and Valkey, and the supervisor that starts them and never leaves one.

Private servers on Unix sockets, with their data in one directory. Imported by the wiring alone; a
stranger to api, storage, brokers and config.

    with EmbeddedServers.start(Path("data"), say=print) as servers:
        serve(servers.database_url, servers.redis_url)
"""

from trade_engine.embedded.errors import (
    BinaryNotFound,
    DataDirBusy,
    DataDirUnusable,
    EmbeddedError,
    ServerDidNotStart,
    WrongServerVersion,
)
from trade_engine.embedded.servers import EmbeddedServers, urls_of

__all__ = [
    "BinaryNotFound",
    "DataDirBusy",
    "DataDirUnusable",
    "EmbeddedError",
    "EmbeddedServers",
    "ServerDidNotStart",
    "WrongServerVersion",
    "urls_of",
]
