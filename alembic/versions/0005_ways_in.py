"""Further ways in (a watched folder, DICOMweb, a PACS), and further rules that close a study.

What is written here is history: see 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.views import view_text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

VIEWS = (
    "v1_studies",
    "v1_predictions",
    "v1_refusals_by_code",
    "v1_turnaround_by_priority",
    "v1_shadow_agreement",
)
SOURCES_BEFORE = ("python", "cli", "c_store", "message")
SOURCES = (*SOURCES_BEFORE, "folder", "dicomweb", "pull")
CLOSED_BY_BEFORE = ("sender", "idle_window")
CLOSED_BY = ("sender", "manifest", "pacs_count", "idle_window")


def upgrade() -> None:
    _only(source=SOURCES, closed_by=CLOSED_BY)


def downgrade() -> None:
    # All of them are programs, and whoever counts is a sender who knows.
    op.execute("UPDATE study SET source = 'python' WHERE source IN ('folder', 'dicomweb', 'pull')")
    op.execute(
        "UPDATE study SET closed_by = 'sender' WHERE closed_by IN ('manifest', 'pacs_count')"
    )
    _only(source=SOURCES_BEFORE, closed_by=CLOSED_BY_BEFORE)


def _only(**words: tuple[str, ...]) -> None:
    """Let each column of `study` hold these words and no others."""
    # SQLite refuses to rebuild a table that a view reads.
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")
    with op.batch_alter_table("study") as table:
        for column, allowed in words.items():
            listed = ", ".join(f"'{word}'" for word in allowed)
            table.drop_constraint(column, type_="check")
            table.create_check_constraint(column, sa.text(f"{column} IN ({listed})"))
    for view in VIEWS:
        op.execute(view_text(view, revision))
