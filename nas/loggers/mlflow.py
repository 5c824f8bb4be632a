"""MLflow: an experiment for the study, a run for each candidate.

Without `MLFLOW_TRACKING_URI` all goes to `mlflow.db` in the study's folder, a SQLite file. A
candidate that goes on is found again by its id, and metrics are added beyond those that are there.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.loggers import Run, means_of
from nas.records import FAILED_STATES

DATABASE, ARTIFACTS = "mlflow.db", "mlflow"
URI = "MLFLOW_TRACKING_URI"
# What MLflow would do beside its work: send figures of its use to its makers, and chat.
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}
CANDIDATE, ARCHITECTURE, WINNER = "nas.candidate_id", "nas.architecture_id", "nas.winner"
TEXT = 500  # characters of a tag or parameter: the least that any store of MLflow takes


class MlflowLogger:
    """Writes through MLflow's client; see `loggers.Logger`."""

    def __init__(self, *, study: str, folder: Path) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        logging.getLogger("alembic").setLevel(logging.WARNING)  # which makes the SQLite file
        uri = os.environ.get(URI)
        local = f"sqlite:///{(folder / DATABASE).as_posix()}"
        self._client: Any = MlflowClient(tracking_uri=uri or local)
        artifacts = None if uri else (folder / ARTIFACTS).as_uri()
        known = self._client.get_experiment_by_name(study)
        self._experiment = (
            self._client.create_experiment(study, artifact_location=artifacts)
            if known is None
            else known.experiment_id
        )
        self._runs: dict[str, str] = {}  # MLflow's ids, by candidate under way
        self._known: dict[str, int] = {}  # tokens up to which a candidate's metrics are there

    def begin(self, run: Run) -> None:
        """Make the candidate's run, or find it again."""
        found = self._search(CANDIDATE, run.candidate_id)
        if found:
            own = found[0].info.run_id
            self._known[run.candidate_id] = self._last_tokens(found[0])
            self._client.update_run(own, status="RUNNING")
        else:
            own = self._make(run)
            self._known[run.candidate_id] = -1
        self._runs[run.candidate_id] = own

    def _make(self, run: Run) -> str:
        from mlflow.entities import Param

        tags = {
            CANDIDATE: run.candidate_id,
            ARCHITECTURE: run.architecture_id,
            "nas.role": run.role,
            "nas.number": str(run.number),
        }
        made = self._client.create_run(self._experiment, run_name=run.name, tags=tags)
        given = {**run.hyperparameters, "seed": run.seed}
        params = [Param(name, str(value)[:TEXT]) for name, value in given.items()]
        self._client.log_batch(made.info.run_id, params=params)
        return str(made.info.run_id)

    def _last_tokens(self, run: Any) -> int:
        """Return the largest step of a run's metrics, -1 without any."""
        histories = (
            self._client.get_metric_history(run.info.run_id, name) for name in run.data.metrics
        )
        return max((point.step for history in histories for point in history), default=-1)

    def log(self, candidate_id: str, tokens: int, values: Mapping[str, float]) -> None:
        """Add metrics, unless they are of tokens whose metrics are there."""
        from mlflow.entities import Metric

        if tokens <= self._known[candidate_id]:
            return
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, tokens) for name, value in values.items()]
        self._client.log_batch(self._runs[candidate_id], metrics=metrics)

    def end(self, candidate_id: str, state: str, error: str) -> None:
        """Set the run's status, and what we call it as a tag."""
        own = self._runs.pop(candidate_id)
        self._client.set_tag(own, "nas.state", state)
        if error:
            self._client.set_tag(own, "nas.error", error[:TEXT])
        if state == "complete":
            self._client.set_terminated(own, "FINISHED")
        elif state in FAILED_STATES:
            self._client.set_terminated(own, "FAILED")
        else:  # it may go on
            self._client.update_run(own, status="SCHEDULED")

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the winner's runs, and give the experiment the result as tags."""
        winner = str(summary.get("winner"))
        for run in self._search(WINNER, "true"):  # of an earlier end of this search
            self._client.delete_tag(run.info.run_id, WINNER)
        for run in self._search(ARCHITECTURE, winner):
            self._client.set_tag(run.info.run_id, WINNER, "true")
        tags = {"winner": winner, **{k: f"{v:.6g}" for k, v in means_of(summary).items()}}
        tags["against_reference"] = json.dumps(summary.get("against_reference"), default=str)
        for name, text in tags.items():
            self._client.set_experiment_tag(self._experiment, f"nas.{name}", text[:TEXT])

    def close(self) -> None:
        """Nothing is held back: every call has written what it was told."""

    def _search(self, tag: str, value: str) -> list[Any]:
        """Return the study's runs with a tag; values are our own, without quotes."""
        return list(self._client.search_runs([self._experiment], f"tags.`{tag}` = '{value}'"))
