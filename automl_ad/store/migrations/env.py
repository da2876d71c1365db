"""What Alembic runs: the migrations inside the transaction of the caller, which may be rolled back as a whole."""

from __future__ import annotations

from alembic import context

from automl_ad.store.migrations import VERSION_TABLE
from automl_ad.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
