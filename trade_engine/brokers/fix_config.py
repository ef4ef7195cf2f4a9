"""A FIX session as configured: who it is, where it connects, and what this venue is like."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trade_engine.domain.errors import ConfigError


@dataclass(frozen=True, slots=True)
class FixConfig:
    """One session with one venue; it serves every account that names it as its broker.

    store: the file that keeps the session's sequence numbers, its orders and what was reported of
        them. One process at a time has it open. A session is nothing without it: never start one
        that has orders at the venue on an empty file.
    username, password: for the Logon; they are in no log and in no repr.
    accounts: FIX Account(1) by account_id; an account without one sends none.
    order_status: whether the venue answers OrderStatusRequest; one that rejects it is remembered.
    can_replace: whether the venue takes OrderCancelReplaceRequest.
    tls_ca_file: whom to trust; None takes the system's authorities.
    is_live: real capital; its accounts start HALTED.
    """

    name: str
    version: str
    host: str
    port: int
    sender_comp_id: str
    target_comp_id: str
    store: Path
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    accounts: Mapping[str, str] = field(default_factory=dict)
    heartbeat_s: int = 30
    order_status: bool = True
    can_replace: bool = False
    tls: bool = False
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    is_live: bool = True

    @property
    def is_42(self) -> bool:
        """Whether the session speaks FIX 4.2, whose execution reports have another form."""
        return self.version == "FIX.4.2"

    def ssl_context(self) -> ssl.SSLContext | None:
        """What the connection is secured with; None when it is not.

        Raises:
            ConfigError: a certificate or a key cannot be read.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.tls_ca_file)
            if self.tls_cert_file is not None:
                context.load_cert_chain(self.tls_cert_file, self.tls_key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"broker {self.name}: its TLS files cannot be used: {error}"
            ) from None
        return context
