"""Journal payloads stay as they are on servers without lz4, rather than be compressed slowly."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    # The server's own pglz was a third of its work per signal. What is stored already stays so;
    # either is read alike.
    op.execute("""
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'journal'::regclass
                              AND attname = 'payload' AND attcompression = 'l') THEN
                ALTER TABLE journal ALTER COLUMN payload SET STORAGE EXTERNAL;
            END IF;
        END $$
    """)
