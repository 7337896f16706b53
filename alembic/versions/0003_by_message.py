"""A further way in: a bridge's message.

What is written here is history: see 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.views import view_text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

VIEWS = (
    "v1_studies",
    "v1_predictions",
    "v1_refusals_by_code",
    "v1_turnaround_by_priority",
    "v1_shadow_agreement",
)
BEFORE = ("python", "cli", "c_store")


def upgrade() -> None:
    _only((*BEFORE, "message"))


def downgrade() -> None:
    # What came by message came from a program.
    op.execute("UPDATE study SET source = 'python' WHERE source = 'message'")
    _only(BEFORE)


def _only(words: tuple[str, ...]) -> None:
    """Let `study.source` hold these words and no others."""
    # SQLite refuses to rebuild a table that a view reads.
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")
    listed = ", ".join(f"'{word}'" for word in words)
    with op.batch_alter_table("study") as table:
        table.drop_constraint("source", type_="check")
        table.create_check_constraint("source", sa.text(f"source IN ({listed})"))
    for view in VIEWS:
        op.execute(view_text(view, revision))
