"""Studies from archives, images that change or leave, results on their way to the PACS.

What is written here is history: see 0001. After it, and after a downgrade, run db/roles.sql again:
there are new tables and views.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations

from db.views import view_text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
SOURCES_BEFORE = ("python", "cli", "c_store")
SOURCES = (*SOURCES_BEFORE, "message", "folder", "dicomweb", "pull")
CLOSED_BY_BEFORE = ("sender", "idle_window")
CLOSED_BY = ("sender", "manifest", "pacs_count", "idle_window")
TABLES = (
    "commitment_asked",
    "result_object",
    "result_delivery",
    "result_destination",
    "site_condition",
    "study_origin",
    "study_manifest",
)
VIEWS_BEFORE = (
    "v1_studies",
    "v1_predictions",
    "v1_refusals_by_code",
    "v1_turnaround_by_priority",
    "v1_shadow_agreement",
)
VIEWS = (*VIEWS_BEFORE, "v1_deliveries")
VIEWS_OF_NEW_COLUMNS = ("v1_studies", "v1_predictions", "v1_refusals_by_code", "v1_deliveries")


def upgrade() -> None:
    if _is_sqlite():
        _drop_views(VIEWS_BEFORE)
    _alter_studies()
    _alter_instances()
    _create_manifests()
    _create_origins()
    _create_conditions()
    _create_destinations()
    _create_deliveries()
    _create_result_objects()
    _create_commitment_requests()
    _index_newest_rows()
    _make_views(VIEWS, revision)


def downgrade() -> None:
    _refuse_to_lose_replaced_instances()
    _park_studies_without_images()
    _drop_views(VIEWS if _is_sqlite() else VIEWS_OF_NEW_COLUMNS)
    for table in TABLES:  # an index goes with its table
        op.drop_table(table)
    for table in ("prediction", "shadow_prediction"):
        op.drop_index(op.f(f"ix_{table}_recorded_at"), table)
    _restore_instances()
    _restore_studies()
    _make_views(VIEWS_BEFORE, down_revision)


# --- views ----------------------------------------------------------------------------------------


def _is_sqlite() -> bool:
    """SQLite alters a table by rebuilding it, and refuses to rebuild one that a view reads."""
    return op.get_bind().dialect.name == "sqlite"


def _drop_views(views: tuple[str, ...]) -> None:
    for view in reversed(views):
        op.execute(f"DROP VIEW {view}")


def _make_views(views: tuple[str, ...], as_of: str) -> None:
    """Make or replace views; on PostgreSQL a replaced one keeps its grants and the site's own views."""
    for view in views:
        statement = view_text(view, as_of)
        if not _is_sqlite():
            statement = statement.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
        op.execute(statement)


# --- studies and instances ------------------------------------------------------------------------


def _alter_studies() -> None:
    """Admit further sources and closing rules, and note since when all files of a study are gone."""
    with op.batch_alter_table("study") as table:
        _allow(table, "source", SOURCES)
        _allow(table, "closed_by", CLOSED_BY)
        table.add_column(sa.Column("files_left_at", MOMENT))
    # The retention rule passes by what has no files.
    _index_where("files_left_at IS NULL", "ix_study_with_files", "study", "state", "finished_at")
    op.create_index("ix_study_received_at", "study", ["received_at"])


def _restore_studies() -> None:
    op.drop_index("ix_study_received_at", "study")
    op.drop_index("ix_study_with_files", "study")
    # All of them are programs, and whoever counts is a sender who knows.
    op.execute(
        "UPDATE study SET source = 'python' WHERE source NOT IN ('python', 'cli', 'c_store')"
    )
    op.execute(
        "UPDATE study SET closed_by = 'sender' WHERE closed_by IN ('manifest', 'pacs_count')"
    )
    with op.batch_alter_table("study") as table:
        table.drop_column("files_left_at")
        _allow(table, "closed_by", CLOSED_BY_BEFORE)
        _allow(table, "source", SOURCES_BEFORE)


def _alter_instances() -> None:
    """Keep each content of an instance that came again changed; note when its file was removed."""
    with op.batch_alter_table("instance") as table:
        table.add_column(sa.Column("content_sha256", sa.String(64)))
        table.add_column(sa.Column("replaced_in_revision", sa.Integer()))
        table.add_column(sa.Column("file_removed_at", MOMENT))
        table.add_column(sa.Column("file_returned_at", MOMENT))
        table.drop_constraint(op.f("uq_instance_study_id_sop_instance_uid"), type_="unique")
        table.create_unique_constraint(
            op.f("uq_instance_study_id_sop_instance_uid_file_sha256"),
            ["study_id", "sop_instance_uid", "file_sha256"],
        )
    is_current = sa.text("replaced_in_revision IS NULL")
    op.create_index(
        "uq_instance_current",
        "instance",
        ["study_id", "sop_instance_uid"],
        unique=True,
        sqlite_where=is_current,
        postgresql_where=is_current,
    )
    op.create_index("ix_instance_file_name", "instance", ["file_name"])
    _index_where("file_removed_at IS NULL", "ix_instance_with_file", "instance", "study_id")


def _restore_instances() -> None:
    for index in ("ix_instance_with_file", "ix_instance_file_name", "uq_instance_current"):
        op.drop_index(index, "instance")
    with op.batch_alter_table("instance") as table:
        table.drop_constraint(
            op.f("uq_instance_study_id_sop_instance_uid_file_sha256"), type_="unique"
        )
        table.create_unique_constraint(
            op.f("uq_instance_study_id_sop_instance_uid"), ["study_id", "sop_instance_uid"]
        )
        for name in ("file_returned_at", "file_removed_at", "replaced_in_revision"):
            table.drop_column(name)
        table.drop_column("content_sha256")


