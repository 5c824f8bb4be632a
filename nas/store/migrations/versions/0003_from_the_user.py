"""What a user brings along: enqueued shapes, another study's results, budgets of their own."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add two tables and a column."""
    op.add_column("nas_candidate", sa.Column("budget", sa.BigInteger()))
    _shapes("nas_enqueued", sa.Column("created_at", sa.DateTime(), nullable=False))
    _shapes("nas_evidence", sa.Column("value", sa.Double(), nullable=False))


def downgrade() -> None:
    """Remove them."""
    for table in ("nas_evidence", "nas_enqueued"):
        op.drop_table(table)
    op.drop_column("nas_candidate", "budget")


def _shapes(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        name,
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("architecture_id", sa.Text(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("study_id", "architecture_id"),
        sa.ForeignKeyConstraint(["study_id"], ["nas_study.study_id"], ondelete="CASCADE"),
    )
