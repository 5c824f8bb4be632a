"""The first schema: studies, architectures, candidates, evaluations, metrics, models, a view.

Later schemas get files of their own; this one stays as it was released.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

LEADERBOARD = """
CREATE VIEW nas_leaderboard AS
SELECT s.name AS study, c.number, c.candidate_id, c.role, c.state, a.architecture_id, a.family,
       a.params, a.flops_per_token, a.n_layer, a.d_model, a.n_head, a.d_ff, a.shape,
       e.rung, e.tokens, e.seconds, v.value AS val_loss, t.value AS test_loss,
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


def upgrade() -> None:
    """Make everything."""
    _study()
    _architecture()
    _candidate()
    _results()
    op.execute(LEADERBOARD)


def downgrade() -> None:
    """Remove everything."""
    op.execute("DROP VIEW nas_leaderboard")
    for table in ("model", "metric", "evaluation", "candidate", "architecture", "study"):
        op.drop_table(f"nas_{table}")


def _columns(**kinds: Any) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name, kind in kinds.items()]


def _optional(**kinds: Any) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind) for name, kind in kinds.items()]


def _belongs_to(table: str, *columns: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(columns, [f"{table}.{c}" for c in columns], ondelete="CASCADE")


def _study() -> None:
    op.create_table(
        "nas_study",
        sa.Column("study_id", sa.Integer(), primary_key=True),
        *_columns(name=sa.Text(), state=sa.Text(), config=sa.JSON(), identity=sa.JSON()),
        *_columns(rungs=sa.JSON(), objectives=sa.JSON(), data_fingerprint=sa.Text()),
        *_columns(task_spec=sa.JSON(), versions=sa.JSON()),
        *_optional(numerics=sa.JSON(), summary=sa.JSON()),
        *_columns(created_at=sa.DateTime()),
        sa.UniqueConstraint("name"),
    )


def _architecture() -> None:
    op.create_table(
        "nas_architecture",
        *_columns(study_id=sa.Integer(), architecture_id=sa.Text(), family=sa.Text()),
        *_columns(shape=sa.JSON(), columns=sa.JSON()),
        *_optional(params=sa.BigInteger(), flops_per_token=sa.Double()),
        *_optional(train_memory_bytes=sa.BigInteger(), n_layer=sa.Integer()),
        *_optional(d_model=sa.Integer(), n_head=sa.Integer(), d_ff=sa.Integer()),
        sa.PrimaryKeyConstraint("study_id", "architecture_id"),
        _belongs_to("nas_study", "study_id"),
    )


def _candidate() -> None:
    op.create_table(
        "nas_candidate",
        *_columns(study_id=sa.Integer(), candidate_id=sa.Text(), number=sa.Integer()),
        *_columns(role=sa.Text(), state=sa.Text(), architecture_id=sa.Text()),
        *_columns(recipe=sa.JSON(), seed=sa.BigInteger(), data_fingerprint=sa.Text()),
        *_columns(parameters=sa.JSON(), tokens=sa.BigInteger()),
        *_optional(checkpoint=sa.JSON()),
        *_columns(timings=sa.JSON(), error=sa.Text(), traceback=sa.Text()),
        *_columns(created_at=sa.DateTime()),
        *_optional(finished_at=sa.DateTime()),
        sa.PrimaryKeyConstraint("study_id", "candidate_id"),
        _belongs_to("nas_architecture", "study_id", "architecture_id"),
    )


def _results() -> None:
    op.create_table(
        "nas_evaluation",
        *_columns(study_id=sa.Integer(), candidate_id=sa.Text(), rung=sa.Integer()),
        *_columns(tokens=sa.BigInteger(), seconds=sa.Double(), curve=sa.JSON()),
        sa.PrimaryKeyConstraint("study_id", "candidate_id", "rung"),
        _belongs_to("nas_candidate", "study_id", "candidate_id"),
    )
    op.create_table(
        "nas_metric",
        *_columns(study_id=sa.Integer(), candidate_id=sa.Text(), rung=sa.Integer()),
        *_columns(split=sa.Text(), name=sa.Text(), value=sa.Double()),
        sa.PrimaryKeyConstraint("study_id", "candidate_id", "rung", "split", "name"),
        _belongs_to("nas_evaluation", "study_id", "candidate_id", "rung"),
    )
    op.create_table(
        "nas_model",
        *_columns(study_id=sa.Integer(), candidate_id=sa.Text(), path=sa.Text()),
        *_columns(bytes=sa.BigInteger(), sha256=sa.Text()),
        sa.PrimaryKeyConstraint("study_id", "candidate_id"),
        _belongs_to("nas_candidate", "study_id", "candidate_id"),
    )
