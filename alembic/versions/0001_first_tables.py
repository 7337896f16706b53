"""First tables: study to prediction, models, heartbeats, the audit chains and the analysts' views.

What is written here is history: it repeats the words and columns of today on purpose, so that it
does the same when db/models has moved on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.views import view_text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
REAL = sa.Float(53)
CHAINS = 16
VIEWS = ("v1_studies", "v1_predictions", "v1_refusals_by_code", "v1_turnaround_by_priority")
TABLES = (
    "prediction",
    "inference_run",
    "instance",
    "study_identity",
    "study",
    "model_version",
    "audit_record",
    "audit_chain_head",
    "worker_heartbeat",
)


def upgrade() -> None:
    _create_models()
    _create_studies()
    _create_instances()
    _create_runs_and_predictions()
    _create_audit()
    _create_heartbeats()
    _make_audit_append_only()
    _seed_chain_heads()
    for view in VIEWS:
        op.execute(view_text(view, revision))


def downgrade() -> None:
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")
    for table in TABLES:  # an index or trigger goes with its table
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_record_is_append_only()")


# --- columns that many tables have ----------------------------------------------------------------


def _id() -> sa.Column:
    return sa.Column("id", ROW_ID, nullable=False)


def _words(name: str, *words: str, nullable: bool = False) -> tuple[sa.Column, sa.CheckConstraint]:
    """A string column that holds only these words."""
    listed = ", ".join(f"'{word}'" for word in words)
    return (
        sa.Column(name, sa.String(32), nullable=nullable),
        sa.CheckConstraint(f"{name} IN ({listed})", name=name),
    )


def _text(*names: str, nullable: bool = True) -> list[sa.Column]:
    return [sa.Column(name, sa.String(), nullable=nullable) for name in names]


def _reals(*names: str, nullable: bool = True) -> list[sa.Column]:
    return [sa.Column(name, REAL, nullable=nullable) for name in names]


def _counts(*names: str) -> list[sa.Column]:
    return [sa.Column(name, sa.Integer(), nullable=False) for name in names]


def _moments(*names: str, nullable: bool = True) -> list[sa.Column]:
    return [sa.Column(name, MOMENT, nullable=nullable) for name in names]


# --- tables ---------------------------------------------------------------------------------------


def _create_models() -> None:
    op.create_table(
        "model_version",
        _id(),
        *_text("name", "architecture", "bundle_digest", "preprocessing_version", nullable=False),
        *_reals("temperature", "threshold", nullable=False),
        *_text("location", nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        *_moments("registered_at", nullable=False),
        *_moments("activated_at"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sa.UniqueConstraint("bundle_digest"),
    )
    # Holds only rows where it is true: at most one version is active.
    op.create_index(
        "uq_model_version_active",
        "model_version",
        ["is_active"],
        unique=True,
        sqlite_where=sa.text("is_active"),
        postgresql_where=sa.text("is_active"),
    )


def _create_studies() -> None:
    op.create_table(
        "study",
        _id(),
        sa.Column("study_key", sa.String(32), nullable=False),
        *_text("study_instance_uid", nullable=False),
        *_counts("revision"),
        *_words("state", "receiving", "accepted", "queued", "running", "done", "parked"),
        *_words("priority", "stat", "routine"),
        *_words("lane", "stat", "routine", "suspect"),
        *_words("source", "python", "cli", "c_store"),
        *_text("site_ae_title", "patient_sex"),
        *_reals("patient_age_years"),
        *_words("closed_by", "sender", "idle_window", nullable=True),
        *_words("verdict", "positive", "negative", "rejected", "failed", nullable=True),
        *_reals("probability", "threshold"),
        sa.Column("model_version_id", ROW_ID),
        *_counts("attempts", "crashes", "crashes_alone", "retries"),
        *_moments("due_at", "published_at"),
        *_moments("received_at", nullable=False),
        *_moments("closed_at", "started_at", "finished_at"),
        *_reals("waiting_seconds", "turnaround_seconds"),
        *_text("error_code"),
        sa.Column("error_sentence", sa.Text()),
        *_words("error_kind", "rejected", "transient", "resource", "bug", nullable=True),
        *_text("traceback_reference"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("study_key"),
        sa.UniqueConstraint("study_instance_uid"),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_version.id"]),
        sa.CheckConstraint("length(study_key) = 32", name="study_key"),
        sa.CheckConstraint("probability BETWEEN 0 AND 1", name="probability"),
        sa.CheckConstraint("revision >= 1", name="revision"),
    )
    op.create_index("ix_study_state_due_at", "study", ["state", "due_at"])
    op.create_index("ix_study_finished_at", "study", ["finished_at"])
    op.create_table(
        "study_identity",
        sa.Column("study_id", ROW_ID, autoincrement=False, nullable=False),
        *_text("patient_id", "accession_number"),
        *_moments("recorded_at", nullable=False),
        sa.PrimaryKeyConstraint("study_id"),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"]),
    )


def _create_instances() -> None:
    op.create_table(
        "instance",
        _id(),
        sa.Column("study_id", ROW_ID, nullable=False),
        *_counts("revision"),
        *_text("sop_instance_uid", "series_instance_uid", "sop_class_uid", nullable=False),
        *_text("transfer_syntax_uid", nullable=False),
        *_text("transfer_syntax_name"),
        sa.Column("file_sha256", sa.String(64), nullable=False),
        *_text("file_name", nullable=False),
        sa.Column("file_bytes", ROW_ID, nullable=False),
        *_text("modality", "body_part", "view_position", "manufacturer"),
        sa.Column("rows", sa.Integer()),
        sa.Column("columns", sa.Integer()),
        *_words("state", "pending", "predicted", "refused"),
        *_text("refusal_code", "refusal_tag", "refusal_found", "refusal_expected"),
        sa.Column("refusal_sentence", sa.Text()),
        *_text("refusal_step"),
        *_moments("received_at", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("study_id", "sop_instance_uid"),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"]),
        sa.CheckConstraint("length(file_sha256) = 64", name="file_sha256"),
    )


def _create_runs_and_predictions() -> None:
    outcomes = ("running", "done", "retry", "parked", "crashed", "released")
    op.create_table(
        "inference_run",
        _id(),
        sa.Column("study_id", ROW_ID, nullable=False),
        *_counts("attempt", "revision"),
        *_text("worker_name", nullable=False),
        *_words("lane", "stat", "routine", "suspect"),
        sa.Column("model_version_id", ROW_ID),
        *_text("device"),
        *_moments("started_at", "lease_until", nullable=False),
        *_moments("ended_at"),
        *_words("outcome", *outcomes),
        *_text("error_code"),
        *_reals("read_seconds", "normalise_seconds", "inference_seconds", "store_seconds"),
        *_reals("total_seconds"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("study_id", "attempt"),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"]),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_version.id"]),
    )
    op.create_index(
        "ix_inference_run_outcome_lease_until", "inference_run", ["outcome", "lease_until"]
    )
    op.create_table(
        "prediction",
        _id(),
        sa.Column("instance_id", ROW_ID, nullable=False),
        sa.Column("inference_run_id", ROW_ID, nullable=False),
        sa.Column("model_version_id", ROW_ID, nullable=False),
        *_counts("frame_number"),
        *_text("preprocessing_version", nullable=False),
        *_reals("logit", "probability", "threshold", nullable=False),
        *_words("verdict", "positive", "negative", "rejected", "failed"),
        *_text("device", nullable=False),
        sa.Column("normalisation", sa.JSON(), nullable=False),
        sa.Column("warnings", sa.JSON(), nullable=False),
        *_moments("recorded_at", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "instance_id",
            "frame_number",
            "model_version_id",
            "preprocessing_version",
            name="uq_prediction_instance_frame_model_preprocessing",
        ),
        sa.ForeignKeyConstraint(["instance_id"], ["instance.id"]),
        sa.ForeignKeyConstraint(["inference_run_id"], ["inference_run.id"]),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_version.id"]),
        sa.CheckConstraint("probability BETWEEN 0 AND 1", name="probability"),
        sa.CheckConstraint("frame_number >= 1", name="frame_number"),
    )
    op.create_index("ix_prediction_inference_run_id", "prediction", ["inference_run_id"])


def _create_audit() -> None:
    op.create_table(
        "audit_record",
        _id(),
        *_counts("chain"),
        sa.Column("sequence", ROW_ID, nullable=False),
        *_text("event", nullable=False),
        *_moments("occurred_at", nullable=False),
        sa.Column("study_key", sa.String(32)),
        *_text("actor", nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("chain", "sequence"),
        sa.CheckConstraint("chain BETWEEN 0 AND 15", name="chain"),
    )
    op.create_index("ix_audit_record_study_key", "audit_record", ["study_key"])
    op.create_table(
        "audit_chain_head",
        sa.Column("chain", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", ROW_ID, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("chain"),
        sa.CheckConstraint("chain BETWEEN 0 AND 15", name="chain"),
    )


def _create_heartbeats() -> None:
    op.create_table(
        "worker_heartbeat",
        *_text("worker_name", "lanes", "device", nullable=False),
        *_text("model_name"),
        *_moments("started_at", "seen_at", nullable=False),
        sa.PrimaryKeyConstraint("worker_name"),
    )


# --- the audit trail only grows -------------------------------------------------------------------

SQLITE_TRIGGER = """
CREATE TRIGGER audit_record_refuses_{verb} BEFORE {verb} ON audit_record
BEGIN SELECT RAISE(ABORT, 'audit_record is append-only'); END
"""
POSTGRESQL_FUNCTION = """
CREATE FUNCTION audit_record_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'audit_record is append-only'; END $$
"""
POSTGRESQL_TRIGGER = """
CREATE TRIGGER audit_record_refuses_{verb} BEFORE {verb} ON audit_record
FOR EACH STATEMENT EXECUTE FUNCTION audit_record_is_append_only()
"""


def _make_audit_append_only() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("update", "delete"):
            op.execute(SQLITE_TRIGGER.format(verb=verb))
        return
    op.execute(POSTGRESQL_FUNCTION)
    for verb in ("update", "delete", "truncate"):
        op.execute(POSTGRESQL_TRIGGER.format(verb=verb))


def _seed_chain_heads() -> None:
    heads = sa.table(
        "audit_chain_head", sa.column("chain"), sa.column("sequence"), sa.column("hash")
    )
    rows = [{"chain": chain, "sequence": 0, "hash": "0" * 64} for chain in range(CHAINS)]
    op.bulk_insert(heads, rows)
