"""Requests that carry an id: the same one again gets the first answer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ID = sa.Text(collation="C")  # compared byte by byte


def upgrade() -> None:
    op.create_table(
        "requests",
        sa.Column("caller", ID, nullable=False),
        sa.Column("request_id", ID, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=True),
        sa.Column(
            "begun_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")
        ),
        sa.PrimaryKeyConstraint("caller", "request_id", name="requests_pkey"),
    )
