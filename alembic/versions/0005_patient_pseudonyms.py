"""Pseudonyms of patients and accession numbers, and the issuer that makes a Patient ID unique.

What is written here is history: see 0001. After it, and after a downgrade, run db/roles.sql again: there
are new columns that a role may write.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.views import view_text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEX = "ix_study_identity_without_pseudonym"
WITHOUT = "patient_pseudonym IS NULL AND accession_pseudonym IS NULL"


def upgrade() -> None:
    for column in (
        sa.Column("issuer_of_patient_id", sa.String()),
        sa.Column("patient_pseudonym", sa.String(64)),
        sa.Column("accession_pseudonym", sa.String(64)),
    ):
        op.add_column("study_identity", column)
    # The relay looks for rows without pseudonyms again and again; nearly all have them.
    op.create_index(
        INDEX,
        "study_identity",
        ["study_id"],
        sqlite_where=sa.text(WITHOUT),
        postgresql_where=sa.text(WITHOUT),
    )
    statement = view_text("v1_studies", revision)
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP VIEW v1_studies")
    else:  # a replaced view keeps its grants and the site's own views
        statement = statement.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
    op.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW v1_studies")
    op.drop_index(INDEX, "study_identity")
    with op.batch_alter_table("study_identity") as table:
        for name in ("accession_pseudonym", "patient_pseudonym", "issuer_of_patient_id"):
            table.drop_column(name)
    op.execute(view_text("v1_studies", "0004"))
