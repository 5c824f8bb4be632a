"""The tables of a study database, with portable types only.

Keys are natural: a candidate is (study, candidate id) in every table, so that a SQL shell joins
on what it sees and a write looks nothing up. Candidates, evaluations and metrics are the truth;
`nas_leaderboard` is a view over them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

# Every schema ever released, oldest first; the last is what `metadata` describes. A test holds it
# equal to the chain of alembic revisions.
SCHEMA_VERSIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
VERSION_TABLE = "nas_alembic_version"


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A time in UTC, stored without its zone because SQLite has none."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: sa.Dialect,  # noqa: ARG002 - the base class passes it
    ) -> datetime | None:
        """Drop the zone, after moving to UTC."""
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(
        self,
        value: datetime | None,
        dialect: sa.Dialect,  # noqa: ARG002 - the base class passes it
    ) -> datetime | None:
        """Put the zone back."""
        return value.replace(tzinfo=UTC) if value else None


metadata = sa.MetaData()


def _required(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _json_or_null(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(none_as_null=True))


def _belongs_to(table: str, *columns: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(columns, [f"{table}.{c}" for c in columns], ondelete="CASCADE")


study = sa.Table(
    "nas_study",
    metadata,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    _required("state", sa.Text),
    _required("config", sa.JSON),
    _required("identity", sa.JSON),
    _required("rungs", sa.JSON),
    _required("objectives", sa.JSON),
    _required("data_fingerprint", sa.Text),
    _required("task_spec", sa.JSON),
    _required("versions", sa.JSON),
    _json_or_null("numerics"),
    sa.Column("pace", sa.Double),  # FLOPs a second, where budgets are in seconds
    _json_or_null("summary"),
    _json_or_null("owner"),  # who works on it or did last, on a server; see `lease`
    _required("created_at", UtcDateTime),
)

# n_layer to d_ff repeat what `shape` says, for people with a SQL shell; a per-layer field is null.
architecture = sa.Table(
    "nas_architecture",
    metadata,
    sa.Column("study_id", sa.ForeignKey("nas_study.study_id", ondelete="CASCADE")),
    sa.Column("architecture_id", sa.Text),
    _required("family", sa.Text),
    _required("shape", sa.JSON),
    _required("columns", sa.JSON),
    sa.Column("params", sa.BigInteger),
    sa.Column("flops_per_token", sa.Double),
    sa.Column("train_memory_bytes", sa.BigInteger),
    sa.Column("n_layer", sa.Integer),
    sa.Column("d_model", sa.Integer),
    sa.Column("n_head", sa.Integer),
    sa.Column("d_ff", sa.Integer),
    sa.PrimaryKeyConstraint("study_id", "architecture_id"),
)

candidate = sa.Table(
    "nas_candidate",
    metadata,
    sa.Column("study_id", sa.Integer),
    sa.Column("candidate_id", sa.Text),
    _required("number", sa.Integer),
    _required("role", sa.Text),
    _required("state", sa.Text),
    _required("architecture_id", sa.Text),
    _required("recipe", sa.JSON),
    _required("seed", sa.BigInteger),
    _required("data_fingerprint", sa.Text),
    sa.Column("budget", sa.BigInteger),  # tokens, where they are not the study's
    _required("parameters", sa.JSON),
    _required("tokens", sa.BigInteger),
    _json_or_null("checkpoint"),
    _required("timings", sa.JSON),
    _required("error", sa.Text),
    _required("traceback", sa.Text),
    _required("created_at", UtcDateTime),
    sa.Column("finished_at", UtcDateTime),
    sa.PrimaryKeyConstraint("study_id", "candidate_id"),
    _belongs_to("nas_architecture", "study_id", "architecture_id"),
)

# `tokens` are those since the rung before, so that their sum is what was trained on.
evaluation = sa.Table(
    "nas_evaluation",
    metadata,
    sa.Column("study_id", sa.Integer),
    sa.Column("candidate_id", sa.Text),
    sa.Column("rung", sa.Integer),
    _required("tokens", sa.BigInteger),
    _required("total_tokens", sa.BigInteger),
    _required("seconds", sa.Double),
    _required("curve", sa.JSON),
    sa.PrimaryKeyConstraint("study_id", "candidate_id", "rung"),
    _belongs_to("nas_candidate", "study_id", "candidate_id"),
)

metric = sa.Table(
    "nas_metric",
    metadata,
    sa.Column("study_id", sa.Integer),
    sa.Column("candidate_id", sa.Text),
    sa.Column("rung", sa.Integer),
    sa.Column("split", sa.Text),
    sa.Column("name", sa.Text),
    _required("value", sa.Double),
    sa.PrimaryKeyConstraint("study_id", "candidate_id", "rung", "split", "name"),
    _belongs_to("nas_evaluation", "study_id", "candidate_id", "rung"),
)

model = sa.Table(
    "nas_model",
    metadata,
    sa.Column("study_id", sa.Integer),
    sa.Column("candidate_id", sa.Text),
    _required("path", sa.Text),
    _required("bytes", sa.BigInteger),
    _required("sha256", sa.Text),
    sa.PrimaryKeyConstraint("study_id", "candidate_id"),
    _belongs_to("nas_candidate", "study_id", "candidate_id"),
)

# Shapes that the user asked for, in the order of asking. They stay when they were tried.
enqueued = sa.Table(
    "nas_enqueued",
    metadata,
    sa.Column("study_id", sa.ForeignKey("nas_study.study_id", ondelete="CASCADE")),
    sa.Column("architecture_id", sa.Text),
    _required("family", sa.Text),
    _required("shape", sa.JSON),
    _required("created_at", UtcDateTime),
    sa.PrimaryKeyConstraint("study_id", "architecture_id"),
)

# What another study measured, where this one starts warm; copied when the study is made.
evidence = sa.Table(
    "nas_evidence",
    metadata,
    sa.Column("study_id", sa.ForeignKey("nas_study.study_id", ondelete="CASCADE")),
    sa.Column("architecture_id", sa.Text),
    _required("family", sa.Text),
    _required("shape", sa.JSON),
    _required("value", sa.Double),
    sa.PrimaryKeyConstraint("study_id", "architecture_id"),
)

# How far a search under way has come, written by its driver every few seconds; see `standing`.
standing = sa.Table(
    "nas_standing",
    metadata,
    sa.Column("study_id", sa.ForeignKey("nas_study.study_id", ondelete="CASCADE")),
    _required("content", sa.JSON),
    _required("updated_at", UtcDateTime),
    sa.PrimaryKeyConstraint("study_id"),
)

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
