"""The tables of the record, as SQLAlchemy knows them; `migrations/` makes them, a test compares.

Every key begins with the account, so that accounts can be spread over databases. There are no
foreign keys: every write of an account passes through its head row (see commit.py), and a key
share on the same row for each inserted row would cost more than it could still catch.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSON

metadata = MetaData()

# Compared byte by byte: quicker than a language's order, the same on every server, and an index
# outlives the server's next C library.
_ID = Text(collation="C")

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", _ID),
    Column("epoch", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("head_hash", LargeBinary, nullable=False),
    Column("summary", JSON, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("account_id", name="accounts_pkey"),
)
"""One row per account: the head of its journal, and what of its state is one per account."""

journal = Table(
    "journal",
    metadata,
    Column("account_id", _ID),
    Column("sequence", BigInteger, autoincrement=False),
    Column("recorded_at_ns", BigInteger, nullable=False),
    Column(
        "recorded_at",
        DateTime(timezone=True),
        Computed("to_timestamp(recorded_at_ns::double precision / 1e9)", persisted=True),
    ),
    Column("kind", Text, nullable=False),
    # `json`, not `jsonb`: the very text that was hashed comes back.
    Column("payload", JSON, nullable=False),
    Column("prev_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account_id", "sequence", name="journal_pkey"),
)
"""The append-only record. recorded_at (for people) is recorded_at_ns, rounded to microseconds."""

decisions = Table(
    "decisions",
    metadata,
    Column("account_id", _ID),
    Column("signal_id", _ID),
    Column("sequence", BigInteger, nullable=False),
    Column("strategy_id", _ID, nullable=False),
    Column("symbol", _ID, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("order_id", _ID, nullable=False),
    PrimaryKeyConstraint("account_id", "signal_id", name="decisions_pkey"),
    Index("decisions_by_sequence", "account_id", "sequence"),
)
"""Where in the journal each signal's decision is; the key is what makes a signal_id unique."""

