"""Money of other currencies: the rates it was counted and booked at, and what it cost there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("orders", sa.Column("fx_rate", sa.Numeric, nullable=True))
    op.add_column("fills", sa.Column("fx_rate", sa.Numeric, nullable=True))
    op.add_column("positions", sa.Column("local_cost", sa.Numeric, nullable=True))
