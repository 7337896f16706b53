"""Triggers on the heads of the audit chains, and how far the trail was forwarded.

A head may only move on, and none is added or removed. What is written here is history: see 0001. After
it, run db/roles.sql again: there is a new table.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MESSAGE = "audit_chain_head only grows"
SQLITE_TRIGGERS = {
    "update": "BEFORE UPDATE ON audit_chain_head"
    " WHEN NEW.chain <> OLD.chain OR NEW.sequence <= OLD.sequence",
    "delete": "BEFORE DELETE ON audit_chain_head",
    "insert": "BEFORE INSERT ON audit_chain_head",
}
POSTGRESQL_FUNCTION = f"""
CREATE FUNCTION audit_chain_head_only_grows() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '{MESSAGE}'; END $$
"""
POSTGRESQL_TRIGGERS = {
    "update": "BEFORE UPDATE ON audit_chain_head FOR EACH ROW"
    " WHEN (NEW.chain <> OLD.chain OR NEW.sequence <= OLD.sequence)",
    "delete": "BEFORE DELETE ON audit_chain_head FOR EACH STATEMENT",
    "insert": "BEFORE INSERT ON audit_chain_head FOR EACH STATEMENT",
    "truncate": "BEFORE TRUNCATE ON audit_chain_head FOR EACH STATEMENT",
}


def upgrade() -> None:
    op.create_table(
        "audit_forwarded",
        sa.Column("chain", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", ROW_ID, nullable=False),
        sa.PrimaryKeyConstraint("chain"),
        sa.CheckConstraint("chain BETWEEN 0 AND 15", name="chain"),
    )
    if _is_sqlite():
        for verb, when in SQLITE_TRIGGERS.items():
            op.execute(
                f"CREATE TRIGGER audit_chain_head_refuses_{verb} {when}"
                f" BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END"
            )
        return
    op.execute(POSTGRESQL_FUNCTION)
    for verb, when in POSTGRESQL_TRIGGERS.items():
        op.execute(
            f"CREATE TRIGGER audit_chain_head_refuses_{verb} {when}"
            " EXECUTE FUNCTION audit_chain_head_only_grows()"
        )


def downgrade() -> None:
    op.drop_table("audit_forwarded")
    if _is_sqlite():
        for verb in SQLITE_TRIGGERS:
            op.execute(f"DROP TRIGGER audit_chain_head_refuses_{verb}")
        return
    for verb in POSTGRESQL_TRIGGERS:
        op.execute(f"DROP TRIGGER audit_chain_head_refuses_{verb} ON audit_chain_head")
    op.execute("DROP FUNCTION audit_chain_head_only_grows()")


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"