orders = Table(
    "orders",
    metadata,
    Column("account_id", _ID),
    Column("order_id", _ID),
    Column("strategy_id", _ID, nullable=False),
    Column("symbol", _ID, nullable=False),
    Column("signal_id", _ID, nullable=False),
    Column("side", Text, nullable=False),
    Column("ord_type", Text, nullable=False),
    Column("time_in_force", Text, nullable=False),
    Column("order_qty", Numeric, nullable=False),
    Column("price", Numeric),
    Column("broker", _ID, nullable=False),
    Column("created_at_ns", BigInteger, nullable=False),
    Column("ord_status", Text, nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("delivery", Text, nullable=False),
    Column("cum_qty", Numeric, nullable=False),
    Column("leaves_qty", Numeric, nullable=False),
    Column("cum_value", Numeric, nullable=False),
    Column("broker_order_id", Text, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("text", Text, nullable=False),
    Column("updated_at_ns", BigInteger, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("chain", JSON),
    Column("fx_rate", Numeric),
    PrimaryKeyConstraint("account_id", "order_id", name="orders_pkey"),
    # The few orders of one instant are sorted when read; without them it is half as large.
    Index("orders_by_creation", "account_id", "created_at_ns"),
    Index("orders_open", "account_id", "created_at_ns", postgresql_where=sql("is_open")),
)
"""Every order at its last state. is_open is `Order.is_open`, kept for the partial index."""

fills = Table(
    "fills",
    metadata,
    Column("account_id", _ID),
    Column("broker", _ID),
    Column("exec_id", _ID),
    Column("order_id", _ID, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("strategy_id", _ID, nullable=False),
    Column("symbol", _ID, nullable=False),
    Column("side", Text, nullable=False),
    Column("last_qty", Numeric, nullable=False),
    Column("last_px", Numeric, nullable=False),
    Column("commission", Numeric, nullable=False),
    Column("transact_time_ns", BigInteger, nullable=False),
    Column("amended_by", JSON),
    Column("fx_rate", Numeric),
    PrimaryKeyConstraint("account_id", "broker", "exec_id", name="fills_pkey"),
    Index("fills_by_position", "account_id", "strategy_id", "symbol", "sequence"),
)
"""Every execution as it now counts; the key is what makes a fill count once.

By position: what a bust or a correction folds anew.
"""

positions = Table(
    "positions",
    metadata,
    Column("account_id", _ID),
    Column("strategy_id", _ID),
    Column("symbol", _ID),
    Column("quantity", Numeric, nullable=False),
    Column("cost", Numeric, nullable=False),
    Column("realized_pnl", Numeric, nullable=False),
    Column("fees", Numeric, nullable=False),
    Column("local_cost", Numeric),
    PrimaryKeyConstraint("account_id", "strategy_id", "symbol", name="positions_pkey"),
)

sender_leases = Table(
    "sender_leases",
    metadata,
    Column("account_id", _ID),
    Column("broker", _ID),
    Column("holder", _ID, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("account_id", "broker", name="sender_leases_pkey"),
)
"""Who may send. A row is never removed, so that its token only grows."""

trading_controls = Table(
    "trading_controls",
    metadata,
    Column("scope", _ID),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("operator", Text, nullable=False),
    Column("set_at_ns", BigInteger, nullable=False),
    PrimaryKeyConstraint("scope", name="trading_controls_pkey"),
)
"""The scopes that are not ACTIVE, and who said so."""

requests = Table(
    "requests",
    metadata,
    Column("caller", _ID),
    Column("request_id", _ID),
    Column("content", LargeBinary, nullable=False),
    Column("answer", LargeBinary),
    Column("begun_at", DateTime(timezone=True), nullable=False, server_default=sql("now()")),
    PrimaryKeyConstraint("caller", "request_id", name="requests_pkey"),
)
"""What was asked under which request_id, and the answer: a repetition gets it, and does nothing.

Kept for ever, as the promise is: an old Resume that comes again must not let anything trade."""
limits_changes = Table(
    "limits_changes",
    metadata,
    Column("number", BigInteger, autoincrement=False),
    Column("rulebook", JSON, nullable=False),
    Column("operator", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("request_id", _ID, nullable=False),
    Column("changed_at_ns", BigInteger, nullable=False),
    PrimaryKeyConstraint("number", name="limits_changes_pkey"),
    Index(
        "limits_changes_by_request",
        "request_id",
        unique=True,
        postgresql_where=sql("request_id <> ''"),
    ),
)
"""Every rulebook that was ever in force, who set it and why: it only grows. The last one holds."""

# ---- the paper venue's own log and books: a venue's, not the record's --------------------------

PAPER = "paper"

paper_accounts = Table(
    "accounts",
    metadata,
    Column("account_id", _ID),
    Column("token", BigInteger, nullable=False),
    Column("holder", _ID, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("acknowledged_seq", BigInteger, nullable=False),
    PrimaryKeyConstraint("account_id", name="accounts_pkey"),
    schema=PAPER,
)
"""Who took an account's books over last, and how far they and their reader have come."""

paper_messages = Table(
    "messages",
    metadata,
    Column("account_id", _ID),
    Column("seq", BigInteger, autoincrement=False),
    Column("cl_ord_id", _ID, nullable=False),
    Column("message", JSON, nullable=False),
    PrimaryKeyConstraint("account_id", "seq", name="messages_pkey"),
    schema=PAPER,
)
"""What the venue received, as it came: to be held against what the engine says it sent."""

paper_orders = Table(
    "orders",
    metadata,
    Column("account_id", _ID),
    Column("cl_ord_id", _ID),
    Column("priority", BigInteger, nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("order", JSON, nullable=False),
    PrimaryKeyConstraint("account_id", "cl_ord_id", name="orders_pkey"),
    Index("orders_open", "account_id", "priority", postgresql_where=sql("is_open")),
    schema=PAPER,
)

paper_reports = Table(
    "reports",
    metadata,
    Column("account_id", _ID),
    Column("seq", BigInteger, autoincrement=False),
    Column("cl_ord_id", _ID, nullable=False),
    Column("exec_id", _ID, nullable=False),
    Column("report", JSON, nullable=False),
    PrimaryKeyConstraint("account_id", "seq", name="reports_pkey"),
    UniqueConstraint("account_id", "exec_id", name="reports_account_id_exec_id_key"),
    Index("reports_by_order", "account_id", "cl_ord_id", "seq"),
    schema=PAPER,
)
