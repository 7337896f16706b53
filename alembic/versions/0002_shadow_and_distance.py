"""A shadow beside the active model, the distance of each predicted frame, the calibration's bias.

What is written here is history: see 0001. After it, run db/roles.sql again: workers write a new
table, and there is a new view.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.views import view_text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
REAL = sa.Float(53)
VIEWS_BEFORE = ("v1_studies", "v1_predictions", "v1_refusals_by_code", "v1_turnaround_by_priority")
VIEWS = (*VIEWS_BEFORE, "v1_shadow_agreement")
COUNTS = ("shadow_stored", "shadow_failed", "shadow_skipped")


def upgrade() -> None:
    # All of them: SQLite refuses to rebuild a table that a view reads.
    for view in reversed(VIEWS_BEFORE):
        op.execute(f"DROP VIEW {view}")
    with op.batch_alter_table("model_version") as table:
        table.add_column(sa.Column("bias", REAL, nullable=False, server_default=sa.text("0")))
        table.add_column(
            sa.Column("is_shadow", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        table.create_check_constraint("one_role", "NOT (is_active AND is_shadow)")
    # Holds only rows where it is true: at most one version is the shadow.
    op.create_index(
        "uq_model_version_shadow",
        "model_version",
        ["is_shadow"],
        unique=True,
        sqlite_where=sa.text("is_shadow"),
        postgresql_where=sa.text("is_shadow"),
    )
    op.add_column("prediction", sa.Column("distance", REAL))
    op.add_column("worker_heartbeat", sa.Column("shadow_name", sa.String()))
    for name in COUNTS:
        column = sa.Column(name, sa.Integer(), nullable=False, server_default=sa.text("0"))
        op.add_column("worker_heartbeat", column)
    _create_shadow_predictions()
    for view in VIEWS:
        op.execute(view_text(view, revision))


def downgrade() -> None:
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")
    op.drop_table("shadow_prediction")
    with op.batch_alter_table("worker_heartbeat") as table:
        for name in ("shadow_name", *COUNTS):
            table.drop_column(name)
    with op.batch_alter_table("prediction") as table:
        table.drop_column("distance")
    op.drop_index("uq_model_version_shadow", "model_version")
    with op.batch_alter_table("model_version") as table:
        table.drop_constraint("one_role", type_="check")
        table.drop_column("is_shadow")
        table.drop_column("bias")
    for view in VIEWS_BEFORE:
        op.execute(view_text(view, down_revision))


def _create_shadow_predictions() -> None:
    op.create_table(
        "shadow_prediction",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("instance_id", ROW_ID, nullable=False),
        sa.Column("inference_run_id", ROW_ID, nullable=False),
        sa.Column("model_version_id", ROW_ID, nullable=False),
        sa.Column("frame_number", sa.Integer(), nullable=False),
        sa.Column("preprocessing_version", sa.String(), nullable=False),
        sa.Column("logit", REAL, nullable=False),
        sa.Column("probability", REAL, nullable=False),
        sa.Column("threshold", REAL, nullable=False),
        sa.Column("verdict", sa.String(32), nullable=False),
        sa.Column("distance", REAL),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "instance_id",
            "frame_number",
            "model_version_id",
            "preprocessing_version",
            name="uq_shadow_prediction_instance_frame_model_preprocessing",
        ),
        sa.ForeignKeyConstraint(["instance_id"], ["instance.id"]),
        sa.ForeignKeyConstraint(["inference_run_id"], ["inference_run.id"]),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_version.id"]),
        sa.CheckConstraint(
            "verdict IN ('positive', 'negative', 'rejected', 'failed')", name="verdict"
        ),
        sa.CheckConstraint("probability BETWEEN 0 AND 1", name="probability"),
        sa.CheckConstraint("frame_number >= 1", name="frame_number"),
    )
    op.create_index(
        "ix_shadow_prediction_inference_run_id", "shadow_prediction", ["inference_run_id"]
    )
