"""Studies that a worker fetches from an archive: where from, how, and whether they came.

What is written here is history: see 0001. After it, run db/roles.sql again: there is a new table.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
NOT_FETCHED = """
UPDATE study SET state = 'parked', verdict = 'failed', due_at = NULL, error_kind = 'transient',
    error_code = 'NOT_FETCHED',
    error_sentence = 'This study was ordered from an archive, and this version cannot fetch it.'
WHERE state NOT IN ('done', 'parked')
    AND id IN (SELECT study_id FROM study_origin WHERE fetched_at IS NULL)
"""
"""Without an image and an order, an earlier version would call such a study rejected."""


def upgrade() -> None:
    op.create_table(
        "study_origin",
        sa.Column("study_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("peer", sa.String()),
        sa.Column("base_url", sa.String()),
        sa.Column("way", sa.String(32), nullable=False),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fetched_at", sa.DateTime(timezone=True)),
        sa.Column("expected_instances", sa.Integer()),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_study_origin")),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_study_origin_study_id_study")
        ),
        sa.CheckConstraint(
            "(peer IS NULL) <> (base_url IS NULL)", name=op.f("ck_study_origin_peer_or_base_url")
        ),
        sa.CheckConstraint(
            "way IN ('wado-rs', 'c-get', 'c-move')", name=op.f("ck_study_origin_way")
        ),
    )


def downgrade() -> None:
    op.execute(NOT_FETCHED)
    op.drop_table("study_origin")
