"""How Alembic runs the steps: on the connection that `storage.postgres.migrate` hands over.

From a shell (to write a new step) it connects to DATABASE_URL by itself.
"""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection

from trade_engine.storage.postgres.migrate import engine_of
from trade_engine.storage.postgres.tables import metadata


def run(connection: Connection) -> None:
    """Run the steps in the connection's transaction, all or none."""
    context.configure(connection=connection, target_metadata=metadata, include_schemas=True)
    with context.begin_transaction():
        context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    run(handed_over)
else:
    with engine_of(os.environ["DATABASE_URL"]).begin() as connection:
        run(connection)
