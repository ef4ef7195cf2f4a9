"""Audits of a database: which parts of the engine hold its journal against what.

An audit only reads, and nothing waits for it: the tables are read in one snapshot and compared
with the journal up to that snapshot's head, so that it may run beside an engine at work.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

import psycopg

from trade_engine.audit.findings import Fault, Findings
from trade_engine.audit.replay import Replay
from trade_engine.audit.verify import Verification
from trade_engine.domain.account import AccountState
from trade_engine.domain.errors import ConfigError, NotFound
from trade_engine.domain.journal import JournalEntry
from trade_engine.embedded import EmbeddedServers
from trade_engine.execution.decisions import decide_again
from trade_engine.portfolio.ledger import book
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.record import PostgresRecord
from trade_engine.storage.postgres.url import connection_words
from trade_engine.storage.postgres.whole import WholeAccount, read_whole

PAGE = 1000
READ_LIMIT_S = 300.0

Progress = Callable[[str, int, int], None]
"""Told the account, the entries looked at, and how many there are."""


class AuditKind(StrEnum):
    """What an audit does."""

    VERIFY = "verify"  # the chain holds, and the tables say what the journal says
    REPLAY = "replay"  # every decision, made again, comes out the same


@dataclass(frozen=True, slots=True)
class Audited:
    """What the audit of one account found; clean when there are no faults. took_s is in seconds."""

    account_id: str
    kind: AuditKind
    head_sequence: int
    head_hash: str
    counts: dict[str, int]
    faults: list[Fault]
    took_s: float

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


async def audit(
    kind: AuditKind, database_url: str, account_ids: Sequence[str], progress: Progress
) -> list[Audited]:
    """Audit these accounts, or all of them when none is named.

    Raises:
        NotFound: there is no such account.
        StoreUnavailable: the database does not answer, or has not the engine's tables.
    """
    database = Database(
        database_url,
        pool_size=1,
        statement_limit_s=READ_LIMIT_S * 0.9,
        application_name="trade-engine audit",
    )
    try:
        record = PostgresRecord(database, read_limit_s=READ_LIMIT_S)
        known = await record.account_ids()
        for account_id in account_ids:
            if account_id not in known:
                raise NotFound("account", account_id=account_id)
        return [
            await _audit_account(kind, database, record, account_id, progress)
            for account_id in account_ids or known
        ]
    finally:
        await database.close()


async def _audit_account(
    kind: AuditKind, database: Database, record: PostgresRecord, account_id: str, progress: Progress
) -> Audited:
    began = time.monotonic()
    whole = await read_whole(database, account_id, READ_LIMIT_S)
    if whole is None:
        raise NotFound("account", account_id=account_id)
    state = whole.state
    if kind is AuditKind.VERIFY:
        findings = await _verify(record, whole, progress)
    else:
        findings = await _replay(record, state, progress)
    return Audited(
        account_id,
        kind,
        state.sequence,
        state.head_hash.hex(),
        dict(findings.counts),
        findings.faults,
        time.monotonic() - began,
    )


async def _verify(record: PostgresRecord, whole: WholeAccount, progress: Progress) -> Findings:
    verification = Verification(whole.state.account_id, book)
    async for entry in _entries(record, whole.state, progress):
        verification.take(entry)
    verification.compare(whole.state, whole.orders, whole.executions)
    return verification.findings


async def _replay(record: PostgresRecord, state: AccountState, progress: Progress) -> Findings:
    replay = Replay(decide_again)
    async for entry in _entries(record, state, progress):
        replay.take(entry)
    return replay.findings


async def _entries(
    record: PostgresRecord, state: AccountState, progress: Progress
) -> AsyncIterator[JournalEntry]:
    """The journal up to the head of `state`: what was written since is another audit's."""
    after = 0
    progress(state.account_id, 0, state.sequence)
    while after < state.sequence:
        entries = await record.entries(state.account_id, after, PAGE)
        for entry in entries:
            if entry.sequence <= state.sequence:
                yield entry
        if not entries:
            return
        after = entries[-1].sequence
        progress(state.account_id, min(after, state.sequence), state.sequence)


@contextmanager
def audited_database(database_url: str | None, data_dir: Path) -> Iterator[str]:
    """The URL of the database to audit, which can only be read by it.

    Without a database_url it is the private one in data_dir: that of the engine that runs there, or
    one started for the audit.

    Raises:
        ConfigError: no engine ever ran on data_dir.
        EmbeddedError: its servers cannot be started.
    """
    if database_url:
        yield _read_only(database_url)
        return
    data_dir = data_dir.expanduser().resolve()
    if not (data_dir / "postgres").is_dir():
        raise ConfigError(
            f"there is no engine's data in {data_dir}: name another --data-dir, or --database-url"
        )
    running = _running_server(data_dir)
    if running:
        yield _read_only(running)
        return
    with EmbeddedServers.start(data_dir) as servers:
        yield _read_only(servers.database_url)


def _running_server(data_dir: Path) -> str:
    """The URL of the server that runs on data_dir now; "" when none does.

    PostgreSQL writes its sockets' folder into the fifth line of its postmaster.pid.
    """
    try:
        lines = (data_dir / "postgres" / "postmaster.pid").read_text().splitlines()
        url = f"postgresql+psycopg://postgres@/trade_engine?host={quote(lines[4], safe='')}"
        psycopg.connect(**connection_words(url), connect_timeout=3).close()
    except (OSError, IndexError, psycopg.Error):
        return ""
    return url


def _read_only(database_url: str) -> str:
    separator = "&" if "?" in database_url else "?"
    option = quote("-c default_transaction_read_only=on", safe="")
    return f"{database_url}{separator}options={option}"
