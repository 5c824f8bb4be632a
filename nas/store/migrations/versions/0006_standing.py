"""How far a search under way has come, for those who look on."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add a table."""
    op.create_table(
        "nas_standing",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("study_id"),
        sa.ForeignKeyConstraint(["study_id"], ["nas_study.study_id"], ondelete="CASCADE"),
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_table("nas_standing")
