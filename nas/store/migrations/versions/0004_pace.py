"""The pace that a study with a budget in seconds was begun at."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add a column."""
    op.add_column("nas_study", sa.Column("pace", sa.Double()))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("nas_study", "pace")
