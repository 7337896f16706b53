"""Files of finished studies leave by a retention rule, and their rows say since when.

What is written here is history: see 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

COLUMNS = ("file_removed_at", "file_returned_at")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("instance", sa.Column(name, sa.DateTime(timezone=True)))
    op.create_index("ix_instance_file_name", "instance", ["file_name"])
    op.create_index(
        "ix_instance_with_file",
        "instance",
        ["study_id"],
        sqlite_where=sa.text("file_removed_at IS NULL"),
        postgresql_where=sa.text("file_removed_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_instance_with_file", "instance")
    op.drop_index("ix_instance_file_name", "instance")
    for name in reversed(COLUMNS):
        op.drop_column("instance", name)
