"""What the relay, `pneumo status` and analysts ask is found by an index, however long the history is.

A study says since when its files are gone, so that the retention rule passes it by. Three views count
the images of a study study by study, where they counted those of all studies before. Their columns
stay as they are, and on PostgreSQL so do the grants on them. What is written here is history: see
0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.views import view_text

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

VIEWS = ("v1_studies", "v1_predictions", "v1_shadow_agreement")
BY_TIME = {
    "study": "received_at",
    "prediction": "recorded_at",
    "shadow_prediction": "recorded_at",
    "result_delivery": "created_at",
}
"""Table -> the moment by which its newest rows are asked for."""


def upgrade() -> None:
    op.add_column("study", sa.Column("files_left_at", sa.DateTime(timezone=True)))
    op.execute(_LEFT_BEFORE)
    _partial_index(
        "ix_study_with_files", "study", ["state", "finished_at"], "files_left_at IS NULL"
    )
    _partial_index("ix_study_origin_unfetched", "study_origin", ["study_id"], "fetched_at IS NULL")
    for table, column in BY_TIME.items():
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])
    _replace_views(revision)


def downgrade() -> None:
    _replace_views(down_revision)
    for table, column in BY_TIME.items():
        op.drop_index(op.f(f"ix_{table}_{column}"), table)
    op.drop_index("ix_study_origin_unfetched", "study_origin")
    op.drop_index("ix_study_with_files", "study")
    op.drop_column("study", "files_left_at")


_LEFT_BEFORE = """
UPDATE study SET files_left_at = (
    SELECT MAX(instance.file_removed_at) FROM instance WHERE instance.study_id = study.id
) WHERE NOT EXISTS (
    SELECT 1 FROM instance
    WHERE instance.study_id = study.id AND instance.file_removed_at IS NULL
)
"""


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)


def _replace_views(as_of: str) -> None:
    """On PostgreSQL in place: what was granted on them, and views of the site's own, stay."""
    for view in VIEWS:
        statement = view_text(view, as_of)
        if op.get_bind().dialect.name == "sqlite":
            op.execute(f"DROP VIEW {view}")
        else:
            statement = statement.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
        op.execute(statement)
