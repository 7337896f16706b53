"""The digest of a content: over the data set behind our own file meta, as C-STORE keeps it.

So an instance that comes by C-STORE is read for one digest instead of two. What was noted before
meant something else (the data set alone) and is forgotten: for what came by C-STORE the file's own
digest says the same; a file of another way that is sent again by C-STORE is taken for a changed
image once.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _rename("data_set_sha256", "content_sha256")


def downgrade() -> None:
    _rename("content_sha256", "data_set_sha256")


def _rename(old: str, new: str) -> None:
    op.execute(f"ALTER TABLE instance RENAME COLUMN {old} TO {new}")
    op.execute(sa.update(sa.table("instance", sa.column(new))).values({new: None}))
