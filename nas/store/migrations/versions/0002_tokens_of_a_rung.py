"""A measurement's tokens are those since the rung before; the sum so far has its own column."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

LEADERBOARD = """
CREATE VIEW nas_leaderboard AS
SELECT s.name AS study, c.number, c.candidate_id, c.role, c.state, a.architecture_id, a.family,
       a.params, a.flops_per_token, a.n_layer, a.d_model, a.n_head, a.d_ff, a.shape,
       e.rung, e.total_tokens AS tokens, e.seconds, v.value AS val_loss, t.value AS test_loss,
       m.path AS model_path
FROM nas_candidate c
JOIN nas_study s ON s.study_id = c.study_id
JOIN nas_architecture a
  ON a.study_id = c.study_id AND a.architecture_id = c.architecture_id
LEFT JOIN nas_evaluation e
  ON e.study_id = c.study_id AND e.candidate_id = c.candidate_id
 AND e.rung = (SELECT MAX(l.rung) FROM nas_evaluation l
               WHERE l.study_id = c.study_id AND l.candidate_id = c.candidate_id)
LEFT JOIN nas_metric v
  ON v.study_id = e.study_id AND v.candidate_id = e.candidate_id AND v.rung = e.rung
 AND v.split = 'val' AND v.name = 'loss'
LEFT JOIN nas_metric t
  ON t.study_id = e.study_id AND t.candidate_id = e.candidate_id AND t.rung = e.rung
 AND t.split = 'test' AND t.name = 'loss'
LEFT JOIN nas_model m ON m.study_id = c.study_id AND m.candidate_id = c.candidate_id
"""

SINCE_THE_RUNG_BEFORE = """
UPDATE nas_evaluation SET tokens = total_tokens - COALESCE((
    SELECT MAX(e.total_tokens) FROM nas_evaluation e
    WHERE e.study_id = nas_evaluation.study_id AND e.candidate_id = nas_evaluation.candidate_id
      AND e.rung < nas_evaluation.rung
), 0)
"""


def upgrade() -> None:
    """Split one column into two."""
    op.execute("DROP VIEW nas_leaderboard")
    zero = sa.text("0")
    column = sa.Column("total_tokens", sa.BigInteger(), nullable=False, server_default=zero)
    op.add_column("nas_evaluation", column)
    op.execute("UPDATE nas_evaluation SET total_tokens = tokens")
    op.execute(SINCE_THE_RUNG_BEFORE)
    with op.batch_alter_table("nas_evaluation") as table:
        table.alter_column("total_tokens", server_default=None)
    op.execute(LEADERBOARD)


def downgrade() -> None:
    """Put the sum back into one column."""
    op.execute("DROP VIEW nas_leaderboard")
    op.execute("UPDATE nas_evaluation SET tokens = total_tokens")
    op.drop_column("nas_evaluation", "total_tokens")
    op.execute(LEADERBOARD.replace("e.total_tokens AS tokens", "e.tokens"))
