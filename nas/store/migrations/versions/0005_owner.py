"""Who works on a study, and where its folder is, for databases that others reach too."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add a column."""
    op.add_column("nas_study", sa.Column("owner", sa.JSON()))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("nas_study", "owner")
