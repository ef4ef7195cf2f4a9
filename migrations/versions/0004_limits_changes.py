"""The changes of the limits, numbered over all accounts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON

revision = "0004"
down_revision = "0003"

ID = sa.Text(collation="C")  # compared byte by byte


def upgrade() -> None:
    op.create_table(
        "limits_changes",
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("rulebook", JSON, nullable=False),
        sa.Column("operator", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("request_id", ID, nullable=False),
        sa.Column("changed_at_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="limits_changes_pkey"),
    )
    op.create_index(
        "limits_changes_by_request",
        "limits_changes",
        ["request_id"],
        unique=True,
        postgresql_where=sa.text("request_id <> ''"),
    )
    # What is in force by the journal stays in force.
    op.execute("""
        INSERT INTO limits_changes (number, rulebook, operator, reason, request_id, changed_at_ns)
        SELECT 1, payload, '', 'in force when changes began to be numbered', '', recorded_at_ns
          FROM journal WHERE kind = 'LIMITS_CHANGED'
         ORDER BY recorded_at_ns DESC LIMIT 1
    """)
    op.execute("""
        CREATE TRIGGER only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON limits_changes
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """)
    op.execute("ALTER TABLE limits_changes ENABLE ALWAYS TRIGGER only_grows")
    op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON limits_changes FROM PUBLIC, CURRENT_USER")
