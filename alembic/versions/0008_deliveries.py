"""Results on their way to the PACS: destinations, deliveries, the objects that were sent.

What is written here is history: see 0001. After it, run db/roles.sql again: there are new tables
and a new view.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.views import view_text

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
VIEW = "v1_deliveries"
STATES = "'waiting', 'sending', 'sent', 'awaiting_commitment', 'committed', 'superseded', 'parked'"
VERDICTS = "'positive', 'negative', 'rejected', 'failed'"
KINDS = "'rejected', 'transient', 'resource', 'bug'"


def upgrade() -> None:
    _create_destinations()
    _create_deliveries()
    _create_objects()
    op.execute(view_text(VIEW, revision))


def downgrade() -> None:
    op.execute(f"DROP VIEW {VIEW}")
    for table in ("result_object", "result_delivery", "result_destination"):
        op.drop_table(table)


def _create_destinations() -> None:
    op.create_table(
        "result_destination",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("takes_rejected", sa.Boolean(), nullable=False),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("probe_at", MOMENT),
        sa.PrimaryKeyConstraint("name"),
    )


def _create_deliveries() -> None:
    op.create_table(
        "result_delivery",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("delivery_key", sa.String(32), nullable=False),
        sa.Column("study_id", ROW_ID, nullable=False),
        sa.Column("study_key", sa.String(32), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("model_version_id", ROW_ID, nullable=False),
        sa.Column("destination", sa.String(32), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("verdict", sa.String(32), nullable=False),
        sa.Column("finished_at", MOMENT, nullable=False),
        sa.Column("predecessor_id", ROW_ID),
        sa.Column("superseded_by", ROW_ID),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("due_at", MOMENT),
        sa.Column("published_at", MOMENT),
        sa.Column("lease_until", MOMENT),
        sa.Column("begun_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("sent_at", MOMENT),
        sa.Column("committed_at", MOMENT),
        sa.Column("transaction_uid", sa.String(64)),
        sa.Column("warning", sa.String()),
        sa.Column("error_code", sa.String()),
        sa.Column("error_sentence", sa.Text()),
        sa.Column("error_kind", sa.String(32)),
        sa.Column("traceback_reference", sa.String()),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("delivery_key"),
        sa.UniqueConstraint("transaction_uid"),
        sa.UniqueConstraint(
            "study_id",
            "revision",
            "model_version_id",
            "destination",
            name="uq_result_delivery_study_revision_model_destination",
        ),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"]),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_version.id"]),
        sa.ForeignKeyConstraint(["destination"], ["result_destination.name"]),
        sa.ForeignKeyConstraint(["predecessor_id"], ["result_delivery.id"]),
        sa.ForeignKeyConstraint(["superseded_by"], ["result_delivery.id"]),
        sa.CheckConstraint("length(delivery_key) = 32", name="delivery_key"),
        sa.CheckConstraint(f"state IN ({STATES})", name="state"),
        sa.CheckConstraint(f"verdict IN ({VERDICTS})", name="verdict"),
        sa.CheckConstraint(f"error_kind IN ({KINDS})", name="error_kind"),
    )
    for columns in (("state", "due_at"), ("destination", "state"), ("study_key",)):
        op.create_index(f"ix_result_delivery_{'_'.join(columns)}", "result_delivery", columns)


def _create_objects() -> None:
    op.create_table(
        "result_object",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("delivery_id", ROW_ID, nullable=False),
        sa.Column("made_by_attempt", sa.Integer(), nullable=False),
        sa.Column("sop_class_uid", sa.String(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(), nullable=False),
        sa.Column("series_instance_uid", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("delivery_id", "sop_instance_uid"),
        sa.ForeignKeyConstraint(["delivery_id"], ["result_delivery.id"]),
        sa.CheckConstraint("length(sha256) = 64", name="sha256"),
    )
    op.create_index("ix_result_object_sop_instance_uid", "result_object", ["sop_instance_uid"])
