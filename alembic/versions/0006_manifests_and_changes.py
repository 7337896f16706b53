"""Manifests of senders; images that came again with another content.

What is written here is history: see 0001. After it, run db/roles.sql again: there is a new table.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.views import view_text

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

VIEWS = (
    "v1_studies",
    "v1_predictions",
    "v1_refusals_by_code",
    "v1_turnaround_by_priority",
    "v1_shadow_agreement",
)
CURRENT = sa.text("replaced_in_revision IS NULL")


def upgrade() -> None:
    _drop_views()
    op.create_table(
        "study_manifest",
        sa.Column("study_id", _row_id(), autoincrement=False, nullable=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uids", sa.JSON(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_study_manifest_study_id_study")
        ),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_study_manifest")),
    )
    with op.batch_alter_table("instance") as table:
        table.add_column(sa.Column("data_set_sha256", sa.String(64)))
        table.add_column(sa.Column("replaced_in_revision", sa.Integer()))
        table.drop_constraint(op.f("uq_instance_study_id_sop_instance_uid"), type_="unique")
        table.create_unique_constraint(
            op.f("uq_instance_study_id_sop_instance_uid_file_sha256"),
            ["study_id", "sop_instance_uid", "file_sha256"],
        )
    op.create_index(
        "uq_instance_current",
        "instance",
        ["study_id", "sop_instance_uid"],
        unique=True,
        sqlite_where=CURRENT,
        postgresql_where=CURRENT,
    )
    _make_views(revision)


def downgrade() -> None:
    _refuse_with_replaced_instances()
    _drop_views()
    op.drop_index("uq_instance_current", "instance")
    with op.batch_alter_table("instance") as table:
        table.drop_constraint(
            op.f("uq_instance_study_id_sop_instance_uid_file_sha256"), type_="unique"
        )
        table.create_unique_constraint(
            op.f("uq_instance_study_id_sop_instance_uid"), ["study_id", "sop_instance_uid"]
        )
        table.drop_column("replaced_in_revision")
        table.drop_column("data_set_sha256")
    op.drop_table("study_manifest")
    _make_views(down_revision)


def _refuse_with_replaced_instances() -> None:
    """The tables before had room for one content of an instance, and predictions are not lost."""
    count = op.get_bind().scalar(
        sa.text("SELECT COUNT(*) FROM instance WHERE replaced_in_revision IS NOT NULL")
    )
    if count:
        raise RuntimeError(
            f"{count} instance(s) came again with another content, and the tables before 0006 have "
            "no room for both. Stay at this version, or restore the backup made before 0006."
        )


def _drop_views() -> None:
    # SQLite refuses to rebuild a table that a view reads.
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")


def _make_views(as_of: str) -> None:
    for view in VIEWS:
        op.execute(view_text(view, as_of))


def _row_id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
