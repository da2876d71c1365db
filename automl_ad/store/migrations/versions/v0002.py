"""Schema 2, the first that can be upgraded; its tables were made without Alembic."""

from __future__ import annotations

revision = "0002"
down_revision = None


def upgrade() -> None:
    """Nothing to do: databases begin here."""
