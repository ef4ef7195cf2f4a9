"""Who is calling. For now: anybody on this machine, as one anonymous operator.

The server listens on loopback or a Unix socket only (server.py refuses anything else), so whoever
reaches it could also stop the process. Nothing is authenticated, and the journal says so by the
name of the operator.
"""

from __future__ import annotations

from dataclasses import dataclass

ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Caller:
    """What the engine knows of a caller: the name for the journal, and the account by default."""

    name: str
    default_account: str
