"""The record: journal, accounts and what is folded from them; leases, controls, the paper venue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON

revision = "0001"
down_revision = None

ID = sa.Text(collation="C")  # compared byte by byte


def upgrade() -> None:
    create_journal()
    create_folds()
    create_operations()
    create_paper_venue()


def create_journal() -> None:
    """The heads and the append-only journal."""
    op.create_table(
        "accounts",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("head_hash", sa.LargeBinary, nullable=False),
        sa.Column("summary", JSON, nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="accounts_pkey"),
    )
    op.create_table(
        "journal",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("recorded_at_ns", sa.BigInteger, nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            sa.Computed("to_timestamp(recorded_at_ns::double precision / 1e9)", persisted=True),
        ),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("prev_hash", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "sequence", name="journal_pkey"),
    )
    op.execute("""
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% of % is refused: the journal only grows', TG_OP, TG_TABLE_NAME
                USING ERRCODE = 'insufficient_privilege';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """)
    # Even where triggers are switched off for replication.
    op.execute("ALTER TABLE journal ENABLE ALWAYS TRIGGER only_grows")
    op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON journal FROM PUBLIC, CURRENT_USER")
    # Payloads of 2 kB and more are compressed: lz4 costs a third of the default, where the server
    # was built with it.
    op.execute("""
        DO $$ BEGIN
            ALTER TABLE journal ALTER COLUMN payload SET COMPRESSION lz4;
        EXCEPTION WHEN feature_not_supported OR invalid_parameter_value THEN NULL;
        END $$
    """)
    # The head row is rewritten by every commit: room beside it keeps its versions on one page.
    op.execute("ALTER TABLE accounts SET (fillfactor = 50)")


def create_folds() -> None:
    """What the journal adds up to, kept in step with it."""
    op.create_table(
        "decisions",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("signal_id", ID, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("strategy_id", ID, nullable=False),
        sa.Column("symbol", ID, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("order_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "signal_id", name="decisions_pkey"),
    )
    op.create_index("decisions_by_sequence", "decisions", ["account_id", "sequence"])
    op.create_table(
        "orders",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("order_id", ID, nullable=False),
        sa.Column("strategy_id", ID, nullable=False),
        sa.Column("symbol", ID, nullable=False),
        sa.Column("signal_id", ID, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("ord_type", sa.Text, nullable=False),
        sa.Column("time_in_force", sa.Text, nullable=False),
        sa.Column("order_qty", sa.Numeric, nullable=False),
        sa.Column("price", sa.Numeric),
        sa.Column("broker", ID, nullable=False),
        sa.Column("created_at_ns", sa.BigInteger, nullable=False),
        sa.Column("ord_status", sa.Text, nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("delivery", sa.Text, nullable=False),
        sa.Column("cum_qty", sa.Numeric, nullable=False),
        sa.Column("leaves_qty", sa.Numeric, nullable=False),
        sa.Column("cum_value", sa.Numeric, nullable=False),
        sa.Column("broker_order_id", sa.Text, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("updated_at_ns", sa.BigInteger, nullable=False),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        sa.Column("chain", JSON),
        sa.PrimaryKeyConstraint("account_id", "order_id", name="orders_pkey"),
    )
    creation = ["account_id", "created_at_ns"]
    op.create_index("orders_by_creation", "orders", creation)
    op.create_index("orders_open", "orders", creation, postgresql_where=sa.text("is_open"))
    op.create_table(
        "fills",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("broker", ID, nullable=False),
        sa.Column("exec_id", ID, nullable=False),
        sa.Column("order_id", ID, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("strategy_id", ID, nullable=False),
        sa.Column("symbol", ID, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("last_qty", sa.Numeric, nullable=False),
        sa.Column("last_px", sa.Numeric, nullable=False),
        sa.Column("commission", sa.Numeric, nullable=False),
        sa.Column("transact_time_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "broker", "exec_id", name="fills_pkey"),
    )
    op.create_table(
        "positions",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("strategy_id", ID, nullable=False),
        sa.Column("symbol", ID, nullable=False),
        sa.Column("quantity", sa.Numeric, nullable=False),
        sa.Column("cost", sa.Numeric, nullable=False),
        sa.Column("realized_pnl", sa.Numeric, nullable=False),
        sa.Column("fees", sa.Numeric, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "strategy_id", "symbol", name="positions_pkey"),
    )
    op.execute("ALTER TABLE orders SET (fillfactor = 80)")
    op.execute("ALTER TABLE positions SET (fillfactor = 80)")


def create_operations() -> None:
    """Who may send, and what operators stopped."""
    op.create_table(
        "sender_leases",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("broker", ID, nullable=False),
        sa.Column("holder", ID, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "broker", name="sender_leases_pkey"),
    )
    op.execute("ALTER TABLE sender_leases SET (fillfactor = 50)")
    op.create_table(
        "trading_controls",
        sa.Column("scope", ID, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("operator", sa.Text, nullable=False),
        sa.Column("set_at_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("scope", name="trading_controls_pkey"),
    )


def create_paper_venue() -> None:
    """The paper venue's own log and books, in a schema of its own."""
    op.execute("CREATE SCHEMA paper")
    op.create_table(
        "accounts",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("holder", ID, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("acknowledged_seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="accounts_pkey"),
        schema="paper",
    )
    op.create_table(
        "messages",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("cl_ord_id", ID, nullable=False),
        sa.Column("message", JSON, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "seq", name="messages_pkey"),
        schema="paper",
    )
    op.create_table(
        "orders",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("cl_ord_id", ID, nullable=False),
        sa.Column("priority", sa.BigInteger, nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("order", JSON, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "cl_ord_id", name="orders_pkey"),
        schema="paper",
    )
    op.create_index(
        "orders_open",
        "orders",
        ["account_id", "priority"],
        schema="paper",
        postgresql_where=sa.text("is_open"),
    )
    op.create_table(
        "reports",
        sa.Column("account_id", ID, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("cl_ord_id", ID, nullable=False),
        sa.Column("exec_id", ID, nullable=False),
        sa.Column("report", JSON, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "seq", name="reports_pkey"),
        sa.UniqueConstraint("account_id", "exec_id", name="reports_account_id_exec_id_key"),
        schema="paper",
    )
    by_order = ["account_id", "cl_ord_id", "seq"]
    op.create_index("reports_by_order", "reports", by_order, schema="paper")
    op.execute("ALTER TABLE paper.accounts SET (fillfactor = 50)")
    op.execute("ALTER TABLE paper.orders SET (fillfactor = 80)")
