"""Schema 3: what was one JSON value in ``cells`` and in ``certify`` has columns of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TABLE = "automl_ad_candidates"
_OLD = sa.table(
    _TABLE,
    sa.column("study_id", sa.Integer),
    sa.column("number", sa.Integer),
    sa.column("cells", sa.JSON),
    sa.column("certify", sa.JSON),
    sa.column("image_auroc", sa.JSON),
    sa.column("localisation_auroc", sa.JSON),
    sa.column("aggregations", sa.JSON),
    sa.column("learned_from", sa.JSON),
    sa.column("advantage", sa.Float),
    sa.column("holdout_score", sa.Float),
    sa.column("holdout_auroc", sa.JSON),
)


def upgrade() -> None:
    """Adds the columns, fills them and removes the old ones."""
    for name, default in (("image_auroc", "{}"), ("localisation_auroc", "{}"), ("aggregations", "{}")):
        op.add_column(_TABLE, sa.Column(name, sa.JSON, nullable=False, server_default=default))
    op.add_column(_TABLE, sa.Column("learned_from", sa.JSON, nullable=False, server_default="[]"))
    op.add_column(_TABLE, sa.Column("advantage", sa.Float, nullable=False, server_default="0"))
    op.add_column(_TABLE, sa.Column("holdout_score", sa.Float, nullable=True))
    op.add_column(_TABLE, sa.Column("holdout_auroc", sa.JSON, nullable=False, server_default="{}"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(_OLD.c.study_id, _OLD.c.number, _OLD.c.cells, _OLD.c.certify)).all():
        own = (_OLD.c.study_id == row.study_id) & (_OLD.c.number == row.number)
        connection.execute(sa.update(_OLD).where(own).values(_columns(row.cells or {}, row.certify or {})))
    # SQLite drops columns since 3.35 only: Alembic replaces the table there, and forgets checks that have no name.
    states = sa.CheckConstraint("state IN ('running', 'complete', 'pruned', 'failed')")
    with op.batch_alter_table(_TABLE, table_args=(states,)) as batch:
        batch.drop_column("cells")
        batch.drop_column("certify")
    connection.execute(sa.text("UPDATE automl_ad_schema SET version = 3 WHERE id = 1"))


def _columns(cells: Mapping[str, Any], certify: Mapping[str, Any]) -> dict[str, Any]:
    """The new columns of a trial; trials of early versions lack some keys."""
    return {
        "image_auroc": cells.get("cells", {}),
        "localisation_auroc": cells.get("located", {}),
        "aggregations": cells.get("rules", {}),
        "learned_from": cells.get("home", []),
        "advantage": cells.get("advantage", 0.0),
        "holdout_score": certify.get("value"),
        "holdout_auroc": certify.get("cells", {}),
    }