def _refuse_to_lose_replaced_instances() -> None:
    """The tables before had room for one content of an instance, and predictions are not lost."""
    count = op.get_bind().scalar(
        sa.text("SELECT COUNT(*) FROM instance WHERE replaced_in_revision IS NOT NULL")
    )
    if count:
        raise RuntimeError(
            f"{count} instance(s) came again with another content, and the tables before 0003 have "
            "no room for both. Stay at this version, or restore the backup made before 0003."
        )


def _park_studies_without_images() -> None:
    """An earlier version knows neither orders nor manifests, and would call such a study rejected."""
    _park(
        "id IN (SELECT study_id FROM study_origin WHERE fetched_at IS NULL)",
        error_kind="transient",
        error_code="NOT_FETCHED",
        error_sentence="This study was ordered from an archive, and this version cannot fetch it.",
    )
    _park(
        "id IN (SELECT study_id FROM study_manifest) AND id NOT IN (SELECT study_id FROM instance)",
        error_kind="rejected",
        error_code="NOTHING_CAME",
        error_sentence="A manifest announced this study, and none of its images had come before the "
        "database went back to an earlier version.",
    )


def _park(which: str, **error: str) -> None:
    values = {"state": "parked", "verdict": "failed", "due_at": None, **error}
    study = sa.table("study", *map(sa.column, values))
    is_unfinished = study.c.state.not_in(("done", "parked"))
    op.execute(study.update().where(is_unfinished, sa.text(which)).values(values))


# --- what is announced, ordered, wrong ------------------------------------------------------------


def _create_manifests() -> None:
    op.create_table(
        "study_manifest",
        sa.Column("study_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uids", sa.JSON(), nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("study_id"),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"]),
    )


def _create_origins() -> None:
    """Where a study that a worker fetches lies, how it is fetched, and whether it came."""
    op.create_table(
        "study_origin",
        sa.Column("study_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("peer", sa.String()),
        sa.Column("base_url", sa.String()),
        sa.Column("way", sa.String(32), nullable=False),
        sa.Column("ordered_at", MOMENT, nullable=False),
        sa.Column("fetched_at", MOMENT),
        sa.Column("expected_instances", sa.Integer()),
        sa.PrimaryKeyConstraint("study_id"),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"]),
        sa.CheckConstraint("(peer IS NULL) <> (base_url IS NULL)", name="peer_or_base_url"),
        _only("way", "wado-rs", "c-get", "c-move"),
    )
    _index_where("fetched_at IS NULL", "ix_study_origin_unfetched", "study_origin", "study_id")


def _create_conditions() -> None:
    """What is wrong outside of any study."""
    op.create_table(
        "site_condition",
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.PrimaryKeyConstraint("subject"),
    )


# --- deliveries -----------------------------------------------------------------------------------


def _create_destinations() -> None:
    op.create_table(
        "result_destination",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("takes_rejected", sa.Boolean(), nullable=False),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("probe_at", MOMENT),
        sa.Column("forgone_at", MOMENT),
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
        *(
            sa.Column(name, sa.Integer(), nullable=False)
            for name in ("attempts", "failures", "refusals", "crashes")
        ),
        *(
            sa.Column(name, MOMENT)
            for name in ("due_at", "published_at", "lease_until", "begun_at")
        ),
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
        *_delivery_constraints(),
    )
    for columns in (("state", "due_at"), ("destination", "state"), ("study_key",), ("created_at",)):
        op.create_index(f"ix_result_delivery_{'_'.join(columns)}", "result_delivery", columns)
    _index_where(
        "state IN ('waiting', 'awaiting_commitment')",
        "ix_result_delivery_destination_due_at",
        "result_delivery",
        "destination",
        "due_at",
    )


def _delivery_constraints() -> tuple[sa.Constraint, ...]:
    states = ("waiting", "sending", "sent", "awaiting_commitment", "committed")
    ended = ("superseded", "parked", "forgone")
    return (
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
        _only("state", *states, *ended),
        _only("verdict", "positive", "negative", "rejected", "failed"),
        _only("error_kind", "rejected", "transient", "resource", "bug"),
    )


def _create_result_objects() -> None:
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


def _create_commitment_requests() -> None:
    """Every request for storage commitment: a report counts however late it comes."""
    op.create_table(
        "commitment_asked",
        sa.Column("transaction_uid", sa.String(64), nullable=False),
        sa.Column("delivery_id", ROW_ID, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("failed_at", MOMENT),
        sa.PrimaryKeyConstraint("transaction_uid"),
        sa.ForeignKeyConstraint(["delivery_id"], ["result_delivery.id"]),
    )
    op.create_index("ix_commitment_asked_delivery_id", "commitment_asked", ["delivery_id"])


# --- words and indexes ----------------------------------------------------------------------------


def _index_newest_rows() -> None:
    """Analysts ask for the newest rows first, however long the history is."""
    for table in ("prediction", "shadow_prediction"):
        op.create_index(op.f(f"ix_{table}_recorded_at"), table, ["recorded_at"])


def _only(column: str, *words: str) -> sa.CheckConstraint:
    """Let a column hold these words and no others."""
    return sa.CheckConstraint(_is_one_of(column, words), name=column)


def _allow(table: BatchOperations, column: str, words: tuple[str, ...]) -> None:
    """Replace the words that a column of an existing table may hold."""
    table.drop_constraint(column, type_="check")
    table.create_check_constraint(column, sa.text(_is_one_of(column, words)))


def _is_one_of(column: str, words: tuple[str, ...]) -> str:
    listed = ", ".join(f"'{word}'" for word in words)
    return f"{column} IN ({listed})"


def _index_where(condition: str, name: str, table: str, *columns: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, list(columns), sqlite_where=where, postgresql_where=where)
