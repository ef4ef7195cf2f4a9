"""Fills can be corrected and busted: by which reports, and a position's fills in their order."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("fills", sa.Column("amended_by", JSON, nullable=True))
    op.create_index(
        "fills_by_position", "fills", ["account_id", "strategy_id", "symbol", "sequence"]
    )
