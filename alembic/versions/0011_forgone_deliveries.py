"""Results that somebody lets go, every request for storage commitment, what is due by destination.

What is written here is history: see 0001. After it, run db/roles.sql again: there is a new table.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.views import view_text

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
VIEW = "v1_deliveries"
STATES_BEFORE = (
    "'waiting', 'sending', 'sent', 'awaiting_commitment', 'committed', 'superseded', 'parked'"
)
STATES = f"{STATES_BEFORE}, 'forgone'"
BY_DESTINATION = "ix_result_delivery_destination_due_at"
IS_DUE = sa.text("state IN ('waiting', 'awaiting_commitment')")


def upgrade() -> None:
    _only(STATES)
    op.add_column("result_destination", sa.Column("forgone_at", MOMENT))
    op.create_index(
        BY_DESTINATION,
        "result_delivery",
        ("destination", "due_at"),
        postgresql_where=IS_DUE,
        sqlite_where=IS_DUE,
    )
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
    op.create_index("ix_commitment_asked_delivery_id", "commitment_asked", ("delivery_id",))
    op.execute(
        "INSERT INTO commitment_asked (transaction_uid, delivery_id, attempt, asked_at) "
        "SELECT transaction_uid, id, attempts, sent_at FROM result_delivery "
        "WHERE transaction_uid IS NOT NULL AND sent_at IS NOT NULL"
    )


def downgrade() -> None:
    op.drop_table("commitment_asked")
    op.drop_index(BY_DESTINATION, "result_delivery")
    with op.batch_alter_table("result_destination") as table:
        table.drop_column("forgone_at")
    # An earlier version knows no other state that is left alone for good.
    op.execute("UPDATE result_delivery SET state = 'superseded' WHERE state = 'forgone'")
    _only(STATES_BEFORE)


def _only(states: str) -> None:
    # SQLite rebuilds the table, and refuses that while a view reads it. PostgreSQL does not, and the
    # view stays: what was granted on it, and views of the site's own that read it, would be lost.
    rebuilt = op.get_bind().dialect.name == "sqlite"
    if rebuilt:
        op.execute(f"DROP VIEW {VIEW}")
    with op.batch_alter_table("result_delivery") as table:
        table.drop_constraint("state", type_="check")
        table.create_check_constraint("state", sa.text(f"state IN ({states})"))
    if rebuilt:
        op.execute(view_text(VIEW, revision))
